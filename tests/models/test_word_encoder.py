"""The encoder trained on labels alone: words, spelling or both, ready-made vectors fixed or tuned."""

from __future__ import annotations

import pytest
import torch

from carryover.data.coding import TokenBatch, TokenCoder
from carryover.data.vocabulary import Vocabulary
from carryover.errors import UsageError
from carryover.models.tagger_encoder import WordEncoder

SENTENCES = [["the", "old", "dog", "barks"], [], ["rain"], ["a", "tree", "sees", "the", "rain"]]
VOCABULARY = Vocabulary.count(word for sentence in SENTENCES for word in sentence)


def batches(sentences: list[list[str]]) -> dict[str, TokenBatch]:
    return {kind: TokenCoder(kind, VOCABULARY).batch(sentences, borders=False) for kind in ("words", "characters")}


def make(**options: object) -> WordEncoder:
    torch.manual_seed(0)
    known = {"vocabulary_size": len(VOCABULARY), "word_size": 8, "filters": ((2, 8), (3, 8)), "cells": 6, **options}
    return WordEncoder(WordEncoder.Config(**known))  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"vocabulary_size": 0}, {"filters": ()}, {"layers": 2}, {"layers": 0}])
def test_one_vector_a_word_the_same_in_any_batch(options: dict[str, object]) -> None:
    encoder = make(**options).eval()
    together = encoder(**batches(SENTENCES))
    assert together.lengths.tolist() == [4, 0, 1, 5]
    assert together.values.shape == (4, 5, encoder.out_size)
    assert (together.values[~together.mask] == 0).all()
    for position, sentence in enumerate(SENTENCES):
        alone = encoder(**batches([sentence])).rows()[0]
        assert torch.allclose(alone, together.rows()[position], atol=1e-6)


def test_every_parameter_receives_a_gradient() -> None:
    encoder = make(highway_layers=1, dropout=0.0)
    encoder(**batches(SENTENCES)).values.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("tuned", [True, False])
def test_ready_made_vectors(tuned: bool) -> None:
    vectors = torch.randn(len(VOCABULARY), 8)
    kept = vectors.clone()
    config = WordEncoder.Config(
        vocabulary_size=len(VOCABULARY), word_size=8, filters=(), layers=0, tune_vectors=tuned, dropout=0
    )
    encoder = WordEncoder(config, vectors)
    vectors.zero_()  # the encoder has its own copy
    found = encoder(**batches(SENTENCES))
    assert torch.equal(found.values[0, 2], kept[VOCABULARY.id("dog")])
    assert encoder.words is not None and encoder.words.weight.requires_grad is tuned
    assert "words.weight" in encoder.state_dict()


@pytest.mark.parametrize("layers", [0, 1])
def test_dropout_is_for_training_only(layers: int) -> None:
    encoder = make(layers=layers)
    assert not torch.equal(encoder(**batches(SENTENCES)).values, encoder(**batches(SENTENCES)).values)
    encoder.eval()
    assert torch.equal(encoder(**batches(SENTENCES)).values, encoder(**batches(SENTENCES)).values)


def test_configuration_goes_round() -> None:
    config = make().config
    assert WordEncoder.Config.from_json(config.to_json()) == config
    with pytest.raises(UsageError, match="unknown field 'cell'"):
        WordEncoder.Config.from_json({"cell": 3})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary_size": 0, "filters": ()}, "neither word vectors"),
        ({"cells": 0}, "cells is 0"),
        ({"layers": -1}, "layers is -1"),
        ({"dropout": 1}, "dropout is 1"),
    ],
)
def test_wrong_configurations_teach(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(**options)


def test_wrong_inputs_teach() -> None:
    encoder, coded = make(), batches(SENTENCES)
    with pytest.raises(ValueError, match="reads characters and was given none"):
        encoder(coded["words"])
    with pytest.raises(ValueError, match="coder of kind 'words'"):
        encoder(coded["characters"], coded["characters"])
    with pytest.raises(ValueError, match="holds no characters"):
        encoder(coded["words"], coded["words"])
    with pytest.raises(ValueError, match="the same sentences"):
        encoder(coded["words"], batches(SENTENCES[::-1])["characters"])
    with pytest.raises(ValueError, match="have shape"):
        WordEncoder(encoder.config, torch.zeros(3, 3))
    with pytest.raises(ValueError, match="vocabulary_size is 0"):
        WordEncoder(WordEncoder.Config(), torch.zeros(3, 3))
