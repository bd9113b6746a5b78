"""Elman networks, GRUs and plain LSTMs in C (`kernels/recurrence.c`), all steps in one call, forward and backward.

What it saves: the library's kernels start several operations for every step, each too small to be worth it, and multiply with
a product that does not know its weight will come again. The plain loops of the layers are what it is tested against.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from carryover.layers import compiled
from carryover.layers.compiled import COLUMNS, integers, widened
from carryover.layers.products import product, product_type
from carryover.layers.recurrent.packing import PackedSteps
from carryover.sequence import Sequence

Tensors = tuple[Tensor | None, ...]

KINDS = ("tanh", "relu", "sigmoid", "gru", "lstm")
GATES = {"tanh": 1, "relu": 1, "sigmoid": 1, "gru": 3, "lstm": 4}
LEAST_WEIGHTS = 1 << 13
"""Layers with fewer are left to PyTorch. Compiling this kernel takes a second."""
LEAST_STEPS = 4
"""Fewer are left to PyTorch: the weight is laid out anew for every call."""

_REGISTER = 16  # numbers
_TILE = 6  # rows


class CellWeights(NamedTuple):
    """What a recurrence reads besides its input, for G gates in the order r, z, n of a GRU and i, f, g, o of an LSTM."""

    input: Tensor  # [G · H, in]
    hidden: Tensor  # [G · H, H]
    bias: Tensor  # [G · H]
    candidate_bias: Tensor | None = None  # [H]: of a GRU, inside what the reset gate multiplies


class _Recurrence(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_long) for name in ("kind", "steps", "batch", "cells", "panels", "vectors", "blocks", "threads")),
        *((name, ctypes.c_void_p) for name in ("rows", "weights", "sums", "gates", "hidden", "cell", "beside", "bias")),
        *((name, ctypes.c_void_p) for name in ("d_outputs", "d_cell", "d_sums")),
    )


def fits(weights: CellWeights, x: Sequence, *state: Tensor) -> bool:
    """Whether `run` can do a layer of these weights over `x`. Compiles the kernel when it is first needed."""
    values = x.values
    if values.shape[1] < LEAST_STEPS or not values.numel() or product_type(values) != torch.float32:
        return False
    if any(part.dtype != torch.float32 for part in (values, *state, *weights) if part is not None):
        return False
    return compiled.usable(weights, torch.float32, compiled.RECURRENCE, beside=(values, *state), least=LEAST_WEIGHTS)


def run(
    kind: str, weights: CellWeights, x: Sequence, hidden: Tensor, cell: Tensor | None = None
) -> tuple[Sequence, Tensor, Tensor | None]:
    """A layer of one of `KINDS` over `x` from `hidden` [B, H], of an LSTM also `cell` [B, H]: outputs and the states each row
    ends with. A row of length 0 keeps its states."""
    steps = PackedSteps(x.lengths, x.time)
    cells = None if cell is None else steps.sort(cell)
    outputs, last, last_cell = _Run.apply(steps.pack(x.values), *weights, steps.sort(hidden), cells, kind, steps)
    return x.with_values(steps.unpack(outputs)), last, last_cell


class _Run(torch.autograd.Function):
    """Packed rows x [total, in], the weights and the first states in the packed order to packed outputs [total, H] and
    the last states in the order of the batch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *arguments: Any) -> Tensors:
        *parts, hidden0, cell0, kind, steps = arguments
        weights = CellWeights(*parts)
        size = hidden0.shape[1]
        gates = product(x, weights.input, weights.bias)
        hidden = steps.begin(hidden0)
        cell = None if cell0 is None else steps.begin(cell0)
        beside = x.new_empty(steps.total, size) if kind in ("gru", "lstm") else None
        panels = _gate_panels(weights.hidden, GATES[kind])
        sums = x.new_empty(len(panels) * panels.shape[2], steps.batch)
        rows = integers(steps.sizes)
        task = _task(kind, steps, size, panels)
        _point(task, rows=rows, weights=panels, sums=sums, gates=gates, hidden=hidden, cell=cell, beside=beside)
        _point(task, bias=weights.candidate_bias)
        compiled.run("recurrence_forward", task, compiled.RECURRENCE)
        ctx.kind, ctx.steps = kind, steps
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *weights, gates, hidden, cell, beside)
        return hidden[steps.batch :], steps.last(hidden).clone(), None if cell is None else steps.last(cell).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor | None, d_last: Tensor | None, d_last_cell: Tensor | None) -> Tensors:
        x, *parts, gates, hidden, cell, beside = ctx.saved_tensors
        kind, steps, weights = ctx.kind, ctx.steps, CellWeights(*parts)
        size = hidden.shape[1]
        panels = _cell_panels(weights.hidden)
        sums = _begin(d_last, steps, panels)
        d_cell = None
        if cell is not None:
            d_cell = hidden.new_zeros(steps.batch, size)
            if d_last_cell is not None:
                d_cell.copy_(steps.sort(d_last_cell))
        d_sums = hidden.new_empty(steps.total, (4 if kind == "gru" else GATES[kind]) * size)
        rows = integers(steps.sizes)
        if d_outputs is not None:
            d_outputs = d_outputs.contiguous()
        task = _task(kind, steps, size, panels)
        _point(task, rows=rows, weights=panels, sums=sums, gates=gates, hidden=hidden, cell=cell, beside=beside)
        _point(task, d_outputs=d_outputs, d_cell=d_cell, d_sums=d_sums)
        compiled.run("recurrence_backward", task, compiled.RECURRENCE)
        d_hidden = sums.transpose(0, 1).reshape(steps.batch, -1)[:, :size]
        return *_gradients(ctx, x, weights, d_sums, steps.all_before(hidden)), d_hidden, d_cell, None, None


def _gradients(ctx: Any, x: Tensor, weights: CellWeights, d_sums: Tensor, before: Tensor) -> Tensors:
    """Of x and of the four weights, all steps at once. `d_sums` are of the gates, of a GRU of n in the product with x, r, z and
    n in the other."""
    size = before.shape[1]
    needs_x, d_x = ctx.needs_input_grad[0], None
    if ctx.kind != "gru":
        if needs_x:
            d_x = product(d_sums, weights.input.mT)
        ones = x.new_ones(len(x), 1)  # the bias reads a constant 1: one pass for all three
        whole = product(torch.cat([x, before, ones], 1).mT, d_sums.mT).mT  # [G · H, in + H + 1]
        d_input, d_hidden, d_bias = whole.split([x.shape[1], size, 1], 1)
        return d_x, d_input, d_hidden, d_bias.squeeze(1), None
    of_x, of_hidden = d_sums[:, : 3 * size].contiguous(), d_sums[:, size:].contiguous()
    if needs_x:
        d_x = product(of_x, weights.input.roll(size, 0).mT)
    sums = d_sums.sum(0)
    d_input = product(x.mT, of_x.mT).mT.roll(-size, 0)
    return d_x, d_input, product(before.mT, of_hidden.mT).mT, sums[: 3 * size].roll(-size), sums[3 * size :]


def _task(kind: str, steps: PackedSteps, size: int, panels: Tensor) -> _Recurrence:
    work = steps.total * size * size * GATES[kind]
    tiles = math.ceil(steps.batch / _TILE)
    threads = min(compiled.threads_for(work), tiles)
    blocks = math.ceil(tiles / threads) * threads
    count, _, columns = panels.shape
    return _Recurrence(KINDS.index(kind), len(steps.sizes), steps.batch, size, count, columns // _REGISTER, blocks, threads)


def _point(task: _Recurrence, **tensors: Tensor | None) -> None:
    """Dense tensors into the structure. The caller holds them."""
    for name, tensor in tensors.items():
        setattr(task, name, None if tensor is None else tensor.data_ptr())


def _gate_panels(weight: Tensor, gates: int) -> Tensor:
    """[G · H, H] to [panels, H, columns], each gate's columns begun at a multiple of a register's numbers."""
    size = weight.shape[1]
    columns = torch.nn.functional.pad(weight.reshape(gates, size, size), (0, 0, 0, -size % _REGISTER)).flatten(0, 1)
    count, width = _panels(len(columns))
    columns = torch.nn.functional.pad(columns, (0, 0, 0, count * width - len(columns)))
    return columns.view(count, width, size).transpose(1, 2).contiguous()


def _cell_panels(weight: Tensor) -> Tensor:
    """[G · H, H] to [panels, G · H, columns]."""
    count, width = _panels(weight.shape[1])
    return widened(weight, count * width).view(-1, count, width).transpose(0, 1).contiguous()


def _panels(columns: int) -> tuple[int, int]:
    """How many panels of at most 64 columns, a multiple of a register's, hold so many with the least room to spare."""
    count = math.ceil(columns / COLUMNS)
    return count, math.ceil(columns / (count * _REGISTER)) * _REGISTER


def _begin(d_last: Tensor | None, steps: PackedSteps, panels: Tensor) -> Tensor:
    """The gradient of the last states [B, H] as the kernel goes on with it, [registers, B, 16]."""
    columns = len(panels) * panels.shape[2]
    sums = panels.new_zeros(columns // _REGISTER, steps.batch, _REGISTER)
    if d_last is not None:
        sums.copy_(widened(steps.sort(d_last), columns).view(steps.batch, -1, _REGISTER).transpose(0, 1))
    return sums
