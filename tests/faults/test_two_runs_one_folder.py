"""Two runs never share a folder, and a killed one does not block it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from carryover import storage
from carryover.errors import Busy, UsageError
from carryover.storage.artefact import load_artefact
from faults import tiny_run, write_together

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


@pytest.mark.parametrize("kind", sorted(write_together.KINDS))
@pytest.mark.skipif(os.name == "nt", reason="Windows has no fork")
def test_writers_together_succeed_or_are_told_that_another_writes(tmp_path: Path, kind: str) -> None:
    """Never a false reason, and what is left is whole."""
    place = tmp_path / "deep" / kind
    program = [sys.executable, write_together.__file__, kind, str(place), "6", "30"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) == 6 and all(set(found) <= {"written", "busy"} for found in outcomes), outcomes
    assert sum(found.get("written", 0) for found in outcomes) > 0, "how many get through is a matter of luck"
    storage.verify_manifest(place)
    assert [other.name for other in place.parent.iterdir()] == [kind], "nothing is left beside it"
    assert not list(place.rglob(".*"))


def test_writers_in_threads_are_told_apart(tmp_path: Path) -> None:
    """The thread that runs in a folder may write its artefact there, another may not."""
    refused: list[BaseException] = []

    def other() -> None:
        try:
            write_together.artefact(tmp_path / "out", 2)
        except Busy as error:
            refused.append(error)

    with storage.run_lock(tmp_path / "out"):
        write_together.artefact(tmp_path / "out", 1)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(refused) == 1 and f"process {os.getpid()}" in str(refused[0])
    assert load_artefact(tmp_path / "out").record == {"number": 1}
    other()
    assert load_artefact(tmp_path / "out").record == {"number": 2}


def test_a_folder_that_appears_meanwhile_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def late(place: Path, target: Path) -> Path:
        monkeypatch.undo()
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "a.txt").write_text("of another writer")
        return rename(place, target)

    with storage.atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "a.txt").write_text("ours")
        monkeypatch.setattr(Path, "rename", late)
    assert (tmp_path / "folder" / "a.txt").read_text() == "ours"
    assert [place.name for place in tmp_path.iterdir()] == ["folder"]
