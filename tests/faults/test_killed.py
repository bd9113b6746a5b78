"""A killed run continues as if never killed: SIGKILL at random moments, at every named point, and during recovery."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

POINTS = {
    "file made", "file written", "file flushed", "file rename", "file renamed", "folder made", "folder flushed",
    "folder rename", "folder renamed", "prune", "folder removal", "artefact file", "artefact pointer",
}  # fmt: skip


def kill_many(job: str, mode: str, kills: int, folder: Path, seed: int = 1) -> dict[str, Any]:
    program = Path(__file__).with_name("kill_many.py")
    done = subprocess.run(
        [sys.executable, str(program), job, mode, str(kills), str(seed), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["differences"] == [], "\n".join(report["differences"])
    return report


def test_25_kills_of_a_pretraining(tmp_path: Path) -> None:
    assert kill_many("bilm", "moments", 25, tmp_path)["kills"] == 25


def test_15_kills_of_a_pretraining_that_began_with_a_model(tmp_path: Path) -> None:
    assert kill_many("continued", "moments", 15, tmp_path)["kills"] == 15


def test_every_crash_point(tmp_path: Path) -> None:
    report = kill_many("tiny", "points", 0, tmp_path)
    assert set(report["points"]) == POINTS, "every named point is passed, and killed at, by this run"
    assert report["kills"] >= 36


def test_kills_during_recovery(tmp_path: Path) -> None:
    assert kill_many("tiny", "chains", 25, tmp_path)["kills"] >= 25


@pytest.mark.slow
@pytest.mark.timeout(10_800)  # a kill of `bilm` takes about four seconds on a quiet processor
@pytest.mark.parametrize(
    ("job", "mode", "kills"),
    [
        ("bilm", "moments", 1000),
        ("tiny", "moments", 1000),
        ("tiny", "chains", 200),
        ("bilm", "points", 0),
        ("continued", "points", 0),
    ],
)
def test_many_more_kills(tmp_path: Path, job: str, mode: str, kills: int) -> None:
    assert kill_many(job, mode, kills, tmp_path, seed=2)["kills"] >= kills
