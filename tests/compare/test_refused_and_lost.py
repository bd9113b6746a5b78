"""Comparisons that are refused, of an earlier version, or lose their folder or a worker."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carryover.compare import compare
from carryover.compare.resources import pretrain_settings
from carryover.compare.run import PLAN_FILE
from carryover.errors import BadData, CannotWrite, UsageError
from carryover.pretraining.pretrain import pretrain
from compare.running import TINY, Running, plan


def test_unknown_settings_are_refused_with_the_nearest_spelling(topics: Path, tmp_path: Path) -> None:
    for options, words in (
        ({"fitting": {"epoch": 1}}, r"fitting has no setting 'epoch'; did you mean 'epochs'\?"),
        ({"fitting": {"epochs": 0}}, "epochs is 0"),
        ({"vectors": {"windw": 1}}, r"vectors has no setting 'windw'; did you mean 'window'\?"),
        ({"pretraining": {"learning_rte": 1}}, r"pretraining has no setting .*did you mean 'learning_rate'\?"),
        ({"raw": topics / "raw.txt", "pretraining": {"size": "tinny"}}, "tinny"),
    ):
        with pytest.raises(UsageError, match=words):
            compare(plan(topics, **options), tmp_path / "out", quiet=True)
        assert not (tmp_path / "out").exists()


def test_after_a_refusal_the_corrected_command_works(own_topics: Path, tmp_path: Path) -> None:
    """What only reading the raw text tells is told after the plan was stored."""
    out, blank = tmp_path / "out", own_topics / "blank.txt"
    blank.write_text("\n \n", encoding="utf-8")
    for rungs in ("static", "frozen"):
        with pytest.raises(BadData, match=r"blank.txt"):
            compare(plan(own_topics, rungs=rungs, raw=blank, budgets="12", seeds=1, **TINY), out, quiet=True)
        assert not out.exists()
    wanted = plan(own_topics, rungs="features,static", raw=own_topics / "raw.txt", budgets="12", seeds=1, **TINY)
    assert len(compare(wanted, out, quiet=True).results) == 2
    before = (out / PLAN_FILE).read_bytes()
    (out / "language-model").mkdir()
    (out / "language-model" / "notes.txt").write_text("somebody else's", encoding="utf-8")
    more = plan(own_topics, rungs="features,static,frozen", raw=own_topics / "raw.txt", budgets="12", seeds=1, **TINY)
    with pytest.raises(UsageError, match=r"notes\.txt"):
        compare(more, out, quiet=True)
    assert (out / PLAN_FILE).read_bytes() == before


def test_a_language_model_of_an_earlier_version_keeps_its_rate(topics: Path, tmp_path: Path) -> None:
    wanted = plan(topics, rungs="frozen", raw=topics / "raw.txt", budgets="12", seeds=1, **TINY)
    earlier = replace(pretrain_settings(wanted), learning_rate=3e-3, patience=4)
    made = pretrain(earlier, tmp_path / "out" / "language-model", quiet=True)
    result = compare(wanted, tmp_path / "out", quiet=True)
    assert result.pretraining["language model"] == made.record["seconds"]


def test_a_comparison_of_an_earlier_version_on_builtin_text_goes_on(
    topics: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    wanted = plan(topics, raw="builtin:grammar?raw=60&words=30", budgets="12", seeds=1)
    compare(wanted, out, quiet=True)
    stored = json.loads((out / PLAN_FILE).read_text())
    stored["question"]["raw text"] = "0" * 64
    (out / PLAN_FILE).write_text(json.dumps(stored))
    assert compare(wanted, out, quiet=True).already == 1
    assert "is still the same text" in capsys.readouterr().err
    with pytest.raises(UsageError, match="raw text"):
        compare(replace(wanted, raw=topics / "raw.txt"), out, quiet=True)


def test_a_removed_folder_is_no_success_and_the_same_command_works(
    topics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from carryover.compare.ladder import running

    out = tmp_path / "out"
    real = running.run_rung

    def removes(*given: Any, **options: Any) -> Any:
        found = real(*given, **options)
        shutil.rmtree(out)
        return found

    monkeypatch.setattr(running, "run_rung", removes)
    with pytest.raises(CannotWrite, match="was removed while the comparison ran; run the same command again"):
        compare(plan(topics), out, quiet=True)
    assert not out.exists()
    monkeypatch.setattr(running, "run_rung", real)
    assert len(compare(plan(topics), out, quiet=True).results) == 4


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find the workers")
def test_a_killed_worker_is_told_with_what_is_stored(topics: Path, tmp_path: Path) -> None:
    """As the system kills one when memory runs out."""
    running = Running(topics, tmp_path / "out", jobs=2)
    running.wait_for_cells(1)
    children = f"/proc/{running.process.pid}/task/{running.process.pid}/children"
    workers = [
        int(child)
        for child in Path(children).read_text().split()
        if b"loky" in Path(f"/proc/{child}/cmdline").read_bytes()
        and b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    os.kill(workers[0], signal.SIGKILL)
    assert running.end() == 75, running.said()
    told = running.said().splitlines()[-1]
    assert re.search(
        r"a worker process was killed .*: \d of 6 cells are stored; run the same command again, with fewer --jobs", told
    )
    assert "Traceback" not in running.said()
