"""Kill a run with SIGKILL again and again, let the same command continue, and compare with a run that was left alone.

A program of its own, started by the tests: it imports PyTorch once and then forks a process for every session, so that a
kill costs milliseconds. Prints one JSON object: how many processes were killed, how many runs were finished, and every
difference found.

    python kill_many.py {tiny|bilm|continued} {moments|points|chains} KILLS SEED FOLDER
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch._dynamo

from carryover.storage import faults
from faults import tiny_run
from faults.outcome import leftovers, outcome

Job = Callable[[Path], object]


def tiny(out: Path) -> object:
    return tiny_run.run(out, publish=True)


def bilm(out: Path) -> object:
    from carryover.pretraining.pretrain import pretrain
    from carryover.pretraining.settings import PretrainSettings

    return pretrain(PretrainSettings(**settings(out), model=MODEL, size="tiny", vocabulary_size=12), out, quiet=True)


def continued(out: Path) -> object:
    """A run that begins with the model of an earlier one, `start` beside it, on the same text, with its own vocabulary."""
    from carryover.pretraining.initial_model import continued
    from carryover.pretraining.pretrain import pretrain

    start = out.parent / "start"
    asked = settings(out)
    return pretrain(continued(start, asked.pop("raw"), **asked, vocabulary_size=14), out, quiet=True)


MODEL = {"character_size": 4, "filters": ((1, 4), (2, 4)), "cells": 8, "projection": 4, "dropout": 0.2}


def settings(out: Path) -> dict[str, Any]:
    text = out.parent / "text.txt"
    if not text.exists():
        chosen = random.Random(3)
        words = ["the", "a", "boat", "river", "runs", "sinks", "slowly", "under", "old", "bridges", "Zoë", "1917", ","]
        text.write_text("".join(" ".join(chosen.choices(words, k=chosen.randint(2, 14))) + " .\n" for _ in range(110)))
    return {
        "raw": text,
        "batch_size": 4,
        "steps": 7,
        "block_tokens": 60,
        "epochs": 1,
        "evaluations": 4,
        "log_steps": 5,
        "checkpoint_steps": 6,
        "seed": 11,
    }


def session(job: Job, out: Path, crash_at: str = "", kill_after: float | None = None) -> int:
    """One process that runs the job; its exit status, −9 when it was killed. Its last words are kept for a report."""
    child = os.fork()
    if child == 0:
        status = 1
        os.environ["CARRYOVER_CRASH_AT"] = crash_at
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                job(out)
            if crash_at.startswith("?"):
                (out.parent / "points.json").write_text(json.dumps(faults._CRASHES))
            status = 0
        except BaseException:
            (out.parent / f"{out.name}.error").write_text(traceback.format_exc())
        finally:
            os._exit(status)
    if kill_after is not None:
        time.sleep(kill_after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Inquiry:
    """Kills so far and what was found wrong."""

    def __init__(self, job: Job, folder: Path, seed: int) -> None:
        self.job, self.folder = job, folder
        self.random = random.Random(seed)
        self.kills = self.runs = 0
        self.differences: list[str] = []
        reference = folder / "reference"
        began = time.monotonic()
        if session(job, reference, crash_at="?:0"):
            raise SystemExit((folder / "reference.error").read_text())
        self.duration = time.monotonic() - began
        self.expected = outcome(reference)
        self.points: dict[str, int] = json.loads((folder / "points.json").read_text())

    def note(self, name: str, status: int) -> None:
        """Count a kill; anything but a kill or a success is a difference."""
        if status == -signal.SIGKILL:
            self.kills += 1
        elif status:
            error = (self.folder / f"{name}.error").read_text().strip().splitlines()[-1]
            self.differences.append(f"{name}: exit {status}: {error}")

    def finish(self, name: str) -> None:
        """Let the run end undisturbed and compare."""
        out = self.folder / name
        self.note(name, session(self.job, out))
        self.runs += 1
        try:
            found = outcome(out)
        except Exception as error:
            self.differences.append(f"{name}: {error!r}")
            return
        for part, value in self.expected.items():
            if found.get(part) != value:
                self.differences.append(f"{name}: {part} is not that of the uninterrupted run")
        self.differences += [f"{name}: {left} was left behind" for left in leftovers(out)]
        shutil.rmtree(out)

    def moments(self, kills: int) -> None:
        """SIGKILL after a random time, several to a run."""
        while self.kills < kills and not self.differences:
            name = f"run{self.runs}"
            for _ in range(self.random.randint(3, 9)):
                status = session(self.job, self.folder / name, kill_after=self.random.uniform(0, 0.8 * self.duration))
                self.note(name, status)
                if status == 0 or self.kills >= kills:
                    break
            self.finish(name)

    def at_points(self, kills: int) -> None:
        """Every named point, at its first, second and last time."""
        for point, count in sorted(self.points.items()):
            for number in sorted({1, 2, count} & set(range(1, count + 1))):
                name = f"{point}-{number}".replace(" ", "-")
                before = self.kills
                self.note(name, session(self.job, self.folder / name, crash_at=f"{point}:{number}"))
                if self.kills == before:
                    self.differences.append(f"{name}: was not reached")
                self.finish(name)

    def chains(self, kills: int) -> None:
        """Killed at a random point, and while recovering from that, and again."""
        names = sorted(self.points)
        while self.kills < kills and not self.differences:
            name = f"chain{self.runs}"
            for _ in range(8):
                point = self.random.choice(names)
                number = self.random.randint(1, min(self.points[point], 6))
                self.note(name, session(self.job, self.folder / name, crash_at=f"{point}:{number}"))
            self.finish(name)


def main() -> None:
    job, mode, kills, seed, folder = sys.argv[1:]
    torch.set_num_threads(1)
    if job != "tiny":
        import carryover.pretraining.initial_model
        import carryover.pretraining.pretrain  # noqa: F401
    if job == "continued" and session(bilm, Path(folder) / "start"):  # before anything is counted
        raise SystemExit((Path(folder) / "start.error").read_text())
    inquiry = Inquiry({"tiny": tiny, "bilm": bilm, "continued": continued}[job], Path(folder), int(seed))
    {"moments": inquiry.moments, "points": inquiry.at_points, "chains": inquiry.chains}[mode](int(kills))
    print(
        json.dumps(
            {
                "kills": inquiry.kills,
                "runs": inquiry.runs,
                "points": inquiry.points,
                "differences": inquiry.differences[:20],
            }
        )
    )


if __name__ == "__main__":
    main()
