"""What every column is: cells of words, taken apart into parts that are classified one by one, and put together again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from collections.abc import Sequence as ListOf
from typing import ClassVar

import numpy as np

from carryover.tasks.counting import Numbers

Pairs = Mapping[tuple[str, str], int]
"""How often each (word, cell) occurs."""
UNKNOWN = -1
"""The value of a part that cannot be learned."""


class Column(ABC):
    """A column `name` with its `parts` and the `values` of each part, K_p of them, in the order of their scores.

    Scores and probabilities of a column are a list with an array [W, K_p] for each part, a row a word.
    """

    described: ClassVar[str]
    """What one value is called where they are counted."""
    makes_cells: ClassVar[bool] = False
    """Whether it can answer cells that training had not."""

    def __init__(self, name: str, parts: Mapping[str, ListOf[str]]) -> None:
        self.name = name
        self.parts = tuple(parts)
        self.values = tuple(tuple(values) for values in parts.values())
        self.places = tuple({value: place for place, value in enumerate(values)} for values in self.values)

    @classmethod
    @abstractmethod
    def learn(cls, pairs: Pairs) -> dict[str, list[str]]:
        """Parts and their values from labelled words. The order of the words does not matter."""

    @classmethod
    def canonical(cls, cell: str) -> str:
        """A cell in the one spelling that is learned and answered. Raises ValueError for what cannot be in such a column."""
        return cell

    @property
    def summary(self) -> str:
        """The column in a few words."""
        return f"{self.name} ({len(self.values[0]):,} {self.described})"

    def knows(self, cell: str) -> bool:
        """Whether the cell may stand in labelled examples for a model of this column."""
        return True

    @abstractmethod
    def encode(self, form: str, cell: str) -> tuple[int, ...]:
        """The value of each part, `UNKNOWN` where there is none to learn."""

    @abstractmethod
    def decode(self, forms: ListOf[str], scores: ListOf[Numbers]) -> list[str]:
        """The most probable cell of each word."""

    @abstractmethod
    def chances(self, forms: ListOf[str], cells: ListOf[str], probabilities: ListOf[Numbers]) -> Numbers:
        """How probable each cell is, [W]."""

    @abstractmethod
    def items(self, cell: str) -> dict[str, str]:
        """What precision and recall are counted of: names of things in the cell, with their values."""

    def units(self) -> list[str]:
        """All names that `items` can have for cells that the model knows."""
        return []


def concentration(probabilities: ListOf[Numbers]) -> Numbers:
    """Σ_k p_k² over all combinations of values of independent parts, [W]."""
    rows = np.stack([np.square(part, dtype=np.float64).sum(axis=1) for part in probabilities])
    return np.asarray(rows.prod(axis=0))
