"""Files as numbered lines of text: plain, gzip or xz; every fault of the file becomes one clear error."""

from __future__ import annotations

import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import IO, cast

from carryover.errors import BadData, InputMissing

Source = str | PathLike[str]

STANDARD_INPUT = "-"
LONGEST_LINE = 256 * 1024 * 1024  # bytes; a longer one is no text file, and would be held in memory whole

_GZIP, _XZ = b"\x1f\x8b", b"\xfd7zXZ\x00"
_OTHER = {
    b"PK\x03\x04": "a zip archive",
    b"BZh1AY&": "compressed with bzip2",  # behind the third byte stands a digit
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"%PDF": "a PDF document",
}


def inner_suffix(path: Source) -> str:
    """Suffix that tells the format, in lower case and without the compression: `.tsv` of `train.tsv.gz`."""
    path = Path(path)
    if path.suffix.lower() in (".gz", ".xz"):
        path = path.with_suffix("")
    return path.suffix.lower()


@contextmanager
def open_bytes(path: Source) -> Iterator[IO[bytes]]:
    """The uncompressed bytes of a file, of `-` for standard input. Compression is told by the first bytes, not the name.

    Raises InputMissing when it cannot be opened, BadData when it is of a kind that cannot be read or is damaged, also
    when the damage shows only while the body of the `with` statement reads on.
    """
    with _open_file(path) as raw:
        start = raw.peek(8)[:8]
        for magic, kind in _OTHER.items():
            if start.startswith(magic) or (start[:3] + start[4:] == magic):
                repair = "save it as UTF-8" if "UTF-16" in kind else "unpack it or save it as plain text"
                raise BadData(f"the file is {kind}", path=path, repair=repair)
        stream: IO[bytes] = raw
        try:
            if start.startswith(_GZIP):
                stream = cast(IO[bytes], gzip.GzipFile(fileobj=raw))
            elif start.startswith(_XZ):
                stream = cast(IO[bytes], lzma.LZMAFile(raw))  # noqa: SIM115  (closing `raw` is enough)
            elif Path(path).suffix.lower() in (".gz", ".xz") and start:
                raise BadData("the name says compressed, the content is not", path=path, repair="rename or pack it again")
            yield stream
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise BadData(
                f"the compressed file is damaged or cut short ({error})", path=path, repair="fetch or pack it again"
            ) from error
        except OSError as error:
            raise InputMissing(f"cannot be read ({error.strerror or error})", path=path, repair="check the disk") from error
        except MemoryError as error:
            raise BadData("the file does not fit into memory", path=path, repair="split it") from error


@contextmanager
def _open_file(path: Source) -> Iterator[io.BufferedReader]:
    if str(path) == STANDARD_INPUT:
        if sys.stdin is None:
            raise InputMissing("standard input is closed", repair="pipe text into the command or name a file")
        yield cast(io.BufferedReader, sys.stdin.buffer)  # not ours to close
        return
    path = Path(path)
    try:
        opened = path.open("rb")
    except IsADirectoryError as error:
        raise InputMissing("is a folder, not a file", path=path, repair="name a file in it") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputMissing("no such file", path=path, repair=_nearby(path)) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputMissing(f"cannot be opened ({reason})", path=path, repair="check its name and permissions") from error
    with opened:
        yield opened


def _nearby(path: Path) -> str:
    """What to do about a name that is not there: the nearest one that is."""
    try:
        names = [one.name for one in path.parent.iterdir()]
    except OSError:
        return f"the folder {path.parent} does not exist either; check the path"
    close = get_close_matches(path.name, names, n=1)
    return f"did you mean {path.parent / close[0]}?" if close else "check the path"


def scan_lines(path: Source) -> Iterator[tuple[int, str | BadData]]:
    """All lines as (number from 1, text without the line end); in place of a line that is no text, the error it is.

    Lines end with LF or CR LF; a byte order mark at the beginning is dropped. Faults of a single line (bad UTF-8, a zero
    byte) are handed on so that the caller may skip it; faults of the file are raised as `open_bytes` says, a line of more than
    LONGEST_LINE bytes as BadData.
    """
    with open_bytes(path) as stream:
        number = 0
        while line := stream.readline(LONGEST_LINE):
            number += 1
            if number == 1 and line.startswith(b"\xef\xbb\xbf"):
                line = line[3:]
            if len(line) >= LONGEST_LINE:
                raise BadData(
                    f"the line is longer than {LONGEST_LINE >> 20} MiB", path=path, line=number, repair="is it a text file?"
                )
            line = line[:-2] if line.endswith(b"\r\n") else line.removesuffix(b"\n")
            yield number, _decoded(line, path, number)


def _decoded(line: bytes, path: Source, number: int) -> str | BadData:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return BadData(
            f"byte {error.start + 1} of the line (0x{line[error.start]:02X}) is not UTF-8",
            path=path,
            line=number,
            repair="save the file as UTF-8, for example with iconv -f latin1 -t utf-8",
        )
    if "\0" in text:
        place = text.index("\0") + 1
        return BadData(f"character {place} is a zero byte", path=path, line=number, repair="remove it; is it a text file?")
    return text


def read_lines(path: Source) -> Iterator[tuple[int, str]]:
    """As `scan_lines`, but the first faulty line is raised."""
    for number, line in scan_lines(path):
        if isinstance(line, BadData):
            raise line
        yield number, line
