"""Intervals by bootstrap over seeds and test examples, and what they say about two rungs.

A score varies for two reasons: other test examples could have been drawn, and other seeds (other labelled examples inside
the budget, another initialisation). Both are resampled, as a pigeonhole bootstrap over the two crossed factors does (Owen
2007, "The pigeonhole bootstrap"), and the two parts are added:

    replicate = mean over seeds of the score on resampled examples
              + c · (mean score of resampled seeds − mean score of all seeds)

Five seeds are few. Resampling n seeds understates the variance of their mean by (n − 1)/n and pretends to know the spread,
so percentile intervals come out too short: in simulation 84 % instead of 95 %. The seed part is therefore widened by
c = sqrt(n / (n − 1)) · t / z, the quotient of Student's t with n − 1 degrees of freedom to the normal quantile (the
"expanded percentile" interval of Hesterberg 2015, "What teachers should know about the bootstrap").

The same draws serve every rung and budget, so differences are paired by seed and by test example. All counts are whole
numbers in float64, so sums are exact and the intervals do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryover.compare.scoring import Counts, Figure
from carryover.experiments.seeds import mean
from carryover.tasks import Task

Replicates = NDArray[np.float64]
_CHUNK = 64


@dataclass(frozen=True)
class Interval:
    """Limits of an interval."""

    low: float
    high: float

    def contains(self, value: float) -> bool:
        return self.low <= value <= self.high

    def to_json(self) -> list[float]:
        return [self.low, self.high]

    def within(self, low: float, high: float) -> Interval:
        """What of it lies between two limits."""
        return Interval(min(max(self.low, low), high), min(max(self.high, low), high))


@dataclass(frozen=True)
class Resampled:
    """Every figure of a task on each draw of test examples, [R]: `figures` by cell and name, and in `guessing` what blind
    guessing scores, for the figures that reward it."""

    figures: dict[Any, dict[str, Replicates]]
    guessing: dict[str, Replicates]


def resample_examples(counts: Mapping[Any, Counts], task: Task, *, replicates: int = 2000, seed: int = 0) -> Resampled:
    """Draw the test examples anew `replicates` times, the same for every cell, and make all figures of each draw.

    `counts` holds for every cell its counts [N, K] (see `Task.counts`): a draw of examples is a sum of their rows.
    """
    found: dict[Any, dict[str, list[Replicates]]] = {cell: {} for cell in counts}
    guessed: dict[str, list[Replicates]] = {}
    examples = next((rows.shape[0] for rows in counts.values()), 0)
    random = np.random.Generator(np.random.PCG64([seed, 1]))
    for start in range(0, replicates if counts else 0, _CHUNK):
        rows = min(_CHUNK, replicates - start)
        drawn = random.integers(0, examples, size=(rows, examples))
        drawn += np.arange(rows)[:, None] * examples
        weights = np.bincount(drawn.ravel(), minlength=rows * examples).reshape(rows, examples).astype(np.float64)
        for cell, table in counts.items():
            sums = weights @ table
            for name, figure in task.figures(sums).items():
                found[cell].setdefault(name, []).append(figure)
        for name in next(iter(found.values())):  # depends on the gold answers, which all cells share
            guess = task.guessing(name, sums, examples)
            if guess is not None:
                guessed.setdefault(name, []).append(guess)
    return Resampled({cell: _joined(parts) for cell, parts in found.items()}, _joined(guessed))


def _joined(parts: Mapping[str, list[Replicates]]) -> dict[str, Replicates]:
    return {name: np.concatenate(some) for name, some in parts.items()}


class Resampling:
    """Scores of many cells under one set of draws of test examples and seeds.

    `counts` holds for every cell its counts [N, K] on the same N test examples in the same order (see `Task.counts`).
    `guessing` is the score of blind guessing on each draw of test examples, [R], where the metric rewards it, else None. `drawn` is what `resample_examples` gave for the same counts, where several
    figures share the work.
    Raises ValueError when two cells disagree about N.
    """

    def __init__(
        self,
        counts: Mapping[Any, Counts],
        metric: Figure,
        *,
        replicates: int = 2000,
        confidence: float = 0.95,
        seed: int = 0,
        drawn: Resampled | None = None,
    ) -> None:
        sizes = {cell: rows.shape[0] for cell, rows in counts.items()}
        if len(set(sizes.values())) > 1:
            low, high = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
            raise ValueError(
                f"{low} has {sizes[low]} test examples and {high} has {sizes[high]}: all cells share one test split"
            )
        self.metric = metric
        self.confidence = confidence
        self.size = replicates
        self.scores: dict[Any, float] = {
            cell: float(metric.of(np.asarray(rows.sum(axis=0)))) for cell, rows in counts.items()
        }
        if drawn is None:
            drawn = resample_examples(counts, metric.task, replicates=replicates, seed=seed)
        self._replicates: dict[Any, Replicates] = {cell: found[metric.name] for cell, found in drawn.figures.items()}
        self.guessing: Replicates | None = drawn.guessing.get(metric.name)
        self._seed = seed
        self._draws: dict[int, Replicates] = {}

    def cell(self, cell: Hashable) -> Replicates:
        """Scores of one cell under resampled test examples, [R]."""
        return self._replicates[cell]

    def cell_interval(self, cell: Hashable) -> Interval:
        """Interval of one cell's score: only the test examples vary."""
        return self.interval(self._replicates[cell])

    def mean(self, cells: list[Any]) -> float:
        """Mean score of cells that differ in their seed."""
        return mean([self.scores[cell] for cell in cells])

    def replicates(self, cells: list[Any]) -> Replicates:
        """Mean score of cells that differ in their seed, test examples and seeds resampled, [R].

        Two lists of equally many seeds in the same order get the same draws: subtract them for a paired difference.
        """
        on_examples = np.mean([self._replicates[cell] for cell in cells], axis=0)  # [R]
        if len(cells) < 2:
            return np.asarray(on_examples)
        scores = np.array([self.scores[cell] for cell in cells])  # [S]
        of_seeds = self._draw_seeds(len(cells)) @ (scores - scores.mean())  # [R]
        return np.asarray(on_examples + widening(len(cells), self.confidence) * of_seeds)

    def interval(self, replicates: Replicates) -> Interval:
        """Percentile interval. Infinite replicates are legal: limits are replicates, never a blend of two."""
        tail = (1 - self.confidence) / 2
        low = np.quantile(replicates, tail, method="lower")
        high = np.quantile(replicates, 1 - tail, method="higher")
        return Interval(float(low), float(high))

    def _draw_seeds(self, count: int) -> Replicates:
        """Shares of `count` seeds in every replicate, [R, count], rows sum to 1."""
        if count not in self._draws:
            random = np.random.Generator(np.random.PCG64([self._seed, 2, count]))
            picked = random.integers(0, count, size=(self.size, count)) + np.arange(self.size)[:, None] * count
            shares = np.bincount(picked.ravel(), minlength=self.size * count).reshape(self.size, count)
            self._draws[count] = shares / count
        return self._draws[count]


@lru_cache(maxsize=64)
def widening(seeds: int, confidence: float) -> float:
    """How much the spread of a bootstrap mean over `seeds` seeds is widened (see the top of this file)."""
    from scipy import stats

    upper = (1 + confidence) / 2
    return float(np.sqrt(seeds / (seeds - 1)) * stats.t.ppf(upper, seeds - 1) / stats.norm.ppf(upper))


def error_reduction(base: Replicates, score: Replicates) -> Replicates:
    """(score − base) / (1 − base), [R]: the share of the baseline's errors that is gone.

    Scores are clipped to 0 … 1 first, since the widened seed part can reach beyond. Of a baseline without errors it is 0
    where nothing was lost, else minus infinity.
    """
    base, score = base.clip(0, 1), score.clip(0, 1)
    without = np.where(score < base, -np.inf, 0.0)
    return np.divide(score - base, 1 - base, out=without, where=base < 1)


def equivalent_labels(target: Replicates, curve: Replicates, labels: NDArray[np.float64]) -> Replicates:
    """How many labels a reference needs to reach `target`, [R]: its curve read backwards.

    `target` [R] are scores to reach, `curve` [R, B] the reference's scores at `labels` [B] (rising). Between budgets the
    curve is linear in the logarithm of the labels; a dip counts as a plateau (running maximum). Where the target is
    reached at the first budget already the answer is that budget ("at most"), where it is never reached, infinity.
    """
    rising = np.maximum.accumulate(curve, axis=1)
    reached = rising >= target[:, None]  # [R, B]
    first = reached.argmax(axis=1)
    row = np.arange(len(target))
    above, below = rising[row, first], rising[row, np.maximum(first - 1, 0)]
    share = np.divide(target - below, above - below, out=np.ones_like(target), where=above > below)
    logs = np.log(labels)
    between = np.exp(logs[np.maximum(first - 1, 0)] + share * (logs[first] - logs[np.maximum(first - 1, 0)]))
    answer = np.where(first == 0, labels[0], between)
    return np.where(reached.any(axis=1), answer, np.inf)
