"""One process of pretraining runs that processes share, and how tests start several of them.

As a program: `shared_run.py RANK PLAN`, where PLAN is JSON, a list of runs in order: how many processes (those of a higher
rank leave it out), the port where they meet, the folder, the settings. Prints one JSON line for each run it took part in.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from carryover.errors import CarryoverError
from carryover.training import processes
from carryover.training.pretrain import pretrain
from carryover.training.settings import PretrainSettings


@dataclass
class Plan:
    """One run: by `size` processes in `out`. `kill` is (rank, step): that process is killed when it comes to the step."""

    size: int
    out: Path
    settings: dict[str, Any]
    kill: tuple[int, int] | None = None
    port: int = field(default_factory=lambda: free_port())

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "out": str(self.out), "settings": {name: _plain(v) for name, v in self.settings.items()}}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def start(plans: list[Plan], processes: int | None = None) -> list[subprocess.Popen[str]]:
    """The processes that the plans need."""
    plan = json.dumps([one.to_json() for one in plans])
    return [
        subprocess.Popen(
            [sys.executable, "-W", "error", __file__, str(rank), plan],
            env={**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes or max(one.size for one in plans))
    ]


def run(plans: list[Plan]) -> list[list[dict[str, Any]]]:
    """For each process what it printed of each run; what one writes on standard error is an error here."""
    started = start(plans)
    told = []
    for rank, process in enumerate(started):
        out, errors = process.communicate(timeout=240)
        assert process.returncode == 0 and errors == "", f"process {rank} ended with {process.returncode}:\n{errors}"
        told.append([json.loads(line) for line in out.splitlines()])
    return told


def take_part(rank: int, plan: dict[str, Any]) -> dict[str, Any]:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(plan["size"]), MASTER_PORT=str(plan["port"]))
    if plan["kill"] is not None and plan["kill"][0] == rank:
        _die_at(plan["kill"][1])
    wanted = PretrainSettings(**plan["settings"])
    result = pretrain(wanted, plan["out"], quiet=True)
    return {**result.to_json(), "process": result.process}


def _die_at(step: int) -> None:
    """Be killed by the system, as for want of memory, in the backward pass of a step (from 0) of this session."""
    before, count = processes.ManyProcesses.backward, 0

    def backward(*arguments: Any) -> Any:
        nonlocal count
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        return before(*arguments)

    processes.ManyProcesses.backward = backward  # type: ignore[method-assign]


def main() -> int:
    rank = int(sys.argv[1])
    try:
        for plan in json.loads(sys.argv[2]):
            if rank < plan["size"]:
                print(json.dumps(take_part(rank, plan)), flush=True)
    except CarryoverError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
