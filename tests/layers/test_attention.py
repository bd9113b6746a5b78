"""Self-attention and attention to a memory: caches row by row, the two paths, empty rows, faulty input."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from carryover.layers import (
    AdditiveAttention,
    CrossAttention,
    Layer,
    MultiplicativeAttention,
    SelfAttention,
    choose_rows,
    state_tensors,
)
from carryover.sequence import Sequence

OPTIONS: list[dict[str, Any]] = [
    {"horizon": 2},
    {"horizon": 2, "causal": True, "positions": "relative"},
    {},
    {"horizon": 3},
    {"positions": "rotary"},
    {"positions": "relative"},
    {"causal": True},
    {"causal": True, "horizon": 3},
    {"causal": True, "positions": "rotary", "horizon": 4},
    {"causal": True, "positions": "relative"},
    {"causal": True, "positions": "relative", "horizon": 4},
]
CAUSAL = [options for options in OPTIONS if "causal" in options]


def ragged(features: int = 8, seed: int = 0) -> Sequence:
    generator = torch.Generator().manual_seed(seed)
    x = Sequence.of(torch.randn(4, 9, features, generator=generator), [9, 4, 0, 1])
    return x.with_values(x.values.masked_fill(~x.expand_mask(), torch.nan))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_fused_and_the_plain_path_agree_in_value_and_gradient(options: dict[str, Any]) -> None:
    layer = SelfAttention(8, 2, **options)
    answers = []
    for layer.fast in (True, False):
        x = ragged()
        x.values.requires_grad_()
        y = layer(x)
        fused = "blocks" if layer.horizon is not None and x.time > 3 * layer.horizon else "fused"
        assert layer.last_path == (fused if layer.fast else "plain")
        weights = torch.randn(y.values.shape, generator=torch.Generator().manual_seed(1))
        answers.append([y.values, *torch.autograd.grad((y.values * weights).sum(), [x.values, *layer.parameters()])])
    for fused, plain in zip(*answers, strict=True):
        assert plain.isfinite().all()
        torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("options", CAUSAL, ids=str)
def test_step_by_step_with_rows_at_their_own_positions(options: dict[str, Any], fast: bool) -> None:
    """Rows of a batch are 0, 3 and 11 steps on; then all go on together, each as it would alone."""
    layer = SelfAttention(8, 2, **options)
    layer.fast = fast
    first, second = torch.randn(3, 11, 8), torch.randn(3, 5, 8)
    lengths, more = [0, 3, 11], [5, 1, 4]
    _, state = layer.step(Sequence.of(first, lengths), layer.initial_state(3))
    assert state.steps.tolist() == lengths
    parts = []
    for t in range(5):
        y, state = layer.step(Sequence.of(second[:, t : t + 1], [int(t < n) for n in more]), state)
        parts.append(y)
    for row, (before, after) in enumerate(zip(lengths, more, strict=True)):
        alone = layer(Sequence.of(torch.cat([first[row, :before], second[row, :after]]).unsqueeze(0)))
        found = torch.cat([part.values[row] for part in parts[:after]])
        torch.testing.assert_close(found, alone.values[0, before:], rtol=1e-4, atol=1e-5)
    assert state.steps.tolist() == [5, 4, 15]


def test_an_unbounded_cache_is_as_wide_as_its_longest_row_and_a_ring_never_grows() -> None:
    growing, ring = SelfAttention(8, 2, causal=True), SelfAttention(8, 2, causal=True, horizon=4)
    x = Sequence.of(torch.randn(2, 7, 8), [5, 2])
    _, state = growing.step(x, growing.initial_state(2))
    assert state.keys.shape == (2, 5, 2, 4)  # seven padded steps, five real ones
    assert not state.keys[1, 2:].any()
    _, state = growing.step(Sequence.of(torch.randn(2, 1, 8), [0, 1]), state)
    assert state.keys.shape[1] == 5
    shortened = choose_rows(torch.tensor([True, False]), growing.initial_state(2), state)
    _, state = growing.step(Sequence.of(torch.randn(2, 1, 8)), shortened)
    assert state.keys.shape[1] == 4  # the long row is gone, and so is its room
    assert state.steps.tolist() == [1, 4]

    state = ring.initial_state(2)
    sizes = set()
    for _ in range(9):
        _, state = ring.step(Sequence.of(torch.randn(2, 3, 8), [3, 1]), state)
        sizes.add(tuple(state.keys.shape))
    assert sizes == {(2, 4, 2, 4)}
    assert state.steps.tolist() == [27, 9]


def test_a_growing_cache_is_written_in_place_but_no_state_ever_changes() -> None:
    layer = SelfAttention(8, 2, causal=True)
    x = torch.randn(3, 40, 8)
    states, addresses = [layer.initial_state(3)], set()
    with torch.no_grad():
        for t in range(40):
            states.append(layer.step(Sequence.of(x[:, t : t + 1]), states[-1])[1])
            addresses.add(states[-1].keys.data_ptr())
        assert len(addresses) == 1  # no copy
        whole = layer(Sequence.of(x)).values
        keys, values = (part.clone() for part in states[40][:2])
        other = torch.randn(3, 1, 8)
        for t in (20, 39, 20):  # a state that has a successor already, and again
            y, _ = layer.step(Sequence.of(x[:, t : t + 1]), states[t])
            torch.testing.assert_close(y.values, whole[:, t : t + 1])
            y, branch = layer.step(Sequence.of(other), states[t])
            expected = layer(Sequence.of(torch.cat([x[:, :t], other], 1))).values[:, -1:]
            torch.testing.assert_close(y.values, expected)
            assert branch.keys.shape[1] == t + 1
    for t, state in enumerate(states):
        assert state.keys.shape == (3, t, 2, 4)
        assert torch.equal(state.keys, keys[:, :t])
        assert torch.equal(state.values, values[:, :t])
    with torch.inference_mode():
        y, after = layer.step(Sequence.of(other), states[40])
    expected = layer(Sequence.of(torch.cat([x, other], 1))).values[:, -1:]
    torch.testing.assert_close(y.values, expected)
    y, _ = layer.step(Sequence.of(other), after._replace(keys=after.keys.clone(), values=after.values.clone()))
    assert y.values.requires_grad


def test_restarting_one_row_of_a_cache_leaves_the_others_bit_for_bit() -> None:
    for layer in (SelfAttention(8, 2, causal=True), SelfAttention(8, 2, causal=True, horizon=3, positions="relative")):
        _, state = layer.step(Sequence.of(torch.randn(3, 6, 8), [6, 2, 4]), layer.initial_state(3))
        restarted = choose_rows(torch.tensor([False, True, False]), layer.initial_state(3), state)
        x = Sequence.of(torch.randn(3, 2, 8))
        gone_on, _ = layer.step(x, state)
        found, _ = layer.step(x, restarted)
        fresh, _ = layer.step(x, layer.initial_state(3))
        assert torch.equal(found.values[[0, 2]], gone_on.values[[0, 2]])
        torch.testing.assert_close(found.values[1], fresh.values[1])


def test_the_state_takes_the_asked_type_of_number() -> None:
    layer = SelfAttention(4, 2, causal=True, horizon=2)
    state = layer.initial_state(3, dtype=torch.bfloat16)
    assert [tensor.dtype for tensor in state_tensors(state)] == [torch.bfloat16, torch.bfloat16, torch.int64]
    _, after = layer.step(Sequence.of(torch.randn(3, 1, 4)), layer.initial_state(3, dtype=torch.float64))
    assert after.keys.dtype == torch.float64


@pytest.mark.parametrize("positions", ["rotary", "relative"])
def test_only_differences_of_positions_count(positions: Any) -> None:
    """A row that begins a million steps late, with nothing before, is answered as one that begins at 0."""
    layer = SelfAttention(4, 1, causal=True, horizon=3, positions=positions)
    x = Sequence.of(torch.randn(1, 5, 4))
    empty = layer.initial_state(1)
    late = empty._replace(steps=torch.tensor([10**6]))
    y, _ = layer.step(x.slice(3, 5), layer.step(x.slice(0, 3), late)[1])
    # Three steps fill the ring, so that none of the slots said to hold late positions is left.
    torch.testing.assert_close(y.values, layer(x).values[:, 3:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", [lambda: CrossAttention(4, 2, memory_size=6), lambda: AdditiveAttention(4, 6, 5)])
@pytest.mark.parametrize("fast", [True, False])
def test_a_row_without_memory_gets_zeros_and_finite_gradients(build: Callable[[], Any], fast: bool) -> None:
    layer = build()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)  # not a bias of zero
    layer.fast = fast
    x, memory = Sequence.of(torch.randn(2, 3, 4)), Sequence(torch.full((2, 5, 6), torch.nan), torch.tensor([5, 0]))
    memory.values[0] = torch.randn(5, 6)
    memory.values.requires_grad_()
    y = layer(x, memory)
    assert y.values[0].abs().min() > 0
    assert not y.values[1].any()
    gradients = torch.autograd.grad(y.values.square().sum(), [memory.values, *layer.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert not gradients[0][1].any()
    nothing = layer(x, Sequence.of(torch.zeros(2, 0, 6)))
    assert not nothing.values.any()


@pytest.mark.parametrize("score", ["dot", "general"])
def test_memories_are_exchanged_row_by_row(score: Any) -> None:
    layer = MultiplicativeAttention(4, 4, score=score)
    x = Sequence.of(torch.randn(2, 1, 4))
    state = layer.remember(Sequence.of(torch.randn(2, 5, 4), [5, 3]))
    assert not layer.step(x, layer.initial_state(2))[0].values.any()
    forgotten = choose_rows(torch.tensor([False, True]), layer.initial_state(2), state)
    before, after = layer.step(x, state)[0].values, layer.step(x, forgotten)[0].values
    assert torch.equal(before[0], after[0])
    assert not after[1].any()
    longer = layer.remember(Sequence.of(torch.randn(2, 9, 4)))
    mixed = choose_rows(torch.tensor([False, True]), longer, state)
    torch.testing.assert_close(layer.step(x, mixed)[0].values[1], layer.step(x, longer)[0].values[1])


def test_additive_attention_serves_a_recurrent_decoder() -> None:
    """Word by word with the hidden state as the query, as Bahdanau et al. use it, equals all queries at once."""
    attention = AdditiveAttention(4, 6, 5)
    annotations = Sequence.of(torch.randn(2, 7, 6), [7, 4])
    hidden = torch.randn(2, 3, 4)
    state = attention.remember(annotations)
    contexts = []
    for t in range(3):
        context, state = attention.step(Sequence.of(hidden[:, t : t + 1]), state)
        contexts.append(context.values)
    torch.testing.assert_close(torch.cat(contexts, 1), attention(Sequence.of(hidden), annotations).values)


def test_dropout_of_weights_acts_in_training_only() -> None:
    layer = SelfAttention(8, 2, dropout=0.5)
    x = Sequence.of(torch.randn(2, 9, 8))
    assert not torch.equal(layer.train()(x).values, layer(x).values)
    assert torch.equal(layer.eval()(x).values, layer(x).values)


def test_it_runs_under_autocast() -> None:
    for options in OPTIONS:
        layer = SelfAttention(8, 2, **options)
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(ragged())
            if layer.causal:
                layer.step(ragged(), layer.initial_state(4))
        assert y.values.isfinite().all()


@pytest.mark.parametrize(
    ("build", "finding"),
    [
        (lambda: SelfAttention(6, 4), "SelfAttention cannot divide size 6 among 4 heads: choose a size"),
        (lambda: CrossAttention(6, 4), "CrossAttention cannot divide size 6 among 4 heads"),
        (
            lambda: SelfAttention(6, 2, positions="rotary"),
            "size 6 with 2 heads has heads of 3 features.*choose size / heads even",
        ),
        (lambda: SelfAttention(3, 1, positions="relative"), "has size 3, and relative positions.*choose it even"),
        (lambda: SelfAttention(4, 2, horizon=0), "SelfAttention has horizon 0: a step sees at least itself, choose 1"),
        (lambda: SelfAttention(4, 2, horizon=1), "horizon 1 and causal False.*choose 2 or more"),
        (lambda: SelfAttention(4, 2, positions="learned"), "positions 'learned': choose None, 'rotary' or 'relative'"),  # type: ignore[arg-type]
        (lambda: SelfAttention(4, 2, dropout=1.0), "dropout probability is 1.0"),
        (lambda: AdditiveAttention(4, 0, 5), "AdditiveAttention has memory_size 0: it must be positive"),
        (lambda: AdditiveAttention(4, 4, 0), "AdditiveAttention has attention_size 0"),
        (lambda: MultiplicativeAttention(4, 5, score="dot"), "in_size 4 and memory_size 5.*choose score='general'"),
        (lambda: MultiplicativeAttention(4, 5, score="concat"), "score 'concat': choose 'dot' or 'general'"),  # type: ignore[arg-type]
    ],
)
def test_faulty_settings_are_refused(build: Callable[[], Layer], finding: str) -> None:
    with pytest.raises(ValueError, match=finding):
        build()


def test_faulty_input_is_refused() -> None:
    layer, cross = SelfAttention(4, 2, causal=True), CrossAttention(4, 2, memory_size=6)
    x = Sequence.of(torch.zeros(2, 3, 4))
    for one in (layer, cross):
        wrong = (Sequence.of(torch.zeros(1, 2, 5)), Sequence.of(torch.zeros(1, 2, 6)))[: 1 if one is layer else 2]
        with pytest.raises(ValueError, match=f"{type(one).__name__} expects 4 features and got 5: build it with in_size=5"):
            one(*wrong)
    with pytest.raises(
        ValueError, match=re.escape("state of batch size 3 with an input of batch size 2: make one with initial_state(2)")
    ):
        layer.step(x, layer.initial_state(3))
    ring = SelfAttention(4, 2, causal=True, horizon=5)
    with pytest.raises(ValueError, match="has horizon 5 and was given a cache of 3 slots"):
        ring.step(x, SelfAttention(4, 2, causal=True, horizon=3).initial_state(2))
    with pytest.raises(
        TypeError, match="SelfAttention cannot be stepped: causal is False; run the whole pass, or use a causal"
    ):
        SelfAttention(4, 2).step(x, ())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="SelfAttention has no initial state: causal is False"):
        SelfAttention(4, 2).initial_state(2)
    with pytest.raises(
        ValueError,
        match=r"CrossAttention looks at a memory \[batch, time, 6\] and got \(2, 3, 4\): build it with memory_size=4",
    ):
        cross(x, x)
    with pytest.raises(ValueError, match="CrossAttention was given no memory"):
        cross(x)
    with pytest.raises(ValueError, match="state of batch size 3 with an input of batch size 2"):
        cross(x, Sequence.of(torch.zeros(3, 3, 6)))
