"""What the next token costs by `step`, at three places of a text, beside reading what it depends on again.

Everything of a case is interleaved in one process; a ratio is the median over rounds, with the smallest and the largest. Each
state is made by reading the text up to that position. The output of a step is compared with that of a whole pass over what it
can see, and nothing is reported when they disagree.

    python benchmarks/generation_steps.py [--rounds 5] [--threads 2] [--cpu-time] [--out benchmarks/results]

Cases, each with one row and with 16
-----
TCN       : 8 levels, kernel 8, 24 channels, without weight norm: a receptive field of 3,571 steps.
WaveNet   : 10 levels, kernel 2, 32 channels: 1,025 steps.
LSTM      : 256 features, 512 cells: unbounded, so reading again would be reading everything, and is not timed.
attention : a Transformer of 4 blocks, 256 features, 4 heads, rotary positions, horizon 128: 509 steps.

"flat" is a token's cost at that position by its cost at position 100; "again" is a whole pass over the receptive field by a
token's cost, at the last position. What bounds a step: the interpreter and
starting operations; with 16 rows the LSTM's and the Transformer's also their products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from measuring.results import add_clock, command_line, store
from measuring.rounds import Run, largest_difference, ratio, spread, tell, times
from torch import Tensor

from carryover.layers import LSTM, TCN, Layer, State, Transformer, WaveNet
from carryover.sequence import Sequence

POSITIONS = (100, 1_000, 10_000)
TOKENS = 20
TOLERANCE = 1e-4

KINDS: dict[str, Callable[[], Layer]] = {
    "TCN": lambda: TCN(24, 24, levels=8, kernel=8).without_weight_norm(),
    "WaveNet": lambda: WaveNet(24, 24, size=32, skip_size=32, levels=10),
    "LSTM": lambda: LSTM(256, 512),
    "attention": lambda: Transformer(256, 4, 1024, 4, causal=True, horizon=128, positions="rotary"),
}


def read(layer: Layer, x: Sequence, chunk: int = 500) -> State:
    """The state after all of `x`."""
    state = layer.initial_state(x.batch_size)
    for start in range(0, x.time, chunk):
        _, state = layer.step(x.slice(start, start + chunk), state)
    return state


def runs_of(layer: Layer, text: Tensor) -> dict[str, Run]:
    """A run of `TOKENS` steps from each position, and the whole pass that gives the last of them at the last position."""
    runs: dict[str, Run] = {}
    for position in POSITIONS:
        state = read(layer, Sequence.of(text[:, :position]))
        steps = [Sequence.of(text[:, t : t + 1]) for t in range(position, position + TOKENS)]

        def run(state: State = state, steps: list[Sequence] = steps) -> list[Tensor]:
            for x in steps:
                y, state = layer.step(x, state)
            return [y.values[:, -1]]

        end = position + TOKENS
        window = Sequence.of(text[:, max(0, end - (layer.receptive_field or end)) : end])
        runs[f"position {position}"] = run
        runs[f"again at {position}"] = lambda window=window: [layer(window).values[:, -1]]  # type: ignore[misc]
    return runs


def case(kind: str, rows: int, rounds: int, clock: str) -> dict[str, Any]:
    torch.manual_seed(0)
    layer = KINDS[kind]().eval()
    text = torch.randn(rows, POSITIONS[-1] + TOKENS, layer.in_size)
    runs = runs_of(layer, text)
    worst = 0.0
    for position in POSITIONS:
        both = {label: run for label, run in runs.items() if label.endswith(f" {position}")}
        worst = max(worst, largest_difference(f"{kind} at {position}", both, f"again at {position}", TOLERANCE))
    last = f"again at {POSITIONS[-1]}"
    timed = [
        label for label in runs if label.startswith("position") or (label == last and layer.receptive_field is not None)
    ]
    taken = times({label: runs[label] for label in timed}, rounds)
    for values in taken.values():
        for label in values:
            values[label] = [t / (1 if label == last else TOKENS) for t in values[label]]
    found: dict[str, Any] = {
        "receptive_field": layer.receptive_field,
        "largest_relative_difference": worst,
        "seconds": {label: spread(values) for label, values in taken[clock].items()},
    }
    for position in POSITIONS[1:]:
        found[f"flat, position {position}"] = ratio(taken, f"position {position}", f"position {POSITIONS[0]}", clock)
    if last in timed:
        found["again"] = ratio(taken, last, f"position {POSITIONS[-1]}", clock)
    return found


def main() -> None:
    parser = command_line(__doc__, rounds=5)
    add_clock(parser)
    options = parser.parse_args()
    clock = "processor_seconds" if options.cpu_time else "seconds"
    torch.set_num_threads(options.threads)
    cases = {}
    with torch.no_grad():
        for kind in KINDS:
            for rows in (1, 16):
                name = f"{kind}, {rows} row{'s' * (rows > 1)}"
                cases[name] = found = case(kind, rows, options.rounds, clock)
                token = found["seconds"][f"position {POSITIONS[0]}"]["median"]
                print(f"{name}: {1e3 * token:.2f} ms a token at position {POSITIONS[0]}", flush=True)
                for label in found:
                    if label.startswith(("flat", "again")):
                        tell(f"{name}: {label}", found[label])
    store("generation_steps", options.out, {"clock": clock, "rounds": options.rounds, "tokens": TOKENS}, cases)


if __name__ == "__main__":
    main()
