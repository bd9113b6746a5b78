"""Inputs that can be read only once, standard input and pipes: kept while they are read, so that they can be read again."""

from __future__ import annotations

import io
import os
import stat
import sys
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import IO, Any

from carryover.errors import InputMissing
from carryover.storage import writing

STANDARD_INPUT = "-"


class Spool:
    """What has been read of a stream, in an unnamed temporary file; every reader begins with that and then reads on.

    Nothing is read before it is asked for, so a command answers a stream as it comes.
    """

    def __init__(self, source: Any, *, own: bool) -> None:
        self.source = source
        if own:
            weakref.finalize(self, source.close)
        self._kept = tempfile.TemporaryFile(prefix="carryover-")  # noqa: SIM115  (lives as long as the spool)
        weakref.finalize(self, self._kept.close)
        self._size = 0
        self._lock = Lock()

    def open(self) -> io.BufferedReader:
        """A reader from the beginning."""
        return io.BufferedReader(_SpoolReader(self), 1 << 16)

    def read(self, place: int, size: int) -> bytes:
        """At most `size` bytes from `place` on; none at the end. Raises DiskFault when they cannot be kept."""
        with self._lock:
            if place < self._size:
                return os.pread(self._kept.fileno(), size, place)
            found: bytes = self.source.read1(size)
            with writing(Path(tempfile.gettempdir()), len(found)):
                self._kept.write(found)
                self._kept.flush()
            self._size += len(found)
            return found


class _SpoolReader(io.RawIOBase):
    def __init__(self, spool: Spool) -> None:
        self._spool, self._place = spool, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._spool.read(self._place, len(buffer))
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)


_spools: dict[tuple[object, ...], Spool] = {}


def open_stored(path: str | os.PathLike[str]) -> IO[bytes]:
    """The bytes of a file as they are stored; those of `-` and of a pipe also at the second reading.

    Raises OSError or ValueError where the file cannot be opened, InputMissing for standard input that is closed.
    """
    if str(path) == STANDARD_INPUT:
        if sys.stdin is None or sys.stdin.closed:
            raise InputMissing("standard input is closed", path=path, repair="give a file, or text on standard input")
        known = _spools.get((STANDARD_INPUT,))
        if known is None or known.source is not sys.stdin.buffer:
            known = _spools[(STANDARD_INPUT,)] = Spool(sys.stdin.buffer, own=False)
        return known.open()
    place = Path(path)
    found = place.stat()
    if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
        return place.open("rb")
    key = (str(path), found.st_dev, found.st_ino)
    if key not in _spools:
        _spools[key] = Spool(place.open("rb"), own=True)
    return _spools[key].open()


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether the name stands for standard input, a pipe or a device: nothing that another process could read again."""
    if str(path) == STANDARD_INPUT:
        return True
    with suppress(OSError, ValueError):
        kind = Path(path).stat().st_mode
        return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))
    return False
