"""Whether probabilities mean what they say: expected calibration error (Guo et al. 2017) and the Brier score (Brier 1950)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Answers whose probability is above `low` and at most `high`: how many, their mean probability, the share that is right."""

    low: float
    high: float
    count: int
    probability: float
    right: float


@dataclass(frozen=True)
class Reliability:
    """`error` is Σ (n_b / n) |right_b − probability_b| over bins of equal width; `brier` is the mean of Σ_k (p_k − y_k)² over
    answers, from 0 (certain and right) to 2 (certain and wrong)."""

    bins: tuple[Bin, ...]
    error: float
    brier: float
    count: int

    @classmethod
    def of(cls, answered: NDArray[Any], right: NDArray[Any], squares: NDArray[Any], bins: int = BINS) -> Reliability:
        """From the probability of each answer [N], whether it was right [N], and Σ_k (p_k − y_k)² of each [N]; N at least 1."""
        place = np.clip(np.ceil(answered * bins).astype(int) - 1, 0, bins - 1)
        counts = np.bincount(place, minlength=bins)
        safe = np.maximum(counts, 1)
        probability = np.bincount(place, weights=answered, minlength=bins) / safe
        correct = np.bincount(place, weights=right, minlength=bins) / safe
        rows = tuple(
            Bin(number / bins, (number + 1) / bins, int(counts[number]), float(probability[number]), float(correct[number]))
            for number in range(bins)
        )
        error = float((counts * np.abs(correct - probability)).sum() / len(answered))
        return cls(rows, error, float(squares.mean()), len(answered))

    @property
    def probability(self) -> float:
        """Mean probability of the answers."""
        return sum(one.count * one.probability for one in self.bins) / self.count

    @property
    def right(self) -> float:
        """Share of the answers that is right."""
        return sum(one.count * one.right for one in self.bins) / self.count

    def to_json(self) -> dict[str, Any]:
        return {
            "expected_calibration_error": self.error,
            "brier": self.brier,
            "answers": self.count,
            "mean_probability": self.probability,
            "right": self.right,
            "bins": [asdict(one) for one in self.bins],
        }
