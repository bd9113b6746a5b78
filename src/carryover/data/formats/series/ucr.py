"""The text format of the UCR archive: a series a line, its class first, then its values."""

from __future__ import annotations

from collections.abc import Iterator

from carryover.data.formats.opening import BadLine, FilePath, scan_lines
from carryover.data.formats.series.parts import Row, beginning, is_number, label_of, numbers
from carryover.data.formats.text import Faulty
from carryover.errors import BadData

_FEWEST_CELLS = 3
_LOOKED_AT = 5


def read_ucr(path: FilePath) -> Iterator[Row | Faulty]:
    """`CLASS value value …`, parted by tabs, by commas or by blanks, as the first line is. One channel.

    Lines may differ in length. The class is any word; a whole number however it is written.
    """
    separator: str | None = None
    started = False
    for number, line in scan_lines(path):
        if isinstance(line, BadLine):
            yield Faulty(line, line.text)
            continue
        if not line.strip():
            continue
        if not started:
            separator, started = _separator(line), True
        cells = line.split(separator)
        try:
            if len(cells) < 2:
                raise BadData(
                    "a single cell", repair="write the class, then the values, separated by tabs, commas or blanks"
                )
            values = numbers(cells[1:])
        except BadData as error:
            yield Faulty(BadData(error.message, path=path, line=number, repair=error.repair), beginning(line))
            continue
        yield Row(values[:, None], label_of(cells[0]), number, beginning(line))


def looks_like_ucr(lines: list[str]) -> bool:
    """Whether most of these first lines of a file hold nothing but numbers, three or more a line; a fault among them is told by
    whoever reads the file."""
    rows = [line.split(_separator(line)) for line in lines[:_LOOKED_AT] if line.strip()]
    alike = [row for row in rows if len(row) >= _FEWEST_CELLS and all(is_number(cell) for cell in row)]
    return 2 * len(alike) >= max(1, len(rows))


def _separator(line: str) -> str | None:
    """What parts the cells of a line; None for runs of blanks."""
    return "\t" if "\t" in line.strip() else "," if "," in line else None
