"""Models of hand-made features as artefacts: the same answers before and after, and damage is noticed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carryover.classical.predictor import FeaturePredictor
from carryover.classical.train import fit_features
from carryover.data import builtin
from carryover.data.examples import Example, Series, Text, TextPair, Words
from carryover.encoders.loading import load
from carryover.errors import BadData
from carryover.storage.artefact import load_artefact, save_artefact
from carryover.transfer.settings import FitSettings

RANDOM = np.random.default_rng(4)


def texts(several: bool = False) -> list[Any]:
    examples = list(builtin.classified("grammar?labelled=70&raw=50"))
    if not several:
        return examples
    every = ("all",)  # a label that every text has
    return [Example(one.input, (*one.gold, *every) if number % 3 else every) for number, one in enumerate(examples)]


def pairs(numbers: bool) -> list[Any]:
    found = []
    for number, example in enumerate(builtin.classified("grammar?labelled=60&raw=50")):
        text = example.input.text
        other = text if number % 2 else " ".join(reversed(text.split()[:3]))
        found.append(
            Example(
                TextPair(text, other),
                (f"{number % 2 + number / 100:.2f}",) if numbers else ("same" if number % 2 else "other",),
            )
        )
    return found


def series() -> list[Any]:
    rows = []
    for number in range(40):
        wave = np.sin(np.arange(20 + number % 5)[:, None] * (0.3 + 0.4 * (number % 2)) + RANDOM.normal(size=(1, 2)))
        rows.append(Example(Series(wave.astype(np.float32)), ("fast" if number % 2 else "slow",)))
    return rows


CASES: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "texts": ("classify", texts(), {}),
    "texts by macro-F1": ("classify", texts(), {"metric": "macro_f1", "class_weights": "balanced"}),
    "several labels": ("classify", texts(several=True), {"multi_label": True}),
    "tags": ("tag", list(builtin.tagged("grammar?labelled=60&raw=50")), {}),
    "pairs": ("pair", pairs(False), {}),
    "numbers": ("pair", pairs(True), {}),
    "series": ("classify", series(), {}),
}


def fitted(name: str, mode: str = "features") -> tuple[FeaturePredictor, list[Any]]:
    task, examples, options = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return fit_features(task, examples[:-9], FitSettings(**options), mode), examples


@pytest.mark.parametrize("mode", ["features", "majority"])
@pytest.mark.parametrize("name", CASES)
def test_a_loaded_model_answers_as_before(name: str, mode: str, tmp_path: Path) -> None:
    predictor, examples = fitted(name, mode)
    predictor.save(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, FeaturePredictor) and again.labels == predictor.labels
    assert again.task.described() == predictor.task.described()
    assert again.predict(examples) == predictor.predict(examples)
    for before, after in zip(predictor.predict_proba(examples), again.predict_proba(examples), strict=True):
        assert np.array_equal(before, after)
    assert again.score(examples, unseen_labels="miss") == predictor.score(examples, unseen_labels="miss")
    assert again.weights(3) == predictor.weights(3)
    if mode == "features":
        assert len({*map(tuple, predictor.predict(examples))}) > 1, "a model that always answers the same proves nothing"


@pytest.mark.parametrize("mode", ["features", "majority"])
@pytest.mark.parametrize("name", ["texts", "tags", "pairs", "series"])
def test_probabilities_are_of_the_labels(name: str, mode: str) -> None:
    predictor, examples = fitted(name, mode)
    for example, row in zip(examples, predictor.predict_proba(examples), strict=True):
        words = len(example.input.tokens) if isinstance(example.input, Words) else None
        assert row.shape == ((len(predictor.labels),) if words is None else (words, len(predictor.labels)))
        np.testing.assert_allclose(row.sum(axis=-1), 1, atol=1e-5)


def test_a_label_that_training_lacked_has_no_probability() -> None:
    task, examples, _ = CASES["texts"]
    predictor = fit_features(task, examples, FitSettings(), "features", [*{e.gold[0] for e in examples}, "zzz"])
    assert predictor.predict_proba(examples[:2])[0][predictor.labels.index("zzz")] == 0


def test_contributions_add_up_to_the_score() -> None:
    predictor, examples = fitted("texts")
    text = examples[-1].input.text
    model: Any = predictor.model
    scores = {label: sum(value for _, value in rows) for label, rows in predictor.contributions(text).items()}
    assert max(scores, key=lambda label: scores[label]) == predictor.predict([text])[0][0]
    from carryover.classical.text_features import _transform

    matrix = _transform(model._vectorizers, [text])
    expected = (matrix @ model._linear.rows().T + model._linear.offsets())[0]
    np.testing.assert_allclose(list(scores.values()), expected, atol=1e-9)


def test_inputs_of_another_kind_are_refused() -> None:
    predictor, _ = fitted("texts")
    with pytest.raises(BadData, match="the model reads texts, not a series"):
        predictor.predict([Example(Series(np.zeros((4, 2))))])
    predictor, _ = fitted("series")
    with pytest.raises(BadData, match="it has 3 channels, the training series had 2"):
        predictor.predict([Series(np.zeros((9, 3)))])
    with pytest.raises(BadData, match="the model reads series, not a text"):
        predictor.predict([Text("hello")])


def changed(folder: Path, **parts: Any) -> Path:
    """The artefact with some of its parts replaced, its manifest sound."""
    stored = load_artefact(folder)
    content: dict[str, Any] = {
        name: parts.get(name, getattr(stored, name)) for name in ("config", "tensors", "tokenizer", "labels", "record")
    }
    save_artefact(folder.parent / "changed", kind=stored.kind, card="", **content)
    return folder.parent / "changed"


@pytest.mark.parametrize("mode", ["features", "majority"])
@pytest.mark.parametrize("name", ["texts", "several labels", "tags", "pairs", "numbers", "series"])
def test_parts_that_do_not_fit_are_refused(name: str, mode: str, tmp_path: Path) -> None:
    import torch

    predictor, _ = fitted(name, mode)
    predictor.save(tmp_path / "sound")
    stored = load_artefact(tmp_path / "sound")
    for tensor in stored.tensors:
        for wrong in (torch.cat([stored.tensors[tensor]] * 2), torch.full_like(stored.tensors[tensor], -7), None):
            tensors = {key: value for key, value in stored.tensors.items() if key != tensor or wrong is not None}
            if wrong is not None:
                tensors[tensor] = wrong
            if wrong is not None and wrong.dtype.is_floating_point and wrong.shape == stored.tensors[tensor].shape:
                tensors[tensor] = torch.full_like(wrong, float("nan"))
            if not stored.tensors[tensor].numel() and wrong is not None:
                continue
            with pytest.raises(BadData):
                load(changed(tmp_path / "sound", tensors=tensors))
    for entry in stored.config["model"]:
        model = {**stored.config["model"], entry: [1e9, "x"]}
        with pytest.raises(BadData):
            load(changed(tmp_path / "sound", config={**stored.config, "model": model}))
    for listed, names in stored.tokenizer["names"].items():
        for other in (names[1:] or ["a", "b"], [*names, "new"], [*names, *names[:1], "new"], 5):
            content = {**stored.tokenizer, "names": {**stored.tokenizer["names"], listed: other}}
            with pytest.raises(BadData):
                load(changed(tmp_path / "sound", tokenizer=content))
    assert load(tmp_path / "sound").labels == predictor.labels
