"""Completion: the words that may follow, and the scripts of the shells that ask for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from carryover.cli.completion import SCRIPTS, VALUES, candidates
from carryover.cli.main import VERBS, command_of
from carryover.compare.ladder import RUNGS
from carryover.data import builtin
from carryover.tasks import TASKS
from command_line import Shell


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tra"], ["train"]),
        (["help", "pre"], ["predict", "pretrain"]),
        (["train", "--task", ""], sorted(TASKS)),
        (["train", "--mode", "f"], ["features", "frozen", "full"]),
        (["compare", "--rungs", "features,s"], ["features,scratch", "features,static"]),
        (["pretrain", "--size", "t"], ["tiny"]),
        (["doctor", "--train", "builtin:g"], ["builtin:grammar", "builtin:grammar/test", "builtin:grammar/train", "builtin:grammar/valid"]),
        (["train", "--on-error", "s"], ["skip", "stop"]),
        (["nonsense", ""], []),
        (["train", "--train", "x"], []),
    ],
)  # fmt: skip
def test_words_that_may_follow(words: list[str], expected: list[str]) -> None:
    assert candidates(words) == expected


def test_all_verbs_options_and_rungs_are_offered() -> None:
    assert candidates([""]) == sorted([*VERBS, "help"])
    assert set(candidates(["compare", "--rungs", ""])) == set(RUNGS)
    for verb in VERBS:
        flags = {flag for one in command_of(verb).params for flag in one.opts if flag.startswith("--")}
        assert flags <= set(candidates([verb, "--"])), verb
    known = {flag for verb in VERBS for one in command_of(verb).params for flag in one.opts}
    assert set(VALUES) <= known, "an option with values that no verb has"


def test_folders_that_hold_a_model(shell: Shell) -> None:
    data = "builtin:grammar/train?labelled=60&raw=50"
    assert shell("train", "--task", "tag", "--train", data, "--mode", "majority", "--out", "runs/tags", "-q").code == 0
    Path("other").mkdir()
    assert candidates(["predict", ""]) == ["runs/"]
    assert candidates(["predict", "runs/t"]) == ["runs/tags"]
    assert candidates(["train", "--encoder", ""]) == ["runs/"]
    assert builtin.NAMES


def test_help_of_a_verb_both_ways(shell: Shell) -> None:
    assert shell("help", "predict").out == shell("predict", "--help").out != ""
    assert shell("help").out == shell("--help").out


def test_scripts_are_printed_and_other_shells_named(shell: Shell) -> None:
    for name, script in SCRIPTS.items():
        assert shell("completion", name).out == script
    done = shell("completion", "bsh")
    assert done.code == 2 and "did you mean 'bash'" in done.err


def test_bash_completes() -> None:
    place = Path(sys.executable).parent
    program = """
source <(carryover completion bash)
COMP_WORDS=(carryover train --mode fro) COMP_CWORD=3 COMP_LINE='carryover train --mode fro' COMP_POINT=26
_carryover; echo "${COMPREPLY[@]}"
COMP_WORDS=(carryover doctor --raw builtin : gr) COMP_CWORD=5 COMP_LINE='carryover doctor --raw builtin:gr' COMP_POINT=33
_carryover; echo "${COMPREPLY[@]}"
"""
    environment = os.environ | {"PATH": f"{place}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([shutil.which("bash") or "bash", "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == "frozen", done.stderr
