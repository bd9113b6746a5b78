"""The objective of a model of series: windows, the loss by hand, what is held out, and runs that continue to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import carryover
from carryover.data.examples import Series
from carryover.data.series_scaler import SeriesScaler
from carryover.data.series_windows import SeriesWindows, Window, count_targets, cut_windows, divide
from carryover.errors import BadData, UsageError
from carryover.models.series import SeriesModel
from carryover.objectives.next_value import NextValueObjective, TensorWindows, evaluate_next_value, lines_next_value
from carryover.pretraining.calibration import estimate
from carryover.pretraining.pretrain import pretrain
from carryover.pretraining.settings import PretrainSettings


def waves(count: int, length: int = 50, channels: int = 1) -> list[Series]:
    random = np.random.default_rng(0)
    time = np.arange(length)[:, None]
    return [
        Series(
            10
            + 3 * np.sin(2 * np.pi * (time / 12 + random.uniform(size=channels)))
            + 0.05 * random.normal(size=(length, channels))
        )
        for _ in range(count)
    ]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    np.savez(tmp_path / "raw.npz", values=np.stack([one.values for one in waves(30, channels=2)]))
    return tmp_path / "raw.npz"


def settings(raw: Path, **options: Any) -> PretrainSettings:
    given = {
        "raw": raw,
        "objective": "next-value",
        "size": "tiny",
        "steps": 20,
        "epochs": 3,
        "model": {"size": 8, "layers": 2},
    }
    return PretrainSettings(**{**given, **options})


def test_windows_predict_every_value_but_the_first_once() -> None:
    windows = cut_windows([7, 1, 4], 3)
    assert windows == [Window(0, 0, 4), Window(0, 3, 7), Window(2, 0, 4)]
    series = [np.arange(n, dtype=np.float32)[:, None] for n in (7, 1, 4)]
    predicted = sorted((window.series, step) for window in windows for step in range(window.start + 1, window.end))
    assert predicted == [(0, step) for step in range(1, 7)] + [(2, step) for step in range(1, 4)]
    assert count_targets(series) == len(predicted)


def test_batches_are_pure_and_their_parts_add_up() -> None:
    series = [np.arange(n, dtype=np.float32)[:, None] for n in (30, 17, 9)]
    whole = SeriesWindows(series, steps=4, rows=3)
    parts = [SeriesWindows(series, steps=4, rows=3, part=part) for part in (range(0, 1), range(1, 3))]
    seen = []
    for step in range(whole.steps_per_epoch()):
        batch = whole.batch(5, 1, step)
        again, shares = whole.batch(5, 1, step), [part.batch(5, 1, step) for part in parts]
        assert again.digest == batch.digest == sum(share.digest for share in shares) % 2**64
        assert [row.tolist() for share in shares for row in share.rows] == [row.tolist() for row in batch.rows]
        assert batch.tokens == sum(share.tokens for share in shares)
        seen += [row.tolist() for row in batch.rows]
    for number, start, end in whole.windows:
        assert series[number][start:end].tolist() in seen
    assert whole.batch(5, 0, 0).digest != whole.batch(5, 1, 0).digest


def test_many_series_are_held_out_whole_and_copies_stay_together() -> None:
    series = waves(20)
    train, held_out = divide([*series, *series], 0.2, 10)
    assert {*train} | {*held_out} == {*series} and not {*train} & {*held_out}
    assert len(held_out) >= 8


def test_few_series_are_cut_in_time() -> None:
    series = waves(2, length=40)
    train, held_out = divide(series, 0.25, 100)
    for whole, before, behind in zip(series, train, held_out, strict=True):
        assert np.array_equal(np.concatenate([before.values, behind.values]), whole.values)
        assert len(behind.values) == 10
    with pytest.raises(BadData, match="2 series are too few or too short"):
        divide([Series(np.zeros((3, 1)))] * 2, 0.25, 10)


class Still(torch.nn.Module):
    """Guesses that nothing changes."""

    def forward(self, x: Any) -> Any:
        return x


def test_figures_by_hand() -> None:
    series = [np.array([[0.0], [1.0], [3.0]], dtype=np.float32), np.array([[2.0], [2.5]], dtype=np.float32)]
    windows = TensorWindows(SeriesWindows(series, steps=8, rows=2, shuffle=False))
    figures = evaluate_next_value(Still(), windows, device="cpu")  # type: ignore[arg-type]
    assert figures == {"mse": (1 + 4 + 0.25) / 3, "persistence_mse": (1 + 4 + 0.25) / 3, "tokens": 3}
    loss, _, found = NextValueObjective()(Still(), windows.batch(0, 0, 0), (), step_seed=0)  # type: ignore[arg-type]
    assert float(loss) == pytest.approx(5.25 / 3) and found["tokens"] == 3


def test_lines_are_scored_in_units_of_the_scale() -> None:
    scaler = SeriesScaler((10.0,), (2.0,))
    lines = [json.dumps([[10.0], [12.0], [10.0]])]
    model = SeriesModel(SeriesModel.Config(in_size=1, size=4, layers=1))
    with torch.no_grad():
        assert model.output is not None
        model.output.weight.zero_()
        model.output.bias.fill_(0.5)
    figures = lines_next_value(model, scaler, lines)
    assert figures == {"mse": 1.25, "persistence_mse": 1.0, "lines": 1}
    with pytest.raises(BadData, match="a held-out window cannot be read"):
        lines_next_value(model, scaler, ["[1, [2]]"])


def test_a_run_beats_the_guess_that_nothing_changes_and_continues_to_the_bit(raw: Path, tmp_path: Path) -> None:
    asked = settings(raw, epochs=25, learning_rate=1e-2)
    whole = pretrain(asked, tmp_path / "whole", quiet=True)
    held_out = whole.record["held_out"]
    assert held_out["mse"] < 0.5 * held_out["persistence_mse"]
    assert whole.record["objective"] == "next-value"
    assert "persistence (the last value repeated)" in (tmp_path / "whole" / "README.md").read_text()
    pretrain(settings(raw, epochs=5), tmp_path / "parts", quiet=True)
    parts = pretrain(settings(raw, epochs=5), tmp_path / "parts", quiet=True)
    assert parts.resumed_from == parts.steps
    again = pretrain(asked, tmp_path / "again", quiet=True)
    names = ("model.safetensors", "tokenizer.json", "heldout.txt")
    assert all((tmp_path / "whole" / n).read_bytes() == (tmp_path / "again" / n).read_bytes() for n in names)
    assert again.held_out == whole.held_out


def test_the_scale_and_the_score_come_from_their_own_parts(raw: Path, tmp_path: Path) -> None:
    result = pretrain(settings(raw), tmp_path / "lm", quiet=True)
    every = [Series(one) for one in np.load(raw)["values"]]
    train, _ = divide(every, 0.02, 20)
    encoder = carryover.load(result.folder)
    assert encoder.coder == SeriesScaler.learn(train) != SeriesScaler.learn(every)
    assert encoder.score(encoder.heldout)["mse"] == pytest.approx(result.record["heldout_check"]["mse"])


def test_an_estimate_and_what_is_refused(raw: Path, tmp_path: Path) -> None:
    assert estimate(settings(raw))["tokens"] == 29 * 49 * 2
    with pytest.raises(UsageError, match="a bidirectional model would see"):
        pretrain(settings(raw, model={"causal": False}), tmp_path / "no", quiet=True)
    np.save(tmp_path / "short.npy", np.arange(12.0)[:, None])
    with pytest.raises(BadData, match="no series has two steps"):
        pretrain(settings(tmp_path / "short.npy"), tmp_path / "no", quiet=True)


def test_raw_series_bring_the_usual_settings(raw: Path, tmp_path: Path) -> None:
    assert NextValueObjective.usual_for(raw, None) is not None
    (tmp_path / "text.txt").write_text("some words\nand more\n")
    assert NextValueObjective.usual_for(tmp_path / "text.txt", None) is None
    assert NextValueObjective.usual_for("builtin:grammar", None) is None
