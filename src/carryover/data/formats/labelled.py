"""Labelled examples of any kind of input: the file says, by option, name or beginning, what it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from carryover.data.columns import Columns
from carryover.data.examples import Example, Labels
from carryover.data.formats.opening import FilePath
from carryover.data.formats.reading import read_texts
from carryover.data.formats.series.labelled import holds_series, read_labelled_series
from carryover.data.formats.text import ReadResult


@dataclass(frozen=True)
class InputReader:
    """Whether a file holds this kind of input, and how it is read (path, columns, require_labels)."""

    holds: Callable[[FilePath, Columns], bool]
    read: Callable[..., ReadResult[Any]]


def _texts(path: FilePath, columns: Columns, *, require_labels: bool) -> ReadResult[Any]:
    return read_texts(
        path,
        text_column=columns.text_column,
        label_column=columns.label,
        format=columns.format,
        on_error=columns.on_error,
        multi_label=columns.multi_label,
        coarse=columns.coarse,
        require_labels=require_labels,
    )


INPUT_READERS: tuple[InputReader, ...] = (InputReader(holds_series, read_labelled_series),)
"""Readers of what is no text; a file that none of them holds is one of texts."""


def read_labelled(path: FilePath, columns: Columns, *, require_labels: bool = True) -> ReadResult[Example[Any, Labels]]:
    """The examples of a file. Raises InputMissing, BadData (with line and repair), UsageError, ExtraMissing."""
    found = next((reader.read for reader in INPUT_READERS if reader.holds(path, columns)), _texts)
    return found(path, columns, require_labels=require_labels)


def is_no_text(path: FilePath, columns: Columns) -> bool:
    """Whether a file holds another input than text."""
    return any(reader.holds(path, columns) for reader in INPUT_READERS)
