"""A process that is forked while its threads predict: every child can predict."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from carryover.forking import computed_once
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
