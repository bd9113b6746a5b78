"""The LSTM with projection in C (`kernels/lstm_steps.c`), for passes without gradients on a CPU; `run` of the scan beside it.

What it saves: the element-wise passes, which take a third of the scan with float32 products and a half with bfloat16 ones, the
interpreter, which bounds small layers, and for a batch of one the copies of weights, which are read once a step as they lie.
"""

from __future__ import annotations

import ctypes
from functools import cache
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from carryover.layers import compiled
from carryover.layers.prepared import prepared
from carryover.layers.recurrent.lstm_scan import Options, Weights, results, run

if TYPE_CHECKING:
    from carryover.layers.recurrent.lstm import LSTM

SOURCE = Path(__file__).parent / "kernels" / "lstm_steps.c"
LEAST_WEIGHTS = 1 << 18
"""Smaller layers are left to the scan: nobody should wait for a compiler to save milliseconds."""

COLUMNS, CELLS = 64, 16  # of a panel
GATE_ROWS = 512  # packed rows whose gates are in memory at once
THREAD_WORK = 1 << 20  # products and sums a step, below which threads would wait for each other


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
        *((name, ctypes.c_void_p) for name in ("rows", "input", "input_panels", "bias", "hidden_panels", "projection_panels")),
        *((name, ctypes.c_void_p) for name in ("gates", "cell", "hidden", "middle", "sums", "found")),
        *((name, ctypes.c_float) for name in ("cell_limit", "projection_limit")),
    )


def fits(layer: LSTM, x: Tensor, dtype: torch.dtype) -> bool:
    """Whether the kernel can run packed rows x with products of type `dtype`. Compiles it when it is first needed."""
    weights = layer.weights()
    if weights.projection is None or weights.peephole is not None or x.device.type != "cpu" or x.dim() != 2 or not len(x):
        return False
    if dtype not in (torch.float32, torch.bfloat16) or torch.float64 in (x.dtype, layer.bias.dtype):
        return False
    large = sum(part.numel() for part in weights if part is not None) >= LEAST_WEIGHTS
    return large and compiled.wanted() and dtype in _types()


@cache
def _types() -> tuple[torch.dtype, ...]:
    """The types of products whose kernel is there and agrees with the scan on a small case."""
    library = compiled.library(SOURCE)
    return () if library is None else tuple(dtype for dtype in (torch.float32, torch.bfloat16) if _agrees(dtype))


def run_compiled(layer: LSTM, x: Tensor, hidden: Tensor, cell: Tensor, options: Options) -> tuple[Tensor, Tensor, Tensor]:
    """`results` of `run` without gradients: packed outputs [rows, P], and the last states in the order of the batch."""
    weights, dtype = layer.weights(), options.dtype
    panels = prepared(layer, ("panels", dtype), weights, lambda: panels_of(weights, dtype))
    return run_panels(panels, x, hidden, cell, options)


def run_panels(panels: Panels, x: Tensor, hidden0: Tensor, cell0: Tensor, options: Options) -> tuple[Tensor, Tensor, Tensor]:
    """`run_compiled` with ready-made panels; the first states [B, P] and [B, C] are in the order of the packed rows."""
    library = compiled.library(SOURCE)
    assert library is not None
    steps, dtype = options.steps, options.dtype
    pair = 2 if dtype == torch.bfloat16 else 1
    size, cells = len(panels.projection) * COLUMNS, len(panels.bias) * CELLS
    batch, outputs = hidden0.shape
    x = _wide(x.to(dtype), panels.input.shape[1] * pair).contiguous()
    hidden, cell = _wide(hidden0.to(dtype), size), _wide(cell0.float(), cells)
    rows = torch.tensor(steps.sizes, dtype=torch.int64)
    gates = torch.empty(min(max(GATE_ROWS, batch), steps.total), 4 * cells)
    middle, sums = torch.empty(batch, cells, dtype=dtype), torch.empty(batch, size)
    found = torch.empty(steps.total, outputs, dtype=dtype)
    work = (steps.total // max(len(steps.sizes), 1)) * cells * (4 * outputs + outputs)
    tensors = (rows, x, *panels, gates, cell, hidden, middle, sums, found)
    scan = _Scan(
        len(steps.sizes), cells, size, outputs,
        panels.input.shape[1], panels.hidden.shape[1], cells // pair,
        len(gates), pair - 1, torch.get_num_threads() if work >= THREAD_WORK else 1,
        *(tensor.data_ptr() for tensor in tensors),
        options.cell_clip or inf, options.projection_clip or inf,
    )  # fmt: skip
    if library.lstm_steps(ctypes.byref(scan)):
        raise RuntimeError(f"the compiled LSTM has no products of type {dtype}")
    last_hidden, last_cell = steps.unsort(hidden[:, :outputs]), steps.unsort(cell[:, : cell0.shape[1]])
    return found, last_hidden.to(hidden0.dtype, copy=True), last_cell.to(cell0.dtype, copy=True)


def panels_of(weights: Weights, dtype: torch.dtype) -> Panels:
    """The weights padded with zeros and in the order in which the kernel reads them."""
    assert weights.projection is not None
    outputs, cells = weights.projection.shape
    wide = cells + -cells % CELLS

    def of_gates(weight: Tensor) -> Tensor:
        four = weight.detach().view(4, cells, -1).to(dtype)
        padded = torch.nn.functional.pad(four, (0, 0, 0, wide - cells))  # [4, cells, in]
        return _panel(padded.view(4, wide // CELLS, CELLS, -1).transpose(0, 1).reshape(-1, COLUMNS, four.shape[-1]))

    bias = torch.nn.functional.pad(weights.bias.detach().float().view(4, cells), (0, wide - cells))
    projection = _wide(weights.projection.detach().to(dtype), wide)
    projection = torch.nn.functional.pad(projection, (0, 0, 0, -outputs % COLUMNS))
    return Panels(
        of_gates(weights.input),
        bias.view(4, wide // CELLS, CELLS).transpose(0, 1).reshape(-1, COLUMNS),
        of_gates(weights.hidden),
        _panel(projection.view(-1, COLUMNS, wide)),
    )


def _panel(columns: Tensor) -> Tensor:
    """[panels, 64, in] → [panels, words, 64] floats, or [panels, words, 64, 2] bfloat16."""
    if columns.dtype == torch.float32:
        return columns.transpose(1, 2).contiguous()
    columns = _wide(columns, columns.shape[-1] + columns.shape[-1] % 2)
    return columns.view(len(columns), COLUMNS, -1, 2).transpose(1, 2).contiguous()


def _wide(rows: Tensor, size: int) -> Tensor:
    """A copy with so many columns, the new ones zero."""
    return torch.nn.functional.pad(rows, (0, size - rows.shape[-1])).clone()


def _agrees(dtype: torch.dtype) -> bool:
    """Whether the kernel gives what the scan gives: a compiler may be broken, or know less than the processor."""
    from carryover.layers.recurrent.packing import PackedSteps

    generator = torch.Generator().manual_seed(0)
    shapes = ((4 * 20, 5), (4 * 20, 7), (4 * 20,), (7, 20), (9, 5), (3, 7), (3, 20))
    values = [torch.randn(shape, generator=generator) for shape in shapes]
    weights, (x, hidden, cell) = Weights(*values[:4], None), values[4:]
    options = Options(PackedSteps(torch.tensor([5, 3, 1]), 5), 0.9, 0.8, dtype)
    try:
        found = run_panels(panels_of(weights, dtype), x, hidden, cell, options)
    except RuntimeError:
        return False
    expected = results(run(x.to(dtype), weights, hidden, cell, options, keep=False), options, torch.float32, torch.float32)
    allowed = 1e-5 if dtype == torch.float32 else 0.1
    return all(torch.allclose(a.float(), b.float(), atol=allowed) for a, b in zip(found, expected, strict=True))
