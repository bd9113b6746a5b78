"""Positions, layer norm and the Transformer: what they declare, carry and refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from carryover.layers import (
    LayerNorm,
    LearnedPositions,
    SinusoidalPositions,
    Stacked,
    Transformer,
    TransformerBlock,
    check,
    choose_rows,
    detach_state,
)
from carryover.sequence import Sequence


def test_sinusoids_are_those_of_the_paper() -> None:
    waves = SinusoidalPositions(4)(Sequence.of(torch.zeros(1, 3, 4))).values[0]
    expected = [[0, 1, 0, 1], [0.841471, 0.540302, 0.010000, 0.999950], [0.909297, -0.416147, 0.019999, 0.999800]]
    torch.testing.assert_close(waves, torch.tensor(expected), rtol=0, atol=1e-6)


def test_positions_go_on_from_the_state_row_by_row() -> None:
    layer = LearnedPositions(3, 10)
    zeros = torch.zeros(2, 4, 3)
    _, state = layer.step(Sequence.of(zeros, [4, 1]), layer.initial_state(2))
    assert state.tolist() == [4, 1]
    y, state = layer.step(Sequence.of(zeros[:, :2]), state)
    torch.testing.assert_close(y.values, layer.weight[torch.tensor([[4, 5], [1, 2]])])


def test_positions_beyond_the_table_are_refused_and_padding_beyond_it_is_not() -> None:
    layer = LearnedPositions(3, 4)
    assert not layer(Sequence.of(torch.zeros(1, 6, 3), [4])).values[:, 4:].any()
    with pytest.raises(
        ValueError, match="a table of 4 positions and a row reaches 5: shorten the rows, build it with positions=5"
    ):
        layer(Sequence.of(torch.zeros(2, 6, 3), [2, 5]))
    _, state = layer.step(Sequence.of(torch.zeros(1, 3, 3)), layer.initial_state(1))
    _, state = layer.step(Sequence.of(torch.zeros(1, 1, 3)), state)
    with pytest.raises(ValueError, match="a row reaches 5"):
        layer.step(Sequence.of(torch.zeros(1, 1, 3)), state)
    y, _ = layer.step(Sequence.of(torch.zeros(1, 1, 3), [0]), state)  # a row that stands still may stand at the end
    assert not y.values.any()


def test_transformer_declares_and_keeps_what_its_blocks_give() -> None:
    layer = Transformer(8, 2, 12, 3, horizon=4, causal=True, positions="rotary")
    assert (layer.causal, layer.receptive_field) == (True, 10)
    assert Transformer(8, 2, 12, 3, horizon=4).receptive_field == 19
    assert Transformer(8, 2, 12, 3).receptive_field is None
    assert Transformer(8, 2, 12, 1, norm="post").top_norm is None
    x = Sequence.of(torch.randn(2, 5, 8), [5, 3])
    outputs = layer.all_outputs(x)
    assert len(outputs) == 3
    assert torch.equal(outputs[-1].values, layer(x).values)
    torch.testing.assert_close(outputs[0].values, layer.blocks[0](x).values)


def test_a_stack_with_positions_below_keeps_the_laws() -> None:
    check(Stacked(SinusoidalPositions(4), Transformer(4, 2, 6, 2, causal=True)).double())
    check(Stacked(LearnedPositions(4, 30), Transformer(4, 2, 6, 1, norm="post")).double())


def test_order_is_seen_only_with_positions() -> None:
    x = Sequence.of(torch.randn(1, 5, 8))
    turned = Sequence.of(x.values[:, [1, 0, 2, 3, 4]])
    plain = Transformer(8, 2, 12, 2).eval()
    torch.testing.assert_close(plain(x).values[:, 2:], plain(turned).values[:, 2:], rtol=1e-4, atol=1e-5)
    for positions in ("rotary", "relative"):
        layer = Transformer(8, 2, 12, 2, positions=positions).eval()  # type: ignore[arg-type]
        assert (layer(x).values[:, 2:] - layer(turned).values[:, 2:]).abs().max() > 1e-3


def test_a_decoder_generates_with_the_memory_in_its_state() -> None:
    decoder = Transformer(8, 2, 12, 2, causal=True, memory_size=6)
    memory, x = Sequence.of(torch.randn(2, 7, 6), [7, 3]), Sequence.of(torch.randn(2, 4, 8))
    state = decoder.remember(memory)
    parts = []
    for t in range(4):
        y, state = decoder.step(x.slice(t, t + 1), state)
        parts.append(y.values)
    torch.testing.assert_close(torch.cat(parts, 1), decoder(x, memory).values, rtol=1e-4, atol=1e-5)
    exchanged = choose_rows(torch.tensor([True, False]), decoder.initial_state(2), state)
    assert exchanged[0].memory.lengths.tolist() == [0, 3]
    assert exchanged[0].attention.steps.tolist() == [0, 4]


def test_it_runs_under_autocast() -> None:
    decoder = Transformer(8, 2, 12, 2, causal=True, memory_size=6, positions="relative", horizon=3)
    memory, x = Sequence.of(torch.randn(2, 7, 6), [7, 0]), Sequence.of(torch.randn(2, 4, 8), [4, 2])
    exact = decoder(x, memory).values
    with torch.autocast("cpu", torch.bfloat16):
        rough = decoder(x, memory).values
        stepped, _ = decoder.step(x, decoder.remember(memory))
    torch.testing.assert_close(rough.float(), exact, rtol=0.1, atol=0.1)
    torch.testing.assert_close(stepped.values.float(), exact, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("build", "finding"),
    [
        (lambda: SinusoidalPositions(3), "SinusoidalPositions has size 3.*choose an even size"),
        (lambda: LearnedPositions(3, 0), "LearnedPositions has size 3 and 0 positions: both must be positive"),
        (lambda: LayerNorm(4, epsilon=0), "LayerNorm has size 4 and epsilon 0: both must be positive"),
        (lambda: TransformerBlock(4, 3, 5), "cannot divide size 4 among 3 heads"),
        (lambda: TransformerBlock(4, 2, 0), "TransformerBlock has 0 hidden features"),
        (lambda: TransformerBlock(4, 2, 5, norm="none"), "TransformerBlock has norm 'none': choose 'pre' or 'post'"),  # type: ignore[arg-type]
        (lambda: TransformerBlock(4, 2, 5, activation="tanh"), "activation 'tanh': choose 'gelu' or 'relu'"),  # type: ignore[arg-type]
        (lambda: Transformer(4, 2, 5, 0), "Transformer has depth 0: give at least one block"),
    ],
)
def test_faulty_settings_are_refused(build: Callable[[], Any], finding: str) -> None:
    with pytest.raises(ValueError, match=finding):
        build()


def test_faulty_input_is_refused() -> None:
    layer = Transformer(4, 2, 5, 2, causal=True)
    x = Sequence.of(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="expects 4 features and got 5"):
        layer(Sequence.of(torch.zeros(2, 3, 5)))
    with pytest.raises(ValueError, match="state of batch size 3 with an input of batch size 2"):
        layer.step(x, layer.initial_state(3))
    with pytest.raises(ValueError, match="given 1 states for 2 blocks"):
        layer.step(x, layer.initial_state(2)[:1])
    with pytest.raises(TypeError, match="Transformer cannot be stepped: causal is False"):
        Transformer(4, 2, 5, 2).step(x, ())
    with pytest.raises(TypeError, match="TransformerBlock has no initial state: causal is False"):
        TransformerBlock(4, 2, 5).initial_state(2)
    for call in (lambda: layer(x, x), lambda: layer.remember(x)):
        with pytest.raises(ValueError, match="was given a memory but has no cross-attention: build it with memory_size"):
            call()
    with pytest.raises(ValueError, match="CrossAttention was given no memory"):
        TransformerBlock(4, 2, 5, memory_size=3)(x)


def test_segments_see_beyond_themselves() -> None:
    """Transformer-XL: segments of three with the states of the one before as memory, gradients cut between them. Outputs are
    those of the whole row, so the context grows by a horizon a block, beyond the segment and beyond the one before."""
    torch.manual_seed(0)
    layer = Transformer(8, 2, 12, 2, causal=True, horizon=4, positions="relative").double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    values = torch.randn(1, 12, 8, dtype=torch.float64, requires_grad=True)
    whole = layer(Sequence.of(values)).values
    state, parts = layer.initial_state(1, dtype=torch.float64), []
    for start in range(0, 12, 3):
        y, state = layer.step(Sequence.of(values[:, start : start + 3]), state)
        state = detach_state(state)
        parts.append(y.values)
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    assert layer.receptive_field == 7  # the output at step 9 knows of step 3, two segments ago
    (seen,) = torch.autograd.grad(whole[0, 9].sum(), values)
    assert [step for step in range(12) if seen[0, step].any()] == list(range(3, 10))
    (cut,) = torch.autograd.grad(parts[3][0, 0].sum(), values)
    assert [step for step in range(12) if cut[0, step].any()] == [9]
