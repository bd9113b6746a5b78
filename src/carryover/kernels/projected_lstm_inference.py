"""The LSTM with projection in C (`c/inference.c`), for passes without gradients on a CPU; `lstm_scan` computes the same in PyTorch.

What it saves: the element-wise passes, which take a third of the scan with float32 products and a half with bfloat16 ones, the
interpreter, which bounds small layers, and for a batch of one the copies of weights, which are read once a step as they lie.
"""

from __future__ import annotations

import ctypes
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from carryover.kernels import c_library
from carryover.kernels.c_library import COLUMNS, int_array, pack_panels, pad_columns
from carryover.kernels.lstm_arguments import LSTMState, LSTMWeights, ScanOptions

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


def fits(weights: LSTMWeights, x: Tensor, dtype: torch.dtype) -> bool:
    """Whether the kernel can run packed rows x with products of type `dtype`. Compiles it when it is first needed."""
    if weights.projection is None or weights.peephole is not None or x.dim() != 2 or not len(x):
        return False
    return x.dtype in (torch.float32, torch.bfloat16) and c_library.supported(weights, dtype, beside=(x,))


def run_panels(weights: Panels, x: Tensor, state: LSTMState, options: ScanOptions) -> tuple[Tensor, LSTMState]:
    """Packed rows x [rows, in] to packed outputs [rows, P] and the last state; states are in the order of the batch."""
    with torch.autocast("cpu", enabled=False):
        hidden, cell = options.steps.sort(state.hidden), options.steps.sort(state.cell)
        return _run(weights, x, hidden, cell, options)


def _run(weights: Panels, x: Tensor, hidden0: Tensor, cell0: Tensor, options: ScanOptions) -> tuple[Tensor, LSTMState]:
    steps, dtype = options.steps, options.dtype
    pair = 2 if dtype == torch.bfloat16 else 1
    size, cells = len(weights.projection) * COLUMNS, len(weights.bias) * CELLS
    batch, outputs = hidden0.shape
    x, rows = pad_columns(x.to(dtype), weights.input.shape[1] * pair), int_array(steps.sizes)
    running, cell = pad_columns(hidden0.to(dtype, copy=True), size), pad_columns(cell0.to(torch.float32, copy=True), cells)
    gates = torch.empty(min(max(GATE_BYTES // (16 * cells), batch), steps.total), 4 * cells)
    hidden, middle, sums = torch.empty_like(running), torch.empty(batch, cells, dtype=dtype), torch.empty(batch, size)
    found = torch.empty(steps.total, outputs, dtype=dtype)
    work = 5 * steps.total // len(steps.sizes) * cells * outputs  # a step
    tensors = (rows, x, *weights, gates, cell, running, hidden, middle, sums, found)
    scan = _Scan(
        len(steps.sizes), cells, size, outputs,
        weights.input.shape[1], weights.hidden.shape[1], cells // pair,
        len(gates), pair - 1, c_library.threads_for(work),
        *(tensor.data_ptr() for tensor in tensors),
        options.cell_clip or inf, options.projection_clip or inf,
    )  # fmt: skip
    c_library.run("lstm_steps", scan)
    last_hidden, last_cell = steps.unsort(running[:, :outputs]), steps.unsort(cell[:, : cell0.shape[1]])
    return found, LSTMState(last_hidden.to(hidden0.dtype, copy=True), last_cell.to(cell0.dtype, copy=True))


def panels_of(weights: LSTMWeights, dtype: torch.dtype) -> Panels:
    """The weights padded with zeros, in the order in which the kernel reads them."""
    assert weights.projection is not None
    outputs, cells = weights.projection.shape
    wide = cells + -cells % CELLS

    def of_gates(weight: Tensor) -> Tensor:
        four = weight.detach().view(4, cells, -1).to(dtype)
        padded = torch.nn.functional.pad(four, (0, 0, 0, wide - cells))  # [4, cells, in]
        return pack_panels(padded.view(4, wide // CELLS, CELLS, -1).transpose(0, 1).reshape(-1, COLUMNS, four.shape[-1]))

    bias = torch.nn.functional.pad(weights.bias.detach().float().view(4, cells), (0, wide - cells))
    projection = pad_columns(weights.projection.detach().to(dtype), wide)
    projection = torch.nn.functional.pad(projection, (0, 0, 0, -outputs % COLUMNS))
    return Panels(
        of_gates(weights.input),
        bias.view(4, wide // CELLS, CELLS).transpose(0, 1).reshape(-1, COLUMNS),
        of_gates(weights.hidden),
        pack_panels(projection.view(-1, COLUMNS, wide)),
    )
