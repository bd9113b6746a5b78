"""A disk that is full or fails at the n-th write, for every n: the run stops with a clear line and loses nothing saved."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from carryover import storage
from carryover.errors import CannotWrite, DiskFault
from carryover.storage import faults as primitive
from carryover.storage.artefact import has_artefact, load_artefact
from carryover.training.checkpoint import load_newest_checkpoint
from faults import tiny_run
from faults.outcome import leftovers, outcome


class FailingDisk:
    """Counts the calls of a primitive operation and lets the n-th and all later ones fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, operation: str, number: int) -> None:
        self.calls, self.number = 0, number
        self.real: Callable[..., Any] = getattr(primitive, operation)
        monkeypatch.setattr(primitive, operation, self)

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        if self.calls >= self.number:
            raise OSError(errno.ENOSPC if self.real.__name__ == "write_some" else errno.EIO, "No space left on device")
        return self.real(*arguments)


def quick(out: Path) -> object:
    return tiny_run.run(out, publish=True, epochs=1, checkpoint_steps=4, evaluate_steps=5, log_steps=5)


@pytest.mark.parametrize("operation", ["write_some", "flush"])
def test_every_write_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    quick(tmp_path / "reference")
    expected = outcome(tmp_path / "reference")
    with monkeypatch.context() as patch:
        counted = FailingDisk(patch, operation, 10**9)
        quick(tmp_path / "counted")
    assert counted.calls > 15
    for number in range(1, counted.calls + 1):
        out = tmp_path / f"run{number}"
        with monkeypatch.context() as patch:
            FailingDisk(patch, operation, number)
            with pytest.raises(DiskFault) as caught:
                quick(out)
        message = str(caught.value)
        assert caught.value.exit_code == 74
        assert message.startswith(str(out)) and "MiB free" in message and "\n" not in message
        assert leftovers(out) == [], number
        newest = load_newest_checkpoint(out / "run" / "checkpoints")
        assert newest is None or newest.step in (4, 8, 10)
        if has_artefact(out):
            load_artefact(out)
        # Once there is room again the same command ends as if nothing had been; every tenth time, for it takes long.
        if number % 10 == 0:
            quick(out)
            assert outcome(out) == expected, number


def test_the_need_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FailingDisk(monkeypatch, "write_some", 1)
    with pytest.raises(DiskFault, match=r"a\.bin: writing failed: No space left on device, 3\.0 MiB needed, .* free; make"):
        storage.atomic_write(tmp_path / "a.bin", bytes(3 << 20))
    assert list(tmp_path.iterdir()) == []


def test_a_limit_of_the_system_itself(tmp_path: Path) -> None:
    """The kernel, not a stand-in, refuses to let files grow."""
    program = (
        "import resource, sys; from pathlib import Path\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "from carryover import storage\n"
        "from carryover.errors import DiskFault\n"
        "place = Path(sys.argv[1])\n"
        "try:\n"
        "    with storage.atomic_folder(place) as folder:\n"
        "        (folder / 'other').write_bytes(b'x' * 10000)\n"
        "except DiskFault as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "folder")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "File too large" in done.stdout and str(tmp_path / "folder") in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here already")
    for place in (tmp_path / "file" / "run", Path("/proc/nowhere/run"), tmp_path / ("n" * 300)):
        with pytest.raises(CannotWrite) as caught:
            tiny_run.run(place)
        assert caught.value.exit_code == 73 and str(place) in str(caught.value)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_read_only_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*arguments: Any, **named: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(CannotWrite, match="cannot write"):
        tiny_run.run(tmp_path / "out")
