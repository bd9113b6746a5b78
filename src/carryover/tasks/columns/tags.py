"""A column of tags, such as upos, xpos or deprel: one part, whose values are the tags."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as ListOf
from typing import ClassVar

import numpy as np

from carryover.tasks.columns.column import UNKNOWN, Column, Pairs
from carryover.tasks.counting import Numbers


class Tags(Column):
    """Each cell is one of the tags that training had."""

    described: ClassVar[str] = "tags"

    def __init__(self, name: str, parts: Mapping[str, ListOf[str]]) -> None:
        super().__init__(name, parts)
        if self.parts != ("",):
            raise ValueError(
                f"the column {name!r} has the parts {', '.join(map(repr, self.parts))[:80]}, tags have one without a name"
            )

    @classmethod
    def learn(cls, pairs: Pairs) -> dict[str, list[str]]:
        return {"": sorted({cell for _, cell in pairs})}

    def knows(self, cell: str) -> bool:
        return cell in self.places[0]

    def encode(self, form: str, cell: str) -> tuple[int, ...]:
        return (self.places[0].get(cell, UNKNOWN),)

    def decode(self, forms: ListOf[str], scores: ListOf[Numbers]) -> list[str]:
        return [self.values[0][place] for place in scores[0].argmax(axis=1)]

    def chances(self, forms: ListOf[str], cells: ListOf[str], probabilities: ListOf[Numbers]) -> Numbers:
        places = [self.places[0].get(cell, UNKNOWN) for cell in cells]
        rows = zip(probabilities[0], places, strict=True)
        return np.array([0.0 if place == UNKNOWN else float(row[place]) for row, place in rows])

    def items(self, cell: str) -> dict[str, str]:
        return {cell: ""}

    def units(self) -> list[str]:
        return list(self.values[0])
