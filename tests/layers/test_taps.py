"""Taps: the values are those that an independent computation gives, and everything is as before afterwards."""

from __future__ import annotations

import math

import pytest
import torch

from carryover.layers import (
    GRU,
    LSTM,
    TCN,
    AdditiveAttention,
    Bidirectional,
    Elman,
    Layer,
    Perceptron,
    SelfAttention,
    Stacked,
    Transformer,
    WaveNet,
    taps,
)
from carryover.layers.recurrent.lstm_side_by_side import lstm_together
from carryover.sequence import Sequence
from laws.attention_references import hidden_pairs, torch_block
from laws.references import loop_of


def weights_by_hand(layer: SelfAttention, row: torch.Tensor) -> torch.Tensor:
    """[heads, T, T] of an attention layer without positions."""
    queries, keys = (affine(row).unflatten(-1, (layer.heads, -1)) for affine in (layer.query, layer.key))
    scores = torch.einsum("thd,shd->hts", queries, keys) / math.sqrt(layer.in_size // layer.heads)
    return scores.masked_fill(hidden_pairs(layer, len(row)), -torch.inf).softmax(-1)


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"causal": True, "horizon": 3}, {"horizon": 2}])
def test_tapped_values_equal_the_reference(options: dict[str, int]) -> None:
    layer = Transformer(8, 2, 12, 2, **options).eval()  # type: ignore[arg-type]
    x = Sequence.of(torch.randn(2, 6, 8), [6, 4])
    names = ["blocks.0", "blocks.1.attention.weights", "blocks.1.attention_norm", "blocks.0.feed_forward.maps.0", ""]
    without = layer(x)
    with taps(layer, names) as seen:
        y = layer(x)
    torch.testing.assert_close(y.values, without.values, rtol=1e-4, atol=1e-5)
    for row, length in enumerate(x.lengths.tolist()):
        below = torch_block(layer.blocks[0], x.values[row, :length])  # type: ignore[arg-type]
        torch.testing.assert_close(seen["blocks.0"].values[row, :length], below, rtol=1e-4, atol=1e-5)  # type: ignore[union-attr]
        second = layer.blocks[1]
        normed = torch.nn.functional.layer_norm(below, (8,), second.attention_norm.weight, second.attention_norm.bias)
        expected = weights_by_hand(second.attention, normed)  # type: ignore[arg-type]
        weights = seen["blocks.1.attention.weights"]
        assert isinstance(weights, torch.Tensor)
        torch.testing.assert_close(weights[row, :, :length, :length], expected, rtol=1e-4, atol=1e-5)
    hidden = seen["blocks.0.feed_forward.maps.0"]
    assert isinstance(hidden, torch.Tensor) and hidden.shape == (2, 6, 12)
    assert torch.equal(seen[""].values, y.values)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (TCN(4, 6, levels=2), "blocks.1.first"),
        (WaveNet(4, 3, size=5, skip_size=6, levels=2, stacks=2), "blocks.2.convolution"),
    ],
)
def test_convolutions_show_what_the_fast_path_hides(layer: Layer, name: str) -> None:
    x = Sequence.of(torch.randn(2, 9, 4), [9, 5])
    layer.eval()
    above = name.rpartition(".")[0]
    below = above.removesuffix(above[-1]) + str(int(above[-1]) - 1)
    with taps(layer, [name, below, above]) as seen:
        y = layer(x)
    torch.testing.assert_close(y.values, layer(x).values)
    answered = seen[below]
    assert isinstance(answered, Sequence)
    entering = answered.with_values(answered.values[..., : layer.get_submodule(name).in_size])  # type: ignore[operator]
    inner = layer.get_submodule(name)(entering)
    torch.testing.assert_close(seen[name].values, inner.values)  # type: ignore[union-attr]


def test_additive_weights_are_tapped_by_name() -> None:
    layer = AdditiveAttention(4, 6, 5)
    memory = Sequence.of(torch.randn(2, 5, 6), [5, 2])
    with taps(layer, "weights") as seen:
        y = layer(Sequence.of(torch.randn(2, 3, 4)), memory)
    weights = seen["weights"]
    assert isinstance(weights, torch.Tensor)
    torch.testing.assert_close(weights @ memory.values, y.values)
    assert not weights[1, :, 2:].any()


def test_every_step_is_recorded_once_and_in_order() -> None:
    layer = Stacked(Transformer(8, 2, 12, 1, causal=True, horizon=3), GRU(8, 4))
    x, state = Sequence.of(torch.randn(2, 4, 8)), layer.initial_state(2)
    names = ["layers.0.blocks.0", "layers.0.blocks.0.attention.weights", "layers.1"]
    with taps(layer, names) as seen:
        outputs = []
        for t in range(4):
            y, state = layer.step(x.slice(t, t + 1), state)
            outputs.append(y)
        assert [len(seen.all(name)) for name in names] == [4, 4, 4]
        assert all(one is other for one, other in zip(seen.all("layers.1"), outputs, strict=True))
        assert [tuple(one.shape) for one in seen.all(names[1])] == [(2, 2, 1, 4)] * 4  # type: ignore[union-attr]
        layer(x)  # GRU.forward calls its own step: still one more
        assert len(seen.all("layers.1")) == 5


@pytest.mark.parametrize(
    ("layer", "path"),
    [
        (LSTM(3, 4), "fused"),
        (LSTM(3, 4, peephole=True), "scan"),
        (LSTM(3, 5, projection=2, cell_clip=0.4), "scan"),
        (GRU(3, 4), "fused"),
        (GRU(3, 4, reset="before"), "scan"),
        (Elman(3, 4), "fused"),
        (Elman(3, 4, nonlinearity="sigmoid"), "scan"),
        (SelfAttention(3, 1, causal=True), "fused"),
    ],
)
def test_fused_paths_are_off_and_come_back(layer: Layer, path: str) -> None:
    x = Sequence.of(torch.randn(2, 5, 3), [5, 5])
    before = layer(x)
    assert layer.last_path == path
    attributes = set(vars(layer))
    with taps(layer, "") as seen:
        y = layer(x)
        assert layer.last_path == ("plain" if isinstance(layer, SelfAttention) else "loop")
        layer.step(x, layer.initial_state(2))
        assert layer.last_path == ("plain" if isinstance(layer, SelfAttention) else "loop")
    torch.testing.assert_close(y.values, before.values, rtol=1e-4, atol=1e-5)
    assert torch.equal(seen[""].values, y.values)  # type: ignore[union-attr]
    if not isinstance(layer, SelfAttention):
        for row in range(2):
            torch.testing.assert_close(y.values[row], loop_of(layer, x.values[row]), rtol=1e-5, atol=1e-6)
    layer(x)
    assert layer.last_path == path
    assert set(vars(layer)) == attributes


def test_everything_comes_back_after_an_exception() -> None:
    layer = Transformer(8, 2, 12, 1, causal=True)
    attention = layer.blocks[0].attention
    assert isinstance(attention, SelfAttention)
    x = Sequence.of(torch.randn(1, 4, 8))
    with pytest.raises(ZeroDivisionError), taps(layer, ["blocks.0.attention", "blocks.0"]):
        layer(x)
        assert attention.last_path == "plain"
        raise ZeroDivisionError
    for module in layer.modules():
        assert not {"forward", "step", "fast"} & set(vars(module))
    layer(x)
    assert attention.last_path == "fused"
    # An exception inside the layer itself: the tap goes on working.
    with taps(layer, "blocks.0") as seen:
        with pytest.raises(ValueError, match="expects 8 features"):
            layer.blocks[0](Sequence.of(torch.zeros(1, 2, 5)))
        y = layer.blocks[0](x)
        assert seen["blocks.0"] is y
        assert len(seen.all("blocks.0")) == 1


def test_taps_within_taps() -> None:
    layer = Perceptron(3, (4,), 2)
    x = Sequence.of(torch.randn(1, 4, 3))
    with taps(layer, "maps.0") as outer:
        with taps(layer, ["maps.0", "maps.1"]) as inner:
            layer(x)
        layer(x)
        assert layer.fast is False
    assert (len(outer.all("maps.0")), len(inner.all("maps.0")), len(inner.all("maps.1"))) == (2, 1, 1)
    assert layer.fast is True
    layer.fast = False
    with taps(layer, "maps.0"):
        pass
    assert layer.fast is False


def test_values_keep_their_gradients() -> None:
    layer = SelfAttention(4, 2)
    x = Sequence.of(torch.randn(1, 3, 4))
    with taps(layer, "weights") as seen:
        y = layer(x)
    weights = seen["weights"]
    assert isinstance(weights, torch.Tensor)
    (gradient,) = torch.autograd.grad(y.values.sum(), weights)
    assert gradient.abs().sum() > 0


def test_layers_run_together_are_tapped_one_by_one() -> None:
    both = Bidirectional(LSTM(3, 4, cell_clip=0.5), LSTM(3, 4, cell_clip=0.5))
    x = Sequence.of(torch.randn(2, 5, 3), [5, 2])
    directions = [both.forward_layer, both.backward_layer]
    assert all(isinstance(one, LSTM) for one in directions)
    states = [one.initial_state(2) for one in directions]
    plain, _ = lstm_together(directions, [x, x], states)  # type: ignore[arg-type]
    with taps(both, ["forward_layer", "backward_layer"]) as seen:
        lstm_together(directions, [x, x], states)  # type: ignore[arg-type]
    for name, expected in zip(seen.names(), plain, strict=True):
        torch.testing.assert_close(seen[name].values, expected.values)  # type: ignore[union-attr]


def test_faulty_names_and_silent_modules_are_told() -> None:
    layer = Transformer(8, 2, 12, 1)
    with (
        pytest.raises(ValueError, match=r"Transformer has no module 'blocks.0.atention': .*'blocks.0.attention'"),
        taps(layer, "blocks.0.atention"),
    ):
        pass
    with taps(layer, "blocks.0") as seen:
        with pytest.raises(LookupError, match=r"'blocks\.0' has not run since the tap was set: run the layer first"):
            seen["blocks.0"]
        with pytest.raises(KeyError, match="'top_norm' is not tapped: the taps are"):
            seen["top_norm"]
