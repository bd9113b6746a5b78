"""A step of a whole `TCN` or `WaveNet` in C (`kernels/steps.c`), for generation on a CPU; their `step` in PyTorch beside it.

What it saves: such a step is a hundred operations and more of a few microseconds' work each, and the interpreter starts every
one of them. Weights are read as they lie and, with weight norm, their lengths are taken anew in every step, so nothing is kept
that could grow old.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from carryover.layers import compiled
from carryover.layers.base import State
from carryover.layers.convolutional.convolution import Convolution
from carryover.layers.convolutional.step_buffer import StepBuffer

if TYPE_CHECKING:
    from carryover.layers.convolutional.temporal import TCN
    from carryover.layers.convolutional.wavenet import WaveNet

LEAST_WEIGHTS = 1 << 13
"""Fewer than elsewhere: what is saved does not depend on the size of a layer, and nobody takes one step only."""

NOTHING = (0, 0, 0, 0, 0)  # a product that is not there


class _Unfit(Exception):
    """A tensor that the kernel cannot read."""


def may_run(layer: TCN | WaveNet, values: Tensor, weights: int) -> bool:
    """Whether the kernel might make a step of full rows [B, T, in_size]; weights and state have not been looked at."""
    return (
        layer.fast
        and values.size(1) == 1
        and values.size(0) > 0
        and not torch.is_grad_enabled()
        and weights >= min(LEAST_WEIGHTS, compiled.LEAST_WEIGHTS)
        and not torch.is_autocast_enabled("cpu")
        and compiled.available(compiled.STEPS)
    )


def step_temporal(layer: TCN, values: Tensor, state: State) -> tuple[Tensor, State] | None:
    """Outputs [B, 1, size] and the state after; None where it is not all float32 in the memory of the CPU."""
    values, y = values.contiguous(), values.new_empty(values.size(0), 1, layer.out_size)
    inputs = layer.in_size
    try:
        windows, matches = _Windows(values.size(0)), []
        for block, before in zip(layer.blocks._modules.values(), state, strict=True):
            parts = block._modules
            windows.add(parts["first"], before[0], inputs, layer.out_size)
            windows.add(parts["second"], before[2], layer.out_size, layer.out_size)
            matches.append(_product(parts.get("match"), inputs, layer.out_size))
            inputs = layer.out_size
        head = (_place(values), _place(y))
    except _Unfit:
        return None
    numbers, after = windows.move()
    task = [values.size(0), layer.in_size, layer.out_size, len(matches), torch.get_num_threads(), *head]
    for number, match in enumerate(matches):
        task += numbers[2 * number] + numbers[2 * number + 1]
        task += match
    _run("temporal_step", task)
    pairs = zip(state, after[::2], after[1::2], strict=True)
    return y, tuple(type(before)(first, before[1], second, before[3]) for before, first, second in pairs)


def step_gated(layer: WaveNet, values: Tensor, condition: Tensor | None, state: State) -> tuple[Tensor, State] | None:
    """The same for a WaveNet; `condition` is what `join_conditions` made, [B, 1, features]."""
    values, y = values.contiguous(), values.new_empty(values.size(0), 1, layer.out_size)
    condition = None if condition is None else condition.contiguous()
    modules = layer._modules
    size, skip, told = layer.size, layer.skip_size, layer.local_size + layer.global_size
    try:
        windows, products = _Windows(values.size(0)), []
        windows.add(modules["entry"], state[0], layer.in_size, size)
        for block, before in zip(layer.blocks._modules.values(), state[1:], strict=True):
            parts = block._modules
            windows.add(parts["convolution"], before, size, 2 * size)
            condition_map = _product(parts.get("condition"), told, 2 * size)
            products.append((*condition_map, *_product(parts["skip"], size, skip), *_product(parts.get("mix"), size, size)))
        head = (_place(values), 0 if condition is None else _place(condition), _place(y))
        tail = (*_product(modules["hidden"], skip, skip), *_product(modules["output"], skip, layer.out_size))
    except _Unfit:
        return None
    numbers, after = windows.move()
    sizes = (layer.in_size, size, skip, layer.out_size)
    task = [values.size(0), *sizes, len(products), torch.get_num_threads(), *head, *numbers[0], *tail]
    for window, three in zip(numbers[1:], products, strict=True):
        task += window
        task += three
    _run("gated_step", task)
    return y, tuple(after)


class _Windows:
    """Convolutions and the last inputs of each, which are all looked at before any is moved."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._numbers: list[list[int]] = []
        self._buffers: list[StepBuffer] = []

    def add(self, convolution: nn.Module | None, state: State, size: int, outputs: int) -> None:
        if type(convolution) is not Convolution or convolution.groups > 1 or convolution.stride > 1:
            raise _Unfit
        if convolution.in_size != size or convolution.out_size != outputs:
            raise _Unfit
        buffer, kernel = state if type(state) is StepBuffer else StepBuffer(state[0]), convolution.kernel
        if not buffer.holds(self._rows, convolution.span, size):
            raise _Unfit
        found, words = convolution._parameters, size * kernel
        if convolution.weight_norm:
            length = _place(found.get("weight_length"), outputs)
            weight = _place(found.get("weight_direction"), outputs * words)
        else:
            length, weight = 0, _place(found.get("weight"), outputs * words)
        bias = found.get("bias")
        bias_place = 0 if convolution.bias is None else _place(bias, outputs)
        self._numbers.append([words, outputs, weight, length, bias_place, size, kernel, convolution.dilation])
        self._buffers.append(buffer)

    def move(self) -> tuple[list[list[int]], list[StepBuffer]]:
        """The windows as the kernel reads them, and the states after the step that it is going to write."""
        states = []
        for numbers, buffer in zip(self._numbers, self._buffers, strict=True):
            place, room, after = buffer.place_for_one()
            numbers += (place, room)
            states.append(after)
        return self._numbers, states


def _product(linear: nn.Module | None, inputs: int, outputs: int) -> tuple[int, ...]:
    if linear is None:
        return NOTHING
    if type(linear) is not nn.Linear:
        raise _Unfit
    found = linear._parameters
    bias = 0 if linear.bias is None else _place(found.get("bias"), outputs)
    return inputs, outputs, _place(found.get("weight"), inputs * outputs), 0, bias


def _place(tensor: Tensor | None, numbers: int | None = None) -> int:
    """Where a tensor of so many numbers begins. Raises _Unfit for one that the kernel cannot read."""
    if (
        (type(tensor) is not nn.Parameter and type(tensor) is not Tensor)
        or tensor.dtype is not torch.float32
        or not tensor.is_cpu
        or not tensor.is_contiguous()
        or (numbers is not None and tensor.numel() != numbers)
    ):
        raise _Unfit
    return tensor.data_ptr()


def _run(name: str, task: list[int]) -> None:
    compiled.run(name, (ctypes.c_int64 * len(task))(*task), compiled.STEPS)
