"""The library's fused recurrent kernels (oneDNN or plain C++ on a CPU, cuDNN on a GPU) under this library's contract.

The kernels know one length for the whole batch. The layers are causal, so a ragged batch runs padded with zeros: what a
row's real steps give cannot depend on the padding, and the outputs after a row's end are dropped. This is faster than
packing (oneDNN takes no packed input) and leaves no place where a NaN of the padding could enter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from carryover.sequence import Sequence

Kernel = Callable[..., tuple[Tensor, ...]]
KERNELS: dict[str, Kernel] = {
    "lstm": torch._VF.lstm,
    "gru": torch._VF.gru,
    "tanh": torch._VF.rnn_tanh,
    "relu": torch._VF.rnn_relu,
}


def is_full(x: Sequence) -> bool:
    """Whether every row has all steps. Reads the lengths."""
    return bool((x.lengths == x.time).all())


def run_fused(
    name: str,
    x: Sequence,
    state: tuple[Tensor, ...],
    weights: list[Tensor],
    *,
    full: bool,
) -> tuple[Sequence, tuple[Tensor, ...]]:
    """One layer of kernel `name` over `x`, which has at least one row and one step.

    `weights` are W [G, in], U [G, hidden], the biases of W x and U h [G], and for an LSTM perhaps a projection. Gives
    the outputs and the states after the last *padded* step, which are the rows' own only when the batch is `full`.
    """
    if not full:
        x = x.zero_padding()
    values = x.values
    if torch.is_autocast_enabled(values.device.type):
        dtype = torch.get_autocast_dtype(values.device.type)
        values, weights = values.to(dtype), [weight.to(dtype) for weight in weights]
    state = tuple(part.to(values.dtype).unsqueeze(0) for part in state)
    if values.device.type == "cuda":
        weights = _side_by_side(weights)
    # The kernels keep what the backward pass needs only in training mode; there is no dropout here, so that is all it means.
    train = torch.is_grad_enabled()
    arguments: Any = (True, 1, 0.0, train, False, True)  # biases, layers, dropout, train, bidirectional, batch first
    with torch.autocast(values.device.type, enabled=False):
        outputs, *last = KERNELS[name](values, state if name == "lstm" else state[0], weights, *arguments)
    y = x.with_values(outputs)
    return (y if full else y.zero_padding()), tuple(part.squeeze(0) for part in last)


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
