"""Answers beside the rows they are for: as a table, or as the file that was asked about with the answers in it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from carryover.data.examples import Labels
from carryover.data.formats.conllu import field_of
from carryover.data.formats.keeping import TABLES, columns_with, conllu_with, keep_rows
from carryover.errors import ExtraMissing, UsageError
from carryover.escaping import one_cell, one_json
from carryover.storage import atomic_file, atomic_write
from carryover.transfer.predicting import Predictor
from carryover.transfer.predictions import ITEMS_AT_ONCE, Items

ANSWER = "prediction"
"""The column of the answer where none is named."""
_SUFFIXES = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet",
    ".conllu": "conllu", ".conll": "conll", ".iob2": "conll", ".bio": "conll", ".txt": "text",
}  # fmt: skip
FORMATS = tuple(dict.fromkeys(_SUFFIXES.values()))
_OF_WORDS = ("conllu", "conll")
Place = TypeVar("Place", int, str | int | None)


@dataclass(frozen=True)
class AnswerTable:
    """The rows that were asked about with their answers. Without a `header` the columns have no names."""

    names: tuple[str, ...]
    rows: list[dict[str, Any]]
    header: bool = True
    delimiter: str = ","


def format_of(path: Path) -> str:
    """What a file of answers is by its name. Raises UsageError for a name that does not say it."""
    found = _SUFFIXES.get(path.suffix.lower())
    if found is None or found == "text":
        known = ", ".join(
            suffix for suffix, name in _SUFFIXES.items() if name not in ("text",) and suffix not in (".tab", ".pq")
        )
        raise UsageError("does not say what to write", path=path, repair=f"end the name in one of {known}")
    return found


def check_out(out: Path, source: str) -> None:
    """Raise UsageError where the answers would replace the file that is asked about, or the name says no format."""
    format_of(out)
    if source != "-" and Path(source).exists() and out.exists() and out.samefile(source):
        raise UsageError("is the file that is asked about", path=out, repair="give another name to --out")


def answers(
    predictor: Predictor, items: Items, *, column: str = ANSWER, every: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line and columns of the answer of every item, in order; see `Task.answer_columns`."""
    separator = items.columns.multi_label or ","
    for start in range(0, len(items.examples), ITEMS_AT_ONCE):
        some = items.examples[start : start + ITEMS_AT_ONCE]
        for example, answer in zip(some, predictor.predictions(some), strict=True):
            found = predictor.task.answer_columns(
                answer.labels, answer.probabilities, column, every=every, separator=separator, words=answer.words
            )
            yield example.source.line, found


def answer_table(predictor: Predictor, items: Items, *, column: str = ANSWER, every: bool = False) -> AnswerTable:
    """Every row of the input with its other columns as they were, then the answer.

    Raises UsageError where the input has a column of the answer's name.
    """
    text = items.columns.text_column
    header = not (isinstance(text, int) or str(text).isdigit())
    kept = keep_rows(items.source, items.format, header=header) if items.format in TABLES else None
    rows: list[dict[str, Any]] = []
    made: dict[str, None] = {}
    for number, (line, found) in enumerate(answers(predictor, items, column=column, every=every)):
        own = predictor.task.shown_columns(items.examples[number], number + 1) if kept is None else kept.row(line)
        taken = [name for name in found if name in own]
        if taken:
            raise UsageError(
                f"the input has a column {taken[0]!r} already",
                path=items.source,
                repair="name the column of the answer with --answer-column",
            )
        made |= dict.fromkeys([*own, *found]) if kept is None else dict.fromkeys(found)
        rows.append({**own, **found})
    names = tuple(made) if kept is None else (*kept.names, *made)
    if kept is None:
        return AnswerTable(names, rows)
    return AnswerTable(names, rows, kept.header, kept.delimiter)


def _delimited(table: AnswerTable, delimiter: str) -> str:
    lines = io.StringIO()
    writer = csv.writer(lines, delimiter=delimiter, lineterminator="\n")
    writer.writerows([table.names] if table.header else [])
    writer.writerows([_cell(row.get(name)) for name in table.names] for row in table.rows)
    return lines.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(_cell(one) for one in value)
    return "" if value is None else str(value)


def _csv(table: AnswerTable) -> str:
    return _delimited(table, table.delimiter if table.delimiter in ",;" else ",")


def _tsv(table: AnswerTable) -> str:
    rows = [list(table.names)] if table.header else []
    rows += [[_cell(row.get(name)) for name in table.names] for row in table.rows]
    return "".join("\t".join(one_cell(cell) for cell in row) + "\n" for row in rows)


def _jsonl(table: AnswerTable) -> str:
    return "".join(one_json(row) + "\n" for row in table.rows)


_WRITERS: dict[str, Callable[[AnswerTable], str]] = {"csv": _csv, "tsv": _tsv, "jsonl": _jsonl}


def _parquet(table: AnswerTable, out: Path) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ExtraMissing("Parquet needs pyarrow", path=out, repair="pip install carryover[hub]") from error
    columns = {name: [row.get(name) for row in table.rows] for name in table.names}
    with atomic_file(out) as place:
        parquet.write_table(pyarrow.table(columns), place)


def _words(predictor: Predictor, items: Items, column: str, every: bool) -> AnswerTable:
    """A row for each word, for tables of tagged sentences."""
    rows: list[dict[str, Any]] = []
    for number, (_, found) in enumerate(answers(predictor, items, column=column, every=every)):
        words = items.examples[number].input.tokens
        for place, word in enumerate(words):
            rows.append({"sentence": number + 1, "word": word, **{name: value[place] for name, value in found.items()}})
    names = tuple(rows[0]) if rows else ("sentence", "word", column)
    return AnswerTable(names, rows)


def _file_of_words(predictor: Predictor, items: Items) -> list[str]:
    """The lines of the input with the answers in the place of the columns that were learned."""
    found: dict[int, dict[str | int | None, Labels]] = {}
    for start in range(0, len(items.examples), ITEMS_AT_ONCE):
        some = items.examples[start : start + ITEMS_AT_ONCE]
        for example, answer in zip(some, predictor.predict(some), strict=True):
            found[example.source.line] = predictor.task.columns_of(answer, items.columns.label_column)
    if items.format == "conllu":
        return conllu_with(items.source, {line: _by_place(columns, field_of) for line, columns in found.items()})
    return columns_with(items.source, {line: _by_place(columns, _number) for line, columns in found.items()})


def _by_place(columns: dict[str | int | None, Labels], place_of: Callable[[str | int | None], Place]) -> dict[Place, Labels]:
    return {place_of(column): answers for column, answers in columns.items()}


def _number(column: str | int | None) -> str | int | None:
    """The place of a column in a file whose columns have no names."""
    return int(column) if isinstance(column, str) and column.isdigit() else column


def written(predictor: Predictor, items: Items, format: str | None, *, column: str = ANSWER, every: bool = False) -> str:
    """Rows and answers as text in `format`, None for that of the input (JSON lines where it has none of `FORMATS`).

    Raises UsageError for a format that cannot hold them.
    """
    own = items.format if format is None else format
    if own in _OF_WORDS:
        if items.format != own or not predictor.task.answers_words:
            raise UsageError(
                f"answers can be written as {own} only into a file of that kind",
                path=items.source,
                repair="use csv or jsonl",
            )
        return "".join(f"{line}\n" for line in _file_of_words(predictor, items))
    if own not in _WRITERS:
        own = "tsv" if own == "text" else "jsonl"
    return _WRITERS[own](_table(predictor, items, own, column, every))


def _table(predictor: Predictor, items: Items, format: str, column: str, every: bool) -> AnswerTable:
    if predictor.task.answers_words and format != "jsonl":
        return _words(predictor, items, column, every)
    return answer_table(predictor, items, column=column, every=every)


def write_answers(predictor: Predictor, items: Items, out: Path, *, column: str = ANSWER, every: bool = False) -> None:
    """Write rows and answers into a file, which appears whole. Raises UsageError, CannotWrite, DiskFault, ExtraMissing."""
    format = format_of(out)
    if format == "parquet":
        _parquet(_table(predictor, items, format, column, every), out)
        return
    atomic_write(out, written(predictor, items, format, column=column, every=every))


def write_table(table: AnswerTable, out: Path) -> None:
    """Write a table into a file, which appears whole. Raises UsageError for a name that says no format of tables."""
    format = format_of(out)
    if format == "parquet":
        _parquet(table, out)
    elif format in _WRITERS:
        atomic_write(out, _WRITERS[format](table))
    else:
        raise UsageError("is no name of a table", path=out, repair="end the name in .csv, .tsv, .jsonl or .parquet")


def rejected_file(source: str) -> Path:
    """Where rows that cannot be read go: in the working folder, named after the file."""
    return Path(("standard-input" if source == "-" else Path(source).name) + ".rejected.jsonl")


def text_items(predictor: Predictor, texts: Iterable[str]) -> Items:
    """Items of texts that were given one by one."""
    from carryover.data.examples import Source
    from carryover.transfer.predictions import trained_columns

    examples = [
        predictor.task.item(text, predictor.tokenize, Source("--text", number)) for number, text in enumerate(texts, 1)
    ]
    return Items("--text", examples, None, trained_columns(predictor))
