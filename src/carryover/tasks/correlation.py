"""Scores of numbers: correlations and errors as functions of sums over examples.

Six numbers for each example, [y, p, y², p², y p, 1] of the right answer y and the predicted p, add up to all that Pearson's r and
the mean squared error need, so the bootstrap can draw thousands of test splits from a table of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryover.data.examples import Labels

Sums = NDArray[np.float64]
Numbers = Sequence[float] | NDArray[np.float64]


def count_moments(gold: Numbers, predicted: Numbers) -> Sums:
    """[N, 6]: y, p, y², p², y p and 1 of every example. Raises ValueError for lists of unequal length.

    Both are taken from the mean of `gold`: correlations and errors do not change, and sums of squares keep their digits where
    numbers are large beside their spread.
    """
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold numbers but {len(predicted)} predictions: every example is scored once")
    right, found = np.asarray(gold, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    center = right.mean() if len(right) else 0.0
    y, p = right - center, found - center
    return np.stack([y, p, y * y, p * p, y * p, np.ones_like(y)], axis=1)


def count_ranks(gold: Numbers, predicted: Numbers) -> Sums:
    """[N, 6]: the same of the ranks, 0 … 1 and equal numbers sharing the mean of theirs, so that `pearson` of the sums is
    Spearman's ρ.

    A rank depends on all the numbers it was taken among. Sums over all examples give ρ exactly; sums over a part, or over
    examples drawn again, keep the ranks of the whole, which is an approximation.
    """
    most = max(len(gold) - 1, 1)
    return count_moments(ranks(gold) / most, ranks(predicted) / most)


def ranks(numbers: Numbers) -> NDArray[np.float64]:
    """The rank of every number, 0 the smallest; equal ones share the mean of their ranks."""
    values, places, counts = np.unique(np.asarray(numbers, dtype=np.float64), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts) if len(values) else np.zeros(0)
    found: NDArray[np.float64] = (ends - (counts + 1) / 2)[places]
    return found


def pearson(sums: Sums) -> NDArray[np.float64]:
    """Pearson's r, [...], of sums [..., 6]; 0 where one side does not vary, as an answer that is always the same is worth nothing."""
    y, p, yy, pp, yp, n = np.moveaxis(np.asarray(sums, dtype=np.float64), -1, 0)
    n = np.maximum(n, 1)
    covariance, of_gold, of_found = yp - y * p / n, yy - y * y / n, pp - p * p / n
    # What rounding leaves of a variance that is 0.
    varies = (of_gold > 1e-12 * np.maximum(yy, 1e-300)) & (of_found > 1e-12 * np.maximum(pp, 1e-300))
    below = np.sqrt(np.where(varies, of_gold * of_found, 1.0))
    return np.where(varies, np.clip(covariance / below, -1, 1), 0.0)


def mean_squared_error(sums: Sums) -> NDArray[np.float64]:
    """Mean of (p − y)², [...], of sums [..., 6]; 0 of no example."""
    _, _, yy, pp, yp, n = np.moveaxis(np.asarray(sums, dtype=np.float64), -1, 0)
    return np.maximum(yy + pp - 2 * yp, 0) / np.maximum(n, 1)


class NumberScores:
    """The scoring of answers that are numbers, `("3.84213",)`; `main` is the figure that stands for the whole.

    The counts [12] of an example are its moments and those of its ranks.
    """

    count_size = 12
    beside: tuple[str, ...] = ()
    guess = ""

    def __init__(self, main: str) -> None:
        self.main = main

    def counts(self, gold: Sequence[Labels], predicted: Sequence[Labels]) -> Sums:
        """[N, 12]. Raises ValueError for lists of unequal length."""
        right, found = ([float(row[0]) for row in rows] for rows in (gold, predicted))
        return np.concatenate([count_moments(right, found), count_ranks(right, found)], axis=1)

    def count(self, gold: Labels, predicted: Labels) -> Sums:
        """[12] of an example alone."""
        alone: Sums = self.counts([gold], [predicted])[0]
        return alone

    def figures(self, sums: Sums) -> dict[str, Sums]:
        """Pearson's r and Spearman's ρ, [...]."""
        found = {"pearson": pearson(sums[..., :6]), "spearman": pearson(sums[..., 6:])}
        return {self.main: found[self.main], **found}

    def limits(self, figure: str) -> tuple[float, float]:
        """A correlation is from −1 to 1."""
        return -1.0, 1.0

    def guessing(self, figure: str, sums: Sums, examples: int) -> None:
        """Guessing correlates with nothing."""

    def never_answered(self, figure: str, sums: Sums) -> Labels:
        return ()

    def score(self, gold: Sequence[Labels], predicted: Sequence[Labels]) -> dict[str, Any]:
        """The figures and the mean squared error as JSON, as `Task.score` has them."""
        sums = self.counts(gold, predicted).sum(axis=0)
        made = self.figures(sums)
        figures = {name: float(made[name]) for name in ("pearson", "spearman")}
        figures["mean_squared_error"] = float(mean_squared_error(sums[:6]))
        return {"main": figures[self.main], "main_name": self.main, **figures, "examples": len(gold), "unscored": 0}
