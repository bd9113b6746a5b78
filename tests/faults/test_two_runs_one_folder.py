"""Two runs never share a folder, and a killed one does not block it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from carryover import storage
from carryover.errors import Busy, UsageError
from faults import tiny_run

HOLD = (
    "import sys, time; from pathlib import Path; from carryover import storage\n"
    "with storage.run_lock(Path(sys.argv[1])):\n"
    "    print('held', flush=True); time.sleep(60)\n"
)


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_is_refused_and_told_who(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(Busy) as caught:
        tiny_run.run(tmp_path / "run")
    assert caught.value.exit_code == 75
    assert f"process {holder.pid} on host {socket.gethostname()}" in str(caught.value)


def test_after_a_kill_the_folder_is_free(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / storage.LOCK).exists(), "the dead process could not remove it"
    tiny_run.run(tmp_path / "run")
    assert not (tmp_path / "run" / storage.LOCK).exists()


def test_a_lock_is_held_within_one_process_too(tmp_path: Path) -> None:
    with storage.run_lock(tmp_path), pytest.raises(Busy), storage.run_lock(tmp_path):
        pass
    with storage.run_lock(tmp_path):
        pass


def test_without_flock_the_process_id_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def absent(*arguments: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", absent)
    host = socket.gethostname()
    for process, busy in ((os.getpid(), True), (2**22 + 7, False)):
        (tmp_path / storage.LOCK).write_text(f'{{"host": "{host}", "process": {process}}}')
        if busy:
            with pytest.raises(Busy, match=str(process)), storage.run_lock(tmp_path):
                pass
        else:
            with storage.run_lock(tmp_path):
                pass


def test_many_takers_of_a_stale_lock_get_it_one_at_a_time(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from carryover import storage; from carryover.errors import Busy\n"
        "folder = Path(sys.argv[1]); end = time.monotonic() + 1.5\n"
        "while time.monotonic() < end:\n"
        "    try:\n"
        "        with storage.run_lock(folder):\n"
        "            mark = folder / 'inside'; mark.open('x').close(); mark.unlink()\n"
        "    except Busy: pass\n"
    )
    takers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(4)]
    for taker in takers:
        _, errors = taker.communicate()
        assert taker.returncode == 0, errors.decode()


def test_a_folder_with_other_things_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match=r"holds 'thesis\.tex'"):
        tiny_run.run(tmp_path)
    assert [place.name for place in tmp_path.iterdir()] == ["thesis.tex"]
