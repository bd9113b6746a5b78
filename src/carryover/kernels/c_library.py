"""The optional kernels in C: compiled on first use where a compiler is present, and called from here.

Every kernel has a path in plain PyTorch that gives the same numbers; nothing but speed depends on them. A kernel is compiled
once for a processor and a compiler, which takes seconds and is reported on standard error; see `compile_cache`.
`CARRYOVER_KERNELS=off` leaves compiled kernels alone.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from carryover.kernels.compile_cache import find_compiler, load_library

_SOURCES = ("inference.c", "training.c", "recurrence.c", "steps.c", "passes.c")
INFERENCE, TRAINING, RECURRENCE, STEPS, PASSES = SOURCES = tuple(Path(__file__).parent / "c" / name for name in _SOURCES)
LEAST_WEIGHTS = 1 << 18
"""Layers with fewer are left to PyTorch: nobody should wait for a compiler to save milliseconds."""

COLUMNS = 64  # of a panel
THREAD_WORK = 1 << 18  # products a thread should have between two points where threads wait for each other (5 µs of them)

OFF = ("off", "0", "no", "false")


def supported(
    weights: Iterable[Tensor | None],
    dtype: torch.dtype,
    source: Path = INFERENCE,
    *,
    beside: Iterable[Tensor] = (),
    least: int | None = None,
) -> bool:
    """Whether a kernel of `source` may run for float32 or bfloat16 `weights` on a CPU with products of type `dtype`.

    `beside` are inputs and states. `least` is how many weights are worth it, `LEAST_WEIGHTS` if not said. The size of a batch
    must not decide: what a row gives would hang on its neighbours. Compiles when that is first needed.
    """
    there = [weight for weight in weights if weight is not None]
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    if sum(weight.numel() for weight in there) < (LEAST_WEIGHTS if least is None else least):
        return False
    tensors = [*there, *beside]
    if any(type(tensor) not in (Tensor, torch.nn.Parameter) for tensor in tensors):
        return False  # what has no numbers yet, or not here
    if any(tensor.device.type != "cpu" or tensor.dtype not in (torch.float32, torch.bfloat16) for tensor in tensors):
        return False
    if not available(source) or (found := library(source)) is None:
        return False
    return dtype == torch.float32 or bool(found.has_bfloat16())


def available(source: Path) -> bool:
    """Whether there are kernels of `source` and nobody has turned them off. Compiles when that is first needed."""
    off = os.environ.get("CARRYOVER_KERNELS", "").strip().lower() in OFF
    traced = torch.jit.is_tracing() or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    return not off and not traced and library(source) is not None


def threads_for(work: int) -> int:
    """How many threads share a number of products."""
    return max(1, min(torch.get_num_threads(), work // THREAD_WORK))


def run(name: str, task: ctypes.Structure | ctypes.Array[Any], source: Path = INFERENCE) -> None:
    """Call a function of `source`. Its tensors must be held by the caller until it returns. Raises MemoryError."""
    found = library(source)
    assert found is not None, "ask `supported` first"
    if getattr(found, name)(ctypes.byref(task)):
        raise MemoryError(f"no memory for {name}")


def fingerprint(values: Tensor) -> int | None:
    """A number that changes with the content of a tensor on the CPU, at the speed of memory; None without the C library."""
    found = library()
    if found is None or values.device.type != "cpu":
        return None
    values = values.detach().contiguous()
    found.fingerprint.restype = ctypes.c_long
    return int(found.fingerprint(ctypes.c_void_p(values.data_ptr()), ctypes.c_long(values.nbytes)))


def pack_panels(columns: Tensor) -> Tensor:
    """[panels, 64, in] → [panels, words, 64] floats, or [panels, words, 64, 2] bfloat16 of an even number of inputs."""
    if columns.dtype == torch.bfloat16:
        columns = pad_columns(columns, columns.shape[-1] + columns.shape[-1] % 2).unflatten(-1, (-1, 2))
    ordered = columns.transpose(1, 2)
    found = torch.empty_like(ordered, memory_format=torch.contiguous_format)
    if (kernels := library()) is not None:
        kernels.use_large_pages(ctypes.c_void_p(found.data_ptr()), ctypes.c_long(found.nbytes))
    return found.copy_(ordered)


def pad_columns(rows: Tensor, size: int) -> Tensor:
    """Rows of `size` columns in memory that is contiguous, the added columns zero."""
    missing = size - rows.shape[-1]
    return torch.nn.functional.pad(rows, (0, missing)) if missing else rows.contiguous()


def int_array(numbers: Iterable[int]) -> Tensor:
    """An array of C's `long`."""
    return torch.tensor(list(numbers), dtype=torch.int64)


@cache
def library(source: Path = INFERENCE) -> ctypes.CDLL | None:
    """The compiled `source`, from the cache folder or made now; None without AVX-512, a compiler or a place to write."""
    compiler = find_compiler()
    if compiler is None or sys.platform == "win32" or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return None
    return load_library(source, compiler)
