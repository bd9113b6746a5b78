"""From finished cells to curves, paired differences, labels saved and slopes: the numbers a verdict may speak of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import combinations, product
from typing import Any

import numpy as np

from carryover.compare.cells import Cell
from carryover.compare.findings import Budget, Difference, Gain, Point, Reduction, Saving, plain
from carryover.compare.ladder import REFERENCE, cost_rank, rung_of, table_rank
from carryover.compare.scoring import Counts, Figure
from carryover.compare.statistics import Interval, Resampled, Resampling, equivalent_labels, error_reduction
from carryover.experiments.seeds import seeds_by_point

__all__ = ["Analysis", "Budget", "Difference", "Gain", "Point", "Reduction", "Saving"]


class Analysis:
    """Everything the verdict, the table and the page show, computed once from per-example counts.

    `counts` holds the counts [N, K] of every finished cell, `labels` the number of labelled examples of every budget. Cells of
    the rung REFERENCE are what answers without looking: they have points and differences, and are never recommended. `drawn` is as for `Resampling`.
    """

    def __init__(
        self,
        counts: Mapping[Cell, Counts],
        labels: Mapping[Budget, int],
        metric: Figure,
        *,
        replicates: int = 2000,
        confidence: float = 0.95,
        drawn: Resampled | None = None,
    ) -> None:
        self.metric = metric
        self.labels = dict(labels)
        self.examples = next((rows.shape[0] for rows in counts.values()), 0)
        self.resampling = Resampling(counts, metric, replicates=replicates, confidence=confidence, drawn=drawn)
        self.rungs = tuple(sorted({cell.rung for cell in counts} - {REFERENCE}, key=table_rank))
        self.budgets = tuple(sorted({cell.budget for cell in counts}, key=lambda budget: labels[budget]))
        self.has_reference = any(cell.rung == REFERENCE for cell in counts)
        seeds = seeds_by_point(counts)
        self._seeds = {point: seeds.get(point, ()) for point in product(self.rows, self.budgets)}
        self.never_answered = {
            (rung, budget): missed
            for rung in self.rungs
            for budget in self.budgets
            if (missed := metric.never_answered([counts[cell] for cell in self._cells(rung, budget)]))
        }

    @property
    def rows(self) -> tuple[str, ...]:
        """Everything that has a row in tables: the reference, then the rungs."""
        return ((REFERENCE,) if self.has_reference else ()) + self.rungs

    @cached_property
    def points(self) -> dict[tuple[str, Budget], Point]:
        """One point for every row and budget with a finished cell, in table order."""
        points = {}
        for rung in self.rows:
            for budget in self.budgets:
                seeds = self._seeds[rung, budget]
                if seeds:
                    cells = self._cells(rung, budget)
                    score = self.resampling.mean(cells)
                    points[rung, budget] = Point(rung, budget, self.labels[budget], seeds, score, self._interval(cells))
        return points

    @cached_property
    def differences(self) -> dict[tuple[Budget, str, str], Difference]:
        """Every pair of rows at every budget, the one earlier in table order first."""
        found = {}
        for budget in self.budgets:
            for first, second in combinations(self.rows, 2):
                difference = self._difference(budget, first, second)
                if difference is not None:
                    found[budget, first, second] = difference
        return found

    def difference(self, budget: Budget, first: str, second: str) -> Difference | None:
        """`first` less `second`; None when they have no seed in common."""
        if (budget, first, second) in self.differences:
            return self.differences[budget, first, second]
        turned = self.differences.get((budget, second, first))
        return None if turned is None else turned.turned()

    def present(self, budget: Budget) -> list[Point]:
        """Points of rungs at a budget, best first; ties go to the cheaper rung.

        Where rungs have different seeds, a mean over other seeds is no argument: they are ranked by their mean paired difference
        to all others, each over the seeds that both have.
        """
        points = [point for (rung, at), point in self.points.items() if at == budget and rung != REFERENCE]
        if len({point.seeds for point in points}) < 2:
            return sorted(points, key=lambda point: (-point.score, cost_rank(point.rung)))
        return sorted(points, key=lambda point: (-self._standing(point, points), cost_rank(point.rung)))

    def best(self, budget: Budget, rungs: set[str] | None = None) -> Point | None:
        """The rung with the highest mean (among `rungs`)."""
        return next((point for point in self.present(budget) if rungs is None or point.rung in rungs), None)

    def within_noise(self, budget: Budget) -> list[Point]:
        """Points not separable from the best one, the best included, cheapest first."""
        best = self.best(budget)
        if best is None:
            return []
        kept = []
        for point in self.present(budget):
            difference = None if point.rung == best.rung else self.difference(budget, best.rung, point.rung)
            if point.rung == best.rung or (difference is not None and not difference.separable):
                kept.append(point)
        return sorted(kept, key=lambda point: cost_rank(point.rung))

    def beats_reference(self, rung: str, budget: Budget) -> bool:
        """Whether a rung is separably better than answering without looking: than the majority, and by a metric that rewards
        guessing also than that. True where there is no reference."""
        cells, guessing = self._cells(rung, budget), self.resampling.guessing
        if not self.has_reference:
            return True
        if cells and guessing is not None:
            above = self.resampling.interval(self.resampling.replicates(cells) - guessing)
            if not above.low > 0:
                return False
        difference = self.difference(budget, rung, REFERENCE)
        return difference is not None and difference.separable and difference.difference > 0

    def recommended(self, budget: Budget) -> Point | None:
        """The cheapest rung within noise of the best that beats the reference; None where no rung does."""
        return next((point for point in self.within_noise(budget) if self.beats_reference(point.rung, budget)), None)

    def recommended_rung(self) -> str | None:
        """The rung recommended at the largest budget, None where none beats the reference.

        Raises ValueError when no cell is finished.
        """
        if not self.budgets:
            raise ValueError("no cell is finished: there is nothing to recommend")
        point = self.recommended(self.budgets[-1])
        return None if point is None else point.rung

    @property
    def guessing(self) -> float | None:
        """What blind guessing scores on average where the metric rewards it, else None."""
        found = self.resampling.guessing
        return None if found is None or not len(self.rows) else float(found.mean())

    @cached_property
    def pretrained(self) -> set[str]:
        return {rung for rung in self.rungs if rung_of(rung).needs}

    @cached_property
    def plain(self) -> set[str]:
        return set(self.rungs) - self.pretrained

    def raw_text_gap(self, budget: Budget) -> Difference | None:
        """Best rung with raw text less the best answer without it, the majority among those; None where no rung of either
        kind is there."""
        one, two = self.best(budget, self.pretrained), self.best(budget, self.plain)
        if one is None or two is None:
            return None
        gap, above = self.difference(budget, one.rung, two.rung), self.difference(budget, two.rung, REFERENCE)
        return gap if above is None or above.difference >= 0 else self.difference(budget, one.rung, REFERENCE)

    @cached_property
    def savings(self) -> list[Saving]:
        """For every rung that uses raw text, against every rung that does not, at every budget."""
        found = []
        for rung in sorted(self.pretrained, key=table_rank):
            for reference in sorted(self.plain, key=table_rank):
                found += self._savings(rung, reference)
        return found

    @cached_property
    def gains(self) -> list[Gain]:
        """What more labels gave each rung that has at least two budgets."""
        return [gain for rung in self.rungs if (gain := self._gain(rung)) is not None]

    @property
    def baseline(self) -> str | None:
        """The rung that error reductions are against: the same task model without raw text, else hand-made features."""
        ranks = {rung: rank for rung in self.rungs if (rank := rung_of(rung).baseline)}
        return max(ranks, key=ranks.__getitem__, default=None)

    @cached_property
    def reductions(self) -> list[Reduction]:
        """Of every other rung at every budget where it shares a seed with the baseline, in table order."""
        if self.baseline is None:
            return []
        pairs = [(rung, budget) for rung in self.rungs if rung != self.baseline for budget in self.budgets]
        return [found for rung, budget in pairs if (found := self._reduction(budget, self.baseline, rung)) is not None]

    def gain(self, rung: str) -> Gain | None:
        return next((gain for gain in self.gains if gain.rung == rung), None)

    def to_json(self) -> dict[str, Any]:
        """Points, differences, error reductions, savings and gains as lists of plain values."""
        recommended = {budget: self.recommended(budget) for budget in self.budgets}
        return {
            "recommended": [
                {"budget": budget, "labels": self.labels[budget], "rung": None if point is None else point.rung}
                for budget, point in recommended.items()
            ],
            "points": [plain(point) for point in self.points.values()],
            "differences": [
                {**plain(difference), "separable": difference.separable} for difference in self.differences.values()
            ],
            "error_reductions": [plain(reduction) for reduction in self.reductions],
            "savings": [plain(saving) for saving in self.savings],
            "gains": [{**plain(gain), "supported": gain.supported} for gain in self.gains],
        }

    def mean(self, rung: str, budget: Budget, seeds: Iterable[int]) -> float:
        """Mean score of a rung over some of its seeds."""
        return self.resampling.mean([Cell(rung, budget, seed) for seed in seeds])

    def shared_seeds(self, rungs: Iterable[str], budgets: Iterable[Budget]) -> tuple[int, ...]:
        """The seeds that all these rungs have finished at all these budgets."""
        budgets = list(budgets)
        sets = [set(self._seeds[rung, budget]) for rung in rungs for budget in budgets]
        return tuple(sorted(set.intersection(*sets))) if sets else ()

    def _cells(self, rung: str, budget: Budget, seeds: Iterable[int] | None = None) -> list[Cell]:
        return [Cell(rung, budget, seed) for seed in (self._seeds[rung, budget] if seeds is None else seeds)]

    def _interval(self, cells: list[Cell]) -> Interval:
        """Of a mean score. The widened seed part can reach beyond what a score can be."""
        return self.resampling.interval(self.resampling.replicates(cells)).within(*self.metric.limits)

    def _interval_of_difference(self, first: list[Cell], second: list[Cell]) -> Interval:
        """Of the mean of `first` less that of `second`, paired, and within what the intervals of both scores allow."""
        one, two = self._interval(first), self._interval(second)
        replicates = self.resampling.replicates(first) - self.resampling.replicates(second)
        return self.resampling.interval(replicates).within(one.low - two.high, one.high - two.low)

    def _difference(self, budget: Budget, first: str, second: str) -> Difference | None:
        seeds = self.shared_seeds((first, second), (budget,))
        if not seeds:
            return None
        one, two = (self._cells(rung, budget, seeds) for rung in (first, second))
        mean = self.resampling.mean(one) - self.resampling.mean(two)
        interval = self._interval_of_difference(one, two)
        return Difference(budget, self.labels[budget], first, second, seeds, mean, interval)

    def _standing(self, point: Point, others: list[Point]) -> float:
        """Mean paired difference of a rung to the others; of a rung that shares no seed with any, minus infinity."""
        pairs = [self.difference(point.budget, point.rung, other.rung) for other in others if other.rung != point.rung]
        found = [pair.difference for pair in pairs if pair is not None]
        return sum(found) / len(found) if found else float("-inf")

    def _reduction(self, budget: Budget, baseline: str, rung: str) -> Reduction | None:
        difference = self.difference(budget, rung, baseline)
        if difference is None:
            return None
        before, after = (self._cells(name, budget, difference.seeds) for name in (baseline, rung))
        base, score = self.resampling.mean(before), self.resampling.mean(after)
        share = self.resampling.interval(
            error_reduction(self.resampling.replicates(before), self.resampling.replicates(after))
        )
        # Less than one test example of errors is none: what is left of it is no denominator.
        drawn = np.mean([self.resampling.cell(cell) for cell in before], axis=0)
        fewest = 1 - max(base, float(drawn.max()))
        none = fewest < 1 / self.examples or not np.isfinite([share.low, share.high]).all()
        return Reduction(
            budget=budget,
            labels=self.labels[budget],
            baseline=baseline,
            rung=rung,
            seeds=difference.seeds,
            baseline_score=base,
            score=score,
            absolute=difference.difference,
            interval=difference.interval,
            relative=None if none else (score - base) / (1 - base),
            relative_low=None if none else share.low,
            relative_high=None if none else share.high,
        )

    def _measured(self, rung: str) -> list[Budget]:
        return [budget for budget in self.budgets if self._seeds[rung, budget]]

    def _savings(self, rung: str, reference: str) -> list[Saving]:
        budgets = self._measured(reference)
        if len(budgets) < 2:
            return []
        labels = np.array([self.labels[budget] for budget in budgets], dtype=np.float64)
        found = []
        for budget in self._measured(rung):
            shared = set(self._seeds[rung, budget]) & set(self.shared_seeds((reference,), budgets))
            if not shared:
                continue
            seeds = tuple(sorted(shared))
            curve = np.stack([self.resampling.replicates(self._cells(reference, at, seeds)) for at in budgets], axis=1)
            target = self.resampling.replicates(self._cells(rung, budget, seeds))
            interval = self.resampling.interval(equivalent_labels(target, curve, labels))
            means = np.array([[self.mean(reference, at, seeds) for at in budgets]])
            middle = equivalent_labels(np.array([self.mean(rung, budget, seeds)]), means, labels)[0]
            found.append(
                Saving(
                    rung=rung,
                    labels=self.labels[budget],
                    reference=reference,
                    equivalent=_finite(float(middle)),
                    low=_finite(interval.low),
                    high=_finite(interval.high),
                    least=int(labels[0]),
                    most=int(labels[-1]),
                    supported=interval.low > self.labels[budget] and self.beats_reference(rung, budget),
                    seeds=seeds,
                )
            )
        return found

    def _gain(self, rung: str) -> Gain | None:
        *earlier, after = self._measured(rung) or [""]
        if not earlier:
            return None
        half = [budget for budget in earlier if 2 * self.labels[budget] <= self.labels[after]]
        before = half[-1] if half else earlier[0]
        seeds = self.shared_seeds((rung,), (before, after))
        if not seeds:
            return None
        doublings = float(np.log2(self.labels[after] / self.labels[before]))
        parts = max(1.0, doublings)
        one, two = self._cells(rung, after, seeds), self._cells(rung, before, seeds)
        whole = self._interval_of_difference(one, two)
        return Gain(
            rung=rung,
            from_labels=self.labels[before],
            to_labels=self.labels[after],
            per_doubling=(self.resampling.mean(one) - self.resampling.mean(two)) / parts,
            interval=Interval(whole.low / parts, whole.high / parts),
            doublings=doublings,
            seeds=seeds,
        )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
