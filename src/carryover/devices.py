"""Which device computes, and how exactly: choices written as "auto" are made here, once, and recorded."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from carryover.errors import ExtraMissing, UsageError, check_choice

PRECISIONS = ("auto", "float32", "bfloat16")


def choose_device(wanted: str = "auto") -> str:
    """The device meant: "auto" is the first GPU if there is one, else the CPU.

    Raises ExtraMissing when the machine does not have the device, UsageError when there is no such kind.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise UsageError(f"unknown device {wanted!r}", repair="use auto, cpu or cuda") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ExtraMissing(
            f"device {wanted!r} does not exist: PyTorch sees {torch.cuda.device_count()} GPUs", repair="use --device cpu"
        )
    if device.type not in ("cpu", "cuda"):
        try:
            torch.zeros(1, device=device)
        except (RuntimeError, NotImplementedError, AssertionError) as error:
            raise ExtraMissing(f"device {wanted!r} does not work here", repair="use --device cpu") from error
    return wanted


def choose_precision(wanted: str, device: str) -> str:
    """The precision meant: "auto" is bfloat16 on a GPU that multiplies it, else float32 (exact and the same everywhere).

    Raises UsageError for an unknown name.
    """
    check_choice("precision", wanted, PRECISIONS)
    if wanted != "auto":
        return wanted
    on_gpu = torch.device(device).type == "cuda"
    return "bfloat16" if on_gpu and torch.cuda.is_bf16_supported() else "float32"


def autocast(precision: str, device: str) -> AbstractContextManager[Any]:
    """The context in which a training step computes; nothing for float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
