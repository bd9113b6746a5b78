"""ELMo for other people's Python: the embedder, the transformer of scikit-learn, the torch module."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from torch import nn

from carryover.encoders.bilm import BidirectionalEncoder
from carryover.errors import BadData, UsageError
from carryover.interop.sklearn.embedder import ElmoEmbedder, TextVectors
from carryover.interop.torch_module import ElmoModule
from example_material import LabelledText
from interop.test_estimators import CHECKS, PRETRAINING
from task_material import classified, language_model, store_language_model

TEXTS = ["the boat sees Ann Lee", "", "Don't stop."]


@pytest.fixture(scope="module")
def encoder() -> BidirectionalEncoder:
    return language_model()


@pytest.fixture(scope="module")
def folder(encoder: BidirectionalEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_language_model(tmp_path_factory.mktemp("stored") / "lm", encoder)


# The embedder -------------------------------------------------------------------------------------------------------


def test_arrays_in_order(encoder: BidirectionalEncoder, folder: Path) -> None:
    embedder = ElmoEmbedder(folder)
    found = embedder(TEXTS)
    assert [array.shape for array in found] == [(5, embedder.size), (0, embedder.size), (4, embedder.size)]
    assert [len(embedder.words(text)) for text in TEXTS] == [5, 0, 4]
    (every,) = encoder.embed([TEXTS[0].split()])
    assert np.allclose(found[0], every.mean(1).numpy(), atol=1e-6)
    assert np.allclose(embedder(TEXTS[::-1])[-1], found[0], atol=1e-6) and embedder([]) == []
    assert ElmoEmbedder(encoder)([["Don't", "stop."]])[0].shape == (2, embedder.size)


def test_choices_of_the_embedder(encoder: BidirectionalEncoder) -> None:
    (every,) = encoder.embed([TEXTS[0].split()])
    assert np.allclose(ElmoEmbedder(encoder, layers="all")(TEXTS)[0], every, atol=1e-6)
    assert np.allclose(ElmoEmbedder(encoder, layers=1, pool="max")(TEXTS)[0], every[:, 1].amax(0), atol=1e-6)
    with pytest.raises(UsageError, match="there is no layer 9"):
        ElmoEmbedder(encoder, layers=9)
    with pytest.raises(TypeError, match="one string"):
        ElmoEmbedder(encoder)("the boat")
    with pytest.raises(TypeError, match="text 1 is int: give strings or lists of words"):
        ElmoEmbedder(encoder)(["a", 1])  # type: ignore[list-item]


# scikit-learn -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", CHECKS)
def test_checks_of_scikit_learn(check: str) -> None:
    run: Callable[[str, Any], None] = getattr(estimator_checks, check)
    run("TextVectors", TextVectors())


def test_scikit_learn_runs_what_it_thinks_applies() -> None:
    with pytest.warns(estimator_checks.SkipTestWarning, match="requires input"):
        outcome = estimator_checks.check_estimator(TextVectors())
    assert outcome and all(one["status"] == "passed" for one in outcome)


def test_the_transformer(encoder: BidirectionalEncoder, folder: Path) -> None:
    transformer = TextVectors(folder)
    found = transformer.fit_transform(TEXTS)
    assert found.shape == (3, encoder.model.out_size) and found.dtype == np.float32 and not found[1].any()
    assert np.allclose(found[0], ElmoEmbedder(encoder)(TEXTS)[0].mean(0), atol=1e-6)
    assert transformer.get_feature_names_out()[:2].tolist() == ["elmo0", "elmo1"]
    assert transformer.transform([]).shape == (0, encoder.model.out_size)
    assert (pickle.loads(pickle.dumps(transformer)).transform(TEXTS) == found).all()
    every = TextVectors(encoder, layers="all", pool="max").fit(TEXTS)
    assert every.transform(TEXTS).shape == (3, 3 * encoder.model.out_size) == (3, len(every.get_feature_names_out()))
    assert clone(transformer).get_params() == transformer.get_params()


def test_in_a_pipeline(encoder: BidirectionalEncoder) -> None:
    examples: list[LabelledText] = classified(40)
    texts, labels = [one.input.text for one in examples], [one.gold[0] for one in examples]
    scores = cross_val_score(make_pipeline(TextVectors(encoder), LogisticRegression()), texts, labels, cv=2)
    assert scores.shape == (2,) and scores.min() > 0.5


def test_without_a_model_it_learns_one() -> None:
    transformer = TextVectors(pretraining=PRETRAINING).fit([one.input.text for one in classified(120, seed=5)])
    assert transformer.transform(["the boat"]).shape == (1, 16)


def test_refusals_of_the_transformer(encoder: BidirectionalEncoder) -> None:
    with pytest.raises(NotFittedError, match="no language model yet"):
        TextVectors().transform(["a"])
    for faulty, texts, error, message in (
        (TextVectors(encoder), [], BadData, "X is empty"),
        (TextVectors(encoder), "text", TypeError, "one string"),
        (TextVectors(encoder, pool="sum"), ["a"], UsageError, "pool 'sum' is unknown"),
        (TextVectors(encoder, layers="last"), ["a"], UsageError, "layers 'last' is unknown"),
    ):
        with pytest.raises(error, match=message):
            faulty.fit(texts)


# The module ---------------------------------------------------------------------------------------------------------


SENTENCES = [text.split() for text in ("the boat sees Ann Lee", "", "the cow")]


def test_several_mixtures_of_one_pass(encoder: BidirectionalEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ElmoModule(encoder, mixes=2).eval()
    calls = []
    real = type(module.model).representations
    monkeypatch.setattr(type(module.model), "representations", lambda self, batch: calls.append(1) or real(self, batch))
    with torch.no_grad():
        module.mixes[1].layer_weights.copy_(torch.tensor([9.0, 0.0, -9.0]))
        module.mixes[1].scale.fill_(2.0)
    first, second = module(SENTENCES)
    assert len(calls) == 1
    assert first.lengths.tolist() == [5, 0, 2] and first.values.shape == (3, 5, module.out_size)
    every = encoder.embed(SENTENCES)[0]
    assert torch.allclose(first.rows()[0], every.mean(1), atol=1e-5)
    assert torch.allclose(second.rows()[0], 2 * every[:, 0], atol=1e-2)


@pytest.mark.parametrize("fixed", [True, False])
def test_what_is_trained(encoder: BidirectionalEncoder, fixed: bool) -> None:
    before = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    module = ElmoModule(encoder, mixes=2, fixed=fixed, dropout=0.1, layer_norm=True, l2=0.1)
    head = nn.Linear(2 * module.out_size, 3)
    optimiser = torch.optim.SGD([*module.parameters(), *head.parameters()], 0.5)
    module.train()
    assert module.model.training is not fixed
    for _ in range(2):
        values = torch.cat([sequence.values for sequence in module(SENTENCES)], dim=-1)
        loss = head(values).square().mean() + module.penalty()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert all(mix.scale != 1 and mix.layer_weights.abs().sum() > 0 for mix in module.mixes)
    moved = any((module.model.state_dict()[name] != before[name]).any() for name in before if "output" not in name)
    assert moved is not fixed
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.model.state_dict().items()), "it was copied"


def test_dropout_only_in_training(encoder: BidirectionalEncoder) -> None:
    module = ElmoModule(encoder, dropout=0.5)
    (dropped,), (whole,) = module(SENTENCES), module.eval()(SENTENCES)
    assert (dropped.flatten() == 0).float().mean() > 0.3 and (whole.flatten() == 0).float().mean() < 0.05


def test_the_penalty_pulls_the_shares_together(encoder: BidirectionalEncoder) -> None:
    module = ElmoModule(encoder, l2=0.5)
    with torch.no_grad():
        module.mixes[0].layer_weights.copy_(torch.tensor([1.0, 2.0, 0.0]))
    assert module.penalty().item() == pytest.approx(2.5)
    assert ElmoModule(encoder).penalty().item() == 0
    module.penalty().backward()
    with torch.no_grad():
        module.mixes[0].layer_weights -= module.mixes[0].layer_weights.grad
    assert module.shares()[0].tolist() == pytest.approx([1 / 3] * 3)


def test_refusals_of_the_module(encoder: BidirectionalEncoder) -> None:
    with pytest.raises(TypeError, match="got the string 'the boat'"):
        ElmoModule(encoder)(["the boat"])
    with pytest.raises(ValueError, match="0 mixtures"):
        ElmoModule(encoder, mixes=0)
    with pytest.raises(ValueError, match="l2 is -1"):
        ElmoModule(encoder, l2=-1.0)
