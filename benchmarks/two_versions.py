"""Two versions of carryover side by side: whole commands as a user runs them, in turn, with the same input and seed.

    python benchmarks/two_versions.py --before OLD/src --after src --text lines.txt --train train.tsv --test test.tsv \
        [--rounds 6] [--out benchmarks/results]

`--before` and `--after` are source folders (a checkout's `src`), `--text` lines of raw text, `--train` and `--test` labelled
texts (tables with columns `label` and `text`). A ratio is the median over rounds of (before's seconds / after's), with the
smallest and the largest. The first round warms up; it also compares what comes out: held-out perplexity, vectors, scores.
Nothing is reported where they are further apart than 1e-4.

Cases
-----
pretrain : one epoch of a `tiny` bidirectional model. embed : vectors of all lines from a model of size `small`, made first by
the older version. frozen fit : a classifier over that model, fixed. compare cell : two cells of rung `frozen`, 200 labels, and
the reference beside them. help : `--help` and `pretrain --help`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measuring.results import command_line, store
from measuring.rounds import ratio, tell, times

TOLERANCE = 1e-4
SIDES = ("before", "after")


def run(source: Path, *arguments: object) -> str:
    """Standard output of one command of the version in `source`. Ends the program where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "carryover", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(source.resolve())},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{source}: carryover {' '.join(map(str, arguments))}\n{done.stderr}")
    return done.stdout


def cases(asked: Any, work: Path) -> dict[str, Callable[[str], Any]]:
    """By the name of a case: what one side does, and the numbers that come out."""
    sources = {side: getattr(asked, side) for side in SIDES}
    encoder, out = work / "encoder", work / "out"
    labelled = ("--task", "classify", "--train", asked.train)
    run(sources["before"], "pretrain", "--raw", asked.text, "--size", "small", "--time-limit", "60s", "-q", "--out", encoder)

    def fresh(side: str, *arguments: object, suffix: str = "") -> tuple[Any, Path]:
        path = out.with_name(f"out-{side}{suffix}")
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        return json.loads(run(sources[side], *arguments, "-q", "--json", "--out", path)), path

    def pretrain(side: str) -> Any:
        told, _ = fresh(side, "pretrain", "--raw", asked.text, "--size", "tiny", "--epochs", "1", "--seed", "1")
        return [told["perplexity"]]

    def embed(side: str) -> Any:
        _, path = fresh(side, "embed", encoder, asked.text, suffix=".npz")
        with np.load(path) as stored:
            return stored[max(stored.files, key=lambda name: stored[name].size)]

    def frozen(side: str) -> Any:
        _, path = fresh(side, "train", *labelled, "--mode", "frozen", "--encoder", encoder, "--seed", "1")
        scores = json.loads(run(sources[side], "evaluate", path, "--test", asked.test, "--json"))["scores"]
        return [scores["accuracy"], scores["macro_f1"]]

    def cell(side: str) -> Any:
        told, _ = fresh(
            side, "compare", *labelled, "--test", asked.test, "--encoder", encoder, "--rungs", "frozen", "--budgets", "200",
            "--seeds", "2", "--jobs", "1",
        )  # fmt: skip
        return sorted(one["score"] for one in told["cells"])

    return {
        "pretrain": pretrain,
        "embed": embed,
        "frozen fit": frozen,
        "compare cell": cell,
        "help": lambda side: run(sources[side], "--help") and run(sources[side], "pretrain", "--help") and [],
    }


def main() -> None:
    parser = command_line(__doc__, rounds=6)
    for name in (*SIDES, "text", "train", "test"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--only", help="the case of this name alone")
    asked = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        for name, case in cases(asked, Path(work)).items():
            if asked.only not in (None, name):
                continue
            before, after = (np.asarray(case(side), dtype=np.float64) for side in SIDES)
            if before.shape != after.shape or not np.allclose(before, after, rtol=TOLERANCE, atol=TOLERANCE):
                raise SystemExit(f"{name}: the versions do not give the same: nothing to report")
            taken = times({side: partial(case, side) for side in SIDES}, asked.rounds)
            seconds = ratio(taken, "before", "after", "seconds")
            tell(name, seconds)
            found[name] = {"ratio": seconds, "seconds": taken["seconds"]}
    store("two_versions", asked.out, {"rounds": asked.rounds}, found)


if __name__ == "__main__":
    main()
