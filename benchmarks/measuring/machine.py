"""What else the machine did while something was measured, and how fast its memory can be read."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from types import TracebackType

import torch

from carryover.kernels import c_library

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class Watch:
    """Processor time within a `with` block that went elsewhere, in cores (1.0: one core all the time); nothing without /proc.

    `others` is what other processes of this machine had, `stolen` what its host gave to other machines.
    """

    def __enter__(self) -> Watch:
        self.began, self.before = time.perf_counter(), _spent()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        elapsed, after = time.perf_counter() - self.began, _spent()
        if self.before is None or after is None:
            self.found: dict[str, float] = {}
            return
        busy, stolen, own = (now - then for then, now in zip(self.before, after, strict=True))
        self.found = {"others": round(max(0.0, busy - own) / elapsed, 2), "stolen": round(stolen / elapsed, 2)}


def _spent() -> tuple[float, float, float] | None:
    """Seconds since the start that all processes, other machines and this process have had."""
    try:
        numbers = [int(part) / _TICKS for part in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    user, nice, system, _, _, interrupts, soft_interrupts, stolen = numbers
    own = os.times()
    return user + nice + system + interrupts + soft_interrupts, stolen, own.user + own.system


class MemoryReading:
    """A buffer that is read from its beginning to its end by all threads, in large pages where those are to be had."""

    def __init__(self, size: int) -> None:
        self.values = torch.empty(size // 4)
        if (kernels := c_library.library()) is not None:
            kernels.use_large_pages(ctypes.c_void_p(self.values.data_ptr()), ctypes.c_long(self.values.nbytes))
        self.values.fill_(1)

    def __call__(self) -> float:
        """Gigabytes (10⁹) a second, once."""
        began = time.perf_counter()
        self.values.amax()
        return self.values.nbytes / (time.perf_counter() - began) / 1e9
