"""An objective that only the test knows: its own file and one line of the table, from raw data to an artefact and back."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from carryover.errors import UsageError
from carryover.pretraining.calibration import estimate
from carryover.pretraining.pretrain import pretrain
from carryover.pretraining.recipes import RECIPES, Recipe
from carryover.pretraining.settings import PretrainSettings
from carryover.storage.artefact import load_artefact
from pretraining.next_value import NextValue, Predictor
from pretraining.tiny_text import tiny


@pytest.fixture
def series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(RECIPES, "next-value", Recipe("pretraining.next_value:NextValue", "the next value of a series"))
    path = tmp_path / "series.txt"
    path.write_text("".join(f"{math.sin(step / 3):.5f}\n" for step in range(900)))
    return path


def settings(raw: Path, **changes: Any) -> PretrainSettings:
    given: dict[str, Any] = {"epochs": 4, "batch_size": 4, "steps": 10, "learning_rate": 0.02, "device": "cpu"}
    return PretrainSettings(raw=raw, objective="next-value", **{**given, **changes})


def test_it_goes_from_a_series_to_an_artefact_and_back(series: Path, tmp_path: Path) -> None:
    result = pretrain(settings(series), tmp_path / "out", quiet=True)
    stored = load_artefact(tmp_path / "out")
    assert stored.kind == "next-value" and stored.tokenizer == {"window": 10}
    assert stored.record["objective"] == "next-value" and stored.record["corpus"]["windows"] == 81
    first = json.loads((tmp_path / "out" / "run" / "metrics.jsonl").read_text().splitlines()[0])["held_out"]
    assert result.held_out < 0.5 * first["mean_squared_error"], "it learns"

    model = Predictor(**stored.config)
    model.load_state_dict(stored.tensors)
    corpus = NextValue().open(tmp_path / "out" / "run", ["", ""])
    assert NextValue().evaluate(model, corpus.valid, corpus, "cpu")["mean_squared_error"] == result.held_out
    assert f"{result.held_out:.4f}" in (tmp_path / "out" / "README.md").read_text()
    assert json.loads(stored.files["heldout.json"]) == corpus.valid[:2].tolist()


def test_a_longer_run_continues_to_the_bit(series: Path, tmp_path: Path) -> None:
    for epochs in (1, 3):
        pretrain(settings(series, epochs=epochs, schedule="constant"), tmp_path / "twice", quiet=True)
    pretrain(settings(series, epochs=3, schedule="constant"), tmp_path / "once", quiet=True)
    twice, once = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("twice", "once"))
    assert twice == once


def test_the_estimate_and_the_lines_for_people(series: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = settings(series)
    found = estimate(wanted)
    expected = sum(parameter.numel() for parameter in Predictor(8).parameters())
    assert found["parameters"] == expected and found["tokens"] == 81 * 9
    line = NextValue().held_out_line({"mean_squared_error": 0.25, "tokens": 12})
    assert line == "held-out mean squared error 0.25 (12 targets)"
    pretrain(wanted, series.parent / "loud")
    assert "held-out mean squared error 0." in capsys.readouterr().err


def test_what_it_has_no_use_for_is_refused(series: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keep_spaces is True, and next-value does not use it"):
        settings(series, keep_spaces=True)
    with pytest.raises(UsageError, match="softmax is full, and next-value does not use it"):
        settings(series, softmax="full")
    with pytest.raises(UsageError, match="did you mean 'next-value'"):
        tiny(series, objective="next-valu")
