"""A default of the command line is that of the settings it fills, and one model has one set of defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from carryover.compare import ComparePlan
from carryover.compare.resources import pretrain_settings
from carryover.encoders.vector_parts import Choice
from carryover.pretraining.settings import PretrainSettings
from carryover.transfer.plan import CarryPlan
from carryover.transfer.settings import FitSettings
from carryover.transfer.train import Columns, TaskRun
from command_line import Material, Shell


class Caught(Exception):
    """Ends a command where its settings are complete."""


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the verbs hand on, their first argument; nothing is run."""
    import carryover.compare.run
    import carryover.encoders.vector_files
    import carryover.pretraining.pretrain
    import carryover.transfer.train

    found: list[Any] = []

    def catch(*given: Any, **options: Any) -> Any:
        found.append((given[0], options))
        raise Caught

    monkeypatch.setattr(carryover.pretraining.pretrain, "pretrain", catch)
    monkeypatch.setattr(carryover.transfer.train, "train_task", catch)
    monkeypatch.setattr(carryover.compare.run, "compare", catch)
    monkeypatch.setattr(carryover.encoders.vector_files, "save_embedded", catch)
    return found


def test_of_pretrain(shell: Shell, material: Material, caught: list[Any]) -> None:
    shell("pretrain", "--raw", material.raw, "--out", "lm")
    assert caught[0][0] == PretrainSettings(raw=str(material.raw))


def test_of_compare_and_its_language_model(shell: Shell, material: Material, caught: list[Any]) -> None:
    given = {"task": "classify", "train": "train.tsv", "raw": str(material.raw)}
    shell("compare", *(word for name, value in given.items() for word in (f"--{name}", value)), "--out", "cmp")
    assert caught[0][0] == ComparePlan(**given, pretraining={"size": PretrainSettings.size})
    shell("pretrain", "--raw", material.raw, "--device", "cpu", "--out", "lm")
    assert pretrain_settings(caught[0][0]) == caught[1][0]


def test_of_train(shell: Shell, caught: list[Any]) -> None:
    shell("train", "--task", "tag", "--train", "train.conll", "--out", "tagger")
    wanted: TaskRun = caught[0][0]
    assert CarryPlan(mode=wanted.carry_mode, **wanted.plan) == CarryPlan(mode="scratch")
    assert FitSettings(**wanted.fitting) == FitSettings()
    assert wanted.columns == Columns()
    few = FitSettings(epochs=2)
    assert few.resolve(CarryPlan(mode="scratch")).least_updates == 1, "so many passes, as --epochs says"
    assert FitSettings(epochs=2, least_updates=9).least_updates == 9
    assert FitSettings().resolve(CarryPlan(mode="scratch")).least_updates == 300


def test_of_embed(shell: Shell, material: Material, caught: list[Any]) -> None:
    Path("text.txt").write_text("a gull sails\n")
    shell("embed", material.encoder, "text.txt", "--out", "vectors.npz")
    options = caught[0][1]
    assert Choice(**{name: options[name] for name in ("layers", "pool", "carry_rows", "precision")}) == Choice()
