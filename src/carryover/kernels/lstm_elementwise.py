"""What an LSTM does between the products of a step, in C (`c/training.c`); the scan has the same in PyTorch.

What it saves: about ten passes over a step's gates and cells forward and as many backward, of which every one is too small to
be worth its start, and the widening and rounding of bfloat16 products in separate passes.
"""

from __future__ import annotations

import ctypes
from math import inf

import torch
from torch import Tensor

from carryover.kernels import c_library

THREAD_CELLS = 1 << 13  # a thread should have


class _Forward(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_long) for name in ("rows", "cells", "low", "threads")),
        *((name, ctypes.c_void_p) for name in ("input", "recurrent", "bias", "before", "gates", "after", "squashed")),
        ("outputs", ctypes.c_void_p),
        ("limit", ctypes.c_float),
    )


class _Backward(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_long) for name in ("rows", "cells", "low", "threads")),
        *((name, ctypes.c_void_p) for name in ("gates", "squashed", "before", "after", "d_outputs", "d_cells", "d_gates")),
        ("limit", ctypes.c_float),
    )


class CompiledSteps:
    """The element-wise part of steps whose products are of type `dtype`; `limit` bounds z, None does not.

    All tensors are dense and on the CPU: gates [n, 4C] and cells [n, C] of a step's n running rows, float32 unless said
    otherwise, in the notation of `lstm_scan`. They are written in place.
    """

    def __init__(self, cells: int, dtype: torch.dtype, limit: float | None) -> None:
        bound, low = inf if limit is None else limit, int(dtype == torch.bfloat16)
        self._forward = _Forward(cells=cells, low=low, limit=bound)
        self._backward = _Backward(cells=cells, low=low, limit=bound)
        self._threads = torch.get_num_threads()

    def forward(
        self,
        products: tuple[Tensor, Tensor],
        bias: Tensor | None,
        before: Tensor,
        gates: Tensor,
        z: Tensor,
        u: Tensor,
        m: Tensor,
    ) -> None:
        """From the products of a step with x and h, both of `dtype`, and z of the step before to gates, z, u and m (`dtype`).

        `gates` may be the first product's own memory; `bias` is None where that product has it in it.
        """
        task = self._forward
        task.rows, task.threads = len(gates), min(self._threads, max(1, z.numel() // THREAD_CELLS))
        task.input, task.recurrent = products[0].data_ptr(), products[1].data_ptr()
        task.bias = None if bias is None else bias.data_ptr()
        task.before, task.gates, task.after = before.data_ptr(), gates.data_ptr(), z.data_ptr()
        task.squashed, task.outputs = u.data_ptr(), m.data_ptr()
        c_library.run("lstm_forward", task, c_library.TRAINING)

    def backward(
        self, gates: Tensor, u: Tensor, before: Tensor, cut: Tensor | None, dm: Tensor, dz: Tensor, d_gates: Tensor
    ) -> None:
        """From the gradient of m (`dtype`) and `dz` of the step after to `d_gates` (`dtype`) and `dz` of the step before.

        `cut` is z where it may have met its bound.
        """
        task = self._backward
        task.rows, task.threads = len(gates), min(self._threads, max(1, u.numel() // THREAD_CELLS))
        task.gates, task.squashed, task.before = gates.data_ptr(), u.data_ptr(), before.data_ptr()
        task.after = None if cut is None else cut.data_ptr()
        task.d_outputs, task.d_cells, task.d_gates = dm.data_ptr(), dz.data_ptr(), d_gates.data_ptr()
        c_library.run("lstm_backward", task, c_library.TRAINING)
