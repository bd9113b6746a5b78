"""Foreign text made harmless for the place it goes to: a terminal, a row of a table, JSON, Markdown, a shell.

Labels, texts and file names are somebody else's. They may hold escape sequences that move a terminal's cursor, marks that
reverse the direction of what is read, tabs and line breaks that end a cell or a row, and bytes of a file name that are not
UTF-8 (Python keeps these as single surrogates). Whatever is shown or written passes one of these functions.
"""

from __future__ import annotations

import json
import re
from typing import Any

_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"  # control characters, and the two other line breaks of Unicode
_BIDI = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that set the direction of writing
_INVISIBLE = r"\u200b\u2060\ufeff"  # no width and no meaning between letters; joiners (U+200C, U+200D) have one
_SURROGATES = r"\ud800-\udfff"

_UNSHOWN = re.compile(f"[{_CONTROLS}{_BIDI}{_INVISIBLE}{_SURROGATES}]")
_BREAKING = re.compile(rf"[\\{_CONTROLS}{_SURROGATES}]")
_RAW_IN_JSON = re.compile(rf"[\x7f-\x9f\u2028\u2029{_BIDI}{_SURROGATES}]")
_MARKUP = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_SHORT = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}


def printable(text: object) -> str:
    r"""`text` as it may stand on a terminal: what is not shown there, or moves what is, is spelled out (`\x1b`, `\u202e`).

    A byte of a file name that is not UTF-8 becomes `\xe9`. Other characters stay, a backslash too, so this is for people:
    `one_cell` is for programs.
    """
    return _UNSHOWN.sub(_spelled, str(text))


def spelled_out(text: str) -> str:
    """`text` with every character spelled out that is not seen, joiners and unusual spaces too: for looking at labels."""
    shown = (character if character.isprintable() else _spell(ord(character)) for character in printable(text))
    return "".join(shown)


TableCell = str | tuple[str, ...]
"""A text, or the values of one cell with commas between them."""


def one_cell(cell: TableCell) -> str:
    r"""One cell of a row of tab-separated values: a tab in it is `\t`, a line break `\n` or `\r`, the backslash `\\`, another control
    character `\x1b` or `\u2028`, and a comma within one of several values `\,`. So a row is one line, and the text is given back.
    """
    if isinstance(cell, tuple):
        return ",".join(one_cell(value).replace(",", "\\,") for value in cell)
    return _BREAKING.sub(_spelled, cell)


def one_json(value: Any) -> str:
    """JSON on one line that is UTF-8, a single line for every program, and harmless on a terminal.

    What is not ASCII stays readable, but for direction marks, controls and single surrogates, which are escaped: reading it
    gives the same value back. Raises ValueError for a number that is not finite.
    """
    return _RAW_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False, allow_nan=False))


def in_markdown(text: object) -> str:
    """`text` as words within Markdown or HTML: nothing in it is markup."""
    escaped = _MARKUP.sub(r"\\\g<0>", printable(text))
    return "".join(_HTML.get(character, character) for character in escaped)


def code_in_markdown(text: object) -> str:
    """`text` as a span of code in Markdown, also where it has backticks. Within a span neither HTML nor escapes are markup."""
    shown = printable(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    pad = " " if shown.startswith("`") or shown.endswith("`") or not shown else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _spelled(match: re.Match[str]) -> str:
    character = match[0]
    if character in _SHORT:
        return _SHORT[character]
    number = ord(character)
    return _spell(number - 0xDC00 if 0xDC80 <= number <= 0xDCFF else number)  # the byte that a single surrogate stands for


def _spell(number: int) -> str:
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
