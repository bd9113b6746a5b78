"""The scikit-learn estimators: what they learn, and that scikit-learn's own tools and checks take them.

scikit-learn skips, for estimators that are tagged as reading strings, all of its checks but the one for cloning. Those of
the others that feed no matrix are called here one by one. What remains feeds matrices of numbers to `fit` and `predict`
(`check_fit_score_takes_y`, `check_fit2d_*`, `check_n_features_in`, `check_classifiers_*`, `check_estimators_dtypes` and so
on), which these estimators refuse: their input is text. `check_fit_idempotent` and `check_methods_subset_invariance` are repeated here with text.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import carryover
from carryover import SequenceTagger, TextClassifier
from carryover.data.schemes import Scheme
from carryover.encoders.bilm import BidirectionalEncoder
from carryover.errors import BadData, UsageError
from carryover.interop.sklearn.embedder import TextVectors
from task_material import classified, language_model, tagged

FITTING = {"least_updates": 60, "epochs": 1, "hidden": 8, "word_size": 8, "filters": ((2, 4),), "token_budget": 128}
QUICK = {**FITTING, "least_updates": 4, "evaluations": 2}
PRETRAINING = {
    "size": "tiny",
    "model": {"character_size": 4, "filters": ((1, 8), (2, 8)), "cells": 16, "projection": 8},
    "vocabulary_size": 40,
    "batch_size": 8,
    "steps": 10,
    "epochs": 1,
}
CHECKS = (
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_mixin_order",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
)


def texts(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    found = classified(count, seed)
    return [example.input.text for example in found], [example.gold[0] for example in found]


def sentences(count: int, seed: int = 0, *, spans: bool = False) -> tuple[list[list[str]], list[list[str]]]:
    found = tagged(count, seed, spans=spans)
    return [list(one.input.tokens) for one in found], [list(one.gold) for one in found]


@pytest.fixture(scope="module")
def classifier() -> TextClassifier:
    """One that has learned from unlabelled text, then from labels."""
    estimator = TextClassifier(
        pretraining=PRETRAINING, fitting={**FITTING, "learning_rate": 0.02, "least_updates": 150, "hidden": 16}
    )
    return estimator.fit(texts(120, seed=5)[0]).fit(*texts(120))


@pytest.fixture(scope="module")
def tagger() -> SequenceTagger:
    return SequenceTagger("scratch", fitting={**FITTING, "learning_rate": 0.02}).fit(*sentences(60))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("estimator", [TextClassifier(), SequenceTagger()], ids=lambda one: type(one).__name__)
def test_checks_of_scikit_learn(estimator: Any, check: str) -> None:
    run: Callable[[str, Any], None] = getattr(estimator_checks, check)
    run(type(estimator).__name__, estimator)


@pytest.mark.parametrize("estimator", [TextClassifier(), SequenceTagger()], ids=lambda one: type(one).__name__)
def test_scikit_learn_runs_what_it_thinks_applies(estimator: Any) -> None:
    with pytest.warns(estimator_checks.SkipTestWarning, match="requires input"):
        outcome = estimator_checks.check_estimator(estimator)
    assert outcome and all(one["status"] == "passed" for one in outcome)


def test_unlabelled_then_labelled(classifier: TextClassifier) -> None:
    assert isinstance(classifier.encoder_, BidirectionalEncoder)
    assert classifier.proof_.mode == "frozen" and classifier.proof_.tensors_loaded > 0
    assert classifier.proof_.measured_perplexity is not None
    assert classifier.classes_.tolist() == ["farm", "sea"] and classifier.dev_score_ is not None


def test_predict_and_score(classifier: TextClassifier) -> None:
    new, gold = texts(40, seed=9)
    found = classifier.predict(new)
    assert found.shape == (40,) and found.dtype == classifier.classes_.dtype
    chances = classifier.predict_proba(new)
    assert chances.shape == (40, 2) and chances.sum(1) == pytest.approx(np.ones(40), abs=1e-5)
    assert (classifier.classes_[chances.argmax(1)] == found).all()
    assert classifier.score(new, gold) == np.mean(found == np.array(gold)) > 0.65
    weights = np.arange(40.0)
    assert classifier.score(new, gold, weights) == pytest.approx(np.average(found == np.array(gold), weights=weights))


def test_a_part_or_another_order_gives_the_same(classifier: TextClassifier, tagger: SequenceTagger) -> None:
    new = texts(12, seed=9)[0]
    whole = classifier.predict_proba(new)
    assert np.abs(classifier.predict_proba(new[::-1])[::-1] - whole).max() < 1e-5
    assert np.abs(np.concatenate([classifier.predict_proba([one]) for one in new]) - whole).max() < 1e-5
    words = sentences(12, seed=9)[0]
    assert [tagger.predict([one])[0] for one in words] == tagger.predict(words)


def test_nothing_and_almost_nothing_to_predict(classifier: TextClassifier, tagger: SequenceTagger) -> None:
    assert classifier.predict([]).shape == (0,) and classifier.predict_proba([]).shape == (0, 2)
    assert tagger.predict([]) == [] and tagger.predict_proba([]) == []
    assert classifier.predict([""]).shape == (1,) and tagger.predict([[], ["cow"]])[0] == []


def test_the_tagger(tagger: SequenceTagger) -> None:
    new, gold = sentences(40, seed=9)
    found = tagger.predict(new)
    assert [len(tags) for tags in found] == [len(words) for words in new]
    chances = tagger.predict_proba(new)
    assert [tagger.classes_[table.argmax(1)].tolist() for table in chances] == found
    right = [one == other for row, wanted in zip(found, gold, strict=True) for one, other in zip(row, wanted, strict=True)]
    assert tagger.score(new, gold) == pytest.approx(np.mean(right)) and tagger.score(new, gold) > 0.8


def test_span_tags_are_scored_by_spans() -> None:
    estimator = SequenceTagger("scratch", fitting=QUICK).fit(*sentences(30, spans=True))
    assert estimator.predictor_.task.main_score == "span_f1"
    assert 0 <= estimator.score(*sentences(20, 3, spans=True)) <= 1


@pytest.mark.parametrize("labels", [[7, -1], [True, False], ["1", "01"]], ids=str)
def test_labels_of_any_one_type(labels: list[Any]) -> None:
    new, gold = texts(30)
    own = np.array([labels[0] if label == "sea" else labels[1] for label in gold])
    estimator = TextClassifier("scratch", fitting=QUICK).fit(np.array(new), own)
    found = estimator.predict(new)
    assert estimator.classes_.tolist() == sorted(labels)
    assert found.dtype == estimator.classes_.dtype and set(found.tolist()) <= set(labels)
    assert estimator.score(new, own) == np.mean(found == own)


def test_several_labels_a_text() -> None:
    new, gold = texts(60)
    several = [
        [label, "animal"] if "cow" in text or "gull" in text else [label] for text, label in zip(new, gold, strict=True)
    ]
    several[0] = []
    estimator = TextClassifier("scratch", multi_label=True, fitting={**FITTING, "learning_rate": 0.02}).fit(new, several)
    found = estimator.predict(new)
    assert estimator.classes_.tolist() == ["animal", "farm", "sea"]
    chances = estimator.predict_proba(new)
    assert chances.shape == (60, 3)
    assert [set(estimator.classes_[row >= 0.5]) for row in chances] == [set(labels) for labels in found]
    whole = np.mean([set(one) == set(other) for one, other in zip(found, several, strict=True)])
    assert estimator.score(new, several) == whole > 0.6
    with pytest.raises(UsageError, match="collection of labels"):
        TextClassifier(multi_label=True).fit(new, gold)


# With the tools of scikit-learn ---------------------------------------------------------------------------------------


def test_parameters() -> None:
    estimator = TextClassifier("head", fitting={"epochs": 2}, seed=4)
    assert TextClassifier().set_params(**estimator.get_params()).get_params() == estimator.get_params()
    copy = clone(estimator)
    assert copy is not estimator and copy.get_params() == estimator.get_params()
    assert estimator.set_params(mode="full").mode == "full"
    with pytest.raises(ValueError, match="Invalid parameter 'mood'"):
        estimator.set_params(mood="good")


def test_fitting_does_not_touch_parameters(classifier: TextClassifier) -> None:
    assert classifier.get_params()["encoder"] is None and classifier.get_params()["pretraining"] == PRETRAINING


@pytest.mark.parametrize("estimator", [TextClassifier("scratch", fitting=QUICK), SequenceTagger("scratch", fitting=QUICK)])
def test_cross_validation(estimator: Any) -> None:
    X, y = texts(24) if isinstance(estimator, TextClassifier) else sentences(24)
    scores = cross_val_score(estimator, X, y, cv=2, error_score="raise")
    assert scores.shape == (2,) and ((scores >= 0) & (scores <= 1)).all()


def test_grid_search_over_a_carried_model(tmp_path: Path) -> None:
    """An encoder that is a parameter outlives cloning."""
    encoder = language_model()
    search = GridSearchCV(
        TextClassifier(encoder=encoder, fitting=QUICK), {"mode": ["frozen", "head"]}, cv=2, error_score="raise"
    ).fit(*texts(24))
    assert search.best_params_["mode"] in ("frozen", "head") and search.best_estimator_.proof_.tensors_loaded > 0
    assert len(search.predict(texts(3)[0])) == 3


def test_at_the_end_of_a_pipeline() -> None:
    new, gold = texts(24)
    pipeline = make_pipeline(TextClassifier("scratch", fitting=QUICK)).fit(new, gold)
    assert pipeline.predict(new).shape == (24,)


def test_the_same_seed_gives_the_same() -> None:
    X, y = texts(24)
    first, second, other = (TextClassifier("scratch", fitting=QUICK, seed=seed).fit(X, y) for seed in (1, 1, 2))
    assert (first.predict_proba(X) == second.predict_proba(X)).all()
    assert (first.predict_proba(X) != other.predict_proba(X)).any()
    assert (first.fit(X, y).predict_proba(X) == second.predict_proba(X)).all(), "fitting again begins again"


def test_stored_as_an_artefact_and_as_a_pickle(classifier: TextClassifier, tagger: SequenceTagger, tmp_path: Path) -> None:
    new = texts(10, seed=9)[0]
    classifier.save(tmp_path / "cls")
    loaded = carryover.load(tmp_path / "cls")
    assert [labels[0] for labels in loaded.predict(new)] == classifier.predict(new).tolist()
    tagger.save(tmp_path / "tag")
    words = sentences(5)[0]
    assert [list(tags) for tags in carryover.load(tmp_path / "tag").predict(words)] == tagger.predict(words)
    assert (pickle.loads(pickle.dumps(classifier)).predict_proba(new) == classifier.predict_proba(new)).all()


def test_an_encoder_from_a_folder(tmp_path: Path, classifier: TextClassifier) -> None:
    classifier.save(tmp_path / "task")
    with pytest.raises(UsageError, match="not a pretrained encoder"):
        TextClassifier(encoder=tmp_path / "task", fitting=QUICK).fit(*texts(24))


# Refusals ----------------------------------------------------------------------------------------------------------------


def test_not_fitted() -> None:
    for estimator in (TextClassifier(), SequenceTagger()):
        with pytest.raises(NotFittedError, match="has seen no labels yet"):
            estimator.predict([["a"]] if isinstance(estimator, SequenceTagger) else ["a"])


@pytest.mark.parametrize(
    ("parameters", "X", "y", "error", "message"),
    [
        ({}, [], None, BadData, "X is empty"),
        ({}, ["a", "b"], ["x"], UsageError, "2 inputs and 1 labels"),
        ({}, ["a"] * 10, ["x"] * 10, BadData, "only ['x']"),
        ({}, ["a"] * 10, ["x", 1] * 5, UsageError, "strings and other labels"),
        ({}, "one string", ["x"] * 10, TypeError, "one string"),
        ({}, [1] * 10, ["x", "y"] * 5, TypeError, "text 0 is int"),
        ({"dev_share": 1.0}, ["a"] * 10, ["x", "y"] * 5, UsageError, "dev_share is 1.0"),
        ({"mode": "static"}, ["a"] * 10, ["x", "y"] * 5, UsageError, "needs word vectors"),
        ({"mode": "frozen"}, ["a"] * 10, ["x", "y"] * 5, UsageError, "needs a pretrained model"),
        ({"mode": "frosen"}, ["a"] * 10, ["x", "y"] * 5, UsageError, "did you mean 'frozen'?"),
        ({"device": "gpu"}, ["a"] * 10, ["x", "y"] * 5, UsageError, "unknown device"),
        ({"pretraining": PRETRAINING}, ["", " "], None, BadData, "X cannot be learned from"),
    ],
)
def test_refusals(parameters: dict[str, Any], X: Any, y: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        TextClassifier(**parameters).fit(X, y)
    assert message in str(caught.value) and "/tmp" not in str(caught.value)


def test_refusals_of_the_tagger() -> None:
    with pytest.raises(UsageError, match="sentence 1 has 2 words and 1 tags"):
        SequenceTagger().fit([["a"], ["b", "c"]], [["X"], ["Y"]])
    with pytest.raises(TypeError, match="sentence 0 is a string"):
        SequenceTagger().fit(["a b"], [["X", "Y"]])
    with pytest.raises(BadData, match=r"y holds only \['X'\]"):
        SequenceTagger("scratch").fit([["a"]] * 6, [["X"]] * 6)


def test_without_held_out_examples() -> None:
    estimator = TextClassifier("scratch", fitting=QUICK, dev_share=0).fit(*texts(8))
    assert estimator.dev_score_ is None


@pytest.mark.parametrize("scheme", ["IOB1 B-x O", "BIOES B-x O", "BMES B-x O", "BILOU b_x o", "IOB2 B O", "BMES B O"])
def test_the_tagger_learns_spans_of_every_scheme(scheme: str, tmp_path: Path) -> None:
    own = Scheme.from_spelling(scheme)
    words, iob2 = sentences(40, spans=True)
    y = [list(own.from_iob2(tags)) for tags in iob2]
    named = own.name.lower() if own.name == "BMES" else "auto"  # no span here is so long that BMES differs from BIOES
    tagger = SequenceTagger("scratch", scheme=named, fitting={**FITTING, "learning_rate": 0.02}).fit(words, y)
    kind = "per" if own.typed else "span"
    assert tagger.scheme_ == own and tagger.classes_.tolist() == [f"B-{kind}", f"I-{kind}", "O"]
    assert tagger.predictor_.task.main_score == "span_f1"
    answers = tagger.predict(words)
    assert tagger.score(words, y) > 0.3 and sum(map(list.__eq__, answers, y)) > 10
    assert all(own.first_fault(tags) is None for tags in answers)
    assert tagger.predict_proba(words[:1])[0].shape == (len(words[0]), 3)
    tagger.save(tmp_path / "a")
    assert [list(tags) for tags in carryover.load(tmp_path / "a").predict(words)] == answers
    assert clone(SequenceTagger(scheme="bmes")).scheme == "bmes"


def test_the_tagger_names_a_mistyped_tag() -> None:
    words, tags = sentences(10, spans=True)
    tags[3][1] = "BPER"
    with pytest.raises(BadData, match=r"3 of 4 tags look like IOB2, 'BPER' \(sentence 3, word 1\) does not"):
        SequenceTagger("scratch", fitting=QUICK).fit(words, tags)
    plain = SequenceTagger("scratch", scheme="plain", fitting=QUICK).fit(words, tags)
    assert plain.scheme_ is None and "BPER" in plain.classes_ and plain.predictor_.task.main_score == "accuracy"
    with pytest.raises(UsageError, match="did you mean 'bilou'"):
        SequenceTagger(scheme="billou").fit(words, tags)


def test_unknown_settings_are_refused_and_epochs_are_as_many() -> None:
    with pytest.raises(UsageError, match=r"fitting has no setting 'epoch'; did you mean 'epochs'\?"):
        TextClassifier("scratch", fitting={"epoch": 2}).fit(*texts(12))
    for estimator in (TextClassifier(pretraining={"objectve": "lm"}), TextVectors(pretraining={"objectve": "lm"})):
        with pytest.raises(UsageError, match=r"pretraining has no setting 'objectve'; did you mean 'objective'\?"):
            estimator.fit(texts(12)[0])
    quick = {name: value for name, value in FITTING.items() if name != "least_updates"}
    fitted = TextClassifier("scratch", fitting={**quick, "epochs": 2}).fit(*texts(20))
    assert fitted.predictor_.record["epochs"] == 2 and fitted.predictor_.record["updates"] < 20
