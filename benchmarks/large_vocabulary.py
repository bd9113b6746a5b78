"""What a step of sampled-softmax pretraining costs as the vocabulary grows, and an exact likelihood.

A bidirectional language model reads lines of the built-in text; its targets are drawn by a power law over the whole vocabulary,
so that any size can be had without a text of so many words. A process of its own for each vocabulary and optimiser takes the
steps of a run: loss and gradients, the clip, the optimiser. adam moves every row of the output layer in each step; lazy-adam
and adagrad those that were looked up. Then the exact −log p of targets is computed over all words; the first ones are
compared with plain PyTorch, and nothing is reported when they disagree.

    python benchmarks/large_vocabulary.py [--words 20000,100000,400000,800000] [--steps 8] [--out benchmarks/results]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from measuring.ending import leave
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from carryover.data.builtin import raw_lines
from carryover.data.coding import TokenCoder
from carryover.data.shards import build_shards
from carryover.data.stream import LanguageModelBatch, LanguageModelStream
from carryover.errors import UsageError
from carryover.models.bilm import BiLanguageModel
from carryover.objectives.softmax import exact_losses
from carryover.pretraining.optimiser import objective_and_optimiser
from carryover.pretraining.recipes import build_objective
from carryover.pretraining.settings import PretrainSettings
from carryover.training.optimisers import clip_gradients

OPTIMISERS = ("adam", "lazy-adam", "adagrad")
LINES, LANES, STEPS, CHECKED = 3000, 32, 20, 64
TOLERANCE = 1e-4


def batches_of(folder: Path, words: int, count: int) -> list[LanguageModelBatch]:
    """Batches of the built-in text whose targets are Zipfian over `words` words."""
    lines = [(number, line) for number, line in enumerate(raw_lines("builtin:pydocs/test"), 1) if line.strip()][:LINES]
    coder = TokenCoder("characters")
    shards = build_shards(lines, "characters", folder, tokenize=coder.units, vocabulary_size=1000)
    stream = LanguageModelStream(shards, batch_size=LANES, steps=STEPS, block_tokens=2048)
    draw = torch.Generator().manual_seed(0)

    def drawn(targets: Tensor) -> Tensor:
        ranks = torch.exp(torch.rand(targets.shape, generator=draw) * math.log(words)).long() - 1
        return torch.where(targets >= 0, ranks.clamp(max=words - 1), targets)

    found = [stream.batch(0, 0, step) for step in range(count)]
    return [
        replace(batch, forward_targets=drawn(batch.forward_targets), backward_targets=drawn(batch.backward_targets))
        for batch in found
    ]


def memory() -> tuple[int, int]:
    """What the process has of its own now, and all it had resident at its highest, in MiB."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    own, peak = (int(fields[name].split()[0]) // 1024 for name in ("RssAnon", "VmHWM"))
    return own, peak


def one(words: int, kind: str, size: str, steps: int) -> dict[str, Any]:
    """Times of one vocabulary and optimiser in this process."""
    wanted = PretrainSettings(raw="", size=size, vocabulary_size=words, softmax="sampled", optimiser=kind)
    asked = build_objective("bilm")
    config = asked.config(wanted, words)
    torch.manual_seed(0)
    model = asked.build(config)
    objective, optimiser = objective_and_optimiser(asked, config, model, wanted, learning_rate=1e-3, precision="float32")
    with TemporaryDirectory() as folder:
        batches = batches_of(Path(folder), words, steps + 2)
    spent: dict[str, list[float]] = {"step": [], "forward": [], "backward": [], "clip": [], "optimiser": []}

    def timed(name: str, run: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        found = run()
        spent[name].append(time.perf_counter() - began)
        return found

    state = model.initial_state(LANES)
    for number, batch in enumerate(batches):
        began = time.perf_counter()
        loss, state, _ = timed("forward", lambda batch=batch: objective(model, batch, state, step_seed=number))  # noqa: B023
        timed("backward", loss.backward)
        timed("clip", lambda: clip_gradients(model, 1.0))
        timed("optimiser", optimiser.step)
        optimiser.zero_grad(set_to_none=True)
        spent["step"].append(time.perf_counter() - began)
    own, peak = memory()
    tokens = statistics.median(batch.tokens for batch in batches[2:])
    seconds = {name: round(statistics.median(values[2:]), 5) for name, values in spent.items()}  # two steps warm up
    return {
        "words": words,
        "optimiser": kind,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": seconds,
        "tokens_per_second": round(tokens / seconds["step"]),
        "own_mebibytes": own,
        "highest_mebibytes": peak,
        "exact": exact(model, batches),
    }


def exact(model: BiLanguageModel, batches: list[LanguageModelBatch]) -> dict[str, float]:
    """Time of exact likelihoods over all words, and what the highest memory grew by meanwhile."""
    output: Any = model.output
    targets = torch.cat([batch.forward_targets.flatten() for batch in batches[:2]])
    targets = targets[targets >= 0]
    hidden = torch.randn(len(targets), output.weight.shape[1], generator=torch.Generator().manual_seed(1))
    before = memory()[1]
    began = time.perf_counter()
    found = exact_losses(hidden, output.weight, output.bias, targets)
    seconds, after = time.perf_counter() - began, memory()[1]
    with torch.no_grad():
        some = slice(0, CHECKED)
        wanted = cross_entropy(linear(hidden[some], output.weight, output.bias), targets[some], reduction="none")
    difference = float((found[some] - wanted).abs().max())
    if not difference <= TOLERANCE:
        raise SystemExit(f"exact likelihoods and PyTorch's differ by {difference}: nothing is reported")
    return {
        "targets": len(targets),
        "milliseconds_a_target": round(1000 * seconds / len(targets), 4),
        "highest_grew_by_mebibytes": after - before,
        "largest_difference": difference,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", default="20000,100000,400000,800000")
    parser.add_argument("--optimisers", default=",".join(OPTIMISERS))
    parser.add_argument("--size", default="small")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--one", nargs=2, metavar=("WORDS", "OPTIMISER"), help="what the processes are started with")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        print(json.dumps(one(int(options.one[0]), options.one[1], options.size, options.steps)))
        return
    unknown = [kind for kind in options.optimisers.split(",") if kind not in OPTIMISERS]
    if unknown or not all(count.isdigit() for count in options.words.split(",")):
        raise UsageError(
            f"--words is {options.words}, --optimisers {options.optimisers}",
            repair=f"give whole numbers and some of {','.join(OPTIMISERS)}",
        )
    rows = []
    for words in options.words.split(","):
        for kind in options.optimisers.split(","):
            command = [sys.executable, __file__, "--one", words, kind, "--size", options.size, "--steps", str(options.steps),
                       "--threads", str(options.threads)]  # fmt: skip
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.returncode)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps(rows[-1]), flush=True)
    result = {
        "schema": "carryover.benchmark/1",
        "benchmark": "large_vocabulary",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "size": options.size,
        "threads": options.threads,
        "steps": options.steps,
        "rows": rows,
        "machine": {"python": platform.python_version(), "torch": torch.__version__, "cores": os.cpu_count()},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"large_vocabulary-{result['date']}-threads{options.threads}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"stored in {path}", file=sys.stderr)


if __name__ == "__main__":
    leave(main)
