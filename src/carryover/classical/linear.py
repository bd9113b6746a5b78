"""The linear model that all models of hand-made features end in, as plain numbers: scores, answers, probabilities, shares.

scikit-learn fits it. What predicts afterwards is this, so that a model that was stored and one that was just fitted do the
same arithmetic, and nothing of another library needs to be stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LINKS = ("softmax", "rest", "several", "number")
_CERTAIN = 1000.0
"""Score of a label that every training example has, or with a minus none: its probability is 1, or 0, to the last bit."""


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Scores x Wᵀ + b with `weights` W [R, F] and `bias` b [R]; what they mean says `link`.

    softmax : one of R classes; one row stands for two classes, its score being that of the second less that of the first
    rest : one of R classes, each fitted against the rest
    several : any of R labels
    number : the score itself
    """

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    link: str

    def __post_init__(self) -> None:
        if self.link not in LINKS:
            raise ValueError(f"link is {self.link!r}, known are {', '.join(LINKS)}")
        if self.weights.ndim != 2 or self.bias.shape != self.weights.shape[:1]:
            raise ValueError(f"weights are {list(self.weights.shape)}, bias {list(self.bias.shape)}")

    @classmethod
    def of(cls, model: Any, *, several: bool = False) -> LinearModel:
        """A fitted classifier or regression of scikit-learn: linear, naive Bayes, or one of these a class."""
        estimators = list(getattr(model, "estimators_", [model]))
        width = next((one.n_features_in_ for one in estimators if "n_features_in_" in vars(one)), 0)
        parts = [_numbers(one, width, apart=len(estimators) > 1 or several) for one in estimators]
        weights, bias = (np.concatenate(side).astype(np.float64) for side in zip(*parts, strict=True))
        link = "several" if several else "rest" if len(estimators) > 1 else "softmax"
        return cls(weights, bias, link)

    @property
    def classes(self) -> int:
        """How many answers have a probability."""
        return 2 if self.link == "softmax" and len(self.bias) == 1 else len(self.bias)

    def scores(self, matrix: Any) -> NDArray[np.float64]:
        """[N, R] of features [N, F], dense or sparse."""
        return np.asarray(matrix @ self.weights.T + self.bias, dtype=np.float64)

    def answers(self, matrix: Any) -> NDArray[Any]:
        """[N]: the number of the class, or the number itself; for several labels [N, K] of 0 and 1."""
        scores = self.scores(matrix)
        if self.link == "number":
            return scores[:, 0]
        if self.link == "several":
            return (scores > 0).astype(np.uint8)
        return scores.argmax(axis=1) if scores.shape[1] > 1 else (scores[:, 0] > 0).astype(np.int64)

    def probabilities(self, matrix: Any) -> NDArray[np.float64]:
        """[N, K]. Margins of a support vector machine or of ridge regression pass through the same functions as the scores of a
        logistic regression; they are scores then, not calibrated chances."""
        scores = self.scores(matrix)
        if self.link == "number":
            return np.zeros((len(scores), 0))
        if self.link == "softmax":
            both = np.concatenate([np.zeros_like(scores), scores], axis=1) if scores.shape[1] == 1 else scores
            powers = np.exp(both - both.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))
        each = 1 / (1 + np.exp(-scores.clip(-_CERTAIN / 2, None)))
        each[scores <= -_CERTAIN] = 0.0
        if self.link == "several":
            return np.asarray(each)
        total = each.sum(axis=1, keepdims=True)
        return np.asarray(np.where(total > 0, each / np.where(total > 0, total, 1), 1 / each.shape[1]))

    def rows(self) -> NDArray[np.float64]:
        """What each feature says for each answer, [K, F]: the weights, for two classes of one row with both signs."""
        return np.concatenate([-self.weights, self.weights]) if self.classes > len(self.bias) else self.weights

    def offsets(self) -> NDArray[np.float64]:
        """The bias of each answer, [K], as `rows`."""
        return np.concatenate([-self.bias, self.bias]) if self.classes > len(self.bias) else self.bias


def _numbers(model: Any, width: int, *, apart: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weights [R, F] and bias [R] of one estimator; `apart`: it answers yes or no, in one row."""
    if "feature_log_prob_" in vars(model):
        weights, bias = model.feature_log_prob_, model.class_log_prior_
        return (weights[1:] - weights[:1], bias[1:] - bias[:1]) if apart else (weights, bias)
    if "coef_" in vars(model):
        return np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
    # A label that every or no example has: one-vs-rest keeps what answers the same to everything.
    always = bool(model.predict(np.zeros((1, width)))[0])
    return np.zeros((1, width)), np.array([_CERTAIN if always else -_CERTAIN])
