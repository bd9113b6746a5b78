"""The lowest rung for series: statistics and random convolutions into a linear model, chosen inside the labelled budget.

Candidates are statistics of each channel, random convolutions, or both, under ridge regression on ±1 targets (its strength by
leave-one-out inside the examples) or logistic regression. Cross-validation over the training examples alone picks one, which is
then fitted on all of them. Channels are standardised by the mean and deviation of the training series.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from carryover.classical.cross_validation import fold_indices, score_folds
from carryover.classical.feature_model import FeatureModel, strongest
from carryover.classical.linear import LinearModel
from carryover.classical.random_convolutions import FEATURES, RandomConvolutions
from carryover.classical.series_statistics import NAMES, describe
from carryover.classical.stored import Stored, with_linear
from carryover.data.examples import Series
from carryover.errors import NothingToLearn, UsageError

STRENGTHS = tuple(float(strength) for strength in np.logspace(-3, 3, 10))
"""Of ridge regression, as the paper of ROCKET has them."""


@dataclass(frozen=True, kw_only=True)
class SeriesCandidate:
    """One way of classifying: which features, which linear model."""

    features: str
    model: str

    def __str__(self) -> str:
        return f"{self.features}, {self.model}"


CANDIDATES = (
    SeriesCandidate(features="convolutions", model="ridge"),
    SeriesCandidate(features="convolutions+statistics", model="ridge"),
    SeriesCandidate(features="statistics", model="ridge"),
    SeriesCandidate(features="statistics", model="logistic regression"),
)


class SeriesClassifier(FeatureModel):
    """Fit and predict a linear classifier of series [T, C] with one label each; lengths may differ.

    `metric` decides between the candidates: "accuracy", "macro_f1" or "micro_f1". `class_weights` "balanced" makes rare
    classes weigh as much as frequent ones. Raises UsageError for `multi_label`.
    """

    kind: ClassVar[str] = "series"
    reads: ClassVar[type] = Series
    reading: ClassVar[str] = "series"

    def __init__(
        self,
        *,
        multi_label: bool = False,
        candidates: Sequence[SeriesCandidate] = CANDIDATES,
        folds: int = 5,
        metric: str = "accuracy",
        class_weights: str = "none",
        convolutions: int = FEATURES,
    ) -> None:
        if multi_label:
            raise UsageError("a series has one label", repair="leave out --multi-label")
        self.candidates = tuple(candidates)
        self.folds = folds
        self.metric = metric
        self.class_weights = class_weights
        self.convolutions = convolutions

    def fit(self, inputs: Sequence[Series], labels: Sequence[tuple[str, ...]], seed: int = 0) -> SeriesClassifier:
        """Choose and fit. `labels` holds the one label of each series.

        Raises NothingToLearn when there are fewer than two classes.
        """
        self.labels = tuple(sorted({label for row in labels for label in row}))
        if len(self.labels) < 2:
            raise NothingToLearn(
                f"only one class ({', '.join(self.labels) or 'none'}) among {len(inputs)} examples",
                repair="give examples of at least two classes",
            )
        place = {label: i for i, label in enumerate(self.labels)}
        targets = np.array([place[row[0]] for row in labels])
        every = np.concatenate([one.values for one in inputs])
        self._mean, deviation = every.mean(axis=0), every.std(axis=0)
        self._deviation = np.where(deviation > 0, deviation, 1.0)
        self._random = RandomConvolutions(self.convolutions).fit(self._scaled(inputs), seed)
        wanted = {candidate.features for candidate in self.candidates}
        matrices = self._matrices(inputs, wanted)
        self.scores = {
            candidate: self._cross_validate(matrices[candidate.features], targets, candidate, seed)
            for candidate in (self.candidates if len(self.candidates) > 1 else ())
        }
        # Ties go to the first, so the pick is the same on every machine.
        self.chosen = max(self.scores, key=lambda c: self.scores[c]) if self.scores else self.candidates[0]
        fitted = self._fitted(self.chosen, matrices[self.chosen.features], targets)
        self._standard = np.stack([fitted[0].mean_, fitted[0].scale_])  # [2, F]
        self._linear = LinearModel.of(fitted[-1])
        return self

    def predict(self, inputs: Sequence[Series]) -> list[tuple[str, ...]]:
        """The label of each series, as it was given to `fit`."""
        if not inputs:
            return []
        return [(self.labels[i],) for i in self._linear.answers(self._matrix(inputs))]

    def predict_proba(self, inputs: Sequence[Series]) -> NDArray[np.float64]:
        """[N, number of labels]. Ridge regression has no probabilities: its margins pass through a softmax and are scores, not
        calibrated chances."""
        if not inputs:
            return np.zeros((0, len(self.labels)))
        return self._linear.probabilities(self._matrix(inputs))

    def weights(self, count: int = 10) -> dict[str, list[tuple[str, float]]]:
        """For every label the features that speak most for it, with the weights of their standardised values."""
        names, rows = self.feature_names(), self._linear.rows()
        return {label: strongest(names, row, count) for label, row in zip(self.labels, rows, strict=True)}

    def feature_names(self) -> list[str]:
        """In the order of the weights."""
        channels = range(1, len(self._mean) + 1)
        described = [f"{name}, channel {channel}" for channel in channels for name in NAMES]
        named = {"convolutions": self._random.feature_names(), "statistics": [*described, "logarithm of the length"]}
        return [name for part in self.chosen.features.split("+") for name in named[part]]

    def to_stored(self) -> Stored:
        """All that `predict` needs."""
        arrays = {"channels": np.stack([self._mean, self._deviation]), "standard": self._standard}
        config = {**asdict(self.chosen), "convolutions": self.convolutions}
        return with_linear(self._linear, config, {}, {**arrays, **self._random.to_arrays()})

    @classmethod
    def from_stored(cls, stored: Stored, labels: Sequence[str]) -> SeriesClassifier:
        """Inverse of `to_stored`. Raises KeyError, TypeError, ValueError for what does not fit together."""
        model = cls(convolutions=stored.value("convolutions", int))
        model.labels = tuple(labels)
        model.chosen = SeriesCandidate(features=stored.value("features", str), model=stored.value("model", str))
        model._mean, model._deviation = stored.array("channels", 2, None)
        model._random = RandomConvolutions.from_stored(stored, len(model._mean))
        features = len(model.feature_names())
        model._standard = stored.array("standard", 2, features)
        if not (model._deviation > 0).all() or not (model._standard[1] > 0).all():
            raise ValueError("a deviation is not positive")
        model._linear = stored.linear(len(labels), features)
        return model

    def faults(self, content: Series) -> str | None:
        channels = content.values.shape[1]
        return (
            None if channels == len(self._mean) else f"it has {channels} channels, the training series had {len(self._mean)}"
        )

    def parameter_count(self) -> int:
        """Number of fitted weights."""
        return len(self.labels) * int(self._linear.weights.shape[1])

    def foretold_mib(self, sample: Sequence[Series], classes: int, examples: int) -> float:
        """Memory that `fit` needs beyond what the process holds already, for `examples` series like those of `sample`."""
        width = self.convolutions + sample[0].values.shape[1] * len(NAMES) + 1
        values = math.fsum(one.values.size for one in sample) / len(sample)
        # Features of both kinds and together, a scaled copy and one in the solver; products of all pairs of examples.
        return (examples * (8 * 4 * width + 16 * values) + 3 * 8 * examples**2 + 8 * classes * width) / 2**20

    def _scaled(self, inputs: Sequence[Series]) -> list[NDArray[np.float32]]:
        return [((one.values - self._mean) / self._deviation).astype(np.float32) for one in inputs]

    def _matrices(self, inputs: Sequence[Series], wanted: set[str]) -> dict[str, NDArray[Any]]:
        scaled = self._scaled(inputs)
        parts = {part for features in wanted for part in features.split("+")}
        found: dict[str, NDArray[Any]] = {}
        if "convolutions" in parts:
            found["convolutions"] = self._random.transform(scaled)
        if "statistics" in parts:
            found["statistics"] = describe(scaled)
        return {features: np.concatenate([found[part] for part in features.split("+")], axis=1) for features in wanted}

    def _matrix(self, inputs: Sequence[Series]) -> NDArray[Any]:
        """Standardised features, [N, F]."""
        mean, scale = self._standard
        return np.asarray((self._matrices(inputs, {self.chosen.features})[self.chosen.features] - mean) / scale)

    def _cross_validate(self, matrix: NDArray[Any], targets: np.ndarray, candidate: SeriesCandidate, seed: int) -> float:
        answered = []
        for train, held_out in fold_indices(targets, self.folds, False, seed):
            if len(np.unique(targets[train])) < 2:
                continue
            answers = self._fitted(candidate, matrix[train], targets[train]).predict(matrix[held_out])
            answered.append((targets[held_out], answers))
        return score_folds(answered, self.metric) if answered else 0.0

    def _fitted(self, candidate: SeriesCandidate, matrix: NDArray[Any], targets: np.ndarray) -> Any:
        """The candidate's model behind a standardisation of its features, its classes weighed as asked for."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        weight = "balanced" if self.class_weights == "balanced" else None
        linear: Any = (
            RidgeClassifierCV(alphas=STRENGTHS, class_weight=weight)
            if candidate.model == "ridge"
            else LogisticRegression(C=1.0, max_iter=1000, class_weight=weight)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return make_pipeline(StandardScaler(), linear).fit(matrix, targets)
