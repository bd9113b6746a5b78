"""Tables: TSV, CSV, JSONL and Parquet, read row by row into the cells asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from carryover.data.formats.csv_rows import csv_rows
from carryover.data.formats.opening import BadLine, FilePath, open_bytes, scan_lines
from carryover.data.formats.text import Faulty
from carryover.errors import BadData, CarryoverError, ExtraMissing, UsageError

FORMATS = ("tsv", "csv", "jsonl", "parquet")
LARGEST_TABLE = 4 * 1024**3  # bytes of a Parquet file, which cannot be read as a stream


@dataclass(frozen=True)
class Column:
    """A wanted column: its name, or its place from 0 in a file without a header. An optional one may be absent."""

    name: str | int
    optional: bool = False

    @classmethod
    def of(cls, name: str | int, optional: bool = False) -> Column:
        """Digits mean a place. Raises UsageError for a negative one."""
        if isinstance(name, str) and name.isascii() and name.isdigit():
            name = int(name)
        if isinstance(name, int) and name < 0:
            raise UsageError(f"column {name} is negative", repair="columns of a file without a header are numbered from 0")
        return cls(name, optional)


@dataclass(frozen=True)
class Record:
    """The wanted cells of one row (None for an absent one), its place, and the row as it was."""

    line: int
    cells: tuple[Any, ...]
    raw: str


def read_records(path: FilePath, columns: Sequence[Column], format: str) -> Iterator[Record | Faulty]:
    """The cells of the wanted columns, row by row. Blank lines are no rows.

    TSV has no quoting: a cell is the text between two tabs. CSV follows RFC 4180 (see `csv_rows`); a row may span lines
    and is reported at its first. A line that repeats the header is no row: it comes from joining files. Raises BadData,
    InputMissing, ExtraMissing for faults of the file.
    """
    if format == "tsv":
        return _delimited(path, columns, tsv_rows(path))
    if format == "csv":
        return _delimited(path, columns, csv_rows(path))
    if any(isinstance(column.name, int) for column in columns):
        raise UsageError(f"{format} columns have names, not numbers", path=path, repair="give the columns' names")
    if format == "jsonl":
        return _json_records(path, columns)
    if format == "parquet":
        return _parquet_records(path, columns)
    raise UsageError(f"table format {format!r} is unknown", path=path, repair=f"use one of {', '.join(FORMATS)}")


def missing_column(name: str, available: Sequence[str], path: FilePath, line: int | None, hint: str = "") -> BadData:
    """The error for a column that is not there, with the nearest one and all that are."""
    lower = {one.lower(): one for one in available}
    close = [lower[name.lower()]] if name.lower() in lower else get_close_matches(name, available, n=1, cutoff=0.5)
    shown = ", ".join(one if len(one) <= 40 else one[:37] + "..." for one in available[:12])
    if len(available) > 12:
        shown += f" and {len(available) - 12} more"
    repair = f"did you mean {close[0]!r}? " if close else ""
    return BadData(f"no column {name!r}", path=path, line=line, repair=f"{repair}the columns are: {shown}{hint}")


_Row = tuple[int, list[str] | BadData, str]  # line, cells or the fault, the row as it was


def tsv_rows(path: FilePath) -> Iterator[_Row]:
    """Rows of a TSV file, whose cells are what stands between tabs, as (line, cells or the fault, the row as it was)."""
    for number, line in scan_lines(path):
        if isinstance(line, BadLine):
            yield number, line, line.text
        elif line.strip():
            yield number, line.split("\t"), line


def _delimited(path: FilePath, columns: Sequence[Column], rows: Iterator[_Row]) -> Iterator[Record | Faulty]:
    """Pick the wanted cells of rows that must all be as wide as the first one."""
    named = [column for column in columns if isinstance(column.name, str)]
    if named and len(named) < len(columns) and any(not column.optional for column in named):
        raise UsageError("columns are given by name and by number", path=path, repair="use names only or numbers only")
    header = len(named) == len(columns)
    width = 0
    first: list[str] = []
    places: list[int | None] = []
    for line, cells, raw in rows:
        if isinstance(cells, BadData):
            if header and not width:
                raise cells
            yield Faulty(cells, raw)
            continue
        if not width:
            width, first = len(cells), cells
            if header:
                places = _places([cell.strip() for cell in cells], columns, path, line)
                continue
            places = _numbered_places(width, columns, path, line)
        if len(cells) != width:
            yield Faulty(
                BadData(
                    f"{len(cells)} columns where {'the header' if header else 'the first row'} has {width}",
                    path=path,
                    line=line,
                    repair="remove or add separators",
                ),
                raw,
            )
            continue
        if header and cells == first:
            repair = "remove the line; when joining files, keep only the first header"
            yield Faulty(BadData("the header is repeated", path=path, line=line, repair=repair), raw)
            continue
        yield Record(line, tuple(None if place is None else cells[place] for place in places), raw)


def _places(names: list[str], columns: Sequence[Column], path: FilePath, line: int) -> list[int | None]:
    places: list[int | None] = []
    for column in columns:
        assert isinstance(column.name, str)
        if names.count(column.name) > 1:
            raise BadData(f"the column {column.name!r} occurs twice", path=path, line=line, repair="rename one of them")
        if column.name in names:
            places.append(names.index(column.name))
        elif column.optional:
            places.append(None)
        else:
            hint = "; for a file without a header give numbers from 0 instead of names"
            raise missing_column(column.name, names, path, line, hint)
    return places


def _numbered_places(width: int, columns: Sequence[Column], path: FilePath, line: int) -> list[int | None]:
    places: list[int | None] = []
    for column in columns:
        if isinstance(column.name, int) and column.name < width:
            places.append(column.name)
        elif column.optional:
            places.append(None)
        else:
            raise BadData(
                f"no column {column.name}: the first row has {width}", path=path, line=line, repair=f"use 0 to {width - 1}"
            )
    return places


def read_objects(path: FilePath) -> Iterator[tuple[int, dict[str, Any] | BadData, str]]:
    """The objects of a JSONL file as (line, object or fault, the line)."""
    for number, line in scan_lines(path):
        if isinstance(line, BadLine):
            yield number, line, line.text
            continue
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            hint = "write one object a line" if line.strip() in ("[", "{", "[{") else "write one JSON object a line"
            reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            yield number, BadData(f"the line is not JSON ({reason})", path=path, line=number, repair=hint), line
            continue
        if isinstance(value, dict):
            yield number, value, line
        else:
            kind = "an array" if isinstance(value, list) else "a string" if isinstance(value, str) else "a single value"
            fault = BadData(f"the line is {kind}", path=path, line=number, repair="write one JSON object a line")
            yield number, fault, line


def _json_records(path: FilePath, columns: Sequence[Column]) -> Iterator[Record | Faulty]:
    for line, value, raw in read_objects(path):
        if isinstance(value, BadData):
            yield Faulty(value, raw)
            continue
        absent = [str(column.name) for column in columns if not column.optional and str(column.name) not in value]
        if absent:
            yield Faulty(missing_column(absent[0], list(value), path, line), raw)
            continue
        yield Record(line, tuple(value.get(str(column.name)) for column in columns), raw)


def _parquet_records(path: FilePath, columns: Sequence[Column]) -> Iterator[Record | Faulty]:
    """Rows of a Parquet file in portions; `line` is the number of the row from 1."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ExtraMissing("Parquet needs pyarrow", path=path, repair="pip install carryover[hub]") from error
    with open_bytes(path) as stream:
        content = stream.read(LARGEST_TABLE + 1)
    if len(content) > LARGEST_TABLE:
        raise BadData(f"the file is larger than {LARGEST_TABLE >> 30} GiB", path=path, repair="split it")
    row = 0
    try:
        table = parquet.ParquetFile(pyarrow.BufferReader(content), page_checksum_verification=True)
        available = table.schema_arrow.names
        for column in columns:
            if not column.optional and column.name not in available:
                raise missing_column(str(column.name), available, path, None)
        present = [str(column.name) for column in columns if column.name in available]
        for portion in table.iter_batches(batch_size=4096, columns=present):
            cells = {name: portion.column(name).to_pylist() for name in present}
            for place in range(portion.num_rows):
                row += 1
                picked = tuple(cells[str(one.name)][place] if str(one.name) in cells else None for one in columns)
                yield Record(row, picked, repr(picked))
    except (CarryoverError, GeneratorExit):
        raise
    except Exception as error:  # pyarrow raises many kinds for damaged files
        where = f" after row {row}" if row else ""
        raise BadData(
            f"the Parquet file is damaged{where} ({str(error)[:200] or type(error).__name__})",
            path=path,
            repair="write it again",
        ) from error
