"""Which encoding a text that is not UTF-8 probably has, and how to convert it."""

from __future__ import annotations

import re

KINDS = {
    b"PK\x03\x04": "a zip archive",
    b"BZh1AY&": "compressed with bzip2",  # a digit follows the third byte
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"\xff\xfe\x00\x00": "UTF-32 text",
    b"\x00\x00\xfe\xff": "UTF-32 text",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"%PDF": "a PDF document",
}
"""Beginnings of files that are no UTF-8 text."""

_FOREIGN_SHARE = 0.3
_RUN = re.compile(b"[\x80-\xff]{3}")


def kind_of(start: bytes) -> tuple[str, str] | None:
    """What a file that begins so is, and the repair; None where nothing is against its being UTF-8 text."""
    for magic, kind in KINDS.items():
        if start.startswith(magic) or (start[:3] + start[4:]).startswith(magic):
            if not kind.startswith("UTF-"):
                return kind, "unpack it or save it as plain text"
            return kind, f"save it as UTF-8, for example with iconv -f {kind.split()[0].lower()} -t utf-8"
    return None


def repair_of(line: bytes) -> str:
    """How to mend a line that is not UTF-8."""
    decoded = line.decode("utf-8", "surrogateescape")
    foreign = [character for character in decoded if character > "\x7f"]
    if any(not "\udc80" <= character <= "\udcff" for character in foreign):
        return "the line is UTF-8 apart from such bytes: correct them, or drop them with iconv -c -f utf-8 -t utf-8"
    letters = sum(character.isalpha() for character in decoded)  # of ASCII alone
    if _RUN.search(line) and len(foreign) > _FOREIGN_SHARE * (letters + len(foreign)):  # whole words: not Western Europe
        return "save the file as UTF-8 with iconv -f ENCODING -t utf-8 (give its ENCODING: cp1251, gb18030, shift_jis, …)"
    return f"save the file as UTF-8, for example with iconv -f {_western(line)} -t utf-8"


def _western(line: bytes) -> str:
    """cp1252 is latin1 with quotes, dashes and the euro in place of control characters; five bytes mean nothing in it."""
    try:
        line.decode("cp1252")
    except UnicodeDecodeError:
        return "macintosh"
    return "cp1252"


def is_wide(line: bytes) -> bool:
    """Whether zero bytes alternate with others, as in UTF-16 without a byte order mark."""
    pairs = len(line) // 2
    return pairs > 1 and max(line[0::2].count(0), line[1::2].count(0)) > 0.6 * pairs
