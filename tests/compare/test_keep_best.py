"""What a comparison recommends can be trained, by the command it prints and by `--keep-best`."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from carryover.cli.main import run_command
from carryover.compare.best import train_best
from carryover.compare.plan import ComparePlan
from carryover.compare.run import compare
from carryover.data import builtin
from carryover.encoders.loading import load
from carryover.tasks import TASKS
from carryover.transfer.predictions import trained_columns
from command_line import Shell, shell

__all__ = ["shell"]

SIZES = "raw=150&labelled=70&words=30"
TINY = {"size": "tiny", "epochs": 1, "vocabulary_size": 60, "steps": 10, "batch_size": 8}
USUAL: dict[str, Any] = {
    "budgets": "all",
    "seeds": 1,
    "jobs": 1,
    "replicates": 100,
    "pretraining": TINY,
    "fitting": {"epochs": 1},
    "vectors": {"epochs": 1},
}


def pairs(folder: Path) -> dict[str, Any]:
    texts = [example.input.text for example in builtin.classified("grammar?labelled=60&raw=50")]
    for name, part in (("train", texts[:40]), ("test", texts[40:])):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            rows = [(text, text if i % 2 else texts[0], "same" if i % 2 else "other") for i, text in enumerate(part)]
            csv.writer(file).writerows([("first", "second", "label"), *rows])
    return {"train": folder / "train.csv", "test": folder / "test.csv", "text_column": "first,second"}


def series(folder: Path) -> dict[str, Any]:
    random = np.random.default_rng(0)
    for name, count in (("train", 30), ("test", 20)):
        rows = []
        for number in range(count):
            wave = np.sin(np.arange(24) * (0.3 + 0.5 * (number % 2)) + random.normal())
            rows.append("\t".join([str(1 + number % 2), *(f"{value:.4f}" for value in wave)]))
        (folder / f"{name}_TRAIN.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return {"train": folder / "train_TRAIN.tsv", "test": folder / "test_TRAIN.tsv", "format": "ucr"}


def question(task: str, folder: Path) -> tuple[str, dict[str, Any], str]:
    """Task, where its data are, and the rungs that can answer it without a model of something else."""
    if task == "series":
        return "classify", series(folder), "features,scratch"
    if task == "pair":
        return "pair", {**pairs(folder), "raw": f"builtin:grammar?{SIZES}"}, "features,static,frozen"
    data = {"train": f"builtin:grammar/train?{SIZES}", "test": f"builtin:grammar/test?{SIZES}"}
    every = "features,static,scratch,frozen,head,top-1,full" if task == "tag" else "features,static,full"
    return task, {**data, "raw": f"builtin:grammar?{SIZES}"}, every


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CARRYOVER_CACHE", str(tmp_path / "cache"))
    yield


@pytest.mark.parametrize("asked", ["classify", "tag", "pair", "series"])
def test_the_command_of_every_rung_runs(asked: str, tmp_path: Path, shell: Shell) -> None:
    task, data, rungs = question(asked, tmp_path)
    result = compare(ComparePlan(task=task, rungs=rungs, **data, **USUAL), Path("cmp"), quiet=True)
    for rung in ("majority", *rungs.split(",")):
        out = Path("models") / rung
        command = result.training_command(rung, out)
        assert command is not None
        done = shell(*command[1:], "--quiet")
        assert done.code == 0, done.err
        predictor = load(out)
        examples = TASKS[task].read(str(data["test"]), trained_columns(predictor)).examples
        assert len(predictor.predict(examples)) == len(examples)
        assert shell("evaluate", out, "--test", data["test"]).code == 0
        if rung == "features" and task != "tag":  # a tagger takes the sentences in the order they come
            [cell] = [row for row in result.results if row.rung == "features"]
            kept = np.load(result.folder / f"cells/{cell.cell.name}/predictions.npy", allow_pickle=False)
            numbers, _ = predictor.task.encode_answers(predictor.predict(examples))
            assert np.array_equal(kept, numbers), "the model is not the one that was compared"


def recommending(result: Any, rung: str | None) -> Any:
    analysis = SimpleNamespace(**{**vars(result.analysis), "recommended_rung": lambda: rung})
    return replace(result, analysis=analysis)


def test_the_best_is_kept_beside_the_report_and_replaced_by_another(tmp_path: Path) -> None:
    task, data, _ = question("classify", tmp_path)
    result = compare(ComparePlan(task=task, rungs="features,scratch", **data, **USUAL), Path("cmp"), quiet=True)
    assert train_best(recommending(result, None), quiet=True) is None and not Path("cmp/best").exists()
    train_best(recommending(result, "features"), quiet=True)
    first = load("cmp/best")
    assert first.record["plan"]["mode"] == "features" and first.record["train_examples"] == len(
        builtin.classified(f"grammar/train?{SIZES}")
    )
    train_best(recommending(result, "scratch"), quiet=True)
    assert load("cmp/best").record["plan"]["mode"] == "scratch"
    again = compare(ComparePlan(task=task, rungs="features,scratch", **data, **USUAL), Path("cmp"), quiet=True)
    assert again.already == 2, "the folder is still that of the comparison"


def test_command_line_page_and_what_comes_next(shell: Shell) -> None:
    data = "builtin:grammar/{}?labelled=400&raw=100"
    command = [
        "compare",
        "--task",
        "tag",
        "--train",
        data.format("train"),
        "--test",
        data.format("test"),
        "--rungs",
        "features",
    ]
    done = shell(*command, "--budgets", "all", "--seeds", "1", "--keep-best", "--out", "cmp", "-q")
    assert done.code == 0, done.err
    assert "next: carryover evaluate cmp/best --test" in done.err
    page = Path("cmp/report.html").read_text(encoding="utf-8")
    assert "carryover train --task tag" in page and "--mode features --out cmp/best" in page
    assert "carryover predict cmp/best NEW" in page
    assert run_command(["evaluate", "cmp/best", "--test", data.format("test"), "--require", "0.5"]) == 0
