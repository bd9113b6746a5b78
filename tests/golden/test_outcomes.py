"""Training, predicting and comparing give the numbers and sentences they gave when the golden files were written.

Losses agree to 1e-5: so they do with compiled kernels, without them, and with the narrower vectors of an older processor.
The last bits differ, and some fifty steps carry them no further than that.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from command_line import Shell
from golden import outcomes
from golden.outcomes import DATA, PRETRAINING, WITH_KERNELS, differences, stored


@pytest.fixture
def run(shell: Shell) -> outcomes.Run:
    """A command line in an empty folder, by its JSON document."""

    def one(*words: object) -> Any:
        done = shell(*words, "--json")
        assert done.code == 0, done.err
        return done.document

    return one


def test_the_comparison_sees_every_kind_of_difference() -> None:
    golden = {"loss": [1.0, 2.0], "verdict": "take `frozen`", "steps": 3}
    assert not differences({**copy.deepcopy(golden), "loss": [1.0, 2.0 + 1e-6]}, golden, relative=1e-5)
    for other in ({"loss": [1.0, 2.001]}, {"loss": [1.0]}, {"verdict": "take `full`"}, {"steps": 4}, {"new": 1}):
        assert len(differences({**golden, **other}, golden, relative=1e-5)) == 1
    assert differences({}, golden, relative=1e-5) == ["/loss: is missing", "/verdict: is missing", "/steps: is missing"]


@pytest.mark.parametrize(
    ("name", "kernels"), [*((name, "on") for name in PRETRAINING), *((name, "off") for name in WITH_KERNELS)]
)
def test_pretraining_loses_what_it_lost(name: str, kernels: str, run: outcomes.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRYOVER_KERNELS", kernels)
    assert not differences(outcomes.pretraining(run, name), stored("pretraining")[name], relative=1e-5)


@pytest.mark.parametrize("task", DATA)
def test_fitting_a_task_loses_scores_and_predicts_what_it_did(task: str, run: outcomes.Run) -> None:
    assert not differences(outcomes.fitting(run, task), stored("fitting")[task], relative=1e-4, absolute=1e-4)


@pytest.mark.parametrize("task", DATA)
def test_doctor_evaluate_and_predict_say_what_they_said(task: str, run: outcomes.Run) -> None:
    assert not differences(outcomes.asking(run, task), stored("asking")[task], relative=1e-4, absolute=1e-4)


@pytest.mark.parametrize("task", DATA)
def test_a_comparison_continues_and_says_what_it_said(task: str, run: outcomes.Run) -> None:
    golden = stored("comparing")[task]
    document, cells = outcomes.comparing(run, task, golden["cells"])
    assert not differences(document, golden["document"], relative=1e-4, absolute=1e-4)
    assert cells.keys() == golden["cells"].keys()
    predictions = [name for name in cells if name.endswith("predictions.npy")]
    assert [cells[name] for name in predictions] == [golden["cells"][name] for name in predictions]
