"""Estimators of pairs of texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score

import carryover
from carryover import PairClassifier, PairRegressor
from carryover.data import builtin
from carryover.errors import BadData

TEXTS = [e.input.text for e in builtin.classified("grammar?labelled=60&raw=50")]
PAIRS = [(text, text if n % 2 else " ".join(reversed(text.split()))) for n, text in enumerate(TEXTS)]
SAME = ["same" if n % 2 else "other" for n in range(len(PAIRS))]
ALIKE = [1.0 * (n % 2) + n / 1000 for n in range(len(PAIRS))]


class Table:
    """Two columns of a data frame, as much as is asked for."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return np.array(PAIRS, dtype=object)

    def __len__(self) -> int:
        return len(PAIRS)


def test_labels_of_pairs_from_lists_arrays_and_tables(tmp_path: Path) -> None:
    classifier = PairClassifier(mode="features").fit(PAIRS, SAME)
    assert np.mean(classifier.predict(PAIRS) == np.array(SAME)) > 0.9
    assert classifier.predict_proba(PAIRS[:3]).shape == (3, 2) and list(classifier.classes_) == ["other", "same"]
    for other in (np.array(PAIRS, dtype=object), Table()):
        assert list(PairClassifier(mode="features").fit(other, SAME).predict(other)) == list(classifier.predict(PAIRS))
    assert cross_val_score(PairClassifier(mode="features"), np.array(PAIRS, dtype=object), SAME, cv=2).mean() > 0.6
    classifier.save(tmp_path / "model")
    loaded = carryover.load(tmp_path / "model")
    assert [labels[0] for labels in loaded.predict([carryover.data.examples.TextPair(*pair) for pair in PAIRS])] == list(classifier.predict(PAIRS))  # fmt: skip


def test_classes_that_look_like_numbers_stay_classes() -> None:
    numbers = [0.5 if label == "same" else 1.5 for label in SAME]
    classifier = PairClassifier(mode="features").fit(PAIRS, numbers)
    assert set(classifier.predict(PAIRS)) <= {0.5, 1.5} and classifier.predict_proba(PAIRS).shape[1] == 2


def test_numbers_of_pairs() -> None:
    regressor = PairRegressor(mode="features").fit(PAIRS, ALIKE)
    found = regressor.predict(PAIRS)
    assert found.dtype.kind == "f" and np.corrcoef(found, ALIKE)[0, 1] > 0.9 and regressor.score(PAIRS, ALIKE) > 0.5
    whole = PairRegressor(mode="features").fit(PAIRS, [n % 2 for n in range(len(PAIRS))])
    assert whole.predict(PAIRS).dtype.kind == "f", "whole numbers are numbers, too"


def test_a_neural_mode() -> None:
    regressor = PairRegressor(mode="scratch", fitting={"epochs": 1, "hidden": 4, "word_size": 4}).fit(PAIRS, ALIKE)
    assert regressor.predict(PAIRS[:2]).shape == (2,)


def test_what_are_no_pairs_is_named() -> None:
    with pytest.raises(TypeError, match="row 0 of X is 'text'"):
        PairClassifier(mode="features").fit(["text", "other"], ["a", "b"])
    with pytest.raises(ValueError, match="give two columns"):
        PairClassifier(mode="features").fit(np.array(TEXTS), SAME)
    with pytest.raises(BadData, match="y holds what is no number"):
        PairRegressor(mode="features").fit(PAIRS, SAME)
