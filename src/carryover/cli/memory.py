"""Memory: what commands that train hold on to, and whether there is room for PyTorch.

A step of training needs the same tens of megabytes as the step before. By default glibc gives them back to the system at the end
of each and gets them anew, page by page, which took a tenth to a quarter of the time on a CPU. A process that is a command of
ours may keep what it has; in somebody else's process (carryover imported in Python) nothing of this is touched.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys

COMMANDS = ("bench", "compare", "pretrain", "train")
NEEDS_LITTLE = frozenset({"doctor", "version", "--version", "--help", "-h"})
"""Words of command lines that need no PyTorch."""
_PYTORCH = 800 << 20
"""Bytes of address space for its libraries and threads: 640 MiB loaded, 870 MiB at work on the smallest model. With less than this
some of the libraries end the process without a word."""

_SETTINGS = {  # glibc's number and its environment variable for child processes, value: see mallopt(3)
    "TRIM_THRESHOLD": (-1, 2**31 - 1),
    "TOP_PAD": (-2, 64 << 20),
    "MMAP_MAX": (-4, 0),
}


def keep_memory() -> bool:
    """Ask the allocator of this process and of its children to keep what is freed; False where it is not glibc's.

    What the environment says already (`MALLOC_TRIM_THRESHOLD_`, …) stands.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    for name, (number, value) in _SETTINGS.items():
        if os.environ.setdefault(f"MALLOC_{name}_", str(value)) == str(value):
            mallopt(number, value)
    return True


def room_for_pytorch() -> bool:
    """Whether a limit on the address space of this process, where there is one, leaves enough for PyTorch to be loaded."""
    try:
        import resource
    except ImportError:  # not on Windows
        return True
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return True
    try:
        mmap.mmap(-1, _PYTORCH).close()
    except (OSError, ValueError):
        return False
    return True
