"""What several seeds of one cell say together."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np


class SeededCell(Protocol):
    """A cell with its seed. Cells that differ in the seed alone have the same `point`."""

    @property
    def seed(self) -> int: ...

    @property
    def point(self) -> Hashable: ...


C = TypeVar("C", bound=SeededCell)


def seeds_by_point(cells: Iterable[C]) -> dict[Hashable, tuple[int, ...]]:
    """The seeds of every point, rising, points in the order in which they come first."""
    found: dict[Hashable, set[int]] = {}
    for cell in cells:
        found.setdefault(cell.point, set()).add(cell.seed)
    return {point: tuple(sorted(seeds)) for point, seeds in found.items()}


def mean(scores: Sequence[float]) -> float:
    """Mean over seeds. Raises ValueError when there is none."""
    if not len(scores):
        raise ValueError("there is no score to take the mean of: give one for each seed")
    return float(np.mean(scores))


def spread(scores: Sequence[float]) -> float | None:
    """Standard deviation over seeds (n − 1), None for a single one."""
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else None
