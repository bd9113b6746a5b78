"""Waiting for other processes where signals are still heard.

A collective of `torch.distributed` waits in C++, where Python runs no handler. So what may wait runs in a thread apart, and the
main thread waits for that in Python.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from carryover.training.stopping import StopRequest

LAST_PATIENCE = 25.0
"""Seconds for the others to come to the end of their step after a signal; torchrun kills after 30."""
T = TypeVar("T")


class Waiter:
    """Runs calls that may wait for other processes, one after another in a thread, so that signals are heard meanwhile."""

    def __init__(self, stop: StopRequest) -> None:
        self._stop = stop
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="carryover-collectives", daemon=True)
        self._thread.start()
        self._busy = False

    @property
    def waits(self) -> bool:
        """Whether a call was left alone that is still waiting."""
        return self._busy

    def run(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises. A signal may raise meanwhile; then the call is left alone, and `waits` is true.

        Raises what the first signal asks for when the others do not come within LAST_PATIENCE after it.
        """
        found: list[T] = []
        failed: list[BaseException] = []
        done = threading.Event()

        def attempt() -> None:
            try:
                found.append(call())
            except BaseException as error:
                failed.append(error)
            done.set()

        self._busy = True
        self._calls.put(attempt)
        since = None
        while not done.wait(0.5):
            if self._stop.pending is None:
                continue
            since = time.monotonic() if since is None else since
            if time.monotonic() - since > LAST_PATIENCE:
                raise self._stop.pending(
                    "stopped while waiting for the other processes; what was saved last is intact",
                    repair="run the same command again to continue",
                )
        self._busy = False
        if failed:
            raise failed[0]
        return found[0]

    def close(self) -> None:
        """End the thread."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


_left_alone: list[Waiter] = []


@contextmanager
def waiting(stop: StopRequest) -> Iterator[Waiter]:
    """A waiter while the block runs."""
    waiter = Waiter(stop)
    try:
        yield waiter
    finally:
        _left_alone.append(waiter) if waiter.waits else waiter.close()


def still_waiting() -> bool:
    """Whether a call to other processes was left alone: then this process can only be ended by `os._exit`, since PyTorch
    would wait for that call before it lets the process group go."""
    return bool(_left_alone)
