"""Run a small cell in forked processes and SIGKILL each once it has got a given number of steps further.

A program of its own, started by a test: it imports PyTorch once, so a session costs little. Prints how many were killed.

    python kill_cell.py FOLDER STEP [STEP …]
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch._dynamo

from bench.tiny_tables import run_small
from carryover.bench.replication import Replication, ReplicationStore
from carryover.training.checkpoint import checkpoint_folders
from carryover.training.loop import TrainingLoop

MODEL = "gru"


def reached(out: Path) -> int:
    """The newest checkpoint's step, 0 without one."""
    places = checkpoint_folders(ReplicationStore(out).path(Replication("adding", 200, MODEL, 1)) / "run" / "checkpoints")
    return int(places[-1].name.removeprefix("step-")) if places else 0


def slowly(save: Callable[[TrainingLoop], None]) -> Callable[[TrainingLoop], None]:
    """The same, but the one who watches gets to see it."""

    def saving(loop: TrainingLoop) -> None:
        save(loop)
        time.sleep(0.03)

    return saving


def main() -> None:
    torch.set_num_threads(1)
    out, kills = Path(sys.argv[1]), 0
    for wanted in map(int, sys.argv[2:]):
        child = os.fork()
        if child == 0:
            TrainingLoop._save = slowly(TrainingLoop._save)  # type: ignore[method-assign]
            run_small(out, MODEL, checkpoint_steps=1)
            os._exit(0)
        ended = (0, 0)
        while ended[0] == 0 and reached(out) < wanted:
            time.sleep(0.001)
            ended = os.waitpid(child, os.WNOHANG)
        if ended[0] == 0:
            os.kill(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)
        kills += os.waitstatus_to_exitcode(ended[1]) == -signal.SIGKILL
    print(kills)


if __name__ == "__main__":
    main()
