"""Each verb over series: slow and fast waves of two channels, of unequal length, in numpy files and long tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import carryover
from carryover.data.examples import Series
from carryover.transfer.series_from_labels import STACKS
from carryover.transfer.settings import STACKS as NAMES
from command_line import Shell

SMALL = ("--size", "tiny", "--epochs", "2", "-q")


def write_waves(path: Path, count: int, seed: int, *, labelled: bool = True) -> Path:
    """Waves of period 5 (fast) and 12 (slow) in noise, padded to one length."""
    random = np.random.default_rng(seed)
    lengths = random.integers(18, 25, size=count)
    time = np.arange(24)[None, :, None]
    period = np.where(np.arange(count) % 2, 12, 5)[:, None, None]
    phase = random.uniform(size=(count, 1, 2))
    values = 7 + np.sin(2 * np.pi * (time / period + phase)) + 0.1 * random.normal(size=(count, 24, 2))
    labels = {"labels": np.where(np.arange(count) % 2, "slow", "fast")} if labelled else {}
    np.savez(path, values=values, lengths=lengths, **labels)
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {
        "train": write_waves(tmp_path / "train.npz", 24, 0),
        "test": write_waves(tmp_path / "test.npz", 12, 1),
        "raw": write_waves(tmp_path / "raw.npz", 30, 2, labelled=False),
    }


def test_pretrain_train_evaluate_and_predict(shell: Shell, files: dict[str, Path]) -> None:
    done = shell("pretrain", "--objective", "next-value", "--raw", files["raw"], *SMALL, "--out", "lm", "--json")
    assert done.code == 0, done.err
    assert done.document["mse"] == done.document["record"]["held_out"]["mse"]
    assert shell("evaluate", "lm", "--test", files["test"], "--json").document["together"]["mse"] > 0

    said = shell("evaluate", "lm", "--test", files["test"], "--require", "0")
    assert said.code == 4 and "mean squared error" in said.err and "is above the required 0" in said.err
    assert said.out.startswith(f"{files['test']}: mean squared error 0.") and " values in 12 series)" in said.out

    Path("t.txt").write_text("some text\n")
    refused = shell("embed", "lm", "t.txt")
    assert refused.code == 2 and "lm: is a model of series, and embed reads text" in refused.err

    common = ("train", "--task", "classify", "--train", files["train"], "-q")
    carried = shell(*common, "--encoder", "lm", "--mode", "full", "--epochs", "3", "--out", "full", "--json").document
    assert carried["record"]["proof"]["measured_perplexity"]["mse"] == pytest.approx(
        carried["record"]["proof"]["stored_perplexity"]["mse"], rel=1e-4
    )
    scratch = shell(*common, "--stack", "tcn", "--epochs", "25", "--out", "scratch")
    assert scratch.code == 0, scratch.err
    scores = shell("evaluate", "scratch", "--test", files["test"], "--json").document["scores"]
    assert scores["accuracy"] > 0.8

    rows = shell("predict", "scratch", files["test"], "--json").document["predictions"]
    assert len(rows) == 12 and set(rows[0]) == {"series", "labels", "probabilities"}
    assert rows[0]["series"].endswith("steps of 2 channels")
    predictor = carryover.load("scratch")
    loaded = np.load(files["test"])
    series = [Series(one[:n]) for one, n in zip(loaded["values"], loaded["lengths"], strict=True)]
    assert [list(found) for found in predictor.predict(series)] == [row["labels"] for row in rows]


def test_compare_over_series(shell: Shell, files: dict[str, Path]) -> None:
    common = ("compare", "--task", "classify", "--train", files["train"], "--test", files["test"], "--raw", files["raw"])
    common = (*common, "--size", "tiny", "--budgets", "8", "--seeds", "1", "--jobs", "1", "-q")
    static = shell(*common, "--rungs", "static", "--out", "no")
    assert static.code == 2 and "rung static needs words, and the examples hold none" in static.err
    done = shell(*common, "--rungs", "features,full", "--stack", "lstm", "--pretrain-time", "3s", "--out", "cmp", "--json")
    assert done.code == 0, done.err
    assert {cell["rung"] for cell in done.document["cells"]} >= {"features", "full"}
    found = {cell["rung"]: cell for cell in done.document["cells"]}
    assert found["features"]["score"] > 0.8
    plan = json.loads(Path("cmp/plan.json").read_text())["question"]
    write_waves(files["test"], 12, 5)
    again = shell(*common, "--rungs", "features,full", "--stack", "lstm", "--pretrain-time", "3s", "--out", "cmp")
    assert again.code == 2 and "test data" in again.err, "other values are another test"
    assert plan["training data"] != plan["test data"]


def test_doctor_over_series(shell: Shell, files: dict[str, Path], tmp_path: Path) -> None:
    assert shell("doctor", "--train", files["train"], "--test", files["test"]).code == 0
    rows = [
        "series,time,x,flat,label",
        "a,0,1,0,up",
        "a,1,,0,up",
        "b,0,1,0,down",
        "b,1,2,0,down",
        "c,0,1,0,up",
        "c,1,2,0,up",
    ]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(rows) + "\n")
    done = shell("doctor", "--train", table, "--test", table, "--json")
    assert done.code == 65
    found = {one["message"]: (one["level"], one["count"]) for one in json.loads(done.out)["findings"]}
    assert found["train: missing values, which are refused"] == ("error", 1)
    assert found["train: copies with different labels"] == ("warning", 1)
    assert found["train: channels with one value throughout"] == ("warning", 1)
    assert found["test: series that also occur in train"] == ("warning", 3)
    assert shell("doctor", "--train", table, "--missing", "interpolate").code == 0


def test_texts_and_series_do_not_mix(shell: Shell, files: dict[str, Path], tmp_path: Path) -> None:
    shell("train", "--task", "classify", "--train", files["train"], "--epochs", "1", "-q", "--out", "model")
    (tmp_path / "text.tsv").write_text("text\tlabel\nsome words\tslow\nother words\tfast\n")
    done = shell("evaluate", "model", "--test", "text.tsv")
    assert done.code == 2 and "the model reads series, and the example of line 2 is text" in done.err
    wrong = shell("train", "--task", "classify", "--train", files["train"], "--multi-label", ",", "-q", "--out", "no")
    assert wrong.code == 2 and "--multi-label is for texts, and the file holds series" in wrong.err
    shell("pretrain", "--objective", "next-value", "--raw", files["raw"], *SMALL, "--out", "lm")
    mixed = shell(
        "train", "--task", "classify", "--train", "text.tsv", "--dev", "text.tsv", "--encoder", "lm", "-q", "--out", "no"
    )
    assert mixed.code == 2 and "the model reads series" in mixed.err
    one = np.load(files["test"])
    np.savez("narrow.npz", values=one["values"][:, :, :1], labels=one["labels"])
    narrow = shell("predict", "model", "narrow.npz")
    assert narrow.code == 65 and "the series has 1 channels and the model reads 2" in narrow.err


def test_every_stack_has_its_layers() -> None:
    assert set(NAMES) == set(STACKS)


def test_documents_say_all_of_a_series() -> None:
    content: dict[str, Any] = Series(np.array([[1.0], [2.0]])).to_json()
    assert content == {"series": [[1.0], [2.0]]}
