"""PyTorch's fused recurrent kernels (oneDNN or plain C++ on a CPU, cuDNN on a GPU) for sequences of unequal lengths.

A batch goes to them padded with zeros: the layers are causal, so what a row's real steps give cannot depend on the padding,
the outputs after a row's end are dropped, and there is no place where a NaN of the padding could enter. oneDNN knows no other
input. The kernels without oneDNN also take packed rows, which spares them the padding; their backward pass over packed rows
is the slower one, so that is for passes without gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from carryover.kernels.packed_steps import PackedSteps
from carryover.kernels.products import product_type, wants_gradients
from carryover.sequence import Sequence

Kernel = Callable[..., tuple[Tensor, ...]]
KERNELS: dict[str, Kernel] = {
    "lstm": torch._VF.lstm,
    "gru": torch._VF.gru,
    "tanh": torch._VF.rnn_tanh,
    "relu": torch._VF.rnn_relu,
}
WITHOUT_ONEDNN = ("gru", "tanh", "relu")


class FusedKernel(NamedTuple):
    """A kernel and one layer's weights as it reads them."""

    name: str
    weights: list[Tensor]


def takes_packed(name: str, x: Sequence, *tensors: Tensor) -> bool:
    """Whether ragged rows are better given to kernel `name` packed."""
    return name in WITHOUT_ONEDNN and x.device.type == "cpu" and not wants_gradients(x.values, *tensors)


def run_fused(
    name: str, weights: list[Tensor], x: Sequence, state: tuple[Tensor, ...], *, full: bool
) -> tuple[Sequence, tuple[Tensor, ...]]:
    """One layer of kernel `name` over `x`, which has at least one row and one step.

    `weights` are W [G, in], U [G, hidden], the biases of W x and U h [G], and for an LSTM perhaps a projection. Gives
    the outputs and, when the batch is `full`, the states after the last step; of a ragged one the states mean nothing.
    """
    if not full and takes_packed(name, x, *weights, *state) and bool(x.lengths.any()):
        return _run_packed(name, x, tuple(part.unsqueeze(0) for part in state), weights), state
    y, last = _run_padded(name, x, tuple(part.unsqueeze(0) for part in state), weights, full=full)
    return y, tuple(part.squeeze(0) for part in last)


def run_both_directions(ahead: FusedKernel, back: FusedKernel, x: Sequence) -> Sequence | None:
    """Outputs of two layers side by side from zero states, the second reading each row backwards; None where no one call does
    that: for two kinds or sizes of layers, and for ragged rows with gradients or on oneDNN."""
    weights, full = [*ahead.weights, *back.weights], x.full
    alike = ahead.name == back.name and [w.shape for w in ahead.weights] == [w.shape for w in back.weights]
    if not alike or not (full or (takes_packed(ahead.name, x, *weights) and bool(x.lengths.any()))):
        return None
    hidden = ahead.weights[1]
    cells = [hidden.shape[0] // 4] if ahead.name == "lstm" else []
    state = tuple(hidden.new_zeros(2, x.batch_size, size) for size in (hidden.shape[1], *cells))
    return _run_padded(ahead.name, x, state, weights, full=True)[0] if full else _run_packed(ahead.name, x, state, weights)


def _run_padded(
    name: str, x: Sequence, state: tuple[Tensor, ...], weights: list[Tensor], *, full: bool
) -> tuple[Sequence, tuple[Tensor, ...]]:
    """Outputs, and the states [directions, B, ...] after the last padded step."""
    if not full:
        x = x.zero_padding()
    values, weights, state = _in_product_type(x.values, weights, state)
    if values.device.type == "cuda":
        weights = _side_by_side(weights)
    # The kernels keep what the backward pass needs only in training mode; there is no dropout here, so that is all it means.
    train = torch.is_grad_enabled()
    arguments: Any = (
        True,
        1,
        0.0,
        train,
        len(state[0]) == 2,
        True,
    )  # biases, layers, dropout, train, bidirectional, batch first
    with _as_given(values):
        outputs, *last = KERNELS[name](values, state if name == "lstm" else state[0], weights, *arguments)
    y = x.with_values(outputs)
    return (y if full else y.zero_padding()), tuple(last)


def _run_packed(name: str, x: Sequence, state: tuple[Tensor, ...], weights: list[Tensor]) -> Sequence:
    """Outputs of rows of which at least one has a step, without gradients; `state` is [directions, B, hidden]."""
    steps = PackedSteps(x.lengths, x.time)
    values, weights, (hidden,) = _in_product_type(steps.pack(x.values), weights, state)
    sizes, running = torch.tensor(steps.sizes), steps.sort(hidden).narrow(-2, 0, steps.sizes[0])
    with _as_given(values):
        outputs, _ = KERNELS[name](values, sizes, running, weights, True, 1, 0.0, False, len(hidden) == 2)
    return x.with_values(steps.unpack(outputs))


def _as_given(values: Tensor) -> AbstractContextManager[Any]:
    """Within it, operations on the device of `values` keep the types of what they are given."""
    device = values.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def _in_product_type(
    values: Tensor, weights: list[Tensor], state: tuple[Tensor, ...]
) -> tuple[Tensor, list[Tensor], tuple[Tensor, ...]]:
    dtype = product_type(values)
    if all(part.dtype == dtype for part in (values, *weights, *state)):
        return values, weights, state  # asking each tensor to become what it is takes a noticeable part of a short call
    return values.to(dtype), [weight.to(dtype) for weight in weights], tuple(part.to(dtype) for part in state)


def _side_by_side(weights: list[Tensor]) -> list[Tensor]:
    """The weights as views of one piece of memory, where cuDNN wants them (matrices first, then biases)."""
    order = sorted(range(len(weights)), key=lambda k: weights[k].dim() == 1)
    flat = torch.cat([weights[k].reshape(-1) for k in order])
    pieces = flat.split([weights[k].numel() for k in order])
    views = dict(zip(order, pieces, strict=True))
    return [views[k].view_as(weights[k]) for k in range(len(weights))]


def last_hidden(outputs: Sequence, hidden: Tensor) -> Tensor:
    """State after each row's own length where the output is the state: its last real output, or `hidden` as it was."""
    return torch.where((outputs.lengths > 0).unsqueeze(1), outputs.last(), hidden)
