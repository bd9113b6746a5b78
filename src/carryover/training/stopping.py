"""Being asked to stop: the first signal finishes the step and saves, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from carryover.errors import CarryoverError
from carryover.progress import say


class Interrupted(CarryoverError):
    """Ended by Ctrl-C (SIGINT) after saving; the same command continues."""

    exit_code = 130


class Terminated(CarryoverError):
    """Ended by SIGTERM after saving; the same command continues."""

    exit_code = 143


class Stopping(BaseException):
    """A signal on its way out of what it met. It is no `Exception`: nothing that it passes takes it for a fault of its own.

    `stop_signals` raises `error` in its place at the end.
    """

    def __init__(self, error: CarryoverError) -> None:
        super().__init__(str(error))
        self.error = error


class StopRequest:
    """What the signals of a process have asked for so far.

    While `gentle` is set (a loop looks at `pending` after each step) the first signal is only noted; otherwise it raises
    `Stopping` where the program stands, and what is being written is cleared on the way out.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.gentle = False
        self.pending: type[CarryoverError] | None = None
        self.quiet = quiet

    def receive(self, number: int, frame: FrameType | None) -> None:
        kind = Terminated if number == signal.SIGTERM else Interrupted
        if self.pending is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if not self.gentle:
            raise Stopping(kind("stopped; what was saved is intact", repair="run the same command again to continue"))
        self.pending = kind
        if not self.quiet:
            say(
                "stopping: finishing the step and saving; a second signal stops at once and loses the steps since the last checkpoint"
            )


@contextmanager
def stop_signals(quiet: bool = False) -> Iterator[StopRequest]:
    """Listen to SIGINT and SIGTERM while the block runs (in the main thread; elsewhere the request stays empty).

    Raises Interrupted or Terminated where a signal ended the block.
    """
    request = StopRequest(quiet)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    except Stopping as stopping:
        raise stopping.error from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
