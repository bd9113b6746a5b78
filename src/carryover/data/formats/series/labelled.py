"""Series with labels, as the columns of a task say where they are."""

from __future__ import annotations

from typing import Any

from carryover.data.columns import Columns
from carryover.data.examples import Example, Labels
from carryover.data.formats.choosing import is_builtin
from carryover.data.formats.opening import FilePath
from carryover.data.formats.series.reading import SERIES_FORMATS, read_series, series_format
from carryover.data.formats.series.tables import SeriesColumns
from carryover.data.formats.text import ReadResult
from carryover.errors import UsageError


def holds_series(path: FilePath, columns: Columns) -> bool:
    """Whether a file holds series, as far as its format, its name and its first lines tell."""
    if columns.format is not None or is_builtin(path):
        return columns.format in SERIES_FORMATS
    found = SeriesColumns(columns.label, columns.series_column, columns.time_column)
    return series_format(path, found) is not None


def read_labelled_series(
    path: FilePath, columns: Columns, *, require_labels: bool = True
) -> ReadResult[Example[Any, Labels]]:
    """See `read_series`. Raises UsageError also for options that are for texts."""
    for name in ("multi_label", "coarse"):
        if getattr(columns, name) is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} is for texts, and the file holds series", path=path, repair="leave it out"
            )
    return read_series(path, **series_columns(columns), require_labels=require_labels)


def series_columns(columns: Columns) -> dict[str, Any]:
    """The keyword arguments of `read_series` that the columns decide."""
    return {
        "label_column": columns.label,
        "series_column": columns.series_column,
        "time_column": columns.time_column,
        "format": columns.format,
        "missing": columns.missing,
        "on_error": columns.on_error,
    }
