"""A comparison from files to a page: continued, killed, extended, refused, failed, out of time."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from carryover.compare import compare
from carryover.compare.cells import Cell, CellFailure
from carryover.compare.run import PLAN_FILE, RESULTS_FILE
from carryover.compare.store import PredictionStore
from carryover.compare.table import plain_table
from carryover.data.examples import Text
from carryover.errors import BadData, Busy, CannotWrite, InputMissing, TrainingFailed, UsageError
from carryover.storage import run_lock
from carryover.tasks import Classify
from carryover.training.stopping import Interrupted
from compare.running import TINY, Running, plan

TIMES = ("seconds", "prediction_milliseconds", "peak_memory_mib", "pretraining_seconds", "cost")


def timeless(value: Any) -> Any:
    """A document without what a clock or another folder's name decides."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in (*TIMES, "report")}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def final(out: Path) -> Any:
    return timeless(json.loads((out / RESULTS_FILE).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def whole(topics: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The outcome of six cells without any interruption."""
    out = tmp_path_factory.mktemp("whole") / "out"
    compare(plan(topics, budgets="12,24", seeds=3), out, quiet=True)
    return final(out)


def test_from_files_to_a_page(topics: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    result = compare(plan(topics), out)
    assert len(result.results) == 4
    assert result.looks_at_test == 4
    assert result.exit_code == 0
    assert all(row.score > 0.6 for row in result.results)
    document = json.loads((out / RESULTS_FILE).read_text(encoding="utf-8"))
    assert document == json.loads(json.dumps(result.to_json()))
    assert (out / document["cells"][0]["predictions"]).is_file()
    assert "no other rung" in (out / "report.html").read_text(encoding="utf-8")
    said = capsys.readouterr().err
    assert "4 cells to run, seeds 0 to 1" in said
    assert str(out / "report.html") in said
    assert plain_table(result).startswith("rung ")


@pytest.mark.parametrize(("task", "suffix"), [("classify", "tsv"), ("tag", "conll")])
def test_all_rungs(topics: Path, tmp_path: Path, task: str, suffix: str) -> None:
    wanted = plan(
        topics, task=task, train=topics / f"train.{suffix}", test=topics / f"test.{suffix}", raw=topics / "raw.txt",
        rungs="features,static,scratch,frozen,head,top-1,full", budgets="24", seeds=1, **TINY,
    )  # fmt: skip
    result = compare(wanted, tmp_path / "out", quiet=True)
    assert not result.failures, result.failures[0].trace
    rungs = {row.rung: row for row in result.results}
    assert set(rungs) == {"features", "static", "scratch", "frozen", "head", "top-1", "full"}
    assert rungs["head"].trainable < rungs["frozen"].trainable < rungs["full"].trainable <= rungs["full"].parameters
    assert rungs["frozen"].notes["carried_over"]["tensors_loaded"] > 5
    assert result.pretraining["language model"] > 0
    assert result.pretraining_seconds("static") == result.pretraining["word vectors"] > 0
    assert result.pretraining_seconds("scratch") == 0
    usual = "macro_f1" if result.never_answered else "accuracy"
    assert result.analysis.metric.name == (usual if task == "classify" else "span_f1")
    assert all(row.peak_memory_mib > 50 for row in result.results)


def test_the_placement_of_the_mixture_belongs_to_the_question(topics: Path, tmp_path: Path) -> None:
    """Two mixtures are trained then, so the cell has more parameters."""

    def run(folder: str, placement: str) -> Any:
        asked = plan(topics, rungs="frozen", budgets="12", seeds=1, raw=topics / "raw.txt", placement=placement, **TINY)
        return compare(asked, tmp_path / folder, quiet=True)

    one, both = run("input", "input"), run("both", "both")
    assert both.results[0].trainable > one.results[0].trainable
    assert json.loads((tmp_path / "both" / "plan.json").read_text())["question"]["placement"] == "both"
    with pytest.raises(UsageError, match="placement both, now input was requested"):
        run("both", "input")


def test_what_the_command_line_needs_to_go_on(topics: Path, tmp_path: Path) -> None:
    wanted = plan(topics, rungs="features,frozen", raw=topics / "raw.txt", budgets="24", seeds=1, **TINY)
    result = compare(wanted, tmp_path / "out", quiet=True)
    assert result.analysis.recommended_rung() in (None, *(point.rung for point in result.analysis.within_noise(24)))
    assert result.carried_folder("frozen") == tmp_path / "out" / "language-model"
    assert result.carried_folder("static") == tmp_path / "out" / "word-vectors"
    assert result.carried_folder("features") is None
    assert result.next_command()[0] in ("carryover", "python")


def test_a_dry_run_writes_nothing_and_reads_no_test_example(
    topics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from carryover.compare import estimate as module

    asked: list[Any] = []
    monkeypatch.setattr(Text, "content", property(lambda text: asked.append(text.text) or text.text))
    wanted = plan(topics, rungs=(), raw=topics / "raw.txt", budgets="24,all", seeds=3, **TINY)
    document = module.estimate(wanted, tmp_path / "out")
    assert document["schema"] == "carryover.compare-estimate/1"
    assert (document["cells"], document["missing"]) == (30, 30)
    assert set(document["seconds_by_rung"]) == {"features", "static", "scratch", "frozen", "full"}
    assert all(seconds > 0 for seconds in document["seconds_by_rung"].values())
    assert 0 < document["pretraining_seconds"] < document["seconds"] < 3600
    assert "30 cells, 0 of them finished, 30 to run" in document["lines"]
    assert not (tmp_path / "out").exists()
    held_out = {line.split("\t")[0] for line in (topics / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]}
    assert asked
    assert not held_out & set(asked)


def test_the_same_command_continues(topics: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    compare(plan(topics), out, quiet=True)
    before = {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*") if path.is_file()}
    first = (out / "report.html").read_bytes()
    again = compare(plan(topics), out)
    assert again.already == 4
    assert "continuing: 4 of 4 cells are already finished" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*") if path.is_file()} == before
    assert (out / "report.html").read_bytes() == first


def test_it_may_grow(topics: Path, tmp_path: Path, whole: Any) -> None:
    out = tmp_path / "out"
    compare(plan(topics, budgets="24", seeds=1), out, quiet=True)
    grown = compare(plan(topics, budgets="12,24", seeds=3), out, quiet=True)
    assert (grown.already, len(grown.results)) == (1, 6)
    assert final(out) == whole


def test_another_comparison_is_refused_by_name(own_topics: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    compare(plan(own_topics, budgets="24", seeds=1), out, quiet=True)
    before = (out / PLAN_FILE).read_bytes()
    with pytest.raises(UsageError, match=r"metric accuracy, now macro_f1"):
        compare(plan(own_topics, budgets="24", seeds=1, metric="macro_f1"), out, quiet=True)
    (own_topics / "train.tsv").write_text(
        (own_topics / "train.tsv").read_text(encoding="utf-8") + "goat hay\tfarm\n", encoding="utf-8"
    )
    with pytest.raises(UsageError, match="training data"):
        compare(plan(own_topics, budgets="24", seeds=1), out, quiet=True)
    assert (out / PLAN_FILE).read_bytes() == before


def test_a_moved_file_is_the_same_file(own_topics: Path, tmp_path: Path) -> None:
    compare(plan(own_topics, budgets="24", seeds=1), tmp_path / "out", quiet=True)
    (own_topics / "train.tsv").rename(own_topics / "renamed.tsv")
    again = compare(plan(own_topics, train=own_topics / "renamed.tsv", budgets="24", seeds=1), tmp_path / "out", quiet=True)
    assert again.already == 1


def test_budgets_are_nested_and_the_rungs_see_the_same(
    topics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from carryover.compare.ladder import running

    seen: dict[tuple[str, int, int], set[str]] = {}
    real = running.run_rung

    def spy(rung: str, task: Any, train: Any, test: Any, seed: int, resources: Any) -> Any:
        seen[rung, len(train), seed] = {example.input.text for example in train}
        assert len(test) == 36
        return real("features", task, train, test, seed, resources)

    monkeypatch.setattr(running, "run_rung", spy)
    compare(plan(topics, rungs="features,scratch", budgets="12,24,all"), tmp_path / "out", quiet=True)
    for seed in (0, 1):
        assert seen["features", 12, seed] < seen["features", 24, seed] < seen["features", 60, seed]
        assert seen["features", 12, seed] == seen["scratch", 12, seed]
    assert seen["features", 12, 0] != seen["features", 12, 1]
    held_out = {line.split("\t")[0] for line in (topics / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]}
    everything = set().union(*seen.values())
    assert not everything & held_out


def test_without_a_test_file_a_fifth_is_set_aside_and_said(
    topics: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = compare(plan(topics, test=None, budgets="all", seeds=2), tmp_path / "out")
    assert result.data["test_examples"] == 12
    assert result.results[0].labels == 48
    assert "No test file was given: 20%" in capsys.readouterr().err
    assert any("No test file" in remark for remark in result.to_json()["remarks"])


def test_a_failing_cell_does_not_stop_the_rest(
    topics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Any
) -> None:
    from carryover.compare.ladder import running

    real = running.run_rung

    def breaks(rung: str, task: Any, train: Any, test: Any, seed: int, resources: Any) -> Any:
        if (len(train), seed) == (12, 0):
            raise TrainingFailed("not finite at update 3", repair="lower the learning rate")
        if (len(train), seed) == (24, 1):
            raise ZeroDivisionError("a bug")
        return real(rung, task, train, test, seed, resources)

    out = tmp_path / "out"
    monkeypatch.setattr(running, "run_rung", breaks)
    broken = compare(plan(topics, seeds=3), out, quiet=True)
    assert [(failure.cell, failure.exit_code) for failure in broken.failures] == [
        (Cell("features", 12, 0), 3), (Cell("features", 24, 1), 1),
    ]  # fmt: skip
    assert broken.exit_code == 3
    assert len(broken.results) == broken.looks_at_test == 4
    assert any("not finite at update 3" in sentence for sentence in broken.verdict)
    assert "a bug" in (out / "report.html").read_text(encoding="utf-8")
    monkeypatch.setattr(running, "run_rung", real)
    mended = compare(plan(topics, seeds=3), out, quiet=True)
    assert (mended.already, mended.exit_code) == (4, 0)
    assert final(out) == whole


def test_a_failure_left_beside_a_finished_cell_does_not_count(topics: Path, tmp_path: Path) -> None:
    """Killed after the cell was stored and before its old failure was removed."""
    out = tmp_path / "out"
    finished = compare(plan(topics, budgets="24", seeds=1), out, quiet=True).results[0].cell
    store = PredictionStore(out, Classify("ab"), [])
    store.write_failure(CellFailure(finished.rung, finished.budget, finished.seed, "BadData", "old", 65))
    again = compare(plan(topics, budgets="24", seeds=1), out, quiet=True)
    assert (again.exit_code, len(again.results), again.missing) == (0, 1, [])


def test_out_of_time_it_says_what_is_missing(topics: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    result = compare(plan(topics, time_limit=1e-6), out)
    assert result.exit_code == 0
    assert len(result.missing) == 4
    assert "time limit reached: 0 cells finished, 4 not run: features with 12 labels, seed 0" in capsys.readouterr().err
    assert result.verdict[0].startswith("Nothing can be said yet")
    assert result.next_command()[:2] == ["carryover", "compare"]
    assert len(compare(plan(topics), out, quiet=True).results) == 4


def test_damaged_cells_are_done_again(topics: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    compare(plan(topics), out, quiet=True)
    wanted = final(out)
    file = out / "cells" / "features-12-1" / "predictions.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"\x07")
    again = compare(plan(topics), out, quiet=True)
    assert again.already == 3
    assert "features-12-1/predictions.npy" in capsys.readouterr().err
    assert final(out) == wanted


def test_wrong_input_leaves_nothing_behind(own_topics: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    one_class = own_topics / "one.tsv"
    one_class.write_text("text\tlabel\n" + "".join(f"word{i}\tsea\n" for i in range(20)), encoding="utf-8")
    unknown = own_topics / "unknown.tsv"
    unknown.write_text("text\tlabel\nship\tsea\nmoon\tspace\n", encoding="utf-8")
    empty = own_topics / "empty.tsv"
    empty.write_text("text\tlabel\n", encoding="utf-8")
    for options, kind, words in [
        ({"budgets": "5000"}, UsageError, "budget 5,000 is larger than the 60"),
        ({"train": own_topics / "absent.tsv"}, InputMissing, "absent.tsv"),
        ({"train": one_class}, BadData, "only the label 'sea'"),
        ({"test": unknown}, BadData, r"unknown.tsv:3: test label 'space' never occurs in train.tsv"),
        ({"test": empty}, BadData, "empty.tsv"),
        ({"rungs": "full", "encoder": own_topics}, InputMissing, "data"),
        ({"rungs": "static", "raw": own_topics / "no.txt"}, InputMissing, "no.txt"),
        (
            {"rungs": "frozen", "raw": own_topics / "raw.txt", "pretraining": {"size": "tiny", "epoch": 1}},
            UsageError,
            "epoch",
        ),
    ]:
        with pytest.raises(kind, match=words):
            compare(plan(own_topics, **options), out, quiet=True)
        assert not out.exists()


def test_unknown_test_labels_can_be_counted_as_errors(own_topics: Path, tmp_path: Path) -> None:
    with (own_topics / "test.tsv").open("a", encoding="utf-8") as file:
        file.write("moon and star\tspace\n")
    result = compare(plan(own_topics, on_error="skip", budgets="24", seeds=1), tmp_path / "out", quiet=True)
    assert result.results[0].test_examples == 37
    assert result.results[0].score < 1
    assert any("1 test labels (space) never occur in training" in remark for remark in result.remarks)


def test_rows_left_out_are_written_down(own_topics: Path, tmp_path: Path) -> None:
    with (own_topics / "train.tsv").open("a", encoding="utf-8") as file:
        file.write("\tsea\n")
    result = compare(plan(own_topics, on_error="skip", budgets="24", seeds=1), tmp_path / "out", quiet=True)
    assert result.data["rejected_rows"] == 1
    assert json.loads((tmp_path / "out" / "rejected.jsonl").read_text(encoding="utf-8"))["line"] == 62


def test_a_strange_or_busy_or_impossible_folder_is_refused(topics: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"it holds 'raw.txt'|it holds 'test"):
        compare(plan(topics), topics, quiet=True)
    with run_lock(tmp_path / "busy"), pytest.raises(Busy, match=f"process {os.getpid()}"):
        compare(plan(topics), tmp_path / "busy", quiet=True)
    with pytest.raises(CannotWrite):
        compare(plan(topics), topics / "train.tsv", quiet=True)


def test_killed_anywhere_the_result_is_that_of_the_uninterrupted_run(topics: Path, tmp_path: Path, whole: Any) -> None:
    out = tmp_path / "out"
    first = Running(topics, out)
    first.wait_for_cells(2)
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    while_storing_a_cell = Running(topics, out, CARRYOVER_CRASH_AT="folder flushed:2")
    assert while_storing_a_cell.end() == -signal.SIGKILL
    assert "cells are already finished" in while_storing_a_cell.said()
    again = compare(plan(topics, budgets="12,24", seeds=3), out, quiet=True)
    assert again.already >= 3
    assert final(out) == whole
    assert not [path for path in out.rglob("*") if ".partial-" in path.name]


def test_ctrl_c_keeps_what_is_finished(topics: Path, tmp_path: Path) -> None:
    running = Running(topics, tmp_path / "out")
    running.wait_for_cells(1)
    assert running.stop(signal.SIGINT) == 130
    assert "cells are finished and stored; run the same command again to continue" in running.said()
    assert "Traceback" not in running.said()
    assert running.cells() >= 1


def test_ctrl_c_in_this_process(topics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from carryover.compare.ladder import running

    def stopped(*given: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    monkeypatch.setattr(running, "run_rung", stopped)
    with pytest.raises(Interrupted, match="0 of 4 cells are finished"):
        compare(plan(topics), tmp_path / "out", quiet=True)
    assert not list((tmp_path / "out").glob("failures/*"))


@pytest.mark.slow
def test_side_by_side_gives_the_same_numbers(topics: Path, tmp_path: Path, whole: Any) -> None:
    assert Running(topics, tmp_path / "two", 2).end() == 0
    assert final(tmp_path / "two") == whole


@pytest.mark.slow
@pytest.mark.parametrize("number", range(6))
def test_killed_side_by_side(topics: Path, tmp_path: Path, whole: Any, number: int) -> None:
    """Workers whose owner was killed end by themselves, and the next command does the rest."""
    running = Running(topics, tmp_path / "out", 2)
    if number % 2:
        running.wait_for_cells(min(number, 4))
    else:
        time.sleep(1.5 + 0.6 * number)
    if number in (3, 5):
        assert running.stop(signal.SIGINT) == 130
        assert "Traceback" not in running.said()
    else:
        assert running.stop(signal.SIGKILL) == -signal.SIGKILL
    again = Running(topics, tmp_path / "out", 2)
    assert again.end() == 0, again.said()
    assert final(tmp_path / "out") == whole
