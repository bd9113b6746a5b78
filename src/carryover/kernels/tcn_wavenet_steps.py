"""A step of a whole TCN or WaveNet in C (`c/steps.c`), for generation on a CPU; the steps of the layers compute the same in PyTorch.

What it saves: such a step is a hundred operations and more of a few microseconds' work each, and the interpreter starts every
one of them. Weights are read as they lie and, with weight norm, their lengths are taken anew in every step, so nothing is kept
that could grow old.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

from carryover.kernels import c_library
from carryover.kernels.step_buffer import StepBuffer, Window

LEAST_WEIGHTS = 1 << 13
"""Fewer than elsewhere: what is saved does not depend on the size of a layer, and nobody takes one step only."""

NOTHING = (0, 0, 0, 0, 0)  # a product that is not there


class Unreadable(Exception):
    """A part of a network that the kernel cannot read."""


class ConvolutionWeights(NamedTuple):
    """A causal convolution of one group and no stride."""

    weight: Tensor  # [out, in, kernel]; the directions where there are lengths
    length: Tensor | None  # [out, 1, 1], of weight norm
    bias: Tensor | None  # [out]
    in_size: int
    out_size: int
    kernel: int
    dilation: int


class LinearWeights(NamedTuple):
    """A map x ↦ W x + b."""

    weight: Tensor  # [out, in]
    bias: Tensor | None  # [out]


class TemporalWeights(NamedTuple):
    """A TCN: two convolutions for each block, and what matches its input to its output where their sizes differ."""

    in_size: int
    size: int
    convolutions: list[ConvolutionWeights]
    matches: list[LinearWeights | None]


class GatedBlockWeights(NamedTuple):
    """The maps of a WaveNet's block."""

    condition: LinearWeights | None
    skip: LinearWeights
    mix: LinearWeights | None


class GatedWeights(NamedTuple):
    """A WaveNet: the convolution at its entry and that of each block, the blocks' maps, and the two maps to the output."""

    in_size: int
    size: int
    skip_size: int
    condition_size: int
    out_size: int
    convolutions: list[ConvolutionWeights]
    blocks: list[GatedBlockWeights]
    hidden: LinearWeights
    output: LinearWeights


def may_run(values: Tensor, weights: int) -> bool:
    """Whether the kernel might make a step of full rows [B, T, in_size] with that number of weights; those have not been looked at."""
    return (
        values.size(1) == 1
        and values.size(0) > 0
        and not torch.is_grad_enabled()
        and weights >= min(LEAST_WEIGHTS, c_library.LEAST_WEIGHTS)
        and not torch.is_autocast_enabled("cpu")
        and c_library.available(c_library.STEPS)
    )


def step_temporal(weights: TemporalWeights, values: Tensor, windows: list[Window]) -> tuple[Tensor, list[StepBuffer]]:
    """Outputs [B, 1, size] and the windows of the convolutions after the step, from those before. Raises Unreadable, with
    nothing changed, where it is not all float32 in the memory of the CPU."""
    in_size, size, convolutions, matches = weights
    values, y = values.contiguous(), values.new_empty(values.size(0), 1, size)
    moving, products, inputs = _Windows(values.size(0)), [], in_size
    for number, match in enumerate(matches):
        moving.add(convolutions[2 * number], windows[2 * number], inputs, size)
        moving.add(convolutions[2 * number + 1], windows[2 * number + 1], size, size)
        products.append(_product(match, inputs, size))
        inputs = size
    head = (_place(values), _place(y))
    numbers, after = moving.move()
    task = [values.size(0), in_size, size, len(matches), torch.get_num_threads(), *head]
    for number, three in enumerate(products):
        task += numbers[2 * number] + numbers[2 * number + 1]
        task += three
    _run("temporal_step", task)
    return y, after


def step_gated(
    weights: GatedWeights, values: Tensor, condition: Tensor | None, windows: list[Window]
) -> tuple[Tensor, list[StepBuffer]]:
    """The same for a WaveNet; `condition` is what its blocks are conditioned on, [B, 1, condition_size]."""
    in_size, size, skip, told, out_size, convolutions, blocks, hidden, output = weights
    values, y = values.contiguous(), values.new_empty(values.size(0), 1, out_size)
    condition = None if condition is None else condition.contiguous()
    moving, products = _Windows(values.size(0)), []
    moving.add(convolutions[0], windows[0], in_size, size)
    for number, (of_condition, of_skip, mix) in enumerate(blocks, start=1):
        moving.add(convolutions[number], windows[number], size, 2 * size)
        products.append(
            (*_product(of_condition, told, 2 * size), *_product(of_skip, size, skip), *_product(mix, size, size))
        )
    head = (_place(values), 0 if condition is None else _place(condition), _place(y))
    tail = (*_product(hidden, skip, skip), *_product(output, skip, out_size))
    numbers, after = moving.move()
    sizes = (in_size, size, skip, out_size)
    task = [values.size(0), *sizes, len(products), torch.get_num_threads(), *head, *numbers[0], *tail]
    for window, three in zip(numbers[1:], products, strict=True):
        task += window
        task += three
    _run("gated_step", task)
    return y, after


class _Windows:
    """Convolutions and the last inputs of each, which are all looked at before any is moved."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._numbers: list[list[int]] = []
        self._buffers: list[StepBuffer] = []

    def add(self, convolution: ConvolutionWeights, window: Window, size: int, outputs: int) -> None:
        weight, length, bias, in_size, out_size, kernel, dilation = convolution
        if in_size != size or out_size != outputs:
            raise Unreadable
        buffer = window if type(window) is StepBuffer else StepBuffer(window[0])
        if not buffer.holds(self._rows, (kernel - 1) * dilation, size):
            raise Unreadable
        words = size * kernel
        length_place = 0 if length is None else _place(length, outputs)
        weight_place = _place(weight, outputs * words)
        bias_place = 0 if bias is None else _place(bias, outputs)
        self._numbers.append([words, outputs, weight_place, length_place, bias_place, size, kernel, dilation])
        self._buffers.append(buffer)

    def move(self) -> tuple[list[list[int]], list[StepBuffer]]:
        """The windows as the kernel reads them, and the states after the step that it is going to write."""
        states = []
        for numbers, buffer in zip(self._numbers, self._buffers, strict=True):
            place, room, after = buffer.place_for_one()
            numbers += (place, room)
            states.append(after)
        return self._numbers, states


def _product(weights: LinearWeights | None, inputs: int, outputs: int) -> tuple[int, ...]:
    if weights is None:
        return NOTHING
    weight, bias = weights
    bias_place = 0 if bias is None else _place(bias, outputs)
    return inputs, outputs, _place(weight, inputs * outputs), 0, bias_place


def _place(tensor: Tensor, numbers: int | None = None) -> int:
    """Where a tensor of this many numbers begins. Raises Unreadable for one that the kernel cannot read."""
    if (
        (type(tensor) is not Parameter and type(tensor) is not Tensor)
        or tensor.dtype is not torch.float32
        or not tensor.is_cpu
        or not tensor.is_contiguous()
        or (numbers is not None and tensor.numel() != numbers)
    ):
        raise Unreadable
    return tensor.data_ptr()


def _run(name: str, task: list[int]) -> None:
    c_library.run(name, (ctypes.c_int64 * len(task))(*task), c_library.STEPS)
