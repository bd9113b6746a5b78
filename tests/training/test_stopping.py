"""Signals: the first asks, the second ends, and outside the loop the first ends as well."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from carryover.errors import BadData
from carryover.training.stopping import Interrupted, Terminated, stop_signals


def test_the_first_signal_is_noted_while_a_loop_runs(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals() as request:
        request.gentle = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.pending is Terminated
    assert signal.getsignal(signal.SIGTERM) is before
    assert "finishing the step and saving" in capsys.readouterr().err


def test_outside_the_loop_it_raises() -> None:
    with pytest.raises(Interrupted), stop_signals():
        os.kill(os.getpid(), signal.SIGINT)


def test_what_a_signal_passes_does_not_take_it_for_its_own_fault() -> None:
    with pytest.raises(Terminated) as caught, stop_signals():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Exception as error:
            raise BadData("cannot be built") from error
    assert str(caught.value) == "stopped; what was saved is intact; run the same command again to continue"


def test_in_another_thread_nothing_is_listened_to() -> None:
    found: list[object] = []

    def work() -> None:
        with stop_signals() as request:
            found.append(request.pending)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from carryover.errors import CarryoverError
from carryover.training.stopping import stop_signals
from faults import tiny_run
slow = "slow" in sys.argv
def objective(*arguments, **named):
    print("step", flush=True)
    if slow:
        import time
        for _ in range(100): time.sleep(0.1)
    return tiny_run.tiny_objective(*arguments, **named)
try:
    with stop_signals() as stop:
        tiny_run.run(Path(sys.argv[1]), objective=objective, stop=stop, epochs=10_000)
except CarryoverError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    program = PROGRAM.format(tests=str(Path(__file__).resolve().parent.parent))
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "step\n"
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_process_finishes_the_step_saves_and_says_how_to_go_on(tmp_path: Path, number: int, code: int) -> None:
    process = start(tmp_path / "run")
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "saved; run the same command again to continue" in errors and "Traceback" not in errors
    assert list((tmp_path / "run" / "run" / "checkpoints").glob("step-*/state.safetensors"))


def test_the_second_signal_ends_at_once(tmp_path: Path) -> None:
    process = start(tmp_path / "run", "slow")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "finishing the step" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGINT
