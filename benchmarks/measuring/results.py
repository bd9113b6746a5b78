"""What every benchmark is asked for, and the dated file in which its figures are kept."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent.parent / "results"


def command_line(
    description: str | None, *, rounds: int | None = None, threads: int | None = None
) -> argparse.ArgumentParser:
    """A parser with `--out`, with `--rounds` where a usual number is given, and with `--threads` where rounds or threads are."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the dated result file")
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds)
    if rounds is not None or threads is not None:
        parser.add_argument("--threads", type=int, default=threads or torch.get_num_threads())
    return parser


def add_clock(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cpu-time", action="store_true", help="processor time: with one thread, on a machine others use")


def heading(benchmark: str) -> dict[str, Any]:
    """What every result says first: its schema, the benchmark, the date, and where it was measured."""
    return {
        "schema": "carryover.benchmark/1",
        "benchmark": benchmark,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "processor": platform.machine(),
            "cores": os.cpu_count(),
        },
    }


def write(folder: Path, name: str, result: dict[str, Any]) -> None:
    """The result as `NAME.json` in `folder`, and a line on standard error that says where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"stored in {path}", file=sys.stderr)


def store(benchmark: str, folder: Path, settings: dict[str, Any], cases: dict[str, Any]) -> None:
    """A dated result file in `folder`, one for each number of threads."""
    first, threads = heading(benchmark), torch.get_num_threads()
    load = round(os.getloadavg()[0], 2)
    write(
        folder,
        f"{benchmark}-{first['date']}-threads{threads}",
        {**first, "threads": threads, "load": load, "settings": settings, "cases": cases},
    )
