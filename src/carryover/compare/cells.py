"""A cell of the comparison: one rung with one label budget and one seed, and what came out of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

from carryover.compare.ladder import table_rank

NOT_LEARNED = "not learned"
"""Among the notes of a cell: why its budget held nothing to learn from."""


class Cell(NamedTuple):
    """One trial. `budget` is a number of labelled examples, or "all"."""

    rung: str
    budget: int | str
    seed: int

    @property
    def name(self) -> str:
        """Name of the cell's folder, without signs that a file system could take for something else."""
        return f"{file_name(self.rung)}-{self.budget}-{self.seed}"

    @property
    def point(self) -> tuple[str, int | str]:
        """What its seeds are averaged over."""
        return self.rung, self.budget

    def __str__(self) -> str:
        return f"{self.rung} with {self.budget} labels, seed {self.seed}"


def file_name(rung: str) -> str:
    """A rung as a part of a file's name: `full:lm` is full@lm, and a folder's slash %2F."""
    name, colon, encoder = rung.partition(":")
    return f"{name}@{quote(encoder, safe='')}" if colon else name


@dataclass(frozen=True)
class CellOutcome:
    """What running a cell gives: `predictions` are the labels of every test example (one tag a token when tagging).

    `seconds` is training (choices inside the budget included), `prediction_milliseconds` per test example.
    """

    predictions: list[tuple[str, ...]]
    seconds: float
    prediction_milliseconds: float
    parameters: int
    trainable: int
    peak_memory_mib: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CellResult:
    """A finished cell as it is stored, without its predictions (a file beside it)."""

    rung: str
    budget: int | str
    labels: int
    seed: int
    score: float
    seconds: float
    prediction_milliseconds: float
    parameters: int
    trainable: int
    peak_memory_mib: float
    test_examples: int
    versions: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def cell(self) -> Cell:
        return Cell(self.rung, self.budget, self.seed)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class CellFailure:
    """A cell that ended in an error: the rest went on without it."""

    rung: str
    budget: int | str
    seed: int
    error: str
    message: str
    exit_code: int
    trace: str = ""

    @property
    def cell(self) -> Cell:
        return Cell(self.rung, self.budget, self.seed)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def order_cells(rungs: Iterable[str], budgets: Iterable[int | str], seeds: Iterable[int]) -> list[Cell]:
    """All cells, so that what is finished first shows the whole picture soon: every rung at every budget, the smallest
    first, with the first seed, then the second seed. `budgets` must be rising."""
    return [Cell(rung, budget, seed) for seed in seeds for budget in budgets for rung in sorted(rungs, key=table_rank)]
