"""The rungs of the ladder, from hand-made features up to a wholly tuned language model. Only here have they names.

A new rung is a class in a new file and a line of `RUNGS`.
"""

from __future__ import annotations

from collections.abc import Iterable

from carryover.compare.ladder.carried import Frozen, Full, LastLayer, TopLayers
from carryover.compare.ladder.features import Features
from carryover.compare.ladder.majority import Majority
from carryover.compare.ladder.rung import Cost, LadderRow, Needs, Resources, Rung
from carryover.compare.ladder.scratch import Scratch
from carryover.compare.ladder.static import Static
from carryover.compare.ladder.task import RungTask
from carryover.errors import UsageError, nearest

__all__ = [
    "REFERENCE", "RUNGS", "Cost", "LadderRow", "Needs", "Resources", "Rung", "RungTask", "cost_rank", "families",
    "parse_rungs", "row_of", "rung_of", "table_rank",
]  # fmt: skip

_MAJORITY = Majority()
REFERENCE = _MAJORITY.name
"""What answers without looking: always shown, never recommended."""

RUNGS: dict[str, Rung] = {
    rung.name: rung for rung in (Features(), Static(), Scratch(), Frozen(), LastLayer(), TopLayers(), Full())
}
"""By name, in the order of tables. A family that takes a parameter has one of its rungs here: `top-1` stands for `top-k`."""


def rung_of(name: str) -> Rung:
    """The rung that a name spells: `full`, or `full:ENCODER` over an encoder that has a name, or lies in a folder.

    Raises UsageError with the nearest spelling.
    """
    name, colon, encoder = name.partition(":")
    for rung in RUNGS.values():
        found = rung.named(name)
        if found is not None:
            return found.over(encoder) if colon else found
    repair = nearest(name, RUNGS, otherwise=f"use {', '.join(RUNGS)} (top-k with any number)")
    raise UsageError(f"rung {name!r} is unknown", repair=repair)


def row_of(name: str) -> LadderRow:
    """The rung or the reference of a name. Raises UsageError with the nearest spelling."""
    return _MAJORITY if name == REFERENCE else rung_of(name)


def families() -> list[LadderRow]:
    """One row of every family, in the order of tables, the reference first."""
    return [_MAJORITY, *RUNGS.values()]


def parse_rungs(text: str | Iterable[str]) -> tuple[str, ...]:
    """`features,static,top-2` as names in table order; `majority` is always there and may be named too.

    Raises UsageError with the nearest spelling.
    """
    given = [name.strip() for name in (text.split(",") if isinstance(text, str) else text)]
    names = [name for name in given if name != REFERENCE]
    if given and not names:
        raise UsageError(f"{REFERENCE} is the reference of every comparison, not a rung", repair="name at least one rung")
    return tuple(sorted({rung_of(name).name for name in names}, key=table_rank))


def cost_rank(name: str) -> Cost:
    """Order of rungs by what they ask for."""
    return row_of(name).cost


def table_rank(name: str) -> tuple[int, int, str]:
    """Order of rungs in tables and pages; those of one family over several encoders by the names of these."""
    row = row_of(name)
    return [each.family for each in families()].index(row.family), row.layers, row.encoder
