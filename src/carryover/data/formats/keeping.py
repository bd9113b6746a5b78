"""The rows of a file as they were, so that answers can be written beside what else its owner has in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from carryover.data.formats.csv_rows import csv_rows
from carryover.data.formats.opening import FilePath, open_bytes, scan_lines
from carryover.data.formats.tables import read_objects, tsv_rows
from carryover.errors import BadData, ExtraMissing

_CELL = re.compile(r"[^ \t]+")


@dataclass(frozen=True)
class KeptRows:
    """Rows of a table by the line they begin in. `names` are those of its columns; without a `header` they are numbers from 0."""

    names: tuple[str, ...]
    rows: Mapping[int, dict[str, Any]]
    header: bool = True
    delimiter: str = ","

    def row(self, line: int) -> dict[str, Any]:
        """The row of a line; nothing for one that the file does not have."""
        return self.rows.get(line, {})


def _delimited(rows: Any, header: bool, delimiter: str) -> KeptRows:
    names: list[str] = []
    found: dict[int, dict[str, Any]] = {}
    for line, cells, _ in rows:
        if isinstance(cells, BadData):
            continue
        if not names:
            names = [cell.strip() for cell in cells] if header else [str(place) for place in range(len(cells))]
            if header:
                continue
        if len(cells) == len(names):
            found[line] = dict(zip(names, cells, strict=True))
    return KeptRows(tuple(names), found, header, delimiter)


def _csv(path: FilePath, header: bool) -> KeptRows:
    first = next((line for _, line in scan_lines(path) if isinstance(line, str)), "")
    return _delimited(csv_rows(path), header, ";" if ";" in first and "," not in first else ",")


def _tsv(path: FilePath, header: bool) -> KeptRows:
    return _delimited(tsv_rows(path), header, "\t")


def _jsonl(path: FilePath, header: bool) -> KeptRows:
    rows = {line: value for line, value, _ in read_objects(path) if not isinstance(value, BadData)}
    return KeptRows(tuple(dict.fromkeys(name for row in rows.values() for name in row)), rows)


def _parquet(path: FilePath, header: bool) -> KeptRows:
    try:
        from pyarrow import BufferReader, parquet
    except ImportError as error:
        raise ExtraMissing("Parquet needs pyarrow", path=path, repair="pip install carryover[hub]") from error
    with open_bytes(path) as stream:
        table = parquet.read_table(BufferReader(stream.read()))
    return KeptRows(tuple(table.column_names), dict(enumerate(table.to_pylist(), 1)))


def _lines(path: FilePath, header: bool) -> KeptRows:
    return KeptRows(("text",), {line: {"text": text} for line, text in scan_lines(path) if isinstance(text, str)})


TABLES: dict[str, Callable[[FilePath, bool], KeptRows]] = {
    "csv": _csv,
    "tsv": _tsv,
    "jsonl": _jsonl,
    "parquet": _parquet,
    "text": _lines,
}
"""By format: how its rows are read with everything that is in them."""


def keep_rows(path: FilePath, format: str, *, header: bool = True) -> KeptRows:
    """All rows of a table, those that cannot be read left out. Raises BadData, InputMissing, ExtraMissing, KeyError for a format
    that has no rows of cells."""
    return TABLES[format](path, header)


# ---------------------------------------------------------------------- columns of words


Answers = Mapping[int, Mapping[Any, Sequence[str]]]
"""By the line of a sentence's first word and the place of a column, an answer for each word."""


def conllu_with(path: FilePath, answers: Answers) -> list[str]:
    """The lines of a CoNLL-U file with the fields of its words that have answers replaced, all else as it was.

    There is one for each syntactic word: ranges and empty nodes keep theirs.
    """

    def replaced(line: str, own: Mapping[Any, str]) -> str:
        cells = line.split("\t")
        for field, answer in own.items():
            cells[field] = answer or "_"
        return "\t".join(cells)

    return _with(path, answers, lambda line: line.partition("\t")[0].isdigit(), replaced)


def columns_with(path: FilePath, answers: Answers) -> list[str]:
    """The lines of a CoNLL file with columns (None: the last one) of its words replaced, or added where there is only the word and
    where a column has a name in place of a number."""

    def replaced(line: str, own: Mapping[Any, str]) -> str:
        numbered = {column: answer for column, answer in own.items() if not isinstance(column, str)}
        for column, answer in sorted(numbered.items(), key=lambda one: -1 if one[0] is None else one[0]):
            line = _replaced(line, column, answer)
        added = [answer for column, answer in own.items() if isinstance(column, str)]
        return ("\t" if "\t" in line else " ").join([line, *added])

    return _with(path, answers, lambda line: bool(line.strip()), replaced)


def _replaced(line: str, column: int | None, answer: str) -> str:
    if "\t" in line:
        cells = line.split("\t")
        place = len(cells) - 1 if column is None else column
        return "\t".join([*cells[:place], answer, *cells[place + 1 :]]) if place else f"{line}\t{answer}"
    places = list(_CELL.finditer(line))
    place = len(places) - 1 if column is None else column
    if not 0 < place < len(places):
        return f"{line} {answer}"
    return line[: places[place].start()] + answer + line[places[place].end() :]


def _with(
    path: FilePath,
    answers: Answers,
    is_word: Callable[[str], bool],
    replaced: Callable[[str, Mapping[Any, str]], str],
) -> list[str]:
    found: list[str] = []
    waiting: list[dict[Any, str]] = []
    for number, line in scan_lines(path):
        text = line if isinstance(line, str) else line.text
        if number in answers:
            columns = answers[number]
            waiting = [dict(zip(columns, word, strict=True)) for word in zip(*columns.values(), strict=True)]
        if waiting and is_word(text):
            text = replaced(text, waiting.pop(0))
        found.append(text)
    return found
