"""A process that runs cells: how much memory it takes, how many threads, when it ends, which versions decide its numbers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path


class PeakMemory:
    """Largest resident memory of this process since the object was made, in MiB.

    Linux lets a process reset its own high-water mark; elsewhere it is that of the whole life of the process.
    """

    def __init__(self) -> None:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def read(self) -> float:
        with suppress(OSError):
            for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
        try:
            import resource
        except ImportError:  # Windows
            return 0.0
        import sys

        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch and for the linear algebra below numpy: cells run side by side, and the same numbers come out
    however many of them do."""
    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions that decide the numbers of a cell."""
    import carryover

    others = {name: metadata.version(name) for name in ("numpy", "scikit-learn", "torch")}
    return {"carryover": carryover.__version__, **others}


def be_a_worker(owner: int) -> None:
    """Called first in a local worker process: Ctrl-C is the owner's business, and when the owner dies (killed, say) so does
    the worker."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, name="watch-owner", daemon=True).start()
