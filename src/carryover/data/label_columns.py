"""Several columns of labels at once: how they are named on the command line, and how the cells of a word are one string."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from carryover.errors import UsageError

BETWEEN = "\t"
"""What is between the cells of a word; no cell holds one."""


@dataclass(frozen=True)
class LabelColumn:
    """A column `name` that is found at `place`: the name or the number it has in a file."""

    name: str
    place: str | int


def label_columns(text: str | int | None) -> tuple[LabelColumn, ...]:
    """`upos,feats` or, where columns have numbers, `upos=3,feats=5`; a number alone is a name, too. Nothing for None.

    Raises UsageError for a name that is empty or given twice.
    """
    if text is None:
        return ()
    found = []
    for part in str(text).split(","):
        name, sign, place = (piece.strip() for piece in part.partition("="))
        if not name or (sign and not place):
            raise UsageError(
                f"--label-column {text!r} has an empty name", repair="write upos,feats or, of columns, upos=3,feats=5"
            )
        place = place or name
        found.append(LabelColumn(name, int(place) if place.isascii() and place.isdigit() else place))
    names = [column.name for column in found]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"--label-column {text!r} names {repeated!r} twice", repair="name every column once")
    return tuple(found)


def joined_cells(names: Iterable[str], cells: Iterable[str]) -> str:
    """The cells of a word as one string: `upos=NOUN`, a tab, `feats=Number=Sing`."""
    return BETWEEN.join(f"{name}={cell}" for name, cell in zip(names, cells, strict=True))


def split_cells(word: str) -> dict[str, str]:
    """Inverse of `joined_cells`, by name."""
    found = {}
    for cell in word.split(BETWEEN):
        name, _, value = cell.partition("=")
        found[name] = value
    return found
