"""Convolutions over time: fast paths against plain ones, lengths, states that share memory, faulty arguments."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch

from carryover.kernels.step_buffer import advance
from carryover.layers import (
    Bidirectional,
    Convolution,
    Delay,
    Layer,
    Residual,
    StepBuffer,
    TransposedConvolution,
    choose_rows,
)
from carryover.layers.convolutional.convolution import convolution_plain
from carryover.sequence import Sequence


def ragged(features: int = 3) -> Sequence:
    return Sequence.of(torch.randn(4, 11, features), [11, 0, 1, 6])


@pytest.mark.parametrize("padding", ["causal", "centred", "valid"])
@pytest.mark.parametrize(
    ("kernel", "dilation", "stride"), [(1, 1, 1), (3, 1, 1), (3, 4, 1), (5, 2, 3), (3, 1, 12), (1, 1, 2)]
)
def test_the_fast_path_equals_the_plain_one(padding: str, kernel: int, dilation: int, stride: int) -> None:
    layer = Convolution(3, 5, kernel, padding=padding, dilation=dilation, stride=stride, weight_norm=True)  # type: ignore[arg-type]
    x = ragged()
    results = []
    for run in (layer, lambda x: convolution_plain(layer, x)):
        values = x.values.clone().requires_grad_()
        y = run(Sequence(values, x.lengths))
        gradients = torch.autograd.grad(y.values.square().sum(), [values, *layer.parameters()])
        results.append((y, gradients))
    (fast, of_fast), (plain, of_plain) = results
    assert torch.equal(fast.lengths, plain.lengths)
    torch.testing.assert_close(fast.values, plain.values)
    torch.testing.assert_close(of_fast, of_plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "lengths"),
    [
        (Convolution(1, 1, 3, stride=2), [0, 1, 1, 2, 5]),
        (Convolution(1, 1, 3, stride=2, padding="centred"), [0, 1, 1, 2, 5]),
        (Convolution(1, 1, 3, padding="valid"), [0, 0, 0, 1, 8]),
        (Convolution(1, 1, 3, stride=2, padding="valid"), [0, 0, 0, 1, 4]),
        (TransposedConvolution(1, 1, 3, stride=2), [0, 2, 4, 6, 20]),
    ],
)
def test_each_row_has_outputs_for_its_own_length(layer: Layer, lengths: list[int]) -> None:
    x = Sequence.of(torch.randn(5, 10, 1), [0, 1, 2, 3, 10])
    assert layer(x).lengths.tolist() == layer.output_lengths(x.lengths).tolist() == lengths


@pytest.mark.parametrize("size", [1, 5, 40])
def test_a_buffer_is_always_the_last_steps_however_it_is_filled(size: int) -> None:
    with torch.no_grad():
        state = StepBuffer.zeros(2, size, 3, device=None, dtype=None)
        seen, older = torch.zeros(2, size, 3), []
        for steps in [1] * 200 + [2, 60, 1, 3, 0, 1]:
            new = torch.randn(2, steps, 3)
            joined, state = advance(state, new)
            seen = torch.cat([seen, new], dim=1)
            older.append((state, seen[:, -size:].clone()))
            assert torch.equal(joined, seen[:, -size - steps :])
        assert all(torch.equal(before[0], expected) for before, expected in older)


def test_stepping_without_gradients_does_not_copy_the_window() -> None:
    with torch.no_grad():
        _, state = advance(StepBuffer.zeros(1, 100, 2, device=None, dtype=None), torch.ones(1, 1, 2))
        _, after = advance(state, torch.ones(1, 1, 2))
    assert after[0].untyped_storage().data_ptr() == state[0].untyped_storage().data_ptr()


def continue_again(state: StepBuffer) -> StepBuffer:
    return state


@pytest.mark.parametrize(
    "other",
    [
        continue_again,
        copy.copy,
        copy.deepcopy,
        lambda state: pickle.loads(pickle.dumps(state)),
        lambda state: (state[0].detach(),),
        lambda state: choose_rows(torch.tensor([True, False]), state, state),
    ],
)
def test_two_streams_from_one_state_do_not_meet(other: Callable[[StepBuffer], StepBuffer]) -> None:
    with torch.no_grad():
        _, state = advance(StepBuffer.zeros(2, 4, 1, device=None, dtype=None), torch.ones(2, 1, 1))
        second = other(state)
        _, one = advance(state, torch.full((2, 1, 1), 2.0))
        _, two = advance(second, torch.full((2, 1, 1), 3.0))
        _, one = advance(one, torch.full((2, 1, 1), 4.0))
        _, two = advance(two, torch.full((2, 1, 1), 5.0))
    assert one[0][0].flatten().tolist() == [0, 1, 2, 4]
    assert two[0][0].flatten().tolist() == [0, 1, 3, 5]


def test_a_state_goes_between_gradients_no_gradients_and_inference() -> None:
    layer = Convolution(3, 4, 5, dilation=2)
    x = Sequence.of(torch.randn(2, 9, 3))
    expected, parts = layer(x).values, []
    state = layer.initial_state(2)
    for t, mode in enumerate([torch.inference_mode, torch.no_grad, torch.enable_grad] * 3):
        with mode():
            y, state = layer.step(x.slice(t, t + 1), state)
            parts.append(y.values.detach().clone())
    torch.testing.assert_close(torch.cat(parts, dim=1), expected)


def test_a_state_made_without_gradients_does_not_disturb_a_recorded_pass() -> None:
    layer = Convolution(3, 4, 5)
    x = Sequence.of(torch.randn(2, 6, 3))
    with torch.no_grad():
        _, state = layer.step(x.slice(0, 2), layer.initial_state(2))
        _, state = layer.step(x.slice(2, 3), state)
    y, _ = layer.step(x.slice(3, 6), state)
    with torch.no_grad():
        layer.step(x.slice(3, 4), state)
    y.values.sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Convolution(3, 4, 4, padding="centred"),
            "Convolution .* kernel of 4 at dilation 1, .* odd kernel, take 3 or 5",
        ),
        (lambda: Convolution(3, 4, 3, dilation=0), "Convolution was given dilation 0: it must be at least 1"),
        (lambda: Convolution(3, 4, 0), "Convolution was given kernel 0: it must be at least 1"),
        (lambda: Convolution(3, 4, 3, padding="same"), "padding 'same': choose from causal, centred, valid"),  # type: ignore[arg-type]
        (lambda: Convolution(3, 4, 3, groups=2), "2 groups for 3 features in and 4 out: both must be multiples"),
        (lambda: TransposedConvolution(3, 4, 3, stride=0), "TransposedConvolution was given stride 0"),
        (lambda: TransposedConvolution(3, 4, 3, groups=3), "3 groups for 3 features in and 4 out"),
        (lambda: TransposedConvolution(3, 4, 3, stride=2, padding="centred"), "spans 3 steps at stride 2"),
        (lambda: TransposedConvolution(3, 4, 2, stride=4, padding="centred"), "spans 2 steps at stride 4"),
        (lambda: TransposedConvolution(3, 4, 2, padding="valid"), "padding 'valid': choose from causal, centred"),  # type: ignore[arg-type]
        (lambda: Delay(3, -1), "Delay was given size 3 and steps -1"),
        (lambda: Residual(Convolution(3, 3, 3, padding="valid")), "Convolution .* ratio of 1 and drops steps"),
        (lambda: Bidirectional(Convolution(3, 3, 3, padding="centred"), Convolution(3, 3, 3)), "causal False"),
    ],
)
def test_faulty_arguments_are_refused(build: Callable[[], Layer], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "layer", [Convolution(3, 4, 3), Convolution(3, 4, 3, stride=2), TransposedConvolution(3, 4, 3), Delay(3, 2)]
)
def test_faulty_inputs_are_refused(layer: Layer) -> None:
    name = type(layer).__name__
    x = ragged()
    with pytest.raises(ValueError, match=f"{name} expects 3 features and got 5: build it with in_size=5"):
        layer(ragged(5))
    with pytest.raises(ValueError, match=f"{name} was given a state of batch size 3 .* batch size 4: make one with"):
        layer.step(x, layer.initial_state(3))
    with pytest.raises(TypeError, match=f"{name} reads real numbers and got torch.int64: embed the ids first"):
        layer(Sequence.of(torch.zeros(1, 2, 3, dtype=torch.int64)))
    with pytest.raises(ValueError, match=rf"{name} reads values \[batch, time, 3\] and got shape \(1, 2, 3, 3\)"):
        layer(Sequence.of(torch.zeros(1, 2, 3, 3)))


@pytest.mark.parametrize(
    "layer",
    [
        Convolution(3, 4, 3, padding="centred"),
        Convolution(3, 4, 3, padding="valid"),
        TransposedConvolution(3, 4, 4, stride=2, padding="centred"),
    ],
)
def test_layers_that_look_ahead_have_no_step(layer: Layer) -> None:
    name = type(layer).__name__
    with pytest.raises(TypeError, match=f"{name} has no initial state: causal is False; run the whole pass, or"):
        layer.initial_state(1)
    with pytest.raises(TypeError, match=f"{name} cannot be stepped: causal is False"):
        layer.step(ragged(), ())


def test_a_state_of_another_layer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"StepBuffer holds steps of shape \(2,\) and was given steps of shape \(3,\)"):
        Convolution(3, 4, 3).step(ragged(), Convolution(2, 4, 3).initial_state(4))


def test_weights_are_those_of_torch() -> None:
    ours, theirs = Convolution(3, 4, 3, padding="valid"), torch.nn.Conv1d(3, 4, 3)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 9, 3)
    torch.testing.assert_close(ours(Sequence.of(x)).values, theirs(x.transpose(1, 2)).transpose(1, 2))
