"""Elman networks, GRUs and plain LSTMs in C (`c/recurrence.c`), all steps in one call, forward and backward.

What it saves: PyTorch's kernels start several operations for every step, each too small to be worth it, and multiply with
a product that does not know its weight will come again. The plain loops of the layers are what it is tested against.

Under autocast to bfloat16 the products read bfloat16 and sum up in float32; states, gates and their gradients stay float32.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from carryover.kernels import c_library
from carryover.kernels.c_library import COLUMNS, int_array, pad_columns
from carryover.kernels.packed_steps import PackedSteps
from carryover.kernels.products import product, product_type
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


class RecurrenceWeights(NamedTuple):
    """What a recurrence reads besides its input, for G gates in the order r, z, n of a GRU and i, f, g, o of an LSTM."""

    input: Tensor  # [G · H, in]
    hidden: Tensor  # [G · H, H]
    bias: Tensor  # [G · H]
    candidate_bias: Tensor | None = None  # [H]: of a GRU, inside what the reset gate multiplies


class _Recurrence(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_long) for name in ("kind", "steps", "batch", "cells", "panels", "vectors", "blocks", "threads")),
        *((name, ctypes.c_void_p) for name in ("rows", "weights", "sums", "gates", "hidden", "cell", "beside", "bias")),
        ("pairs", ctypes.c_void_p),
        ("words", ctypes.c_long),
        *((name, ctypes.c_void_p) for name in ("d_outputs", "d_cell", "d_sums")),
    )


def fits(weights: RecurrenceWeights, x: Sequence, *state: Tensor) -> bool:
    """Whether `run` can do a layer of these weights over `x`. Compiles the kernel when it is first needed."""
    values = x.values
    dtype = product_type(values)
    if values.shape[1] < LEAST_STEPS or not values.numel() or values.dtype not in (torch.float32, dtype):
        return False
    if any(part.dtype != torch.float32 for part in (*state, *weights) if part is not None):
        return False
    return c_library.supported(weights, dtype, c_library.RECURRENCE, beside=(values, *state), least=LEAST_WEIGHTS)


def run(
    kind: str, weights: RecurrenceWeights, x: Sequence, hidden: Tensor, cell: Tensor | None = None
) -> tuple[Sequence, Tensor, Tensor | None]:
    """A layer of one of `KINDS` over `x` from `hidden` [B, H], of an LSTM also `cell` [B, H]: outputs and the states each row
    ends with. A row of length 0 keeps its states."""
    steps, dtype = PackedSteps(x.lengths, x.time), product_type(x.values)
    cells = None if cell is None else steps.sort(cell)
    with torch.autocast("cpu", enabled=False):
        packed = steps.pack(x.values).to(dtype)
        outputs, last, last_cell = _Run.apply(packed, *weights, steps.sort(hidden), cells, kind, steps)
        return x.with_values(steps.unpack(outputs.to(dtype))), last, last_cell


class _Run(torch.autograd.Function):
    """Packed rows x [total, in], the weights and the first states in the packed order to packed outputs [total, H] and
    the last states in the order of the batch. Products are of the type of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *arguments: Any) -> Tensors:
        *parts, hidden0, cell0, kind, steps = arguments
        weights = RecurrenceWeights(*parts)
        size = hidden0.shape[1]
        gates = product(x, weights.input.to(x.dtype), weights.bias.to(x.dtype)).float()
        hidden = steps.begin(hidden0)
        cell = None if cell0 is None else steps.begin(cell0)
        beside = hidden.new_empty(steps.total, size) if kind in ("gru", "lstm") else None
        panels = _gate_panels(weights.hidden.to(x.dtype), GATES[kind])
        sums = hidden.new_empty(len(panels) * panels.shape[2], steps.batch)
        pairs = _pairs(panels, hidden[: steps.batch])
        rows = int_array(steps.sizes)
        task = _task(kind, steps, size, panels)
        _point(task, rows=rows, weights=panels, sums=sums, gates=gates, hidden=hidden, cell=cell, beside=beside)
        _point(task, bias=weights.candidate_bias, pairs=pairs)
        c_library.run("recurrence_forward", task, c_library.RECURRENCE)
        ctx.kind, ctx.steps = kind, steps
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *weights, gates, hidden, cell, beside)
        return hidden[steps.batch :], steps.last(hidden).clone(), None if cell is None else steps.last(cell).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor | None, d_last: Tensor | None, d_last_cell: Tensor | None) -> Tensors:
        x, *parts, gates, hidden, cell, beside = ctx.saved_tensors
        kind, steps, weights = ctx.kind, ctx.steps, RecurrenceWeights(*parts)
        size = hidden.shape[1]
        panels = _in_panels(weights.hidden.to(x.dtype))
        sums = _begin(d_last, steps, panels)
        pairs = _pairs(panels, hidden.new_zeros(steps.batch, 0))
        d_cell = None
        if cell is not None:
            d_cell = hidden.new_zeros(steps.batch, size)
            if d_last_cell is not None:
                d_cell.copy_(steps.sort(d_last_cell))
        d_sums = hidden.new_empty(steps.total, (4 if kind == "gru" else GATES[kind]) * size)
        rows = int_array(steps.sizes)
        if d_outputs is not None:
            d_outputs = d_outputs.contiguous()
        task = _task(kind, steps, size, panels)
        _point(task, rows=rows, weights=panels, sums=sums, gates=gates, hidden=hidden, cell=cell, beside=beside)
        _point(task, d_outputs=d_outputs, d_cell=d_cell, d_sums=d_sums, pairs=pairs)
        c_library.run("recurrence_backward", task, c_library.RECURRENCE)
        d_hidden = sums.transpose(0, 1).reshape(steps.batch, -1)[:, :size]
        return *_gradients(ctx, x, weights, d_sums, steps.all_before(hidden)), d_hidden, d_cell, None, None


def _gradients(ctx: Any, x: Tensor, weights: RecurrenceWeights, d_sums: Tensor, before: Tensor) -> Tensors:
    """Of x and of the four weights, all steps at once. `d_sums` are of the gates, of a GRU of n in the product with x, r, z and
    n in the other."""
    size, low = before.shape[1], x.dtype
    input_weight, before = weights.input.to(low), before.to(low)
    needs_x, d_x = ctx.needs_input_grad[0], None
    if ctx.kind != "gru":
        d_low = d_sums.to(low)
        if needs_x:
            d_x = product(d_low, input_weight.mT)
        ones = x.new_ones(len(x), 1)  # the bias reads a constant 1: one pass for all three
        whole = product(torch.cat([x, before, ones], 1).mT, d_low.mT).float().mT  # [G · H, in + H + 1]
        d_input, d_hidden, d_bias = whole.split([x.shape[1], size, 1], 1)
        return d_x, d_input, d_hidden, d_bias.squeeze(1), None
    of_x, of_hidden = (part.to(low).contiguous() for part in (d_sums[:, : 3 * size], d_sums[:, size:]))
    if needs_x:
        d_x = product(of_x, input_weight.roll(size, 0).mT)
    sums = d_sums.sum(0)
    d_input, d_hidden = (product(part.mT, d.mT).float().mT for part, d in ((x, of_x), (before, of_hidden)))
    return d_x, d_input.roll(-size, 0), d_hidden, sums[: 3 * size].roll(-size), sums[3 * size :]


def _task(kind: str, steps: PackedSteps, size: int, panels: Tensor) -> _Recurrence:
    work = steps.total * size * size * GATES[kind]
    tiles = math.ceil(steps.batch / _TILE)
    threads = min(c_library.threads_for(work), tiles)
    blocks = math.ceil(tiles / threads) * threads
    count, words, columns = panels.shape[:3]
    sizes = (len(steps.sizes), steps.batch, size, count, columns // _REGISTER, blocks, threads)
    return _Recurrence(KINDS.index(kind), *sizes, words=words)


def _point(task: _Recurrence, **tensors: Tensor | None) -> None:
    """Dense tensors into the structure. The caller holds them."""
    for name, tensor in tensors.items():
        setattr(task, name, None if tensor is None else tensor.data_ptr())


def _gate_panels(weight: Tensor, gates: int) -> Tensor:
    """[G · H, H] to `_in_panels`, each gate's columns begun at a multiple of a register's numbers."""
    size = weight.shape[1]
    columns = torch.nn.functional.pad(weight.reshape(gates, size, size), (0, 0, 0, -size % _REGISTER))
    return _in_panels(columns.flatten(0, 1).mT)


def _in_panels(weight: Tensor) -> Tensor:
    """[words, columns] to [panels, words, columns]; of bfloat16 a word is two rows: [panels, words, columns, 2]."""
    count, width = _panels(weight.shape[1])
    of_word = 1 if weight.dtype == torch.float32 else 2
    missing = (0, count * width - weight.shape[1], 0, -len(weight) % of_word)
    padded = torch.nn.functional.pad(weight, missing) if any(missing) else weight
    panels = padded.unflatten(1, (count, width)).unflatten(0, (-1, of_word)).permute(2, 0, 3, 1).contiguous()
    return panels.squeeze(3) if of_word == 1 else panels


def _pairs(panels: Tensor, first: Tensor) -> Tensor | None:
    """Room for the factors of bfloat16 panels, [B, words · 2], the first of them those of `first` [B, .]; None for float32."""
    if panels.dtype == torch.float32:
        return None
    return pad_columns(first.to(panels.dtype), 2 * panels.shape[1])


def _panels(columns: int) -> tuple[int, int]:
    """How many panels of at most 64 columns, a multiple of a register's, hold this many with the least room to spare."""
    count = math.ceil(columns / COLUMNS)
    return count, math.ceil(columns / (count * _REGISTER)) * _REGISTER


def _begin(d_last: Tensor | None, steps: PackedSteps, panels: Tensor) -> Tensor:
    """The gradient of the last states [B, H] as the kernel continues with it, [registers, B, 16]."""
    columns = len(panels) * panels.shape[2]
    sums = torch.zeros(columns // _REGISTER, steps.batch, _REGISTER, device="cpu", dtype=torch.float32)
    if d_last is not None:
        sums.copy_(pad_columns(steps.sort(d_last), columns).view(steps.batch, -1, _REGISTER).transpose(0, 1))
    return sums
