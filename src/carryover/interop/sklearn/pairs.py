"""scikit-learn estimators of pairs of texts: a label for both together, or a number."""

from __future__ import annotations

from collections.abc import Sequence as ListOf
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin

from carryover.data.examples import Example, Labels, TextPair
from carryover.data.numbers import are_numbers, written_number
from carryover.errors import BadData, refuse_string
from carryover.interop.sklearn.estimators import _Estimator
from carryover.interop.sklearn.rows import as_array, labels_of, texts_of


def pairs_of(X: Any) -> list[TextPair]:
    """Pairs of a list of (first, second), an array [n, 2] or a table of two columns.

    Raises TypeError for a string and for what are no texts, ValueError for another shape.
    """
    refuse_string("X", X)
    array = as_array(X)
    if array is not None and (array.ndim != 2 or array.shape[1] != 2):
        raise ValueError(f"X has shape {list(array.shape)}: give two columns, the first and the second text of each pair")
    rows = list(X) if array is None else array.tolist()
    found = []
    for number, row in enumerate(rows):
        parts = (row.first, row.second) if isinstance(row, TextPair) else row
        if isinstance(parts, str) or len(parts) != 2 or not all(isinstance(text, str) for text in parts):
            raise TypeError(f"row {number} of X is {row!r:.60}: give a pair of texts")
        found.append(TextPair(*parts))
    return found


class _PairEstimator(_Estimator):
    """What both share: `X` are pairs of texts; `fit(texts)` without `y` pretrains on single texts."""

    _task = "pair"

    def _raw(self, X: ListOf[Any]) -> list[str]:
        return texts_of(X)

    def _inputs(self, X: ListOf[Any]) -> list[Any]:
        return pairs_of(X)

    def _labels(self, example: Example[TextPair, Labels]) -> tuple[str, ...]:
        return example.gold or ()


class PairClassifier(ClassifierMixin, _PairEstimator):
    """Label pairs of texts. `X` is a list of pairs, an array [n, 2] or a table of two columns; `y` one label each.

    >>> classifier = PairClassifier(mode="features").fit(pairs, labels)     # doctest: +SKIP
    """

    def predict(self, X: Any) -> np.ndarray:
        """The label of every pair, an array [N]."""
        found = self._fitted().predict(self._inputs(X))
        return np.asarray(self.classes_[[self._names.index(labels[0]) for labels in found]])

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of every class, [N, classes], columns in the order of `classes_`."""
        predictor = self._fitted()
        columns = [predictor.labels.index(name) for name in self._names]
        rows = [row[columns] for row in predictor.predict_proba(self._inputs(X))]
        return np.array(rows, dtype=np.float32).reshape(-1, len(columns))

    def _examples(self, X: list[Any], y: ListOf[Any]) -> list[Any]:
        labels = labels_of(y)
        self.classes_ = np.unique(labels)
        names = [str(one) for one in self.classes_]
        # What looks like a number would be learned as one; here it is the name of a class.
        self._names = [f"class {name}" for name in names] if are_numbers(names) else names
        place = dict(zip(self.classes_.tolist(), self._names, strict=True))
        return [Example(pair, (place[label],)) for pair, label in zip(X, labels.tolist(), strict=True)]


class PairRegressor(RegressorMixin, _PairEstimator):
    """Tell how large a number says that two texts are related. `X` as for `PairClassifier`, `y` one number each."""

    def predict(self, X: Any) -> np.ndarray:
        """The number of every pair, an array [N]."""
        return np.array([float(labels[0]) for labels in self._fitted().predict(self._inputs(X))])

    def _examples(self, X: list[Any], y: ListOf[Any]) -> list[Any]:
        try:
            numbers = np.asarray(y, dtype=np.float64).reshape(len(X))
        except (TypeError, ValueError):
            raise BadData("y holds what is no number", repair="give one number a pair, or use PairClassifier") from None
        if not np.isfinite(numbers).all():
            raise BadData("y holds a number that is not finite", repair="leave such pairs out")
        self.classes_ = np.unique(numbers)
        return [Example(pair, (written_number(number),)) for pair, number in zip(X, numbers.tolist(), strict=True)]

    def _fixed_settings(self) -> dict[str, Any]:
        return {"metric": "pearson"}
