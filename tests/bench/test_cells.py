"""Cells of the table end to end over a few rows: stopped, killed and continued they are what they are undisturbed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.tiny_tables import of_one_size, read_problem, run_small, small, small_adding, write_data
from carryover.bench.published import ENTRIES, MODELS
from carryover.bench.replication import Replication, ReplicationResult, ReplicationStore, progress_of, read_result, run_cell
from carryover.bench.stress_tests import CopyMemory
from carryover.errors import BadData, TrainingFailed, UsageError
from carryover.training.loop import TrainingLoop
from carryover.training.run_folder import RunFolder

TIMES = ("seconds", "sessions")


def content(result: ReplicationResult | None) -> dict[str, Any]:
    """A result without its times."""
    assert result is not None
    return {name: value for name, value in result.to_json().items() if name not in TIMES}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "files")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_cell_trains_measures_and_is_stored(entry: Any, model: str, data: Path, tmp_path: Path) -> None:
    cell = Replication(entry.task, entry.length, model, 1)
    if entry.task == "adding":
        cell, _, problem = small_adding(model)
    elif entry.task == "copy-memory":
        problem = CopyMemory(5, 4, 1, rows=12, held_out=6)
    else:
        problem = read_problem(cell, data)
    text = {"batch": 2, "embedding": cell.recipe.embedding and 5, "steps": cell.recipe.steps and 8, "rate": 0.01}
    recipe = small(cell.recipe, epochs=2, history=0, **(text if problem.reads == "ids" else {}))
    result = run_cell(cell, recipe, problem, tmp_path, quiet=True)
    assert result == read_result(ReplicationStore(tmp_path).path(cell))
    assert sum("held_out" in line for line in result.curve) == 2
    assert result.steps == 2 * problem.steps_per_epoch() and result.result == problem.result(result.test)
    assert not (ReplicationStore(tmp_path).path(cell) / "run").exists()
    assert result.shortened


def test_what_is_trained_gets_better(tmp_path: Path) -> None:
    """The adding problem over 12 steps is learned: the command's loop, loss and measurement belong together."""
    cell, recipe, problem = small_adding("tcn", rows=640)
    recipe = replace(recipe, size=16, dropout=0.0, rate=0.01, batch=32, epochs=12, kernel=3)
    problem.batch_size = 32  # type: ignore[attr-defined]
    result = run_cell(cell, recipe, problem, tmp_path, quiet=True)
    assert result is not None
    assert result.result < 0.05 < 1 / 6


@pytest.mark.parametrize("model", ["tcn", "lstm"])
def test_meeting_the_time_limit_again_and_again_changes_nothing(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_small(tmp_path / "whole", model)
    sessions = 0
    while (part := _run_for(5, tmp_path / "parts", model, monkeypatch)) is None:
        sessions += 1
        progress = progress_of(ReplicationStore(tmp_path / "parts"), Replication("adding", 200, model, 1))
        assert progress is not None and progress["step"] == 5 * sessions
    assert sessions == 3 and content(part) == content(whole)


def _run_for(steps: int, out: Path, model: str, patch: pytest.MonkeyPatch) -> ReplicationResult | None:
    """A session that meets its deadline after so many steps."""
    count = 0
    why_end = TrainingLoop._why_end

    def stop(loop: TrainingLoop) -> str | None:
        nonlocal count
        reason = why_end(loop)
        count += 1
        return reason or ("deadline" if count > steps else None)

    with patch.context() as inner:
        inner.setattr(TrainingLoop, "_why_end", stop)
        return run_small(out, model)


def test_a_deadline_that_is_past_ends_at_once_and_loses_nothing(tmp_path: Path) -> None:
    assert run_small(tmp_path, deadline=time.monotonic() - 1) is None
    assert content(run_small(tmp_path)) == content(run_small(tmp_path / "other"))


def test_killed_again_and_again_it_ends_as_if_never_killed(tmp_path: Path) -> None:
    """SIGKILL wherever the process stands once it has got to these steps of 18."""
    whole = run_small(tmp_path / "whole", "gru", checkpoint_steps=1)
    program = Path(__file__).with_name("kill_cell.py")
    out = tmp_path / "killed"
    done = subprocess.run(
        [sys.executable, str(program), str(out), "1", "2", "5", "6", "9", "14"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kills = int(done.stdout)
    assert kills >= 3
    result = run_small(out, "gru", checkpoint_steps=1)
    assert content(result) == content(whole) and result is not None and result.sessions >= 2


def test_killed_after_the_result_was_stored_it_is_cleared_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    discard = RunFolder.discard

    def die(run: RunFolder) -> None:
        if (run.out / "cell.json").exists():
            raise KeyboardInterrupt
        discard(run)

    monkeypatch.setattr(RunFolder, "discard", die)
    with pytest.raises(KeyboardInterrupt):
        run_small(tmp_path)
    monkeypatch.undo()
    folder = ReplicationStore(tmp_path).path(Replication("adding", 200, "tcn", 1))
    before = (folder / "cell.json").read_bytes()
    assert (folder / "run").exists()
    run_small(tmp_path)
    assert not (folder / "run").exists() and (folder / "cell.json").read_bytes() == before


def test_a_finished_cell_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_small(tmp_path)
    monkeypatch.setattr(TrainingLoop, "run", lambda loop: pytest.fail("was trained again"))
    assert run_small(tmp_path) == first


def test_another_recipe_or_file_is_refused_in_the_same_folder(tmp_path: Path) -> None:
    cell, recipe, problem = small_adding("tcn")
    run_small(tmp_path)
    with pytest.raises(UsageError, match=r"finished with rate = 0\.002, now it is 0\.5"):
        run_cell(cell, replace(recipe, rate=0.5), problem, tmp_path, quiet=True)
    with pytest.raises(UsageError, match="finished with data"):
        run_cell(cell, recipe, problem, tmp_path, data={"a": "b"}, quiet=True)
    begun = tmp_path / "begun"
    with pytest.MonkeyPatch.context() as patch:
        assert _run_for(5, begun, "tcn", patch) is None
    with pytest.raises(UsageError, match=r"started with epochs = 3, now it is 4; remove the folder to run the cell again"):
        run_cell(cell, replace(recipe, epochs=4), problem, begun, quiet=True)


def test_the_seed_decides_data_weights_and_order(tmp_path: Path) -> None:
    one, again, other = (run_small(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert content(one) == content(again)
    assert one is not None and other is not None and one.result != other.result


def test_a_loss_that_explodes_is_told_and_remembered(tmp_path: Path) -> None:
    cell, recipe, problem = small_adding("elman")
    recipe = replace(recipe, optimiser="sgd", rate=1e30, clip=None)
    with pytest.raises(TrainingFailed, match="not finite at step"):
        run_cell(cell, recipe, problem, tmp_path, quiet=True)
    progress = progress_of(ReplicationStore(tmp_path), cell)
    assert progress is not None and "not finite" in progress["error"]


def test_weights_of_the_best_epoch_are_measured_where_a_validation_part_decides(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Replication("jsb-chorales", None, "tcn", 1)
    problem = read_problem(cell, data)
    measured: list[tuple[str, float]] = []
    measure = type(problem).measure
    losses = iter([3.0, 1.0, 2.0])

    def told(self: Any, model: torch.nn.Module, part: str, device: str) -> dict[str, float]:
        weights = float(sum(parameter.detach().double().abs().sum() for parameter in model.parameters()))
        measured.append((part, weights))
        return {"loss": next(losses)} if part == "valid" else measure(self, model, "test", device)  # type: ignore[arg-type]

    monkeypatch.setattr(type(problem), "measure", told)
    result = run_cell(cell, replace(of_one_size(cell, problem), size=5, epochs=3), problem, tmp_path, quiet=True)
    assert result is not None and [part for part, _ in measured] == ["valid", "valid", "valid", "test"]
    assert measured[3][1] == measured[1][1] != measured[2][1]
    assert result.best_step == 2 * problem.steps_per_epoch()


def test_music_ends_when_annealing_has_left_a_ten_thousandth_of_the_rate(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ever worse, it is annealed after epochs 11, 12, 13 and 14 of 100."""
    cell = Replication("jsb-chorales", None, "gru", 1)
    problem = read_problem(cell, data)
    losses = iter(range(1, 100))
    monkeypatch.setattr(type(problem), "measure", lambda self, model, part, device: {"loss": float(next(losses))})
    result = run_cell(cell, replace(of_one_size(cell, problem), size=5, epochs=100), problem, tmp_path, quiet=True)
    assert result is not None and not result.shortened and result.steps == 14 * problem.steps_per_epoch()
    rates = [line["learning_rate"] for line in result.curve if "loss" in line]
    assert rates[-1] == pytest.approx(cell.recipe.rate / 1000)


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    run_small(tmp_path)
    path = ReplicationStore(tmp_path).path(Replication("adding", 200, "tcn", 1)) / "cell.json"
    stored = json.loads(path.read_text())
    for text, words in (
        ("{", "is not JSON"),
        ("[]", "is not a cell"),
        (json.dumps({**stored, "schema": "other/1"}), "is not a cell"),
        (json.dumps({name: value for name, value in stored.items() if name != "curve"}), "lacks a part"),
    ):
        path.write_text(text)
        with pytest.raises(BadData, match=words):
            run_small(tmp_path)
