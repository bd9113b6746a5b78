"""What all formats of series share: numbers from cells, labels from numbers, and values that are missing.

A missing value is an empty cell, `?`, or one of the spellings that programs write for it. Where a file is a rectangle (UCR
rows, wide tables, arrays) steps that are missing in every channel at the end of a series are no steps: that is how such
files hold series of unequal length. Every other missing value is a gap.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryover.data.examples import Example, Labels, Series, Source
from carryover.data.formats.opening import FilePath
from carryover.data.formats.text import Faulty, check_unicode
from carryover.errors import BadData, check_choice
from carryover.progress import say

Values = NDArray[np.float64]
LARGEST = 1e30
"""Of the values of a series: what is larger has no square in 32 bits."""
LabelledSeries = Example[Series, Labels]

GAPS = ("stop", "interpolate")
"""What to do about gaps: refuse the series, or fill them."""
MISSING = frozenset(("", "?", "nan", "na", "n/a", "<na>", "null", "none", "\\n"))
"""How a missing value is written, in lower case."""
_SHOWN = 80


@dataclass(frozen=True)
class Row:
    """One series as a format found it: `values` [T, C] with NaN where a value is missing, the label, the line it begins in and
    its beginning for a list of rejects."""

    values: Values
    label: str | None
    line: int
    raw: str


@dataclass
class Reading:
    """How gaps are treated, and what was done about missing values of a file: printed once by `_report`.

    `rectangle` says that missing steps at the end are none.
    """

    path: FilePath
    gaps: str = "stop"
    require_labels: bool = True
    rectangle: bool = False
    filled_values: int = 0
    filled_series: int = 0
    shortened: int = 0
    _channels: tuple[int, int] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_choice("missing", self.gaps, GAPS)

    def examples(self, rows: Iterable[Row | Faulty]) -> Iterator[LabelledSeries | Faulty]:
        """An example of every row; a row that breaks a rule is faulty."""
        for row in rows:
            if isinstance(row, Faulty):
                yield row
                continue
            try:
                yield self._example(row)
            except BadData as error:
                yield Faulty(BadData(error.message, path=self.path, line=row.line, repair=error.repair), row.raw)
        self._report()

    def _example(self, row: Row) -> LabelledSeries:
        values = row.values
        if self.rectangle:
            values = without_missing_end(values)
            self.shortened += len(values) < len(row.values)
        if not len(values):
            raise BadData("the series has no values", repair="remove it")
        channels = values.shape[1]
        if self._channels is None:
            self._channels = channels, row.line
        elif channels != self._channels[0]:
            expected, first = self._channels
            raise BadData(
                f"{channels} channels where the series of line {first} has {expected}", repair="give all the same channels"
            )
        gold: Labels | None = None
        if row.label is not None:
            check_unicode(row.label)
            gold = (row.label,)
        elif self.require_labels:
            raise BadData("the series has no label", repair="give one, or remove the series")
        missing = int(np.isnan(values).sum())
        if missing:
            if self.gaps == "stop":
                step, channel = (int(i) for i in np.argwhere(np.isnan(values))[0])
                where = f"step {step + 1}" + (f" of channel {channel + 1}" if channels > 1 else "")
                others = f" and {missing - 1} more" if missing > 1 else ""
                raise BadData(
                    f"the value of {where}{others} is missing",
                    repair="fill it in, remove the series, or give --missing interpolate",
                )
            values = interpolate(values)
            self.filled_values += missing
            self.filled_series += 1
        values = np.ascontiguousarray(values)
        values.setflags(write=False)
        return Example(Series(values), gold, Source(str(self.path), row.line))

    def _report(self) -> None:
        if self.shortened:
            say(f"{self.path}: {self.shortened:,} series end before the last step of the file")
        if self.filled_values:
            say(
                f"{self.path}: {self.filled_values:,} missing values of {self.filled_series:,} series were filled "
                "by linear interpolation"
            )


def without_missing_end(values: Values) -> Values:
    """[T, C] up to the last step that has a value in any channel."""
    present = np.flatnonzero(~np.isnan(values).all(axis=1))
    return values[: int(present[-1]) + 1] if len(present) else values[:0]


def interpolate(values: Values) -> Values:
    """[T, C] with each gap on the line between its neighbours in time; before the first and behind the last value that is
    present, that one. Raises BadData for a channel without any value."""
    filled = values.copy()
    steps = np.arange(len(values))
    for channel in range(values.shape[1]):
        present = ~np.isnan(values[:, channel])
        if not present.any():
            raise BadData(f"channel {channel + 1} has no value at all", repair="remove the series or the channel")
        filled[~present, channel] = np.interp(steps[~present], steps[present], values[present, channel])
    return filled


def numbers(cells: list[str], *, what: str = "value", first: int = 1) -> NDArray[np.float64]:
    """The numbers in a list of cells, NaN where one is missing. Raises BadData naming the first that is none; cells are counted
    from `first`."""
    if "_" not in "".join(cells):  # which Python would read as a separator of digits
        try:
            found = np.array(cells, dtype=np.float64)
        except ValueError:
            pass
        else:
            if not (np.abs(found) > LARGEST).any():
                return found
    return np.array([number(cell, f"{what} {place}") for place, cell in enumerate(cells, start=first)], dtype=np.float64)


def number(cell: str, called: str) -> float:
    """The number in a cell, NaN where it is missing. Raises BadData where it is none."""
    cell = cell.strip()
    if cell.lower() in MISSING:
        return math.nan
    try:
        found = float(cell)
        if "_" in cell:
            raise ValueError
    except ValueError as error:
        raise BadData(
            f"{called} is {cell[:_SHOWN]!r}, not a number",
            repair="write a number with a decimal point, or leave it empty where it is missing",
        ) from error
    if math.isinf(found):
        raise BadData(f"{called} is {cell[:_SHOWN]!r}, which is not finite", repair="correct it, or leave it empty")
    if abs(found) > LARGEST:
        raise BadData(f"{called} is {cell[:_SHOWN]!r}, which is too large", repair="correct it, or use a smaller unit")
    return found


def is_number(cell: str) -> bool:
    """Whether a cell holds a number or says that one is missing."""
    try:
        number(cell, "")
    except BadData:
        return False
    return True


def label_of(cell: str) -> str | None:
    """The label in a cell; a whole number as such, however it is written (`1.0000e+00` → `1`), None where it is missing."""
    cell = cell.strip()
    if cell.lower() in MISSING:
        return None
    try:
        found = float(cell)
    except ValueError:
        return cell
    return str(int(found)) if found.is_integer() and abs(found) < 2**53 else cell


def label_of_number(value: Any) -> str:
    """The label that an entry of an array is, a whole number without a decimal point."""
    return label_of(str(value)) or ""


def beginning(text: str) -> str:
    """Of a long row, what a list of rejects shows."""
    return text if len(text) <= 2 * _SHOWN else text[: 2 * _SHOWN] + "…"
