"""Peak memory of truncated back-propagation through time as the text grows, and of the whole text at once for contrast.

A language model of 128 features and 256 cells over 256 characters, 8 rows. Truncated: chunks of 100 steps, the state carried and
detached, a backward pass and an update after each. Whole: one backward pass through all steps. Every figure comes from a process
of its own: the most it had resident (the kernel's high-water mark, begun anew when model and text stand) less what it
had then. Before that, the loss over chunks is compared with the loss over the whole, at the shortest length and without
updates, and nothing is reported when they disagree.

    python benchmarks/truncated_memory.py [--lengths 1000,10000,100000] [--threads 2] [--out benchmarks/results]

The text is drawn where it is needed, chunk by chunk: what grows with its length is only what the training keeps.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from measuring.results import command_line, store
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from carryover.layers import LSTM, Embedding, Stacked, State, detach_state
from carryover.sequence import Sequence

CHARACTERS, SIZE, CELLS, ROWS, CHUNK = 256, 128, 256, 8, 100
LARGEST_WHOLE = 10_000
TOLERANCE = 1e-5


def model() -> tuple[Stacked, nn.Linear]:
    torch.manual_seed(0)
    return Stacked(Embedding(CHARACTERS, SIZE), LSTM(SIZE, CELLS)), nn.Linear(CELLS, CHARACTERS)


def chunks_of(length: int) -> Iterator[tuple[Sequence, Tensor]]:
    """Characters [8, up to 100] and the ones after them."""
    generator = torch.Generator().manual_seed(1)
    last = torch.randint(CHARACTERS, (ROWS, 1), generator=generator)
    for start in range(0, length, CHUNK):
        steps = min(CHUNK, length - start)
        ids = torch.cat([last, torch.randint(CHARACTERS, (ROWS, steps), generator=generator)], 1)
        last = ids[:, -1:]
        yield Sequence.of(ids[:, :-1]), ids[:, 1:]


def loss_of(layer: Stacked, output: nn.Linear, x: Sequence, targets: Tensor, state: State) -> tuple[Tensor, State]:
    """Sum over the characters, and the state after them."""
    y, state = layer.step(x, state)
    return cross_entropy(output(y.values).flatten(0, 1), targets.flatten(), reduction="sum"), state


def losses(length: int) -> dict[str, float]:
    layer, output = model()
    chunks = list(chunks_of(length))
    whole = Sequence.concatenate([x for x, _ in chunks])
    with torch.no_grad():
        want, _ = loss_of(layer, output, whole, torch.cat([t for _, t in chunks], 1), layer.initial_state(ROWS))
        got, state = 0.0, layer.initial_state(ROWS)
        for x, targets in chunks:
            loss, state = loss_of(layer, output, x, targets, state)
            got += float(loss)
    if not abs(got - float(want)) <= TOLERANCE * float(want):
        raise SystemExit(f"the loss over chunks is {got} and over the whole {float(want)}: nothing to report")
    return {"chunks": got, "whole": float(want)}


def memory(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])


def train(way: str, length: int) -> dict[str, float]:
    """What one process needed, in bytes, and how long it took."""
    layer, output = model()
    parameters = [*layer.parameters(), *output.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=1e-3, fused=True)
    chunks: Any = chunks_of(length)
    if way == "whole":
        held = list(chunks)
        chunks = [(Sequence.concatenate([x for x, _ in held]), torch.cat([targets for _, targets in held], 1))]
    state = layer.initial_state(ROWS)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    before, started = memory("VmRSS"), time.perf_counter()
    for x, targets in chunks:
        optimiser.zero_grad()
        loss, state = loss_of(layer, output, x, targets, detach_state(state))
        (loss / targets.numel()).backward()
        optimiser.step()
    return {"bytes": memory("VmHWM") - before, "seconds": time.perf_counter() - started}


def main() -> None:
    parser = command_line(__doc__, threads=torch.get_num_threads())
    parser.add_argument("--lengths", default="1000,10000,100000")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "LENGTH"), help="what the processes are started with")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        print(json.dumps(train(options.one[0], int(options.one[1]))))
        return
    lengths = [int(length) for length in options.lengths.split(",")]
    cases: dict[str, Any] = {"losses": losses(lengths[0])}
    for way in ("truncated", "whole"):
        for length in lengths:
            if way == "whole" and length > LARGEST_WHOLE:
                continue
            command = [sys.executable, __file__, "--one", way, str(length), "--threads", str(options.threads)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            cases[f"{way}, {length} steps"] = found = json.loads(done.stdout)
            first = cases[f"{way}, {lengths[0]} steps"]["bytes"]
            found["ratio to the shortest"] = found["bytes"] / first
            print(
                f"{way}, {length} steps: {found['bytes'] / 2**20:.0f} MiB, {found['bytes'] / first:.2f} of the shortest",
                flush=True,
            )
    store("truncated_memory", options.out, {"rows": ROWS, "chunk": CHUNK, "cells": CELLS}, cases)


if __name__ == "__main__":
    main()
