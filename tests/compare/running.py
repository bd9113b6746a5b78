"""A small comparison, in this process or in its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

from carryover.compare import ComparePlan

TINY: dict[str, Any] = {
    "pretraining": {"size": "tiny", "epochs": 1, "vocabulary_size": 60},
    "vectors": {"size": 10, "epochs": 1, "minimum_count": 1},
    "fitting": {"epochs": 1, "least_updates": 6, "hidden": 8, "evaluations": 2, "word_size": 8, "filters": ((2, 4),)},
}


def plan(folder: Path, **options: Any) -> ComparePlan:
    usual = {"task": "classify", "train": folder / "train.tsv", "test": folder / "test.tsv", "rungs": "features",
             "budgets": "12,24", "seeds": 2, "jobs": 1, "replicates": 200}  # fmt: skip
    return ComparePlan(**{**usual, **options})


SCRIPT = """
    import sys
    from pathlib import Path
    from carryover.compare import ComparePlan, compare
    from carryover.errors import CarryoverError

    if __name__ == "__main__":
        folder, out, jobs = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
        plan = ComparePlan(task="classify", train=folder / "train.tsv", test=folder / "test.tsv", rungs="features",
                           budgets="12,24", seeds=3, jobs=jobs, replicates=200)
        try:
            compare(plan, out)
        except CarryoverError as error:
            print(error, file=sys.stderr)
            sys.exit(error.exit_code)
"""


class Running:
    """A comparison in its own process; what it says on standard error goes to a file."""

    def __init__(self, folder: Path, out: Path, jobs: int = 1, **environment: str) -> None:
        script = out.with_suffix(".py")
        script.write_text(textwrap.dedent(SCRIPT), encoding="utf-8")
        self.out, self.log = out, out.with_suffix(".log")
        command = [sys.executable, "-W", "error", str(script), str(folder), str(out), str(jobs)]
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1", **environment})

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def end(self) -> int:
        return self.process.wait(timeout=200)

    def stop(self, number: int) -> int:
        self.process.send_signal(number)
        return self.end()

    def cells(self) -> int:
        return sum(1 for path in (self.out / "cells").glob("features-*")) if (self.out / "cells").is_dir() else 0

    def wait_for_cells(self, count: int) -> None:
        deadline = time.monotonic() + 120
        while self.cells() < count:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline
            time.sleep(0.01)
