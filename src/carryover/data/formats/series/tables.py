"""CSV tables of series, long and wide.

Long: a row a step, with the channels as columns; `series` says which series a row belongs to, `time` orders them.
Wide: a row a series, with the steps as columns from left to right; names such as `x:0, x:1, …, y:0, y:1, …` are channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from carryover.data.formats.csv_rows import csv_rows
from carryover.data.formats.opening import FilePath
from carryover.data.formats.series.parts import Row, beginning, label_of, number, numbers
from carryover.data.formats.tables import Column, missing_column
from carryover.data.formats.text import Faulty
from carryover.errors import BadData

TIMES = ("time", "timestamp", "datetime", "date")
"""Columns that are the time where none is named, in lower case."""


@dataclass(frozen=True)
class SeriesColumns:
    """Which columns are no values: `label`, the `series` a row belongs to, and its `time`. A number as `label` says that a wide
    table has no header."""

    label: str | int = "label"
    series: str = "series"
    time: str | None = None


def is_long(header: list[str], columns: SeriesColumns) -> bool:
    """Whether a table with this header has a row a step."""
    return columns.series in header or _time_column(header, columns) is not None


def _time_column(header: list[str], columns: SeriesColumns) -> str | None:
    if columns.time is not None:
        return columns.time if columns.time in header else None
    return next((name for name in header if name.lower() in TIMES), None)


def _header(path: FilePath, line: int, cells: list[str] | BadData, needed: list[str]) -> list[str]:
    if isinstance(cells, BadData):
        raise cells
    names = [cell.strip() for cell in cells]
    for name in names:
        if name and names.count(name) > 1:
            raise BadData(f"the column {name!r} occurs twice", path=path, line=line, repair="rename one of them")
    for name in needed:
        if name not in names:
            raise missing_column(name, names, path, line)
    return names


def _width(found: int, wanted: int) -> BadData:
    return BadData(f"{found} columns where the first row has {wanted}", repair="remove or add separators")


# ---------------------------------------------------------------------------------------------------------------- wide


def read_wide(path: FilePath, columns: SeriesColumns, *, require_labels: bool) -> Iterator[Row | Faulty]:
    """A series a row. Raises BadData for a header without what is needed; a row that cannot be read is faulty."""
    label = Column.of(columns.label).name
    places: list[list[int]] | None = None
    label_place, width = None, 0
    for line, cells, raw in csv_rows(path):
        if places is None:
            if isinstance(label, int):
                if isinstance(cells, BadData):
                    raise cells
                width, label_place = len(cells), label
                if label >= width:
                    raise BadData(
                        f"no column {label}: the first row has {width}", path=path, line=line, repair=f"use 0 to {width - 1}"
                    )
                places = [[place for place in range(width) if place != label]]
            else:
                names = _header(path, line, cells, [label] if require_labels else [])
                width, label_place = len(names), names.index(label) if label in names else None
                places = _channels(path, line, names, label)
                continue
        try:
            if isinstance(cells, BadData):
                raise cells
            if len(cells) != width:
                raise _width(len(cells), width)
            channels = [_cells_of(cells, steps) for steps in places]
        except BadData as error:
            yield Faulty(BadData(error.message, path=path, line=line, repair=error.repair), beginning(raw))
            continue
        found = None if label_place is None else label_of(cells[label_place])
        yield Row(np.stack(channels, axis=1), found, line, beginning(raw))


def _cells_of(cells: list[str], steps: list[int]) -> np.ndarray:
    try:
        return numbers([cells[place] for place in steps])
    except BadData:
        # Say it again with the places in the file.
        return np.array([number(cells[place], f"column {place + 1}") for place in steps])


def _channels(path: FilePath, line: int, names: list[str], label: str) -> list[list[int]]:
    """For every channel the places of its steps."""
    of_channel: dict[str, list[int]] = {}
    values = [place for place, name in enumerate(names) if name != label]
    if not values:
        raise BadData("no columns of values", path=path, line=line, repair="give a column for each step")
    several = all(":" in names[place] for place in values)
    for place in values:
        of_channel.setdefault(names[place].rpartition(":")[0] if several else "", []).append(place)
    counts = {channel: len(steps) for channel, steps in of_channel.items()}
    if len(set(counts.values())) > 1:
        first, *others = counts
        other = next(name for name in others if counts[name] != counts[first])
        raise BadData(
            f"channel {first!r} has {counts[first]} steps, channel {other!r} has {counts[other]}",
            path=path,
            line=line,
            repair="give every channel the same steps; leave cells empty where a series ends",
        )
    return list(of_channel.values())


# ---------------------------------------------------------------------------------------------------------------- long


@dataclass
class _Growing:
    """A series of a long table as far as it was read."""

    line: int
    label: str | None
    label_line: int
    rows: list[list[float]] = field(default_factory=list)
    time: tuple[int, float, str, int] | None = None


def read_long(path: FilePath, columns: SeriesColumns, *, require_labels: bool) -> Iterator[Row | Faulty]:
    """The series in the order of their first rows; without a column that names them, the whole table is one.

    Raises BadData naming file and line for a row that cannot be read, for times that do not rise within a series, and for
    two labels of one: a row that is left out would tear a hole in its series.
    """
    label = str(columns.label)
    rows = csv_rows(path)
    begun = next(rows, None)
    if begun is None:
        return
    needed = [*([label] if require_labels else []), *([columns.time] if columns.time else [])]
    names = _header(path, begun[0], begun[1], needed)
    place = {name: number for number, name in enumerate(names)}
    time = _time_column(names, columns)
    values = [name for name in names if name not in (label, columns.series, time)]
    if not values:
        raise BadData("no columns of values", path=path, line=begun[0], repair="give a column for each channel")
    growing: dict[str, _Growing] = {}
    for line, cells, _ in rows:
        try:
            if isinstance(cells, BadData):
                raise cells
            if len(cells) != len(names):
                raise _width(len(cells), len(names))
            name = cells[place[columns.series]].strip() if columns.series in place else ""
            if not name and columns.series in place:
                raise BadData(f"column {columns.series!r} is empty", repair="say which series the row belongs to")
            found = label_of(cells[place[label]]) if label in place else None
            series = growing.setdefault(name, _Growing(line, found, line))
            if found is not None and found != series.label:
                if series.label is not None:
                    raise BadData(
                        f"series {name!r} has the label {found!r} here and {series.label!r} in line {series.label_line}",
                        repair="give a series one label",
                    )
                series.label, series.label_line = found, line
            if time is not None:
                series.time = _risen(cells[place[time]].strip(), time, series.time, line)
            series.rows.append([number(cells[place[one]], f"column {one!r}") for one in values])
        except BadData as error:
            raise BadData(error.message, path=path, line=line, repair=error.repair) from error
    for name, series in growing.items():
        yield Row(np.array(series.rows, dtype=np.float64), series.label, series.line, f"series {name}".strip())


def _risen(cell: str, column: str, before: tuple[int, float, str, int] | None, line: int) -> tuple[int, float, str, int]:
    """The time of a row: its kind (0 a number, 1 a date), its value, the cell and the line. Raises BadData where it does not
    come after the one before."""
    kind, value = _moment(cell, column)
    if before is not None:
        earlier_kind, earlier, earlier_cell, earlier_line = before
        if kind != earlier_kind:
            kinds = ("a number", "a date")
            raise BadData(
                f"time {cell!r} is {kinds[kind]}, {earlier_cell!r} of line {earlier_line} is {kinds[earlier_kind]}",
                repair="write all times alike",
            )
        if value <= earlier:
            what = "repeats that" if value == earlier else f"comes before {earlier_cell!r}"
            raise BadData(
                f"time {cell!r} {what} of line {earlier_line}", repair="sort the rows of each series by time, each time once"
            )
    return kind, value, cell, line


def _moment(cell: str, column: str) -> tuple[int, float]:
    try:
        value = float(cell)
    except ValueError:
        pass
    else:
        if np.isfinite(value):
            return 0, value
    try:
        return 1, _seconds(datetime.fromisoformat(cell if len(cell) != 7 else f"{cell}-01"))
    except ValueError as error:
        raise BadData(
            f"column {column!r} is {cell[:80]!r}, neither a number nor a date",
            repair="write 2024-01-31 or 2024-01-31 13:00:00",
        ) from error


def _seconds(moment: datetime) -> float:
    """Since the year 1, without time zones where there are none: local times order as they are written."""
    plain = moment.replace(tzinfo=None) - datetime(1, 1, 1)
    offset = moment.utcoffset()
    return (plain - offset if offset is not None else plain).total_seconds()
