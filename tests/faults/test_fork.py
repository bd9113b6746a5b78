"""A process that is forked while its threads predict: every child can predict."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

from carryover.forking import computed_once, computing
from golden.test_artefacts import RELEASES


@pytest.mark.parametrize(
    ("children", "threads"), [(40, 1), (10, 2), pytest.param(400, 1, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])]
)
def test_children_of_a_predicting_process_predict(children: int, threads: int) -> None:
    program = Path(__file__).with_name("fork_while_predicting.py")
    done = subprocess.run(
        [sys.executable, str(program), str(RELEASES[-1]), str(children), str(threads)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"0 lost, 0 wrong of {children}\n"), done.stderr


def test_an_attribute_is_computed_once() -> None:
    class Owner:
        calls = 0

        @computed_once
        def answer(self) -> int:
            """The answer."""
            self.calls += 1
            return 42

    owner = Owner()
    assert owner.answer == owner.answer == 42 and owner.calls == 1 and Owner().calls == 0
    assert Owner.answer.__doc__ == "The answer."


def test_a_fork_waits_for_what_is_computing() -> None:
    """A lock that a library holds meanwhile is free in the child; without waiting the child would stand before it."""
    lock, inside, release = threading.Lock(), threading.Event(), threading.Event()

    def compute() -> None:
        with computing(), computing(), lock:  # a computation within another
            inside.set()
            release.wait(30)
            time.sleep(0.1)

    thread = threading.Thread(target=compute)
    thread.start()
    inside.wait(30)
    threading.Timer(0.2, release.set).start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of what is tried here
        child = os.fork()
    if not child:
        with computing():
            os._exit(0 if lock.acquire(timeout=5) else 3)
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    with computing():  # a thread that computes itself may fork
        child = os.fork()
        if not child:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
