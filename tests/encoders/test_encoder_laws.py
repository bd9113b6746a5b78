"""What every encoder obeys: padding, batch, alignment, long = short, the same seed, stored and loaded, and no look ahead."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import carryover
from carryover.encoders.encoder import Encoder
from carryover.encoders.proof import measure_again
from carryover.encoders.vector_cache import RepresentationCache
from carryover.errors import BadData
from carryover.transfer.initial_encoder import build_initial_model
from carryover.transfer.plan import CarryPlan
from carryover.transfer.settings import FitSettings
from encoders.material import CAUSAL, ENCODERS, SENTENCES, static, stored

NEAR = 2e-6
"""Products of another size round differently in small models."""


@pytest.fixture(params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return ENCODERS[request.param](0)


def test_there_are_as_many_vectors_as_words(encoder: Encoder) -> None:
    for words, vectors in zip(SENTENCES, encoder.embed(SENTENCES), strict=True):
        assert vectors.shape == (len(words), encoder.layer_count, encoder.out_size)
    states = encoder.states(encoder.batch(SENTENCES))
    assert states.lengths.tolist() == [len(words) for words in SENTENCES]
    assert states.values.shape[2:] == (encoder.layer_count, encoder.out_size)
    assert all(bool((row[len(words) :] == 0).all()) for row, words in zip(states.values, SENTENCES, strict=True))


def test_alone_and_among_others(encoder: Encoder) -> None:
    for words, vectors in zip(SENTENCES, encoder.embed(SENTENCES), strict=True):
        assert torch.allclose(encoder.embed([words])[0], vectors, atol=NEAR, rtol=0)
        plain = encoder.states(encoder.batch([words])).values[0]
        assert torch.allclose(plain, vectors, atol=NEAR, rtol=0)


def test_a_long_sentence_is_that_of_its_pieces(encoder: Encoder) -> None:
    for words, whole, pieces in zip(
        SENTENCES, encoder.embed(SENTENCES), encoder.embed(SENTENCES, batch_tokens=5), strict=True
    ):
        assert torch.allclose(whole, pieces, atol=NEAR, rtol=0), words


def test_what_is_chosen_is_a_part_of_all(encoder: Encoder) -> None:
    for steps in (4096, 5):
        every = encoder.embed(SENTENCES, batch_tokens=steps)
        for all_layers, top in zip(
            every, encoder.embed(SENTENCES, batch_tokens=steps, choose=lambda layers: layers[:, -1]), strict=True
        ):
            assert torch.equal(all_layers[:, -1], top)


def test_layers_differ_and_none_is_empty(encoder: Encoder) -> None:
    vectors = encoder.embed(SENTENCES[:1])[0]
    for number in range(encoder.layer_count):
        assert bool((vectors[:, number] != 0).any())
        assert number == 0 or not torch.equal(vectors[:, number], vectors[:, number - 1])


@pytest.mark.parametrize("name", ENCODERS)
def test_the_same_seed_gives_the_same_vectors(name: str) -> None:
    one, other, third = (ENCODERS[name](seed) for seed in (1, 1, 2))
    assert one.fingerprint() == other.fingerprint() != third.fingerprint()
    assert all(map(torch.equal, one.embed(SENTENCES), other.embed(SENTENCES)))


def test_stored_loaded_and_scored_again(encoder: Encoder, tmp_path: Path) -> None:
    loaded = carryover.load(stored(tmp_path / "model", encoder))
    assert all(map(torch.equal, encoder.embed(SENTENCES), loaded.embed(SENTENCES)))
    assert loaded.fingerprint() == encoder.fingerprint() and loaded.content() == encoder.content()
    if not encoder.proved_figures:
        assert measure_again(loaded, loaded) == (None, None)
        return
    before, measured = measure_again(loaded, loaded)
    assert before and measured and set(before) == set(encoder.proved_figures)
    with torch.no_grad():
        for parameter in loaded.groups()[0].parameters.values():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(BadData, match="what was loaded is not what was trained"):
        measure_again(loaded, loaded)


def test_groups_hold_every_parameter_once(encoder: Encoder) -> None:
    groups = encoder.groups()
    assert [group.depth for group in groups] == list(range(1, len(groups) + 1)) and groups[-1].name == "tokens"
    assert len(groups) >= encoder.layer_count
    held = [id(parameter) for group in groups for parameter in group.parameters.values()]
    before = encoder.embed(SENTENCES[:2])
    encoder.drop_output_layer()
    assert sorted(held) == sorted(map(id, encoder.model.parameters()))
    assert all(map(torch.equal, before, encoder.embed(SENTENCES[:2])))


def test_gradients_reach_every_group(encoder: Encoder) -> None:
    encoder.states(encoder.batch(SENTENCES)).values.square().sum().backward()
    for group in encoder.groups():
        assert any(p.grad is not None and bool((p.grad != 0).any()) for p in group.parameters.values()), group.name


def test_cached_vectors_are_those_computed(encoder: Encoder, tmp_path: Path) -> None:
    found = RepresentationCache(encoder, folder=tmp_path).get(SENTENCES).batch(range(len(SENTENCES))).rows()
    for one, other in zip(found, encoder.embed(SENTENCES), strict=True):
        assert torch.allclose(one, other, atol=NEAR, rtol=0)


def test_what_is_carried_over_is_a_copy(encoder: Encoder) -> None:
    plan = CarryPlan(mode="full")
    settings = FitSettings().resolve(plan)
    sentences = [tuple(words) for words in SENTENCES]
    made = build_initial_model(plan, settings, sentences, encoder=encoder, vectors=None, device="cpu")
    assert (made.proof.measured_perplexity is not None) == bool(encoder.proved_figures) and set(made.moved().values()) == {
        0.0
    }
    assert list(made.moved()) == [group.name for group in encoder.groups()]
    with torch.no_grad():
        for parameter in made.encoder.parameters():
            parameter.add_(1)
    assert min(made.moved().values()) > 0
    measure_again(encoder, encoder)  # the caller's own is what it was


@pytest.mark.parametrize("name", CAUSAL)
def test_a_vector_of_a_causal_model_knows_nothing_of_later_words(name: str) -> None:
    encoder = ENCODERS[name](0)
    for words in SENTENCES:
        whole = encoder.embed([words])[0]
        for count in {1, len(words) // 2, len(words) - 1} & set(range(1, len(words))):
            assert torch.allclose(encoder.embed([words[:count]])[0], whole[:count], atol=NEAR, rtol=0)
        if len(words) > 1:
            changed = encoder.embed([["boat" if words[0] == "the" else "the", *words[1:]]])[0]
            assert not torch.allclose(changed[1], whole[1], atol=1e-4), "but it knows the words before it"


@pytest.mark.parametrize("name", CAUSAL)
def test_the_top_layer_is_what_predicts(name: str) -> None:
    encoder = ENCODERS[name](0)
    batch = encoder.batch(SENTENCES)
    top = encoder.model.stack(encoder.model.embedding(batch.index)).values
    states = encoder.model.representations(batch.index).values[:, :, -1, : top.shape[-1]]
    assert torch.allclose(states, top, atol=NEAR, rtol=0)


def test_a_static_vector_is_the_same_everywhere() -> None:
    encoder = static(0)
    assert encoder.layer_count == 1
    first, second = encoder.embed([["the", "boat", "sees"], ["sees", "boat"]])
    assert torch.equal(first[[2, 1]], second) and torch.equal(
        first[0, 0], encoder.model.words.weight[encoder.coder.vocabulary.id("the")]
    )
