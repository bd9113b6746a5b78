"""From finished cells to curves, paired differences, labels saved and slopes: the numbers a verdict may speak of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from carryover.compare.cells import Cell, cost_rank, table_rank, uses_raw_text
from carryover.compare.scoring import Counts, Metric
from carryover.compare.statistics import Interval, Replicates, Resampling, equivalent_labels, error_reduction

Budget = int | str
BASELINES = ("scratch", "features")


@dataclass(frozen=True)
class Point:
    """A rung's mean score at one budget over the seeds that are finished."""

    rung: str
    budget: Budget
    labels: int
    seeds: tuple[int, ...]
    score: float
    interval: Interval


@dataclass(frozen=True)
class Difference:
    """Score of `first` less score of `second` at one budget, over the seeds both have."""

    budget: Budget
    labels: int
    first: str
    second: str
    seeds: tuple[int, ...]
    difference: float
    interval: Interval

    @property
    def separable(self) -> bool:
        return not self.interval.contains(0.0)

    def turned(self) -> Difference:
        """The same with the two rungs exchanged."""
        interval = Interval(-self.interval.high, -self.interval.low)
        return Difference(self.budget, self.labels, self.second, self.first, self.seeds, -self.difference, interval)


@dataclass(frozen=True)
class Saving:
    """How many labels `reference` needs for the score that `rung` has with `labels`.

    None stands for more than `most`, the largest budget at which the reference was measured; a limit equal to `least`,
    the smallest one, means at most that. `supported` says that the whole interval lies above `labels`.
    """

    rung: str
    labels: int
    reference: str
    equivalent: float | None
    low: float | None
    high: float | None
    least: int
    most: int
    supported: bool


@dataclass(frozen=True)
class Gain:
    """What doubling the labels gave a rung between its two largest budgets."""

    rung: str
    from_labels: int
    to_labels: int
    per_doubling: float
    interval: Interval

    @property
    def supported(self) -> bool:
        return self.interval.low > 0


@dataclass(frozen=True)
class Reduction:
    """How much of the errors of `baseline` a rung takes away at one budget, over the seeds both have.

    With errors 1 − score: `absolute` is the score of `rung` less that of `baseline`, `relative` the share of the
    baseline's errors, absolute / (1 − baseline score), as published tables give it (Peters et al. 2018, table 1); negative
    where the rung errs more. `relative` is None where the baseline makes no error, and so is a limit of its interval
    where some replicate has a baseline without errors below a rung with some.
    """

    budget: Budget
    labels: int
    baseline: str
    rung: str
    seeds: tuple[int, ...]
    baseline_score: float
    score: float
    absolute: float
    interval: Interval
    relative: float | None
    relative_low: float | None
    relative_high: float | None


class Analysis:
    """Everything the verdict, the table and the page show, computed once from per-example counts.

    `counts` holds the counts [N, K] of every finished cell, `labels` the number of labelled examples of every budget.
    """

    def __init__(
        self,
        counts: Mapping[Cell, Counts],
        labels: Mapping[Budget, int],
        metric: Metric,
        *,
        replicates: int = 2000,
        confidence: float = 0.95,
    ) -> None:
        self.metric = metric
        self.labels = dict(labels)
        self.resampling = Resampling(counts, metric, replicates=replicates, confidence=confidence)
        self.rungs = tuple(sorted({cell.rung for cell in counts}, key=table_rank))
        self.budgets = tuple(sorted({cell.budget for cell in counts}, key=lambda budget: labels[budget]))
        self._seeds = {
            (rung, budget): tuple(sorted(cell.seed for cell in counts if (cell.rung, cell.budget) == (rung, budget)))
            for rung in self.rungs
            for budget in self.budgets
        }

    @cached_property
    def points(self) -> dict[tuple[str, Budget], Point]:
        """One point for every rung and budget with a finished cell, in table order."""
        points = {}
        for rung in self.rungs:
            for budget in self.budgets:
                seeds = self._seeds[rung, budget]
                if seeds:
                    cells = [Cell(rung, budget, seed) for seed in seeds]
                    # The widened seed part can reach beyond what a score can be.
                    interval = self.resampling.interval(self.resampling.replicates(cells).clip(0, 1))
                    score = self.resampling.mean(cells)
                    points[rung, budget] = Point(rung, budget, self.labels[budget], seeds, score, interval)
        return points

    @cached_property
    def differences(self) -> dict[tuple[Budget, str, str], Difference]:
        """Every pair of rungs at every budget, the one earlier in table order first."""
        found = {}
        for budget in self.budgets:
            for first, second in combinations(self.rungs, 2):
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
        """Points at a budget, best first; ties go to the cheaper rung."""
        points = [point for (_, at), point in self.points.items() if at == budget]
        return sorted(points, key=lambda point: (-point.score, cost_rank(point.rung)))

    def best(self, budget: Budget, rungs: set[str] | None = None) -> Point | None:
        """The point with the highest mean (among `rungs`)."""
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

    def recommended_rung(self) -> str:
        """The cheapest rung within noise of the best at the largest budget. Raises ValueError when no cell is finished."""
        if not self.budgets:
            raise ValueError("no cell is finished: there is nothing to recommend")
        return self.within_noise(self.budgets[-1])[0].rung

    @cached_property
    def pretrained(self) -> set[str]:
        return {rung for rung in self.rungs if uses_raw_text(rung)}

    @cached_property
    def plain(self) -> set[str]:
        return set(self.rungs) - self.pretrained

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
        """What the last step of labels gave each rung that has at least two budgets."""
        return [gain for rung in self.rungs if (gain := self._gain(rung)) is not None]

    @property
    def baseline(self) -> str | None:
        """The rung that error reductions are against: the same task model without raw text, else hand-made features."""
        return next((rung for rung in BASELINES if rung in self.rungs), None)

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
        return {
            "points": [_plain(point) for point in self.points.values()],
            "differences": [
                {**_plain(difference), "separable": difference.separable} for difference in self.differences.values()
            ],
            "error_reductions": [_plain(reduction) for reduction in self.reductions],
            "savings": [_plain(saving) for saving in self.savings],
            "gains": [{**_plain(gain), "supported": gain.supported} for gain in self.gains],
        }

    def _cells(self, rung: str, budget: Budget) -> list[Cell]:
        return [Cell(rung, budget, seed) for seed in self._seeds[rung, budget]]

    def _difference(self, budget: Budget, first: str, second: str) -> Difference | None:
        seeds = tuple(sorted(set(self._seeds[first, budget]) & set(self._seeds[second, budget])))
        if not seeds:
            return None
        one, two = ([Cell(rung, budget, seed) for seed in seeds] for rung in (first, second))
        replicates = self.resampling.replicates(one) - self.resampling.replicates(two)
        mean = self.resampling.mean(one) - self.resampling.mean(two)
        interval = self.resampling.interval(replicates)
        return Difference(budget, self.labels[budget], first, second, seeds, mean, interval)

    def _reduction(self, budget: Budget, baseline: str, rung: str) -> Reduction | None:
        difference = self.difference(budget, rung, baseline)
        if difference is None:
            return None
        before, after = ([Cell(name, budget, seed) for seed in difference.seeds] for name in (baseline, rung))
        base, score = self.resampling.mean(before), self.resampling.mean(after)
        replicates = self.resampling.replicates(before)
        interval = self.resampling.interval(error_reduction(replicates, self.resampling.replicates(after)))
        none = base >= 1
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
            relative_low=None if none else _finite(interval.low),
            relative_high=None if none else _finite(interval.high),
        )

    def _curve(self, rung: str) -> tuple[list[Budget], Replicates]:
        """Budgets a rung has and its replicates there, [R, B]."""
        budgets = [budget for budget in self.budgets if self._seeds[rung, budget]]
        return budgets, np.stack([self.resampling.replicates(self._cells(rung, budget)) for budget in budgets], axis=1)

    def _savings(self, rung: str, reference: str) -> list[Saving]:
        budgets, curve = self._curve(reference)
        if len(budgets) < 2:
            return []
        labels = np.array([self.labels[budget] for budget in budgets], dtype=np.float64)
        means = np.array([[self.points[reference, budget].score for budget in budgets]])
        found = []
        for budget in self.budgets:
            if not self._seeds[rung, budget]:
                continue
            target = self.resampling.replicates(self._cells(rung, budget))
            interval = self.resampling.interval(equivalent_labels(target, curve, labels))
            middle = equivalent_labels(np.array([self.points[rung, budget].score]), means, labels)[0]
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
                    supported=interval.low > self.labels[budget],
                )
            )
        return found

    def _gain(self, rung: str) -> Gain | None:
        budgets, curve = self._curve(rung)
        if len(budgets) < 2:
            return None
        before, after = budgets[-2:]
        doublings = float(np.log2(self.labels[after] / self.labels[before]))
        slope = (self.points[rung, after].score - self.points[rung, before].score) / doublings
        interval = self.resampling.interval((curve[:, -1] - curve[:, -2]) / doublings)
        return Gain(rung, self.labels[before], self.labels[after], slope, interval)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _plain(value: Any) -> dict[str, Any]:
    row = asdict(value)
    if "interval" in row:
        row["interval"] = value.interval.to_json()
    return row
