"""What can go wrong while writing: named crash points, errors of the system in words, the primitive operations."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from carryover.errors import CannotWrite, CarryoverError, DiskFault, ResourcesExhausted, exhausted

_CRASHES: dict[str, int] = {}
_TEMPORARY = re.compile(r"\.([^/\\]+)\.partial-[0-9a-f]+-[0-9]+-[0-9a-f]+")


def crash_point(name: str) -> None:
    """Die here as by SIGKILL when the environment says `CARRYOVER_CRASH_AT=name:n` and this is the n-th time.

    The places where a write can be torn apart are named, so that tests can kill a real process at each of them. Without
    the variable this is one look-up.
    """
    wanted = os.environ.get("CARRYOVER_CRASH_AT")
    if not wanted:
        return
    _CRASHES[name] = _CRASHES.get(name, 0) + 1
    if wanted == f"{name}:{_CRASHES[name]}":
        if hasattr(signal, "SIGKILL"):
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(137)


@contextmanager
def writing(path: Path, need: int | None = None) -> Iterator[None]:
    """Turn an OSError of the block into CannotWrite or DiskFault, naming the path and what was needed."""
    try:
        yield
    except OSError as error:
        if isinstance(error, CarryoverError):
            raise
        raise _write_error(error, path, need) from error


def _write_error(error: OSError, path: Path, need: int | None) -> CarryoverError:
    reason = error.strerror or str(error)
    path = Path(_TEMPORARY.sub(r"\1", str(path)))  # a person knows the place, not the name it has while it is written
    if (spent := exhausted(error)) is not None:
        return ResourcesExhausted(spent.message, path=path, repair=spent.repair)
    if is_disk_fault(error):
        wanted = "" if not need else f", {_mebibytes(need)} needed"
        with suppress(OSError):
            wanted += f", {_mebibytes(shutil.disk_usage(_existing(path)).free)} free"
        repair = "make room there or choose another place, then run again"
        if error.errno == errno.EFBIG:
            repair = "raise the limit on the size of files (ulimit -f), then run again"
        return DiskFault(f"writing failed: {reason}{wanted}", path=path, repair=repair)
    return CannotWrite(f"cannot write: {reason}", path=path, repair="choose a place that exists and that you may write to")


def is_disk_fault(error: OSError) -> bool:
    """Whether the disk is full or failing; otherwise the place cannot be written at all."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


def _existing(path: Path) -> Path:
    return next((place for place in (path, *path.absolute().parents) if place.exists()), Path.cwd())


def write_some(file: BinaryIO, data: memoryview) -> int:
    """Write what the system takes of `data` and say how much that was. Every byte passes here."""
    return int(file.write(data))


class OutputFile(io.RawIOBase):
    """A new file for a library that is handed one to write to (zipfile, NumPy, PyArrow, HDF5). Every byte passes `write_some`,
    so whatever that library makes of a full disk, it meets the system's own error first. Not buffered.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("w+b", buffering=0)

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        while len(rest):
            rest = rest[write_some(self._file, rest) :]
        return size

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def truncate(self, size: int | None = None) -> int:
        return self._file.truncate(size)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()
        super().close()


def flush(descriptor: int) -> None:
    """Hand what was written to the disk itself."""
    os.fsync(descriptor)


def flush_file(path: Path) -> None:
    """`flush` for a file that somebody else wrote."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        flush(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(path: Path) -> None:
    """Make the names in a folder last: a rename is only safe once its folder is on the disk."""
    # Some file systems do not let a folder be opened or flushed; there is then nothing more that could be done.
    with suppress(PermissionError, IsADirectoryError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            flush(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(descriptor)
