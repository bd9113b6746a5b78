"""Pretraining by two processes of one thread beside one process of two threads, and of one.

The same command trains the same model on the same text each time, `torchrun` in front of it where there are two processes.
A round runs all contestants one after the other, in a turned order; the rate is that of the training loop alone, as the run
itself notes it (`run/times.jsonl`), so neither reading the text nor starting counts. A ratio is the median over rounds.

    python benchmarks/parallel_pretraining.py [--size small] [--tokens 120000] [--rounds 5] [--out benchmarks/results]

Nothing is reported unless all contestants read the same tokens in the same order (the digests in the metrics log) and their
losses agree: within 1e-5 for the first 50 updates, and the held-out perplexity at the end within 1e-3.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring.results import heading, write

CONTESTANTS = {"1 process × 1 thread": (1, 1), "1 process × 2 threads": (1, 2), "2 processes × 1 thread": (2, 1)}
OURS, PEER = "2 processes × 1 thread", "1 process × 2 threads"
WORDS = 20_000


def lines(tokens: int, seed: int) -> Iterator[str]:
    """About `tokens` words that follow Zipf's law, in lines of log-normal length."""
    draw = np.random.default_rng(seed)
    made = 0
    while made < tokens:
        length = int(np.clip(np.rint(draw.lognormal(2.9, 0.5)), 1, 120))
        ranks = np.exp(draw.random(length) * np.log(WORDS)).astype(int)
        yield " ".join(f"w{rank:x}" for rank in ranks)
        made += length


def train(text: Path, out: Path, processes: int, threads: int, options: argparse.Namespace) -> float:
    """Tokens a second of the training loop of a run that must succeed."""
    start = ["-m", "carryover"]
    if processes > 1:
        start = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), *start]
    command = [
        sys.executable, *start, "pretrain", "--raw", str(text), "--out", str(out), "--size", options.size,
        "--softmax", options.softmax, "--batch-size", str(options.lanes), "--epochs", "1", "--device", "cpu", "--quiet",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    events = [json.loads(line) for line in (out / "run" / "times.jsonl").read_text().splitlines()]
    return float(events[-1]["tokens_per_second"])


def check_agreement(outs: dict[str, Path]) -> dict[str, Any]:
    """What all agree on, or SystemExit naming who does not."""
    logs = {
        name: [json.loads(line) for line in (out / "run" / "metrics.jsonl").read_text().splitlines()]
        for name, out in outs.items()
    }
    want = logs[PEER]
    read, losses = ([line[key] for line in want if key in line] for key in ("read", "loss"))
    last = next(line["held_out"]["perplexity"] for line in reversed(want) if "held_out" in line)
    if not losses:
        raise SystemExit("there are fewer than 50 updates, and so no loss to compare: give more --tokens")
    for name, log in logs.items():
        if [line["read"] for line in log if "read" in line] != read:
            raise SystemExit(f"{name} read other tokens than {PEER}: nothing is reported")
        first = next(line["loss"] for line in log if "loss" in line)
        agree(f"the loss of the first 50 updates of {name}", first, losses[0], 1e-5)
        found = next(line["held_out"]["perplexity"] for line in reversed(log) if "held_out" in line)
        agree(f"the held-out perplexity of {name}", found, last, 1e-3)
    return {"first_loss": losses[0], "held_out_perplexity": last, "updates": want[-1]["step"]}


def agree(what: str, got: float, want: float, allowed: float) -> None:
    if not abs(got - want) <= allowed * abs(want):
        raise SystemExit(f"{what} is {got} and not {want}: nothing is reported while results disagree")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="small")
    parser.add_argument("--softmax", default="sampled")
    parser.add_argument("--tokens", type=int, default=120_000)
    parser.add_argument("--lanes", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=None, help="folder for the dated result file")
    options = parser.parse_args()
    rates: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_text("".join(f"{line}\n" for line in lines(options.tokens, seed=0)))
        for number in range(options.rounds):
            names = list(CONTESTANTS)
            names = names[number % len(names) :] + names[: number % len(names)]
            outs = {name: Path(folder) / f"{number}-{name.replace(' ', '-')}" for name in names}
            for name in names:
                rates[name].append(train(text, outs[name], *CONTESTANTS[name], options))
            agreed = check_agreement(outs)
    ratios = [ours / peer for ours, peer in zip(rates[OURS], rates[PEER], strict=True)]
    result = {
        **heading("parallel_pretraining"),
        "settings": {name: value for name, value in vars(options).items() if name != "out"},
        "tokens_per_second": {name: [round(rate, 1) for rate in found] for name, found in rates.items()},
        "ratio": {
            "ours": OURS,
            "peer": PEER,
            "median": round(statistics.median(ratios), 3),
            "lowest": round(min(ratios), 3),
            "highest": round(max(ratios), 3),
        },
        "agreed": agreed,
    }
    print(json.dumps(result, indent=1, ensure_ascii=False))
    if options.out is not None:
        write(options.out, f"parallel_pretraining-{result['date']}", result)


if __name__ == "__main__":
    main()
