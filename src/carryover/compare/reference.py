"""The reference row: what the majority answers, for the budgets and seeds of the cells. Counted, so it costs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from carryover.compare.cells import Cell
from carryover.compare.ladder import REFERENCE
from carryover.compare.problem import Problem
from carryover.compare.scoring import Counts
from carryover.data.splits import nested_budgets

Budget = int | str


class Reference:
    """Counts of the majority's answers on the test examples of `problem`; what was counted once is kept."""

    def __init__(self, problem: Problem, labels: Mapping[Budget, int]) -> None:
        self.problem = problem
        self.labels = dict(labels)
        self._counted: dict[Cell, Counts] = {}

    def counts(self, cells: Iterable[Cell]) -> dict[Cell, Counts]:
        """For every budget and seed of `cells` the counts of the majority."""
        wanted = {cell._replace(rung=REFERENCE) for cell in cells}
        for seed in sorted({cell.seed for cell in wanted - set(self._counted)}):
            self._count(seed)
        return {cell: self._counted[cell] for cell in sorted(wanted, key=str)}

    def _count(self, seed: int) -> None:
        train = self.problem.train
        drawn = nested_budgets(train, self.labels.values(), seed)
        for budget, size in self.labels.items():
            whole = next((counts for cell, counts in self._counted.items() if self.labels[cell.budget] == len(train)), None)
            if size == len(train) and whole is not None:  # all examples are the same for every seed
                self._counted[Cell(REFERENCE, budget, seed)] = whole
                continue
            question = self.problem.question
            answers = question.most_frequent([train[i] for i in drawn[size]], self.problem.test)
            self._counted[Cell(REFERENCE, budget, seed)] = question.counts(self.problem.gold, answers)
