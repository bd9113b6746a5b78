"""The readers of series that others call: the format by option, by the file's name, or by how the file begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from carryover.data.formats.csv_rows import csv_rows
from carryover.data.formats.opening import BadLine, FilePath, inner_suffix, scan_lines
from carryover.data.formats.series.arrays import read_arrays
from carryover.data.formats.series.parts import LabelledSeries, Reading, Row, is_number
from carryover.data.formats.series.tables import TIMES, SeriesColumns, is_long, read_long, read_wide
from carryover.data.formats.series.ts import read_ts
from carryover.data.formats.series.ucr import looks_like_ucr, read_ucr
from carryover.data.formats.text import Faulty, ReadResult, check_on_error, collect
from carryover.errors import BadData, UsageError, check_choice

_Rows = Iterator[Row | Faulty]


@dataclass(frozen=True)
class SeriesFormat:
    """What a format is called in a sentence, how its rows are read (path, columns, whether labels are required), and whether it
    is a rectangle, in which missing steps at the end are none."""

    called: str
    rows: Callable[[FilePath, SeriesColumns, bool], _Rows]
    rectangle: bool


SERIES_FORMATS = {
    "ucr": SeriesFormat("UCR lines", lambda path, columns, labels: read_ucr(path), True),
    "ts": SeriesFormat("a .ts file", lambda path, columns, labels: read_ts(path), False),
    "series-wide": SeriesFormat(
        "a wide table", lambda path, columns, labels: read_wide(path, columns, require_labels=labels), True
    ),
    "series-long": SeriesFormat(
        "a long table", lambda path, columns, labels: read_long(path, columns, require_labels=labels), False
    ),
    "arrays": SeriesFormat("arrays", lambda path, columns, labels: read_arrays(path), True),
}
"""All formats of series by their names on the command line."""
_BY_SUFFIX = {".ts": "ts", ".npy": "arrays", ".npz": "arrays"}
_OPEN = ("", ".txt", ".tsv", ".csv", ".data")
_LOOKED_AT = 6


def read_series(
    path: FilePath,
    *,
    label_column: str | int = "label",
    series_column: str = "series",
    time_column: str | None = None,
    format: str | None = None,
    missing: str = "stop",
    on_error: str = "stop",
    require_labels: bool = True,
) -> ReadResult[LabelledSeries]:
    """Series with one label each, of UCR lines, `.ts`, wide or long CSV tables, `.npy` or `.npz`; .gz and .xz of text files.

    Every series is float64 [T, C]; lengths may differ, channels may not. `missing` "stop" refuses a series with a gap,
    "interpolate" fills it by the line between its neighbours in time (before the first and behind the last value by that one)
    and says how many were filled. `on_error="skip"` sets faulty series aside; in a long table a fault is always raised.

    Raises InputMissing, BadData (with file, line and repair), UsageError.
    """
    options: dict[str, Any] = {"series_column": series_column, "time_column": time_column, "format": format}
    options |= {"missing": missing, "on_error": on_error, "require_labels": require_labels}
    return read_counted(path, label_column=label_column, **options)[0]


def read_counted(
    path: FilePath,
    *,
    label_column: str | int,
    series_column: str,
    time_column: str | None,
    format: str | None,
    missing: str,
    on_error: str,
    require_labels: bool = False,
) -> tuple[ReadResult[LabelledSeries], Reading]:
    """As `read_series`, and how many missing values there were."""
    check_on_error(on_error)
    columns = SeriesColumns(label_column, series_column, time_column)
    if format is None:
        format = series_format(path, columns)
        if format is None:
            raise UsageError(
                "is not recognised as a file of series by its name or first lines", path=path, repair=_say_formats()
            )
    check_choice("format", format, SERIES_FORMATS)
    chosen = SERIES_FORMATS[format]
    reading = Reading(path, missing, require_labels, chosen.rectangle)
    return collect(reading.examples(chosen.rows(path, columns, require_labels)), path, on_error), reading


def series_format(path: FilePath, columns: SeriesColumns | None = None) -> str | None:
    """The format of a file of series; None for a file that is none as far as its name and first lines tell.

    Lines of three or more numbers are UCR. A CSV table is series where all cells of its first rows are numbers but for those
    under the label, the series and the time.
    """
    suffix = inner_suffix(path)
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if suffix not in _OPEN:
        return None
    columns = columns or SeriesColumns()
    try:
        lines = [line for _, line in islice(scan_lines(path), _LOOKED_AT) if isinstance(line, BadLine) or line.strip()]
        if any(isinstance(line, BadLine) for line in lines):
            return None
        texts = [line for line in lines if isinstance(line, str)]
        numbered = str(columns.label).isdigit()
        if suffix == ".csv" and (numbered or not looks_like_ucr(texts[:1])):  # the column has a number, or a header its name
            return _table_format(path, columns)
        return "ucr" if looks_like_ucr(texts) else None
    except BadData:
        return None  # whoever reads it says what is wrong, and where


def _table_format(path: FilePath, columns: SeriesColumns) -> str | None:
    rows = [cells for _, cells, _ in islice(csv_rows(path), _LOOKED_AT)]
    header = rows[0] if rows else None
    if header is None or isinstance(header, BadData):
        return None
    if isinstance(columns.label, int) or str(columns.label).isdigit():
        place = int(columns.label)
        values = [cell for row in rows if isinstance(row, list) for i, cell in enumerate(row) if i != place]
        return "series-wide" if values and all(is_number(cell) for cell in values) else None
    names = [cell.strip() for cell in header]
    long = is_long(names, columns)
    skipped = {str(columns.label), columns.series if long else "", columns.time or ""}
    body = [row for row in rows[1:] if isinstance(row, list) and len(row) == len(names)]
    values = [
        cell
        for row in body
        for name, cell in zip(names, row, strict=True)
        if name not in skipped and not (long and columns.time is None and name.lower() in TIMES)
    ]
    if not values or not all(is_number(cell) for cell in values):
        return None
    return "series-long" if long else "series-wide"


def _say_formats() -> str:
    return "say what it is with --format " + "|".join(SERIES_FORMATS)
