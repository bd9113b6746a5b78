"""Files as numbered lines of text: plain, gzip or xz; every fault of the file becomes one clear error."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import IO

from carryover.data.formats import encodings
from carryover.data.formats.spooling import open_stored
from carryover.data.formats.unpacking import GZIP, XZ, JunkBehind, unpacked
from carryover.errors import BadData, InputMissing

FilePath = str | PathLike[str]

LONGEST_LINE = 256 * 1024 * 1024  # bytes; a longer one is no text file, and would be held in memory whole
_AT_ONCE = 1 << 18
_MARK = "\ufeff"


class BadLine(BadData):
    """A line that is no text. `text` is the line with every byte that cannot be read as `\\xNN`."""

    text = ""


def inner_suffix(path: FilePath) -> str:
    """Suffix that tells the format, in lower case and without the compression: `.tsv` of `train.tsv.gz`."""
    path = Path(path)
    if path.suffix.lower() in (".gz", ".xz"):
        path = path.with_suffix("")
    return path.suffix.lower()


@contextmanager
def open_bytes(path: FilePath) -> Iterator[IO[bytes]]:
    """The uncompressed bytes of a file, of `-` for standard input. Compression is recognised by the first bytes, not the name.

    Raises InputMissing when it cannot be opened, BadData when it is of a kind that cannot be read or is damaged, also
    when the damage shows only while the body of the `with` statement reads on.
    """
    with open_file(path) as raw:
        start = raw.peek(8)[:8]  # type: ignore[attr-defined]
        _check_kind(start, path)
        try:
            stream = unpacked(raw, start)
            if stream is not raw:
                _check_kind(stream.peek(8)[:8], path, packed=True)  # type: ignore[attr-defined]
            elif Path(path).suffix.lower() in (".gz", ".xz") and start:
                raise BadData("the name says compressed, the content is not", path=path, repair="rename or pack it again")
            yield stream
        except JunkBehind as error:
            raise BadData(
                f"something else follows the compressed text ({error})",
                path=path,
                repair="fetch it again, or recover the sound part with gunzip -c or xz -dc",
            ) from error
        except (EOFError, zlib.error, lzma.LZMAError) as error:
            raise BadData(
                f"the compressed file is damaged or cut short ({error})", path=path, repair="fetch or pack it again"
            ) from error
        except OSError as error:
            raise InputMissing(f"cannot be read ({error.strerror or error})", path=path, repair="check the disk") from error
        except MemoryError as error:
            raise BadData("the file does not fit into memory", path=path, repair="split it") from error


def _check_kind(start: bytes, path: FilePath, *, packed: bool = False) -> None:
    """Raise BadData for content that is of another kind."""
    if packed and start.startswith((GZIP, XZ)):
        raise BadData("the file is compressed twice", path=path, repair="unpack it once")
    if found := encodings.kind_of(start):
        kind, repair = found
        raise BadData(f"the {'compressed ' * packed}file is {kind}", path=path, repair=repair)


@contextmanager
def open_file(path: FilePath) -> Iterator[IO[bytes]]:
    """The bytes of a file as they are stored. Raises InputMissing."""
    try:
        opened = open_stored(path)
    except IsADirectoryError as error:
        raise InputMissing("is a folder, not a file", path=path, repair="name a file in it") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputMissing("no such file", path=path, repair=_nearby(Path(path))) from error
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


def scan_lines(path: FilePath, *, stripped: bool = False) -> Iterator[tuple[int, str | BadLine]]:
    """All lines as (number from 1, text without the line end); in place of a line that is no text, the error it is.

    Lines end with LF, CR LF or CR alone; a byte order mark at the beginning of a line is dropped: where files were joined,
    each brings its own. Faults of a single line (bad UTF-8, a zero byte) are handed on so that the caller may skip it; faults
    of the file are raised as `open_bytes` says, a line of more than LONGEST_LINE bytes as BadData. `stripped` leaves out white
    space around long lines, so that whoever strips them need not copy them.
    """
    number = 0
    with open_bytes(path) as stream:
        for block in _blocks(stream):
            if len(block) > _AT_ONCE:
                if len(block) > LONGEST_LINE:
                    _check_lengths(block, path, number)
                if stripped and b"\r" not in block:
                    block = block.strip()
            try:
                text = block.decode("utf-8")
                sound = "\0" not in text
            except UnicodeDecodeError:
                sound = False
            if not sound:
                for line in _lines(block.decode("utf-8", "surrogateescape")):
                    number += 1
                    yield number, _checked(line, path, number)
                continue
            del block  # of a long line nothing is held twice
            lines = _lines(text)
            del text
            if len(lines) == 1:
                number += 1
                yield number, lines.pop()
            else:
                yield from enumerate(lines, start=number + 1)
                number += len(lines)


def _lines(text: str) -> list[str]:
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    return [line.lstrip(_MARK) for line in lines] if _MARK in text else lines


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """The bytes of whole lines, without the end of the last. A line that is longer than what is read at once comes alone."""
    held: list[bytes] = []
    size = 0
    while block := stream.read1(_AT_ONCE):  # type: ignore[attr-defined]
        sign = b"\n" if b"\n" in block else b"\r"
        # A CR at the very end may be half of a CR LF, which the next block tells.
        place = block.find(sign) if sign == b"\n" else block.find(sign, 0, len(block) - 1)
        if place < 0:
            held.append(block)
            size += len(block)
            if size > LONGEST_LINE:
                break
            continue
        if held:
            held = [b"".join([*held, block[:place]])]
            yield _without_return(held.pop()) if sign == b"\n" else held.pop()  # and keep nothing of a long line here
            block = block[place + 1 :]
        end = block.rfind(sign) if sign == b"\n" else block.rfind(sign, 0, len(block) - 1)
        if end >= 0:
            yield _without_return(block[:end]) if sign == b"\n" else block[:end]
        size = len(block) - end - 1
        if size:
            held.append(block[end + 1 :])
    if held:
        held = [b"".join(held)]
        yield _without_return(held.pop())


def _without_return(block: bytes) -> bytes:
    return block.removesuffix(b"\r")


def _check_lengths(block: bytes, path: FilePath, number: int) -> None:
    lines = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    for place, line in enumerate(lines, start=number + 1):
        if len(line) > LONGEST_LINE:
            raise BadData(
                f"the line is longer than {LONGEST_LINE >> 20} MiB", path=path, line=place, repair="is it a text file?"
            )


def _checked(line: str, path: FilePath, number: int) -> str | BadLine:
    """A line of a block in which something is no text; bytes that are not UTF-8 stand there as half surrogates."""
    content = line.encode("utf-8", "surrogateescape")
    try:
        line = content.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = content[error.start]
        wrong = f"byte {error.start + 1} of the line (0x{byte:02X}) is not UTF-8", encodings.repair_of(content)
    else:
        if "\0" not in line:
            return line
        wrong = f"character {line.index(chr(0)) + 1} is a zero byte", "remove it; is it a text file?"
    if encodings.is_wide(content):
        wrong = "the line looks like UTF-16", "save the file as UTF-8, for example with iconv -f utf-16le -t utf-8"
    fault = BadLine(wrong[0], path=path, line=number, repair=wrong[1])
    fault.text = content.decode("utf-8", "backslashreplace")
    return fault


def read_lines(path: FilePath, *, stripped: bool = False) -> Iterator[tuple[int, str]]:
    """As `scan_lines`, but the first faulty line is raised."""
    for number, line in scan_lines(path, stripped=stripped):
        if isinstance(line, BadData):
            raise line
        yield number, line
