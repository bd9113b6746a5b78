"""The `.ts` format of the UEA archive and sktime: a header of `@key value` lines, then a series a line after `@data`.

1.0,2.0,?,4.0:5.0,6.0,7.0,8.0:walking          two channels of four steps, one value missing, the class last
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from carryover.data.formats.opening import BadLine, FilePath, scan_lines
from carryover.data.formats.series.parts import Row, beginning, numbers
from carryover.data.formats.text import Faulty
from carryover.errors import BadData

_KEYS = (
    "problemname", "timestamps", "missing", "univariate", "dimension", "dimensions", "equallength", "serieslength", "classlabel",
    "targetlabel",
)  # fmt: skip


@dataclass
class _Header:
    """What the lines before `@data` promise; None where they say nothing."""

    channels: int | None = None
    steps: int | None = None
    labelled: bool = False
    labels: tuple[str, ...] = ()
    target: bool = False


def read_ts(path: FilePath) -> Iterator[Row | Faulty]:
    """All series of the file. `@timeStamps true` is refused, a numeric `@targetLabel` is passed over.

    Raises BadData for a header that cannot be understood; a row that breaks its promises is faulty.
    """
    header = _Header()
    begun = False
    for number, line in scan_lines(path):
        if isinstance(line, BadLine):
            if not begun:
                raise line
            yield Faulty(line, line.text)
            continue
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            if begun:
                yield _row(text, header, number)
            elif text.lower() == "@data":
                begun = True
            else:
                _read_key(text, header)
        except BadData as error:
            fault = BadData(error.message, path=path, line=number, repair=error.repair)
            if not begun:
                raise fault from error
            yield Faulty(fault, beginning(text))
    if not begun:
        raise BadData("no line @data", path=path, repair="write the header, @data, then a series a line")


def _read_key(text: str, header: _Header) -> None:
    if not text.startswith("@"):
        raise BadData("a line before @data does not begin with @", repair="begin comments with #, and series after @data")
    key, *words = text[1:].split()
    key = key.lower()
    if key not in _KEYS:
        return  # the archive's files hold further ones that describe the data
    if key in ("dimension", "dimensions"):
        header.channels = _count(key, words)
    elif key == "serieslength":
        header.steps = _count(key, words)
    elif key == "univariate" and _is_true(key, words):
        header.channels = 1
    elif key == "timestamps" and _is_true(key, words):
        raise BadData("time stamps with the values are not supported", repair="write the values alone and @timeStamps false")
    elif key == "classlabel":
        header.labelled, header.labels = _is_true(key, words), tuple(words[1:])
    elif key == "targetlabel":
        header.target = _is_true(key, words)


def _count(key: str, words: list[str]) -> int:
    if len(words) != 1 or not (words[0].isascii() and words[0].isdigit() and int(words[0]) > 0):
        raise BadData(f"@{key} is {' '.join(words)!r}, not a positive number", repair="write a number")
    return int(words[0])


def _is_true(key: str, words: list[str]) -> bool:
    if not words or words[0].lower() not in ("true", "false"):
        raise BadData(f"@{key} is {' '.join(words)[:80]!r}, neither true nor false", repair="write true or false")
    return words[0].lower() == "true"


def _row(text: str, header: _Header, line: int) -> Row:
    parts = text.split(":")
    label: str | None = None
    if header.labelled or header.target:
        last = parts.pop().strip()
        label = last if header.labelled and last and last != "?" else None
        if label is not None and header.labels and label not in header.labels:
            raise BadData(
                f"the class {label!r} is not listed in @classLabel", repair=f"use one of {', '.join(header.labels)}"
            )
    if not parts:
        raise BadData("the line has a class and no values", repair="write values, then : and the class")
    if header.channels is not None and len(parts) != header.channels:
        repair = "separate the channels by :" + (", and write the class last" if header.labelled else "")
        raise BadData(f"{len(parts)} channels where the header says {header.channels}", repair=repair)
    channels = []
    for place, part in enumerate(parts, start=1):
        called = f"channel {place}, value" if len(parts) > 1 else "value"
        channels.append(numbers(part.split(",") if part.strip() else [], what=called))
        if len(channels[-1]) != len(channels[0]):
            raise BadData(
                f"channel {place} has {len(channels[-1])} values, channel 1 has {len(channels[0])}",
                repair="give all channels of a series the same steps, with ? where a value is missing",
            )
    if header.steps is not None and len(channels[0]) != header.steps:
        raise BadData(
            f"{len(channels[0])} steps where @seriesLength says {header.steps}", repair="correct the series or the header"
        )
    return Row(np.stack(channels, axis=1), label, line, beginning(text))
