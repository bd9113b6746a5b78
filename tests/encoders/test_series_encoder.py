"""A model of series obeys the laws of encoders: alignment, batch, long = short, stored and scored again, cached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import carryover
from carryover.data.examples import Series
from carryover.data.series_scaler import SeriesScaler
from carryover.encoders.proof import measure_again
from carryover.encoders.series import SeriesEncoder
from carryover.encoders.vector_cache import RepresentationCache
from carryover.errors import BadData
from carryover.models.series import STACKS, SeriesModel
from carryover.objectives.next_value import lines_next_value
from carryover.storage.artefact import save_artefact

NEAR = 2e-6
LINES = ["[[1.0, 2.0], [1.5, 1.0], [0.0, 3.0]]", "[[0.5, 2.0], [2.5, 1.0]]"]
BOTH = [*((stack, True) for stack in STACKS), ("cnn", False), ("lstm", False)]


def series() -> list[Series]:
    random = np.random.default_rng(0)
    return [Series(5 + 2 * random.normal(size=(length, 2))) for length in (9, 1, 30, 4, 4)]


def encoder_of(stack: str, causal: bool = True, seed: int = 0) -> SeriesEncoder:
    torch.manual_seed(seed)
    model = SeriesModel(SeriesModel.Config(in_size=2, stack=stack, size=6, layers=2, kernel=3, causal=causal)).eval()
    scaler = SeriesScaler.learn(series())
    return SeriesEncoder(model, scaler, {"heldout_check": lines_next_value(model, scaler, LINES)}, LINES)


@pytest.fixture(params=BOTH, ids=lambda both: f"{both[0]}-{'causal' if both[1] else 'both ways'}")
def encoder(request: pytest.FixtureRequest) -> SeriesEncoder:
    return encoder_of(*request.param)


def test_vectors_are_aligned_and_do_not_depend_on_neighbours(encoder: SeriesEncoder) -> None:
    for one, vectors in zip(series(), encoder.embed(series()), strict=True):
        assert vectors.shape == (len(one.values), encoder.layer_count, encoder.out_size)
        assert torch.allclose(encoder.embed([one])[0], vectors, atol=NEAR, rtol=0)
        assert torch.allclose(encoder.states(encoder.batch([one])).values[0], vectors, atol=NEAR, rtol=0)


def test_a_long_series_is_that_of_its_pieces(encoder: SeriesEncoder) -> None:
    for whole, pieces in zip(encoder.embed(series()), encoder.embed(series(), batch_tokens=5), strict=True):
        assert torch.allclose(whole, pieces, atol=NEAR, rtol=0)


def test_stored_loaded_and_scored_again(encoder: SeriesEncoder, tmp_path: Path) -> None:
    stored: dict[str, Any] = {"config": encoder.model.config.to_json(), "tensors": encoder.model.state_dict()}
    save_artefact(
        tmp_path / "model",
        kind=encoder.kind,
        **stored,
        tokenizer=encoder.coder.to_json(),
        labels=None,
        record=encoder.record,
        card="# A model\n",
        files={"heldout.txt": "\n".join(encoder.heldout).encode()},
    )
    loaded = carryover.load(tmp_path / "model")
    assert all(map(torch.equal, encoder.embed(series()), loaded.embed(series())))
    assert loaded.fingerprint() == encoder.fingerprint() and loaded.content() == encoder.content()
    before, measured = measure_again(loaded, loaded)
    assert before and measured and set(before) == {"mse"}
    with torch.no_grad():
        loaded.model.output.bias.add_(1)
    with pytest.raises(BadData, match="what was loaded is not what was trained"):
        measure_again(loaded, loaded)
    with pytest.raises(BadData, match="the scale of 1 channels"):
        SeriesEncoder.build(encoder.model.config.to_json(), SeriesScaler((0.0,), (1.0,)))


def test_groups_hold_every_parameter_once_and_gradients_reach_them(encoder: SeriesEncoder) -> None:
    groups = encoder.groups()
    assert [group.depth for group in groups] == list(range(1, encoder.layer_count + 1))
    encoder.drop_output_layer()
    held = [id(parameter) for group in groups for parameter in group.parameters.values()]
    assert sorted(held) == sorted(map(id, encoder.model.parameters()))
    encoder.states(encoder.batch(series())).values.square().sum().backward()
    for group in groups:
        assert any(p.grad is not None and bool((p.grad != 0).any()) for p in group.parameters.values()), group.name


def test_cached_vectors_are_those_computed(encoder: SeriesEncoder, tmp_path: Path) -> None:
    found = RepresentationCache(encoder, folder=tmp_path).get(series()).batch(range(5)).rows()
    again = RepresentationCache(encoder, folder=tmp_path).get(series()).batch(range(5)).rows()
    for one, other, third in zip(found, encoder.embed(series()), again, strict=True):
        assert torch.allclose(one, other, atol=NEAR, rtol=0) and torch.equal(one, third)


def test_other_input_is_refused() -> None:
    encoder = encoder_of("tcn")
    with pytest.raises(TypeError, match="this model reads series"):
        encoder.embed([["some", "words"]])
    with pytest.raises(BadData, match="the series has 1 channels and the model reads 2"):
        encoder.embed([Series(np.zeros((3, 1)))])
