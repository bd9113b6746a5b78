"""Texts and sentences one after the other, read as a stream, of every format.

`read_tagged` and `read_texts` look at a whole file before they hand anything out, for only then can a span scheme or a row
out of step be told. Who only wants the words, of a file of any length, reads them here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from carryover.data.formats.choosing import choose_format, is_builtin
from carryover.data.formats.columns import split_columns
from carryover.data.formats.opening import FilePath, read_lines
from carryover.data.formats.tables import Column, missing_column, read_objects, read_records
from carryover.data.formats.text import Faulty, check_unicode, label_first_examples
from carryover.errors import BadData

Item = str | list[str]
"""A running text, or a sentence that is already cut into words."""


def read_items(path: FilePath, *, format: str | None = None, text_column: str | int = "text") -> Iterator[Item]:
    """The items of a file in their order, none left out.

    text                every line, an empty one too
    tsv, csv, parquet   the text in `text_column` of every row
    jsonl               every row: its words {"tokens": […]}, else the text in `text_column`
    label-first         what follows the labels
    conll               column 0 of every block of lines; `-DOCSTART-` lines and comments are no words
    conllu              the syntactic words of every sentence (FORM; ranges and empty nodes are passed over)

    The format is chosen as `choosing` says, `text` where nothing tells. Raises UsageError, InputMissing, BadData with the line.
    """
    if is_builtin(path):
        from carryover.data import builtin

        return builtin.raw_lines(str(path).removeprefix("builtin:"))
    return (item for _, item in numbered_items(path, format, text_column))


def raw_lines(
    path: FilePath, *, exact: bool, format: str | None = None, text_column: str | int = "text"
) -> Iterator[tuple[int, str]]:
    """The text of a file as numbered lines; words are joined by spaces, a text of several lines is followed by a blank one.

    Without `exact` the white space around a long line may be missing.
    """
    if choose_format(path, format, "raw", otherwise="text") == "text":
        return read_lines(path, stripped=not exact)
    return _as_lines(numbered_items(path, format, text_column), named=format is not None)


def _as_lines(items: Iterator[tuple[int, Item]], *, named: bool) -> Iterator[tuple[int, str]]:
    try:
        for number, item in items:
            lines = item.splitlines() or [""] if isinstance(item, str) else [" ".join(item)]
            for line in lines:
                yield number, line
            if len(lines) > 1:
                yield number, ""
    except BadData as error:
        if named:
            raise
        repair = f"{error.repair or 'check the file'}; if it is plain text, give --raw-format text"
        raise BadData(error.message, path=error.path, line=error.line, repair=repair) from error


def numbered_items(path: FilePath, format: str | None, text_column: str | int) -> Iterator[tuple[int, Item]]:
    """As `read_items`, of one file, with the line each begins at."""
    return _READERS[choose_format(path, format, "raw", otherwise="text")](path, text_column)


def _table(kind: str) -> Callable[[FilePath, str | int], Iterator[tuple[int, Item]]]:
    def read(path: FilePath, text_column: str | int) -> Iterator[tuple[int, Item]]:
        for record in read_records(path, [Column.of(text_column)], kind):
            if isinstance(record, Faulty):
                raise record.error
            yield record.line, _text(record.cells[0], text_column, path, record.line)

    return read


def _rows(path: FilePath, text_column: str | int) -> Iterator[tuple[int, Item]]:
    for line, value, _ in read_objects(path):
        if isinstance(value, BadData):
            raise value
        if "tokens" in value:
            words = value["tokens"]
            if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
                wanted = "a list of strings that are not empty"
                raise BadData(f"'tokens' is not {wanted}", path=path, line=line, repair=f"give {wanted}")
            _text(" ".join(words), "tokens", path, line)
            yield line, words
        elif str(text_column) in value:
            yield line, _text(value[str(text_column)], text_column, path, line)
        else:
            raise missing_column(str(text_column), list(value), path, line, hint="; a column `tokens` holds words")


def _text(cell: Any, column: str | int, path: FilePath, line: int) -> str:
    if not isinstance(cell, str):
        raise BadData(f"{column!r} is not a string", path=path, line=line, repair="give a string")
    try:
        check_unicode(cell)
    except BadData as error:
        raise BadData(error.message, path=path, line=line, repair=error.repair) from error
    return cell


def _behind_labels(path: FilePath, text_column: str | int) -> Iterator[tuple[int, Item]]:
    for example in label_first_examples(path, ","):
        if isinstance(example, Faulty):
            raise example.error
        yield example.source.line, example.input.text


_Block = list[tuple[int, str]]


def _blocks(path: FilePath) -> Iterator[_Block]:
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


def _columns(path: FilePath, text_column: str | int) -> Iterator[tuple[int, Item]]:
    for block in _blocks(path):
        if words := _column_words(path, block):
            yield block[0][0], words


def _column_words(path: FilePath, block: _Block) -> list[str]:
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


_PLUS = "# global.columns ="
_FIELDS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")


def _treebank(path: FilePath, text_column: str | int) -> Iterator[tuple[int, Item]]:
    """CoNLL-U, and CoNLL-U Plus, whose first line names its columns."""
    fields = list(_FIELDS)
    for block in _blocks(path):
        if block[0][1].startswith(_PLUS):
            fields = block[0][1].removeprefix(_PLUS).split()
            if "FORM" not in fields:
                raise missing_column("FORM", fields, path, block[0][0])
        if words := _treebank_words(path, block, fields):
            yield block[0][0], words


def _treebank_words(path: FilePath, block: _Block, fields: list[str]) -> list[str]:
    form, identity = fields.index("FORM"), fields.index("ID") if "ID" in fields else None
    kind = "CoNLL-U" if len(fields) == len(_FIELDS) else "the file"
    words = []
    for number, line in block:
        if line.startswith("#"):
            continue
        cells = line.split("\t")
        if len(cells) != len(fields):
            reason = f"{len(cells)} columns where {kind} has {len(fields)}"
            raise BadData(reason, path=path, line=number, repair="use tabs; _ for empty")
        if identity is None or cells[identity].isdigit():
            words.append(cells[form])
    return words


_READERS: dict[str, Callable[[FilePath, str | int], Iterator[tuple[int, Item]]]] = {
    "text": lambda path, text_column: read_lines(path),
    "tsv": _table("tsv"),
    "csv": _table("csv"),
    "parquet": _table("parquet"),
    "jsonl": _rows,
    "label-first": _behind_labels,
    "conll": _columns,
    "conllu": _treebank,
}
