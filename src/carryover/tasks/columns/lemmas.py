"""Lemmas: one part, whose values are the edit rules of the training words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence as ListOf
from typing import ClassVar

import numpy as np

from carryover.tasks.columns.column import UNKNOWN, Column, Pairs
from carryover.tasks.columns.edit_rules import KEEP, apply_rule, edit_rule, parse_rule
from carryover.tasks.counting import Numbers

LEAST_OCCURRENCES = 2
"""How many words must follow a rule for it to be learned: one that occurs once is nearly always an exception or a typing error."""
_LEAST_PROBABILITY = 1e-4
"""Of the rules that are looked through for the probability of a lemma."""


class Lemmas(Column):
    """The rules that occur at least `LEAST_OCCURRENCES` times, the most frequent first, and the rule of words that are their
    lemma. Words whose rule is rarer are learned by the first other rule that gives their lemma, or not at all."""

    described: ClassVar[str] = "edit rules"
    makes_cells: ClassVar[bool] = True

    def __init__(self, name: str, parts: Mapping[str, ListOf[str]]) -> None:
        super().__init__(name, parts)
        if self.parts != ("",) or KEEP not in self.places[0]:
            raise ValueError(f"the column {name!r} has not the parts of lemmas, one list of edit rules")
        for rule in self.values[0]:
            parse_rule(rule)
        self._encoded: dict[tuple[str, str], int] = {}

    @classmethod
    def learn(cls, pairs: Pairs) -> dict[str, list[str]]:
        counts: Counter[str] = Counter()
        for (form, lemma), count in pairs.items():
            counts[edit_rule(form, lemma)] += count
        kept = [rule for rule, count in counts.items() if count >= LEAST_OCCURRENCES and rule != KEEP]
        return {"": [*sorted(kept, key=lambda rule: (-counts[rule], rule)), KEEP]}

    def encode(self, form: str, cell: str) -> tuple[int, ...]:
        if (form, cell) not in self._encoded:
            own = self.places[0].get(edit_rule(form, cell))
            others = (place for place, rule in enumerate(self.values[0]) if apply_rule(rule, form) == cell)
            self._encoded[form, cell] = next(others, UNKNOWN) if own is None else own
        return (self._encoded[form, cell],)

    def decode(self, forms: ListOf[str], scores: ListOf[Numbers]) -> list[str]:
        """By the most probable rule that fits the word; there is always one, for a word may be its lemma."""
        best = scores[0].argmax(axis=1)
        return [self._lemma(form, place, row) for form, place, row in zip(forms, best, scores[0], strict=True)]

    def _lemma(self, form: str, best: int, scores: Numbers) -> str:
        found = apply_rule(self.values[0][best], form)
        if found is not None:
            return found
        ranked = (apply_rule(self.values[0][place], form) for place in np.argsort(-scores, kind="stable"))
        return next(lemma for lemma in ranked if lemma is not None)

    def chances(self, forms: ListOf[str], cells: ListOf[str], probabilities: ListOf[Numbers]) -> Numbers:
        """The probability of all rules that give the lemma, those below 0.0001 left out."""
        found = np.zeros(len(cells))
        for number, (form, cell, row) in enumerate(zip(forms, cells, probabilities[0], strict=True)):
            for place in np.flatnonzero(row >= _LEAST_PROBABILITY):
                if apply_rule(self.values[0][place], form) == cell:
                    found[number] += float(row[place])
        return found

    def items(self, cell: str) -> dict[str, str]:
        return {}
