"""A process that waits for another hears signals: while they meet, within a collective, and at once when it is the second."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from carryover.training import waiting
from carryover.training.stopping import StopRequest, Terminated
from carryover.training.waiting import Waiter
from pretraining.shared_run import free_port

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.name == "nt", reason="signals")]

PROGRAM = """
import sys, time
from carryover.cli import main
from carryover.training import meeting, stopping

rendezvous = meeting.distributed.rendezvous

def said(*where, **how):
    print("waits", file=sys.stderr, flush=True)
    yield from rendezvous(*where, **how)

meeting.distributed.rendezvous = said

def work(arguments):
    with stopping.stop_signals() as stop, meeting.open_processes("cpu", stop) as run:
        stop.gentle = sys.argv[1] == "within a step"
        run.all_reduce([1.0])
        print("met", file=sys.stderr, flush=True)
        if run.rank == 1:
            time.sleep(100)  # in C, as a process that hangs: it hears signals, and nobody hears from it
        run.all_reduce([1.0])
    return 0

main._invoke = work
main.run(["version"])
"""


class Pair:
    """Two processes of a run, of which the second sleeps; or only the first, which waits for the second to start."""

    def __init__(self, mode: str) -> None:
        place = {
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
            "TORCH_CPP_LOG_LEVEL": "ERROR",
        }
        self.started = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, mode],
                env={**os.environ, **place, "RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(1 if mode == "alone" else 2)
        ]
        self.first = self.started[0]
        assert self.first.stderr is not None
        for expected in ("waits\n",) if mode == "alone" else ("waits\n", "met\n"):
            assert self.first.stderr.readline() == expected
        time.sleep(0.5)

    def ended(self) -> tuple[int, str]:
        """Exit code and messages of the first; far less than the minutes after which it would give up waiting."""
        _, said = self.first.communicate(timeout=60)
        return self.first.returncode, said

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.communicate()


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    started = Pair(request.param)
    yield started
    started.close()


@pytest.mark.parametrize("pair", ["alone", "between steps"], indirect=True)
def test_a_signal_ends_the_waiting(pair: Pair) -> None:
    pair.first.send_signal(signal.SIGTERM)
    code, said = pair.ended()
    assert code == 143 and said.endswith(
        "carryover: stopped; what was saved is intact; run the same command again to continue\n"
    )


@pytest.mark.parametrize("pair", ["within a step"], indirect=True)
def test_the_first_signal_is_answered_and_the_second_ends_at_once(pair: Pair) -> None:
    pair.first.send_signal(signal.SIGTERM)
    assert pair.first.stderr is not None and pair.first.stderr.readline().startswith("stopping: finishing the step")
    assert pair.first.poll() is None, "the other may yet come"
    pair.first.send_signal(signal.SIGTERM)
    code, _ = pair.ended()
    assert code == -signal.SIGTERM


def test_patience_ends_after_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LAST_PATIENCE", 0.2)
    monkeypatch.setattr(waiting, "_left_alone", [])
    stop, never = StopRequest(), threading.Event()
    stop.pending = Terminated
    with (
        pytest.raises(Terminated, match="waiting for the other processes; what was saved last is intact"),
        waiting.waiting(stop) as waiter,
    ):
        waiter.run(never.wait)
    assert waiting.still_waiting()
    never.set()


def test_calls_run_in_order_and_give_back_what_they_gave() -> None:
    seen: list[int] = []
    waiter = Waiter(StopRequest())
    for number in range(50):
        assert waiter.run(lambda number=number: seen.append(number) or number * number) == number * number  # type: ignore[misc]
    with pytest.raises(KeyError, match="no such"):
        waiter.run(lambda: {}["no such"])
    assert seen == list(range(50)) and not waiter.waits
    waiter.close()
