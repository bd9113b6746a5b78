"""A cached folder: built by one of many processes, rebuilt when damaged or when its builder was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from carryover.data import once
from carryover.data.once import build_once, is_whole
from carryover.storage import atomic_folder

BUILDER = """
import sys, time
from pathlib import Path

import pytest
from carryover.data.once import build_once
from carryover.storage import atomic_folder

folder, log, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])

def build(place):
    with log.open("a") as file:
        file.write("built\\n")
    with atomic_folder(place) as temporary:
        (temporary / "part").write_text("half")
        time.sleep(seconds)
        (temporary / "part").write_text("whole")

build_once(folder, build)
print((folder / "part").read_text())
"""


def start(folder: Path, log: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILDER, str(folder), str(log), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_eight_processes_build_one_cache(tmp_path: Path) -> None:
    folder, log = tmp_path / "cache" / "one", tmp_path / "log"
    processes = [start(folder, log, 0.3) for _ in range(8)]
    assert [process.communicate(timeout=120)[0] for process in processes] == ["whole\n"] * 8
    assert log.read_text() == "built\n"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["locks", "one"]


def test_a_killed_builder_is_replaced(tmp_path: Path) -> None:
    folder, log = tmp_path / "cache" / "one", tmp_path / "log"
    killed = start(folder, log, 60)
    waited = time.monotonic() + 60
    while not list(folder.parent.glob(".one*/part")) and time.monotonic() < waited:
        time.sleep(0.02)
    waiting = start(folder, log, 0)
    time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert waiting.communicate(timeout=60)[0] == "whole\n"
    assert log.read_text() == "built\n" * 2
    assert sorted(path.name for path in folder.parent.iterdir()) == ["locks", "one"]


def test_a_damaged_cache_is_built_again_and_a_whole_one_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    built = []

    def build(place: Path) -> None:
        built.append(place)
        with atomic_folder(place) as temporary:
            (temporary / "part").write_text("whole")

    build_once(folder, build)
    build_once(folder, build)
    assert len(built) == 1
    (folder / "part").write_text("whale")
    assert not is_whole(folder)
    build_once(folder, build)
    assert len(built) == 2
    assert (folder / "part").read_text() == "whole"


def test_whoever_gets_the_lock_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process finishes between our look and our lock: nothing is left to build."""
    answers = iter([False, True, True])
    monkeypatch.setattr(once, "is_whole", lambda folder: next(answers))
    build_once(tmp_path / "one", lambda place: pytest.fail("built again"))
