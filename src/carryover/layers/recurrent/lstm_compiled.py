"""The LSTM with projection in C (`kernels/inference.c`), for passes without gradients on a CPU; `run` of the scan beside it.

What it saves: the element-wise passes, which take a third of the scan with float32 products and a half with bfloat16 ones, the
interpreter, which bounds small layers, and for a batch of one the copies of weights, which are read once a step as they lie.
"""

from __future__ import annotations

import ctypes
from math import inf
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from carryover.layers import compiled
from carryover.layers.compiled import COLUMNS, integers, panels, widened
from carryover.layers.prepared import prepared
from carryover.layers.recurrent.lstm_scan import Options, Weights

if TYPE_CHECKING:
    from carryover.layers.recurrent.lstm import LSTM

CELLS = 16  # of a panel of the gates
GATE_BYTES = 28 << 20  # of gates in memory at once; below 32 MB, which the C library keeps for the next call


class Panels(NamedTuple):
    """The weights as the kernel reads them; `words` are floats or pairs of bfloat16."""

    input: Tensor  # [cells / 16, words, 64]
    bias: Tensor  # [cells / 16, 64]
    hidden: Tensor  # [cells / 16, words, 64]
    projection: Tensor  # [size / 64, words, 64]


class _Scan(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_long) for name in ("steps", "cells", "size", "outputs")),
        *((name, ctypes.c_long) for name in ("input_words", "hidden_words", "middle_words")),
        *((name, ctypes.c_long) for name in ("gate_rows", "low", "threads")),
        *(
            (name, ctypes.c_void_p)
            for name in ("rows", "input", "input_panels", "bias", "hidden_panels", "projection_panels")
        ),
        *((name, ctypes.c_void_p) for name in ("gates", "cell", "state", "hidden", "middle", "sums", "found")),
        *((name, ctypes.c_float) for name in ("cell_limit", "projection_limit")),
        ("schedule", ctypes.c_void_p * 12),  # the kernel's own
    )


def fits(layer: LSTM, x: Tensor, dtype: torch.dtype) -> bool:
    """Whether the kernel can run packed rows x with products of type `dtype`. Compiles it when it is first needed."""
    weights = layer.weights()
    if weights.projection is None or weights.peephole is not None or x.dim() != 2 or not len(x):
        return False
    return x.dtype in (torch.float32, torch.bfloat16) and compiled.usable(weights, dtype, beside=(x,))


def run_compiled(layer: LSTM, x: Tensor, hidden: Tensor, cell: Tensor, options: Options) -> tuple[Tensor, Tensor, Tensor]:
    """`results` of `run` without gradients: packed outputs [rows, P], and the last states in the order of the batch."""
    weights, dtype = layer.weights(), options.dtype
    ready = prepared(layer, ("panels", dtype), weights, lambda: panels_of(weights, dtype))
    return run_panels(ready, x, hidden, cell, options)


def run_panels(
    weights: Panels, x: Tensor, hidden0: Tensor, cell0: Tensor, options: Options
) -> tuple[Tensor, Tensor, Tensor]:
    """`run_compiled` with ready-made panels; the first states [B, P] and [B, C] are in the order of the packed rows."""
    steps, dtype = options.steps, options.dtype
    pair = 2 if dtype == torch.bfloat16 else 1
    size, cells = len(weights.projection) * COLUMNS, len(weights.bias) * CELLS
    batch, outputs = hidden0.shape
    x, rows = widened(x.to(dtype), weights.input.shape[1] * pair), integers(steps.sizes)
    state, cell = widened(hidden0.to(dtype, copy=True), size), widened(cell0.to(torch.float32, copy=True), cells)
    gates = torch.empty(min(max(GATE_BYTES // (16 * cells), batch), steps.total), 4 * cells)
    hidden, middle, sums = torch.empty_like(state), torch.empty(batch, cells, dtype=dtype), torch.empty(batch, size)
    found = torch.empty(steps.total, outputs, dtype=dtype)
    work = 5 * steps.total // len(steps.sizes) * cells * outputs  # a step
    tensors = (rows, x, *weights, gates, cell, state, hidden, middle, sums, found)
    scan = _Scan(
        len(steps.sizes), cells, size, outputs,
        weights.input.shape[1], weights.hidden.shape[1], cells // pair,
        len(gates), pair - 1, compiled.threads_for(work),
        *(tensor.data_ptr() for tensor in tensors),
        options.cell_clip or inf, options.projection_clip or inf,
    )  # fmt: skip
    compiled.run("lstm_steps", scan)
    last_hidden, last_cell = steps.unsort(state[:, :outputs]), steps.unsort(cell[:, : cell0.shape[1]])
    return found, last_hidden.to(hidden0.dtype, copy=True), last_cell.to(cell0.dtype, copy=True)


def panels_of(weights: Weights, dtype: torch.dtype) -> Panels:
    """The weights padded with zeros and in the order in which the kernel reads them."""
    assert weights.projection is not None
    outputs, cells = weights.projection.shape
    wide = cells + -cells % CELLS

    def of_gates(weight: Tensor) -> Tensor:
        four = weight.detach().view(4, cells, -1).to(dtype)
        padded = torch.nn.functional.pad(four, (0, 0, 0, wide - cells))  # [4, cells, in]
        return panels(padded.view(4, wide // CELLS, CELLS, -1).transpose(0, 1).reshape(-1, COLUMNS, four.shape[-1]))

    bias = torch.nn.functional.pad(weights.bias.detach().float().view(4, cells), (0, wide - cells))
    projection = widened(weights.projection.detach().to(dtype), wide)
    projection = torch.nn.functional.pad(projection, (0, 0, 0, -outputs % COLUMNS))
    return Panels(
        of_gates(weights.input),
        bias.view(4, wide // CELLS, CELLS).transpose(0, 1).reshape(-1, COLUMNS),
        of_gates(weights.hidden),
        panels(projection.view(-1, COLUMNS, wide)),
    )
