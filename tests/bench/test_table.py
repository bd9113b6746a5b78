"""The command and its table: choosing cells, missing data, time limits, what is printed and written."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.tiny_tables import run_small, write_data
from carryover.bench.replication import Replication, ReplicationResult, ReplicationStore, read_result
from carryover.bench.run import choose_cells, collect, data_files
from carryover.bench.table import HEAD, lines_of, markdown_table, plain_table, summary
from carryover.errors import InputMissing, UsageError
from carryover.storage import run_lock
from command_line import Shell, shell

__all__ = ["shell"]

BENCH = ("bench", "sequence-models")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "files")


def store(out: Path, like: ReplicationResult, cell: Replication, **changes: object) -> None:
    """A finished cell like `result` in place of a long run."""
    folder = ReplicationStore(out).path(cell)
    folder.mkdir(parents=True)
    (folder / "cell.json").write_text(json.dumps(replace(like, cell=cell, **changes).to_json()))  # type: ignore[arg-type]


def test_all_cells_of_the_table_in_its_order() -> None:
    cells = choose_cells(["all"], [], ["all"], [1])
    assert len(cells) == 40 and len({cell.name for cell in cells}) == 40
    assert cells[0].name == "adding-200-lstm-1" and cells[-1].name == "ptb-characters-tcn-1"
    some = choose_cells(["adding", "nottingham"], [600], ["tcn", "lstm"], [3, 4])
    names = ["adding-600-lstm", "adding-600-tcn", "nottingham-lstm", "nottingham-tcn"]
    assert [cell.name for cell in some] == [f"{name}-{seed}" for seed in (3, 4) for name in names]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--task", "ading"], "there is no task 'ading'; did you mean 'adding'?"),
        (["--model", "ltsm"], "there is no model 'ltsm'; did you mean 'lstm'?"),
        (["--task", ""], "there is no task ''"),
        (["--task", "adding", "--length", "300"], "adding has no length 300; published are 200, 600"),
        (["--task", "nottingham", "--length", "200"], "nottingham has no length 200; leave --length out"),
        (["--length", "many"], "--length 'many' is not a whole number"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--seed", "-1"], "seeds are [-1]"),
        (["--epochs", "0"], "--epochs 0"),
        (["--time-limit", "soon"], "time limit 'soon'"),
        (["--device", "abacus"], "unknown device 'abacus'"),
    ],
)
def test_wrong_words_on_the_line(shell: Shell, options: list[str], words: str) -> None:
    done = shell(*BENCH, "--out", "o", *options)
    assert done.code == 2 and words in done.err and done.err.count("\n") == 1 and not (shell.folder / "o").exists()


def test_another_table_is_not_there(shell: Shell) -> None:
    done = shell("bench", "sequence-model", "--out", "o")
    assert done.code == 2 and "did you mean" in done.err and "sequence-models" in done.err


@pytest.mark.parametrize(
    ("task", "file"),
    [
        ("jsb-chorales", "JSB_Chorales.mat"),
        ("nottingham", "Nottingham.mat"),
        ("permuted-mnist", "train-images-idx3-ubyte"),
        ("ptb-words", "ptb.train.txt"),
    ],
)
def test_a_cell_without_its_data_says_what_to_put_where(shell: Shell, task: str, file: str) -> None:
    done = shell(*BENCH, "--task", task, "--out", "o")
    assert done.code == 66 and f"give --data FOLDER with {file} in it" in done.err
    (shell.folder / "empty").mkdir()
    done = shell(*BENCH, "--task", task, "--data", "empty", "--out", "o")
    assert done.code == 66 and str(Path("empty") / file) in done.err and "put it there" in done.err
    done = shell(*BENCH, "--task", task, "--data", "nowhere", "--out", "o")
    assert done.code == 66 and "nowhere: there is no such folder" in done.err
    assert not (shell.folder / "o").exists()


def test_data_lie_in_the_folder_or_in_one_within(data: Path) -> None:
    assert data_files("adding", None) == []
    assert data_files("nottingham", data) == [data / "music" / "Nottingham.mat"]
    assert len(data_files("sequential-mnist", data)) == 6
    (data / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputMissing, match="t10k-labels-idx1-ubyte"):
        data_files("sequential-mnist", data)


def test_a_damaged_file_ends_with_65(shell: Shell, data: Path) -> None:
    (data / "JSB_Chorales.mat").write_bytes(b"MATLAB 5.0, but cut short")
    done = shell(*BENCH, "--task", "jsb-chorales", "--model", "tcn", "--data", data, "--out", "o")
    assert done.code == 65 and "JSB_Chorales.mat: is not a readable MATLAB 5 file" in done.err and done.err.count("\n") == 1


def test_the_command_runs_cells_and_prints_the_table(shell: Shell, data: Path) -> None:
    line = (*BENCH, "--task", "jsb-chorales", "--model", "tcn,elman", "--data", data, "--out", "o", "--epochs", "2")
    done = shell(*line, "--seeds", "2", "-q", "--json")
    assert done.code == 0 and done.err == ""
    assert done.document["schema"] == "carryover.bench/1" and done.document["unfinished"] == []
    names = ["jsb-chorales-elman-1", "jsb-chorales-tcn-1", "jsb-chorales-elman-2", "jsb-chorales-tcn-2"]
    assert done.document["finished"] == names
    rows = {row["model"]: row for row in done.document["rows"]}
    assert rows["tcn"]["mean"] is None and [trial["epochs"] for trial in rows["tcn"]["trials"]] == [2, 2]
    before = {path: path.read_bytes() for path in (shell.folder / "o" / "cells").rglob("*") if path.is_file()}
    assert len(before) == 4, "one file a cell is left"
    again = shell(*line, "--seeds", "2")
    assert again.code == 0 and "trial of 2 epochs" in again.out and "8.10" in again.out
    assert {path: path.read_bytes() for path in before} == before
    shown = shell(*BENCH, "--show", "--out", "o")
    assert shown.out == again.out and "next: carryover bench sequence-models --show --out o" in again.err
    assert (shell.folder / "o" / "table.md").read_text().startswith("# Sequence models\n\n| task |")
    stored = json.loads((shell.folder / "o" / "results.json").read_text())
    assert stored["rows"] == done.document["rows"]
    other = shell(*line[:-1], "3")
    assert other.code == 2 and "finished with epochs = 2, now it is 3" in other.err


def test_a_time_limit_leaves_the_cell_for_the_same_command(
    shell: Shell, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from carryover.bench import run

    run_cell, left = run.run_cell, []

    def at_the_last_moment(*arguments: Any, deadline: float, **options: Any) -> Any:
        # however slow the machine the cell begins, and however fast it does not end
        left.append(deadline - time.monotonic())
        return run_cell(*arguments, deadline=time.monotonic(), **options)

    monkeypatch.setattr(run, "run_cell", at_the_last_moment)
    line = (*BENCH, "--task", "jsb-chorales", "--model", "tcn", "--data", data, "--epochs", "200")
    done = shell(*line, "--out", "o", "--time-limit", "1h")
    assert 0 < left[0] <= 3600
    assert done.code == 0 and "1 of 1 cells are not finished" in done.err
    assert "next: carryover bench sequence-models --task jsb-chorales" in done.err
    assert "of 200" in done.out and "seed 1 at epoch" in done.out
    shown = shell(*BENCH, "--show", "--out", "o", "--json").document
    assert shown["rows"][0]["unfinished"][0]["epochs"] == 200 and shown["rows"][0]["mean"] is None


def test_without_data_all_runs_what_makes_its_own(shell: Shell) -> None:
    done = shell(*BENCH, "--out", "o", "--time-limit", "0.01s", "--json", "-q")
    assert done.code == 0 and len(done.document["missing_data"]) == 6
    assert set(done.document["unfinished"]) == {
        cell.name for cell in choose_cells(["adding", "copy-memory"], [], ["all"], [1])
    }
    assert "left out: jsb-chorales" in done.err


def test_a_cell_that_another_run_holds(shell: Shell, data: Path) -> None:
    line = (*BENCH, "--task", "jsb-chorales", "--data", data, "--out", "o", "--epochs", "1", "-q")
    with run_lock(shell.folder / "o" / "cells" / "jsb-chorales-tcn-1"):
        alone = shell(*line, "--model", "tcn")
        assert alone.code == 75 and "is in use by process" in alone.err
        beside = shell(*line, "--model", "tcn,elman", "--json")
        assert beside.code == 0 and beside.document["busy"] == ["jsb-chorales-tcn-1"]
        assert beside.document["finished"] == ["jsb-chorales-elman-1"]


def test_a_cell_that_fails_is_told_and_the_others_run(shell: Shell, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from carryover.bench import run
    from carryover.bench.published import Recipe
    from carryover.bench.workload import Workload

    sized_recipe = run.sized_recipe

    def exploding(cell: Replication, problem: Workload, epochs: int | None = None) -> Recipe:
        recipe = sized_recipe(cell, problem, epochs)
        return replace(recipe, optimiser="sgd", rate=1e35, clip=None) if cell.model == "elman" else recipe

    monkeypatch.setattr(run, "sized_recipe", exploding)
    line = (*BENCH, "--task", "jsb-chorales", "--data", data, "--out", "o", "--epochs", "2", "-q")
    done = shell(*line, "--model", "elman,tcn", "--json")
    assert done.code == 3 and done.document["finished"] == ["jsb-chorales-tcn-1"]
    assert "not finite" in done.document["failed"]["jsb-chorales-elman-1"]
    assert shell(*line, "--model", "elman").code == 3
    assert "seed 1 failed: not finite" in shell(*BENCH, "--show", "--out", "o").out


def test_a_forecast_trains_nothing(shell: Shell, data: Path) -> None:
    line = (*BENCH, "--task", "adding", "--length", "200", "--model", "tcn", "--out", "o")
    done = shell(*line, "--data", data, "--dry-run", "--json")
    assert done.code == 0 and not (shell.folder / "o").exists()
    [adding] = done.document["cells"]
    assert adding["parameters"] == 58_051 and adding["steps"] == 10 * 1563 and adding["seconds"] > 0
    told = shell(*BENCH, "--task", "jsb-chorales", "--model", "tcn", "--data", data, "--dry-run", "--out", "o")
    assert "300 steps" in told.out and "next: carryover bench sequence-models --task jsb-chorales" in told.err


def test_mean_and_spread_over_seeds_beside_the_published_number(tmp_path: Path) -> None:
    result = run_small(tmp_path / "small")
    assert result is not None
    settings = {**result.settings, "epochs": 100}
    for seed, score in ((1, 8.0), (2, 8.2), (5, 8.4)):
        store(
            tmp_path,
            result,
            Replication("jsb-chorales", None, "tcn", seed),
            result=score,
            settings=settings,
            parameters=269_938,
        )
    curve = [
        {"step": n, "held_out": {"loss": loss}}
        for n, loss in enumerate([0.2, 0.1, 3e-5, 5e-4, 2e-5, 0.3, 0.1, 0.1, 4e-5, 7e-4])
    ]
    adding = {"result": 6.12345e-5, "settings": {**settings, "epochs": 10}, "curve": curve}
    store(tmp_path, result, Replication("adding", 600, "gru", 1), **adding)
    store(
        tmp_path,
        result,
        Replication("sequential-mnist", None, "lstm", 7),
        result=87.123,
        settings={**settings, "epochs": 20},
    )
    rows = collect(tmp_path)
    assert [(row.entry.name, row.model) for row in rows] == [
        ("adding-600", "gru"), ("sequential-mnist", "lstm"), ("jsb-chorales", "tcn"),
    ]  # fmt: skip
    found = summary(rows[2])
    assert found["mean"] == pytest.approx(8.2) and found["spread"] == pytest.approx(0.2) and found["seeds"] == [1, 2, 5]
    shown = dict(zip(HEAD, lines_of(rows[2]), strict=True))
    assert shown["ours"] == "8.20" and shown["spread"] == "0.20" and shown["published"] == "8.10"
    assert shown["parameters"] == "269,938" and shown["published size"] == "≈ 300,000" and shown["state"] == ""
    single = dict(zip(HEAD, lines_of(rows[0]), strict=True))
    assert single["ours"] == "6.12e-05" and single["spread"] == "–" and single["published"] == "5.3e-05"
    assert single["state"] == "4e-05 to 0.0007 held out, last fifth" and found["late_held_out"] is None
    assert dict(zip(HEAD, lines_of(rows[1]), strict=True))["ours"] == "87.12"
    still = {
        "result": 0.04,
        "settings": {**settings, "epochs": 50},
        "curve": [{"step": n, "held_out": {"loss": 0.04 + n * 1e-6}} for n in range(10)],
    }
    store(tmp_path, result, Replication("copy-memory", 500, "lstm", 1), **still)
    (row,) = (row for row in collect(tmp_path) if row.entry.task == "copy-memory")
    assert dict(zip(HEAD, lines_of(row), strict=True))["state"] == "0.04 held out, last fifth"
    text = plain_table(rows).splitlines()
    ends = {re.search(r"published size|≈ [\d,]+", line).end() for line in text[:4]}  # type: ignore[union-attr]
    assert len(ends) == 1, "columns are aligned"
    marked = markdown_table(rows).splitlines()
    assert all(line.count("|") == len(HEAD) + 1 for line in marked[:5]) and "1803.01271" in marked[-1]


def test_a_row_that_nothing_was_done_for_is_there_when_asked(tmp_path: Path) -> None:
    rows = collect(tmp_path, [Replication("copy-memory", 1000, "tcn", 1)])
    [row] = rows
    assert dict(zip(HEAD, lines_of(row), strict=True))["ours"] == "–" and summary(row)["mean"] is None
    assert read_result(tmp_path) is None and collect(tmp_path) == []
    with pytest.raises(InputMissing, match="give the --out of an earlier command"):
        collect(tmp_path / "nowhere")


def test_published_numbers_are_those_of_the_paper() -> None:
    from carryover.bench.published import ENTRIES

    table = {
        entry.name: tuple(entry.published[model] for model in ("lstm", "gru", "elman", "tcn"))
        for entry in ENTRIES
        if entry.published
    }
    assert table == {
        "adding-600": (0.164, 5.3e-5, 0.177, 5.8e-5),
        "copy-memory-1000": (0.0204, 0.0197, 0.0202, 3.5e-5),
        "sequential-mnist": (87.2, 96.2, 21.5, 99.0),
        "permuted-mnist": (85.7, 87.3, 25.3, 97.2),
        "jsb-chorales": (8.45, 8.43, 8.91, 8.10),
        "nottingham": (3.29, 3.46, 4.05, 3.07),
        "ptb-words": (78.93, 92.48, 114.50, 88.68),
        "ptb-characters": (1.36, 1.37, 1.48, 1.31),
    }


def test_seeds_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match="seeds are"):
        choose_cells(["all"], [], ["all"], [])
