"""Attention: what a generated token costs as the text grows, and the fused path beside the plain one.

Everything of a case is interleaved in one process, in rounds; a ratio is the median over rounds of (peer's seconds /
our seconds), with the smallest and the largest. Before a case is timed its results, and gradients where it trains, are
compared, and nothing is reported when they disagree.

    python benchmarks/attention_steps.py [--rounds 9] [--threads 2] [--cpu-time] [--out benchmarks/results]

Cases
-----
generation : one token at a time, batch 1, a Transformer of 4 blocks, 256 features, 4 heads. Seconds a token at positions
             100, 1,000 and 10,000 with a horizon of 128 (a ring: flat), and with an unbounded cache beside it. Each state
             is made by reading that many steps in chunks, and its next outputs are compared with a whole pass over the
             last steps that can matter. What bounds it: at these sizes starting the kernels, and the weights' way
             through the cache; with an unbounded cache the reading and copying of the cache.
forward, training : self-attention of 256 features and 4 heads, batch 8, 256 steps: causal, not causal on rows of unequal
             length, causal with a horizon of 32 (in blocks), relative positions. The plain path beside the fused one.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from measuring.results import add_clock, command_line, store
from measuring.rounds import Run, largest_difference, ratio, spread, tell, times
from torch import Tensor

from carryover.layers import SelfAttention, State, Transformer
from carryover.sequence import Sequence

POSITIONS = (100, 1_000, 10_000)
HORIZON, DEPTH, SIZE, HEADS = 128, 4, 256, 4
TOKENS = 20
TOLERANCE = 1e-3


def read(layer: Transformer, x: Sequence, chunk: int = 500) -> State:
    """The state after all of `x`."""
    state = layer.initial_state(x.batch_size)
    for start in range(0, x.time, chunk):
        _, state = layer.step(x.slice(start, start + chunk), state)
    return state


class Reader:
    """Reads on and on: a state that serves as the beginning of one text only."""

    def __init__(self, layer: Transformer, state: State, text: Tensor, position: int) -> None:
        self.layer, self.state, self.text, self.position = layer, state, text, position

    def go_on(self) -> list[Tensor]:
        """The outputs of the next `TOKENS` steps, one by one."""
        outputs = []
        with torch.no_grad():
            for t in range(self.position, self.position + TOKENS):
                y, self.state = self.layer.step(Sequence.of(self.text[:, t : t + 1]), self.state)
                outputs.append(y.values)
        self.position += TOKENS
        return outputs


def generation_cases(rounds: int) -> dict[str, Run]:
    """Label → a run that reads `TOKENS` steps one by one, the first time from a state at that position, then from where it is."""
    runs: dict[str, Run] = {}
    for kind, horizon in {"horizon": HORIZON, "unbounded": None}.items():
        torch.manual_seed(0)
        layer = Transformer(SIZE, HEADS, 4 * SIZE, DEPTH, causal=True, horizon=horizon, positions="rotary").eval()
        text = torch.randn(1, max(POSITIONS) + (rounds + 2) * TOKENS, SIZE)
        for position in POSITIONS:
            with torch.no_grad():
                state = read(layer, Sequence.of(text[:, :position]))
            reader = Reader(layer, state, text, position)

            # Without a bound everything matters; with one only so many steps of the past do.
            first = max(0, position - DEPTH * HORIZON) if horizon else 0
            if position - first <= 2_000:
                with torch.no_grad():
                    whole = layer(Sequence.of(text[:, first : position + TOKENS])).values[:, -TOKENS:]
                distance = float((torch.cat(reader.go_on(), 1) - whole).norm() / whole.norm())
                if not distance <= TOLERANCE:
                    raise SystemExit(
                        f"{kind} at {position}: step and whole pass differ by {distance:.1e}: nothing to report"
                    )
            runs[f"{kind}, position {position}"] = reader.go_on
    return runs


def path_cases(batch: int = 8, steps: int = 256) -> dict[str, dict[str, Run]]:
    kinds: dict[str, tuple[dict[str, Any], bool]] = {
        "causal": ({"causal": True}, False),
        "both directions, ragged": ({}, True),
        f"causal, horizon {steps // 8}": ({"causal": True, "horizon": steps // 8}, False),
        "causal, relative": ({"causal": True, "positions": "relative"}, False),
    }
    cases: dict[str, dict[str, Run]] = {}
    for kind, (options, ragged) in kinds.items():
        torch.manual_seed(0)
        layer = SelfAttention(SIZE, HEADS, **options)
        lengths = torch.linspace(steps // 3, steps, batch).long() if ragged else None
        x = Sequence.of(torch.randn(batch, steps, SIZE, requires_grad=True), lengths)
        leaves = [x.values, *layer.parameters()]
        weight = torch.randn(batch, steps, SIZE)
        for mode in ("forward", "training"):
            cases[f"{kind}, {mode}"] = {
                label: _run(layer, x, leaves, weight, fast=label == "fused", train=mode == "training")
                for label in ("fused", "plain")
            }
    return cases


def _run(layer: SelfAttention, x: Sequence, leaves: list[Tensor], weight: Tensor, *, fast: bool, train: bool) -> Run:
    def run() -> list[Tensor]:
        layer.fast = fast
        with torch.set_grad_enabled(train):
            y = layer(x).values
        assert (layer.last_path == "plain") is not fast
        return [y, *torch.autograd.grad((y * weight).sum(), leaves)] if train else [y]

    return run


def on_one_scale(runs: dict[str, Run]) -> dict[str, Run]:
    """The same with all gradients as one vector: that of a key's bias is zero but for rounding and has no size of its own."""

    def joined(run: Run) -> list[Tensor]:
        outputs, *gradients = run()
        return [outputs, *([torch.cat([gradient.flatten() for gradient in gradients])] if gradients else [])]

    return {label: partial(joined, run) for label, run in runs.items()}


def main() -> None:
    parser = command_line(__doc__, rounds=9)
    add_clock(parser)
    options = parser.parse_args()
    clock = "processor_seconds" if options.cpu_time else "seconds"
    torch.set_num_threads(options.threads)
    cases: dict[str, Any] = {}

    taken = times(generation_cases(options.rounds), options.rounds)
    cases["generation, seconds a token"] = {
        label: spread([t / TOKENS for t in values]) for label, values in taken[clock].items()
    }
    for label, value in cases["generation, seconds a token"].items():
        kind = label.split(",")[0]
        growth = ratio(taken, label, f"{kind}, position {POSITIONS[0]}", clock)
        value[f"ratio to position {POSITIONS[0]}"] = growth
        print(
            f"{label}: {1e3 * value['median']:.2f} ms a token, {growth['median']:.2f} of position {POSITIONS[0]}",
            flush=True,
        )

    for name, runs in path_cases().items():
        worst = largest_difference(name, on_one_scale(runs), "plain", TOLERANCE)
        taken = times(runs, options.rounds)
        cases[name] = {
            "largest_relative_difference": worst,
            "seconds": {label: spread(values) for label, values in taken[clock].items()},
            "fused against plain, ratio of seconds": ratio(taken, "plain", "fused", clock),
        }
        tell(f"{name}: fused against plain", cases[name]["fused against plain, ratio of seconds"])
    store("attention_steps", options.out, {"clock": clock, "rounds": options.rounds}, cases)


if __name__ == "__main__":
    main()
