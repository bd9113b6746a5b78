"""Morphological features by their parts: a classifier for each attribute, with a value for "not there"."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as ListOf
from typing import ClassVar

import numpy as np

from carryover.tasks.columns.column import UNKNOWN, Column, Pairs
from carryover.tasks.counting import Numbers

ABSENT = "_"
"""The value of an attribute that a word does not have, and the cell of a word that has none."""


class Features(Column):
    """`Case=Nom|Number=Sing` in the way of Universal Dependencies: the parts are `Case`, `Number` and every other attribute that
    training had. Several values of one attribute (`Gender=Fem,Masc`) are one value."""

    described: ClassVar[str] = "attributes"
    makes_cells: ClassVar[bool] = True

    def __init__(self, name: str, parts: Mapping[str, ListOf[str]]) -> None:
        super().__init__(name, parts)
        if not all(ABSENT in values for values in self.values):
            raise ValueError(f"an attribute of the column {name!r} cannot be absent")

    @classmethod
    def learn(cls, pairs: Pairs) -> dict[str, list[str]]:
        found: dict[str, set[str]] = {}
        for cell in {cell for _, cell in pairs}:
            for attribute, value in features_of(cell).items():
                found.setdefault(attribute, set()).add(value)
        if not found:
            return {"": [ABSENT]}
        return {attribute: [ABSENT, *sorted(found[attribute])] for attribute in sorted(found, key=_order)}

    @classmethod
    def canonical(cls, cell: str) -> str:
        return written_features(features_of(cell))

    @property
    def summary(self) -> str:
        return f"{self.name} ({len(self.parts):,} {self.described})"

    def encode(self, form: str, cell: str) -> tuple[int, ...]:
        own = features_of(cell)
        return tuple(
            places.get(own.get(part, ABSENT), UNKNOWN) for part, places in zip(self.parts, self.places, strict=True)
        )

    def decode(self, forms: ListOf[str], scores: ListOf[Numbers]) -> list[str]:
        best = [[values[place] for place in part.argmax(axis=1)] for values, part in zip(self.values, scores, strict=True)]
        return [written_features(dict(zip(self.parts, word, strict=True))) for word in zip(*best, strict=True)]

    def chances(self, forms: ListOf[str], cells: ListOf[str], probabilities: ListOf[Numbers]) -> Numbers:
        found = np.ones(len(cells))
        for number, (form, cell) in enumerate(zip(forms, cells, strict=True)):
            for part, place in zip(probabilities, self.encode(form, cell), strict=True):
                found[number] *= 0.0 if place == UNKNOWN else float(part[number, place])
            if not set(features_of(cell)) <= set(self.parts):
                found[number] = 0.0
        return found

    def items(self, cell: str) -> dict[str, str]:
        return features_of(cell)

    def units(self) -> list[str]:
        return [part for part in self.parts if part]


def features_of(cell: str) -> dict[str, str]:
    """The value of every attribute in a cell. Raises ValueError for a cell that is not `Name=Value|…` or names one twice."""
    if cell == ABSENT:
        return {}
    found: dict[str, str] = {}
    for pair in cell.split("|"):
        attribute, sign, value = pair.partition("=")
        if not (attribute and sign and value):
            raise ValueError(f"the features {cell[:80]!r} are not Name=Value|…")
        if attribute in found:
            raise ValueError(f"the features {cell[:80]!r} have {attribute} twice")
        found[attribute] = value
    return found


def written_features(features: dict[str, str]) -> str:
    """The cell of these features, attributes in the order of Universal Dependencies: of the alphabet, whatever their case."""
    there = {attribute: value for attribute, value in features.items() if value != ABSENT}
    return "|".join(f"{attribute}={there[attribute]}" for attribute in sorted(there, key=_order)) or ABSENT


def _order(attribute: str) -> tuple[str, str]:
    return attribute.lower(), attribute
