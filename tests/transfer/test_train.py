"""A task from files: killed and continued like never killed, under a time limit, finished once, and judged by content."""

from __future__ import annotations

import json
import os
import shutil
import signal
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carryover import load
from carryover.errors import BadData, CannotWrite, UsageError
from carryover.storage import is_temporary
from carryover.storage.artefact import has_artefact
from carryover.training.loop import TrainingLoop
from carryover.training.stopping import Interrupted, StopRequest
from carryover.transfer.calibration import estimate_task
from carryover.transfer.evaluation.lines import examination_lines
from carryover.transfer.predictions import evaluate_task, examine_task, items_to_predict, prediction_rows
from carryover.transfer.predictor import TaskPredictor
from carryover.transfer.train import Columns, TaskRun, read_material, train_task
from task_material import classified, tagged, word_vectors

SMALL = {
    "least_updates": 40,
    "epochs": 1,
    "hidden": 6,
    "word_size": 6,
    "filters": [[2, 4]],
    "token_budget": 60,
    "evaluations": 5,
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Training and development files of both tasks."""
    for name, count, seed in (("train", 40, 0), ("dev", 12, 1)):
        rows = [f"{example.input.text}\t{example.gold[0]}" for example in classified(count, seed)]
        (tmp_path / f"{name}.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
        blocks = [
            "\n".join(f"{w} {t}" for w, t in zip(s.input.tokens, s.gold, strict=True))
            for s in tagged(count, seed, spans=True)
        ]
        (tmp_path / f"{name}.conll").write_text("\n\n".join(blocks) + "\n")
    return tmp_path


def wanted(folder: Path, task: str = "classify", **changes: Any) -> TaskRun:
    suffix = "tsv" if task == "classify" else "conll"
    fitting = {**SMALL, **changes.pop("fitting", {})}
    run = TaskRun(task=task, train=str(folder / f"train.{suffix}"), dev=str(folder / f"dev.{suffix}"), fitting=fitting)
    return replace(run, **changes)


def outcome(out: Path) -> dict[str, Any]:
    """What a run leaves, without times."""
    record = json.loads((out / "record.json").read_text())
    kept = {name: value for name, value in record.items() if name not in ("seconds", "command")}
    return {"weights": (out / "model.safetensors").read_bytes(), "record": kept}


def killed(run: TaskRun, out: Path, crash_at: str) -> int:
    """A process of its own that trains and kills itself at the n-th time it comes to a named point; its exit status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forking beside threads
        child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.environ["CARRYOVER_CRASH_AT"] = crash_at
            train_task(run, out, quiet=True)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("task", ["classify", "tag"])
def test_killed_and_continued_is_as_never_killed(files: Path, task: str) -> None:
    """Killed while settings, checkpoints, and the artefact are written; each time the next session goes on from there."""
    run = wanted(files, task, fitting={"checkpoint_updates": 3})
    train_task(run, files / "reference", quiet=True)
    out = files / "killed"
    for point in ("file flushed:1", "folder flushed:1", "folder renamed:3", "file written:9", "folder rename:2"):
        assert killed(run, out, point) == -signal.SIGKILL, point
        assert not has_artefact(out)
    for point in ("artefact file:2", "artefact pointer:1"):
        assert killed(run, out, point) == -signal.SIGKILL, point
        assert isinstance(load(out), TaskPredictor), "whole as soon as it is there"
    train_task(run, out, quiet=True)
    assert outcome(out) == outcome(files / "reference")
    assert not [place for place in out.rglob("*") if is_temporary(place)]


def test_stopped_in_order_and_continued(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A first signal finishes the update, saves and leaves; the exit code is that of the shell's convention."""
    run = wanted(files)
    train_task(run, files / "reference", quiet=True)
    real = StopRequest.__init__

    def impatient(self: StopRequest, quiet: bool = False) -> None:
        real(self, quiet)
        self.pending = Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(StopRequest, "__init__", impatient)
        for number in (1, 2):
            with pytest.raises(Interrupted, match=f"stopped after update {number} of 40 and saved") as caught:
                train_task(run, files / "out", quiet=True)
            assert caught.value.exit_code == 130 and not has_artefact(files / "out")
    train_task(run, files / "out")
    assert "continuing from update 2 of 40" in capsys.readouterr().err
    assert outcome(files / "out") == outcome(files / "reference")


def test_time_limit_and_then_more_time(files: Path) -> None:
    """An artefact of what is best so far; given time the run goes on and ends as one without a limit."""
    train_task(wanted(files), files / "reference", quiet=True)
    short = train_task(wanted(files, fitting={"time_limit": 1e-9}), files / "out", quiet=True)
    assert short.record["stopped_by"] == "time limit" and short.record["updates"] < 40 and not short.record["finished"]
    assert isinstance(load(files / "out"), TaskPredictor)
    same = train_task(wanted(files, fitting={"time_limit": 1e-9}), files / "out", quiet=True)
    assert same.fitted is None and json.dumps(same.record) == json.dumps(short.record), "nothing is done again"
    whole = train_task(wanted(files, fitting={"time_limit": 1e9}), files / "out", quiet=True)
    assert whole.record["stopped_by"] == "updates" and whole.record["updates"] == 40
    found, expected = outcome(files / "out"), outcome(files / "reference")
    assert found["weights"] == expected["weights"]
    done = train_task(wanted(files), files / "out", quiet=True)
    assert done.fitted is None and done.to_json()["schema"] == "carryover.train/1"
    assert done.lines()[0].endswith("seed 0") and done.proof_lines() == ["carried over: nothing, 12 tensors new"]


def test_settings_are_told_apart_by_content(files: Path) -> None:
    run = wanted(files)
    train_task(run, files / "out", quiet=True)
    moved = (files / "train.tsv").rename(files / "moved.tsv")
    assert train_task(replace(run, train=str(moved)), files / "out", quiet=True).fitted is None
    moved.write_text(moved.read_text() + "one more\tsea\n")
    with pytest.raises(UsageError, match="train_content"):
        train_task(replace(run, train=str(moved)), files / "out", quiet=True)
    vectors = wanted(files, mode="static", train=str(files / "dev.tsv"))
    vocabulary, array = word_vectors()
    train_task(vectors, files / "static", vectors=(vocabulary, array), quiet=True)
    with pytest.raises(UsageError, match="vectors_content"):
        train_task(vectors, files / "static", vectors=(vocabulary, array + 1), quiet=True)


def test_held_out_examples_come_out_of_the_training_file(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    material = read_material(replace(wanted(files), dev=None))
    assert (len(material.train), len(material.dev)) == (32, 8) and material.held_out_of_train
    assert not {example.source.line for example in material.train} & {example.source.line for example in material.dev}
    train_task(replace(wanted(files), dev=None), files / "out")
    assert "no --dev: 8 of the 40 examples are held out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text\tlabel\na\tx\nb\tx\n", "train.tsv: holds only the label 'x'"),
        ("text\tlabel\na\tx\nb\ty\nc\tx\n", "train.tsv: holds 3 examples, too few to hold some out"),
        ("text\tlabel\na\tx\nb\n", "train.tsv:3: "),
    ],
)
def test_nothing_is_written_for_input_that_is_refused(files: Path, content: str, message: str) -> None:
    (files / "train.tsv").write_text(content)
    with pytest.raises(BadData) as caught:
        train_task(replace(wanted(files), dev=None), files / "out", quiet=True)
    assert str(caught.value).startswith(str(files / message))
    assert not (files / "out").exists()


def test_rejected_rows(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (files / "train.tsv").open("a") as file:
        file.write("no label\n")
    train_task(replace(wanted(files), columns=Columns(on_error="skip")), files / "out", quiet=True)
    assert "41 rows = 40 used + 1 rejected, written to " in capsys.readouterr().err
    (row,) = (files / "out" / "run" / "rejected-train.jsonl").read_text().splitlines()
    assert json.loads(row)["line"] == 42


def test_estimate(files: Path) -> None:
    found = estimate_task(replace(wanted(files), dev=None))
    assert (found["examples"], found["held_out_examples"], found["updates"]) == (32, 8, 40)
    trained = train_task(replace(wanted(files), dev=None), files / "out", quiet=True)
    assert found["parameters"] == trained.record["parameters"] and found["trainable"] == trained.record["trainable"]
    limited = estimate_task(replace(wanted(files), fitting={**SMALL, "time_limit": 1e-3}))
    assert limited["seconds"] == 1e-3 and "the time limit" in limited["lines"][1]


def test_scores_and_predictions_over_files(files: Path) -> None:
    train_task(wanted(files, "tag"), files / "out", quiet=True)
    scores = evaluate_task(load(files / "out"), files / "out", str(files / "dev.conll"))
    assert scores["scores"]["main_name"] == "span_f1" and scores["examples"] == 12
    examined = examine_task(load(files / "out"), str(files / "dev.conll"))
    lines = examination_lines(examined)
    assert examined.scores == scores["scores"]
    assert lines[0].startswith("span F1 ") and any(line.startswith("per ") for line in lines)
    predictor = load(files / "out")
    items = items_to_predict(predictor, str(files / "dev.conll")).examples
    rows = list(prediction_rows(predictor, items))
    assert [tuple(row["tokens"]) for row in rows] == [item.input.tokens for item in items]
    assert all(len(row["tags"]) == len(row["tokens"]) == len(row["probabilities"]) for row in rows)
    assert items_to_predict(predictor, "builtin:grammar/test?labelled=20").examples != []


def test_a_removed_folder_is_no_success_and_the_same_call_works(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, real = files / "out", TrainingLoop.run

    def removes(*given: Any) -> Any:
        found = real(*given)
        shutil.rmtree(out)
        return found

    monkeypatch.setattr(TrainingLoop, "run", removes)
    with pytest.raises(CannotWrite, match="was removed during the run; run the same command again"):
        train_task(wanted(files), out, quiet=True)
    assert not out.exists()
    monkeypatch.setattr(TrainingLoop, "run", real)
    assert train_task(wanted(files), out, quiet=True).record["finished"]


def test_unknown_settings_are_refused_with_the_nearest_spelling(files: Path) -> None:
    for changes, message in (
        ({"fitting": {"epoch": 2}}, r"fitting has no setting 'epoch'; did you mean 'epochs'\?"),
        ({"plan": {"placment": "input"}}, r"plan has no setting 'placment'; did you mean 'placement'\?"),
    ):
        with pytest.raises(UsageError, match=message):
            train_task(wanted(files, **changes), files / "out", quiet=True)


def test_a_run_of_an_earlier_version_on_builtin_examples_goes_on(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = wanted(files, train="builtin:grammar?labelled=60&words=30", dev=None)
    made = train_task(run, files / "out", quiet=True).record
    file = files / "out" / "run" / "settings.json"
    content = json.loads(file.read_text())
    content["settings"] |= {"version": "0.0.9", "train_content": "0" * 64}
    file.write_text(json.dumps(content))
    assert train_task(run, files / "out", quiet=True).record == json.loads(json.dumps(made))
    assert "is still the same text" in capsys.readouterr().err
