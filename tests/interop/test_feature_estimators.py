"""The estimators in the modes that need no encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score

from carryover import SequenceTagger, TextClassifier, load
from carryover.classical.train import fit_features
from carryover.data import builtin
from carryover.errors import UsageError
from carryover.transfer.settings import FitSettings

EXAMPLES = builtin.classified("grammar?labelled=80&raw=50")
TEXTS, LABELS = [e.input.text for e in EXAMPLES], [e.gold[0] for e in EXAMPLES]


def test_a_classifier_of_features_is_that_of_the_command(tmp_path: Path) -> None:
    classifier = TextClassifier(mode="features").fit(TEXTS, LABELS)
    expected = fit_features("classify", EXAMPLES, FitSettings(), "features")
    assert list(classifier.predict(TEXTS)) == [labels[0] for labels in expected.predict(TEXTS)]
    np.testing.assert_allclose(classifier.predict_proba(TEXTS).sum(axis=1), 1, atol=1e-5)
    classifier.save(tmp_path / "model")
    assert load(tmp_path / "model").predict(TEXTS) == expected.predict(TEXTS)
    assert cross_val_score(TextClassifier(mode="features"), TEXTS, LABELS, cv=2).mean() > 0.3


def test_numbers_come_back_as_numbers_and_several_labels_as_tuples() -> None:
    numbers = [len(label) for label in LABELS]
    assert TextClassifier(mode="features").fit(TEXTS, numbers).predict(TEXTS[:4]).dtype.kind == "i"
    several = [(label, "long") if len(text) > 25 else (label,) for text, label in zip(TEXTS, LABELS, strict=True)]
    found = TextClassifier(mode="features", multi_label=True).fit(TEXTS, several).predict(TEXTS)
    assert any("long" in labels for labels in found) and all(isinstance(labels, tuple) for labels in found)


def test_a_tagger_of_features_and_of_the_majority() -> None:
    tagged = builtin.tagged("grammar?labelled=50&raw=50")
    words, tags = [e.input.tokens for e in tagged], [e.gold for e in tagged]
    scores = [SequenceTagger(mode=mode).fit(words, tags).score(words, tags) for mode in ("features", "majority")]
    assert scores[0] > scores[1] > 0.5


def test_settings_of_gradients_are_refused() -> None:
    with pytest.raises(UsageError, match=r"mode features does not use fitting\['epochs'\]"):
        TextClassifier(mode="features", fitting={"epochs": 3}).fit(TEXTS, LABELS)
