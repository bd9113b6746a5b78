"""Labelled pairs of texts: tables with two columns of text, and lines of two texts with a tab between."""

from __future__ import annotations

from collections.abc import Iterator

from carryover.data.examples import Example, Labels, Source, TextPair
from carryover.data.formats import tables
from carryover.data.formats.cells import label_cell, text_cell
from carryover.data.formats.choosing import choose_format, is_builtin
from carryover.data.formats.opening import BadLine, FilePath, scan_lines
from carryover.data.formats.text import Faulty, ReadResult, check_on_error, collect
from carryover.errors import BadData, UsageError

PairExample = Example[TextPair, Labels]


def text_columns(given: str | int) -> tuple[str | int, str | int]:
    """The two columns that one option names, with a comma between them: `sentence_A,sentence_B`, or `0,1`.

    Raises UsageError unless it names two different ones.
    """
    names = [name.strip() for name in str(given).split(",")]
    if len(names) != 2 or not all(names):
        raise UsageError(
            f"--text-column {str(given)!r} does not name two columns, but a pair has two texts",
            repair="name both with a comma between them, as in --text-column sentence_A,sentence_B",
        )
    if names[0] == names[1]:
        raise UsageError(f"--text-column names {names[0]!r} twice", repair="name the columns of the first and second text")
    first, second = (tables.Column.of(name).name for name in names)
    return first, second


def read_pairs(
    path: FilePath,
    *,
    text_column: str | int,
    label_column: str | int = "label",
    format: str | None = None,
    on_error: str = "stop",
    require_labels: bool = True,
) -> ReadResult[PairExample]:
    """Labelled pairs of a TSV, CSV, JSONL or Parquet file; .gz and .xz of each. `text_column` as in `text_columns`.

    Numbers as columns (from 0) say that there is no header. The label is text as the file has it, `("4.5",)` of a number; with
    `require_labels=False` the label column may be absent or empty, and a file that is no table by its name or beginning is
    lines of two texts with a tab between. `on_error="skip"` sets faulty rows aside in `rejected`.

    Raises InputMissing, BadData (with line and repair), UsageError, ExtraMissing.
    """
    check_on_error(on_error)
    if is_builtin(path):
        raise UsageError("cannot hold pairs of texts", path=path, repair="give a TSV, CSV, JSONL or Parquet file")
    names = text_columns(text_column)
    format = choose_format(path, format, "texts", otherwise="tsv" if require_labels else "text")
    if format == "text" and not require_labels:
        return collect(_lines(path), path, on_error)
    if format not in tables.FORMATS:
        raise UsageError(
            f"the format {format} has no two columns of text", path=path, repair=f"use one of {', '.join(tables.FORMATS)}"
        )
    columns = [tables.Column.of(name) for name in names]
    label = tables.Column.of(label_column, optional=not require_labels)
    if require_labels or type(label.name) is type(columns[0].name):
        columns.append(label)  # a file without a header has no column of a name
    return collect(_examples(path, columns, format, require_labels), path, on_error)


def pair_of_line(line: str, path: FilePath, number: int) -> PairExample:
    """Two texts with a tab between them, without a label. Raises BadData for another number of texts and for an empty one."""
    parts = line.split("\t")
    if len(parts) != 2:
        raise BadData(
            f"the line holds {len(parts)} {'text' if len(parts) == 1 else 'texts'} separated by tabs, but a pair has 2",
            path=path,
            line=number or None,
            repair="write the first text, a tab, the second text",
        )
    try:
        pair = TextPair(*(text_cell(part, place) for place, part in enumerate(parts)))
    except BadData as error:
        raise BadData(error.message, path=path, line=number or None, repair=error.repair) from None
    return Example(pair, None, Source(str(path), number))


def _lines(path: FilePath) -> Iterator[PairExample | Faulty]:
    for number, line in scan_lines(path):
        if isinstance(line, BadLine):
            yield Faulty(line, line.text)
        elif line.strip():
            try:
                yield pair_of_line(line, path, number)
            except BadData as error:
                yield Faulty(error, line)


def _examples(
    path: FilePath, columns: list[tables.Column], format: str, require_labels: bool
) -> Iterator[PairExample | Faulty]:
    for record in tables.read_records(path, columns, format):
        if isinstance(record, Faulty):
            yield record
            continue
        first, second, label = (*record.cells, None)[:3]
        try:
            pair = TextPair(text_cell(first, columns[0].name), text_cell(second, columns[1].name))
            yield Example(pair, label_cell(label, None, require_labels), Source(str(path), record.line))
        except BadData as error:
            yield Faulty(BadData(error.message, path=path, line=record.line, repair=error.repair), record.raw)
