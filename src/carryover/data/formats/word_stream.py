"""Texts and sentences one after the other, read as a stream: lines, JSONL rows, CoNLL columns, CoNLL-U treebanks.

`read_tagged` and `read_texts` look at a whole file before they hand anything out, for only then can a span scheme or a row
out of step be told. Who only wants the words, of a file of any length, reads them here.
"""

from __future__ import annotations

from collections.abc import Iterator

from carryover.data.formats.columns import split_columns
from carryover.data.formats.opening import Source, read_lines
from carryover.data.formats.reading import check_unicode, choose_format, is_builtin, read_raw
from carryover.data.formats.tables import missing_column, read_objects
from carryover.errors import BadData

FORMATS = ("text", "jsonl", "conll", "conllu")
_SUFFIXES = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".conll": "conll", ".iob": "conll", ".bio": "conll", ".conllu": "conllu",
}  # fmt: skip

Item = str | list[str]
"""A running text, or a sentence that is already cut into words."""


def read_items(path: Source, *, format: str | None = None, text_column: str = "text") -> Iterator[Item]:
    """The items of a file in their order, none left out.

    text    every line, an empty one too
    jsonl   every row: its words {"tokens": […]}, else the text in `text_column`
    conll   column 0 of every block of lines; `-DOCSTART-` lines and comments are no words
    conllu  the syntactic words of every sentence (column 1; ranges and empty nodes are passed over)

    The format follows from the name, `text` where it does not tell. Raises UsageError, InputMissing, BadData with the line.
    """
    format = choose_format(path, format, FORMATS, _SUFFIXES) or "text"
    if is_builtin(path):
        return (text for _, text in read_raw(path))
    if format == "jsonl":
        return _rows(path, text_column)
    if format == "text":
        return (text for _, text in read_lines(path))
    words = _column_words if format == "conll" else _treebank_words
    return (found for block in _blocks(path) if (found := words(path, block)))


def _rows(path: Source, text_column: str) -> Iterator[Item]:
    for line, value, _ in read_objects(path):
        if isinstance(value, BadData):
            raise value
        if "tokens" in value:
            item, wanted = value["tokens"], "a list of strings that are not empty"
            sound = isinstance(item, list) and all(isinstance(word, str) and word.strip() for word in item)
        elif text_column in value:
            item, wanted = value[text_column], "a string"
            sound = isinstance(item, str)
        else:
            raise missing_column(text_column, list(value), path, line, hint="; a column `tokens` holds words")
        if not sound:
            name = "tokens" if "tokens" in value else text_column
            raise BadData(f"{name!r} is not {wanted}", path=path, line=line, repair=f"give {wanted}")
        try:
            check_unicode(item if isinstance(item, str) else " ".join(item))
        except BadData as error:
            raise BadData(error.message, path=path, line=line, repair=error.repair) from error
        yield item


_Block = list[tuple[int, str]]


def _blocks(path: Source) -> Iterator[_Block]:
    """The lines between blank lines, numbered."""
    block: _Block = []
    for number, line in read_lines(path):
        if line.strip(" \t\r") and not line.startswith("-DOCSTART-"):
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _column_words(path: Source, block: _Block) -> list[str]:
    """Column 0. A line before the first word that begins with # and has not the columns of the last line is a comment."""
    tabs = "\t" in block[-1][1]
    width = len(split_columns(block[-1][1], tabs))
    start = 0
    while start < len(block) and block[start][1].startswith("#") and _differs(block[start][1], tabs, width):
        start += 1
    words = []
    for number, line in block[start:]:
        cells = split_columns(line, tabs)
        if len(cells) != width or not cells[0].strip():
            reason = f"{len(cells)} columns where the sentence has {width}" if cells[0].strip() else "the word is empty"
            raise BadData(reason, path=path, line=number, repair="one word a line, the same columns in each")
        words.append(cells[0].strip())
    return words


def _differs(line: str, tabs: bool, width: int) -> bool:
    return "\t" not in line if tabs else width == 1 or len(split_columns(line, tabs)) != width


def _treebank_words(path: Source, block: _Block) -> list[str]:
    words = []
    for number, line in block:
        if line.startswith("#"):
            continue
        cells = line.split("\t")
        if len(cells) != 10:
            raise BadData(
                f"{len(cells)} columns where CoNLL-U has 10", path=path, line=number, repair="use tabs; _ for empty"
            )
        if cells[0].isdigit():
            words.append(cells[1])
    return words
