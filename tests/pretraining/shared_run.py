"""Pretraining runs that processes share, and how tests start them.

As a program: `shared_run.py FOLDER PLANS`, where PLANS is JSON, a list of runs in order: how many processes (those of a higher
rank leave it out), the port where they meet, the folder, the settings. It forks the processes, so that torch is imported once;
each writes one JSON line for each run it took part in to FOLDER/RANK: the result, or the error and its exit code.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from carryover.errors import CarryoverError
from carryover.pretraining.pretrain import pretrain
from carryover.pretraining.settings import PretrainSettings
from carryover.training import processes


@dataclass
class Plan:
    """One run: by `size` processes in `out`. `kill` is (rank, step): that process is killed when it comes to the step.

    `other` are settings that only the last process is given.
    """

    size: int
    out: Path
    settings: dict[str, Any]
    kill: tuple[int, int] | None = None
    other: dict[str, Any] = field(default_factory=dict)
    port: int = field(default_factory=lambda: free_port())

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "out": str(self.out), "settings": {name: _plain(v) for name, v in self.settings.items()}}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def free_port() -> int:
    """A port that is free now, below those that the system gives to sockets that ask for none.

    Processes that talk to each other hold such sockets, also between two runs, and could otherwise be given the port of a
    later run before its processes meet there.
    """
    while True:
        port = secrets.choice(range(10_000, 32_000))
        with socket.socket() as taken:
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def run(plans: list[Plan]) -> list[list[dict[str, Any]]]:
    """For each plan what its processes told of it, by rank. A process that is killed tells nothing, here and later."""
    plan = json.dumps([one.to_json() for one in plans])
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-W", "error", __file__, folder, plan],
            env={**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        codes = json.loads(done.stdout)
        texts = [(Path(folder) / str(rank)).read_text() for rank in range(len(codes))]
    told: list[list[dict[str, Any]]] = [[] for _ in plans]
    dead: set[int] = set()
    for rank, (code, text) in enumerate(zip(codes, texts, strict=True)):
        lines = iter(text.splitlines())
        for plan_of, results in zip(plans, told, strict=True):
            if plan_of.kill is not None and plan_of.kill[0] == rank:
                dead.add(rank)
            if rank < plan_of.size and rank not in dead:
                results.append(json.loads(next(lines, "null")))
        expected = -signal.SIGKILL if rank in dead else 0
        assert code == expected, f"process {rank} ended with {code}:\n{done.stderr}"
    return told


def take_part(rank: int, plan: dict[str, Any]) -> dict[str, Any]:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(plan["size"]), MASTER_PORT=str(plan["port"]))
    if plan["kill"] is not None and plan["kill"][0] == rank:
        _die_at(plan["kill"][1])
    last = rank == plan["size"] - 1
    wanted = PretrainSettings(**{**plan["settings"], **(plan["other"] if last else {})})
    try:
        result = pretrain(wanted, plan["out"], quiet=True)
    except CarryoverError as error:
        return {"error": str(error), "exit_code": error.exit_code}
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


def main(folder: Path, plans: list[dict[str, Any]]) -> None:
    """Fork a process for each rank, wait for all and print how they ended, below zero by which signal."""
    children = []
    for rank in range(max(plan["size"] for plan in plans)):
        child = os.fork()
        if child == 0:
            with (folder / str(rank)).open("w", buffering=1) as file:
                for plan in plans:
                    if rank < plan["size"]:
                        file.write(json.dumps(take_part(rank, plan)) + "\n")
            return
        children.append(child)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
