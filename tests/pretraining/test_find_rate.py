"""The learning-rate range test: the same every time, for every objective, and nothing of it is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carryover.errors import UsageError
from carryover.pretraining.find_rate import HIGHEST, LOWEST, find_rate, with_rate
from carryover.pretraining.settings import PretrainSettings
from command_line import Shell, shell

__all__ = ["shell"]

RAW = "builtin:grammar?raw=120&words=30"


@pytest.mark.parametrize("objective", ["bilm", "lm"])
def test_the_rate_rises_and_the_loss_is_the_same_again(objective: str) -> None:
    wanted = PretrainSettings(raw=RAW, objective=objective, size="tiny", batch_size=4, steps=8)
    found = find_rate(wanted, steps=30, quiet=True)
    assert found.rates[0] == LOWEST and all(b > a for a, b in zip(found.rates, found.rates[1:], strict=False))
    assert found.rates[-1] <= HIGHEST and found.suggested == pytest.approx(found.best / 10, rel=0.06)
    assert min(found.losses) < found.losses[0], "some rate of the range learns something"
    assert find_rate(wanted, steps=30, quiet=True) == found
    assert (
        find_rate(
            PretrainSettings(raw=RAW, objective=objective, size="tiny", batch_size=4, steps=8, seed=1), steps=30, quiet=True
        )
        != found
    )


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(UsageError, match="3 steps are too few"):
        find_rate(PretrainSettings(raw=RAW), steps=3)


def test_the_next_command_has_the_rate_once() -> None:
    given = ["pretrain", "--find-rate", "--raw", "x", "--learning-rate", "0.5", "--out", "lm"]
    assert with_rate(given, 0.014) == ["pretrain", "--raw", "x", "--out", "lm", "--learning-rate", "0.014"]


def test_on_the_command_line(shell: Shell) -> None:
    line = ("pretrain", "--raw", RAW, "--size", "tiny", "--batch-size", "4", "--out", "lm")
    done = shell(*line, "--find-rate", "-q")
    assert done.code == 0 and "suggested: --learning-rate" in done.out
    assert sorted(place.name for place in Path("lm").iterdir()) == ["find-rate.html", "find-rate.json"]
    document = json.loads(Path("lm/find-rate.json").read_text(encoding="utf-8"))
    assert document["schema"] == "carryover.find-rate/1" and len(document["rates"]) == len(document["smoothed"])
    assert "<svg" in Path("lm/find-rate.html").read_text(encoding="utf-8")
    assert shell(*line, "--epochs", "1", "-q").code == 0, "the same folder can be pretrained into"
