"""Real tokens a second when training on length buckets with a token budget, beside batches in arrival order.

Lengths are log-normal. "arrival" takes 32 rows at a time as they come and pads them to their longest; "buckets" are
`carryover.data.buckets.BucketSampler`'s, whose budget is the mean padded size of the arrival batches, so a batch of either costs
as much memory on average. Both see every example once in an epoch; only real tokens count. An epoch of each is
timed in turn, round by round in one process. First the loss of all examples is compared, and nothing is reported when the two
ways disagree.

    python benchmarks/length_buckets.py [--rounds 5] [--threads 2] [--examples 256] [--cpu-time] [--out benchmarks/results]

Cases
-----
LSTM      : an embedding of 128 features, two LSTMs of 256 cells, the next of 1,000 tokens at each step, Adam. The library's
            kernel, which computes the padding too.
projected : the same with 512 cells projected to 128 and clipped, by the scan, which leaves the padding out by itself: what
            buckets are still good for is fuller steps.
attention : a causal Transformer of two blocks, 128 features, 4 heads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from measuring.results import add_clock, command_line, store
from measuring.rounds import ratio, spread, tell, times
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from carryover.data.buckets import BucketSampler
from carryover.layers import LSTM, Embedding, Layer, Stacked, Transformer
from carryover.sequence import Sequence

MEDIAN, SPREAD, LONGEST = 20, 0.8, 400
ROWS, VOCABULARY, SIZE = 32, 1_000, 128
TOLERANCE = 1e-4

KINDS: dict[str, Callable[[], Layer]] = {
    "LSTM": lambda: Stacked(LSTM(SIZE, 2 * SIZE), LSTM(2 * SIZE, 2 * SIZE)),
    "projected": lambda: Stacked(*(LSTM(SIZE, 4 * SIZE, projection=SIZE, cell_clip=3, projection_clip=3) for _ in range(2))),
    "attention": lambda: Transformer(SIZE, 4, 4 * SIZE, 2, causal=True),
}


def make_examples(count: int) -> list[Tensor]:
    draw = np.random.default_rng(0)
    lengths = np.clip(np.rint(MEDIAN * np.exp(SPREAD * draw.standard_normal(count))), 2, LONGEST).astype(int)
    return [torch.from_numpy(draw.integers(VOCABULARY, size=length)) for length in lengths]


class Model(nn.Module):
    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = Stacked(Embedding(VOCABULARY, SIZE), layer)
        self.output = nn.Linear(layer.out_size, VOCABULARY)

    def loss(self, rows: list[Tensor]) -> Tensor:
        """Sum over the real tokens but the last of each row."""
        ids = Sequence.pad(rows)
        hidden = self.layer(ids).values[:, :-1]
        real = ids.mask[:, 1:]
        return cross_entropy(self.output(hidden[real]), ids.values[:, 1:][real], reduction="sum")


def batches_of(examples: list[Tensor]) -> tuple[dict[str, list[list[Tensor]]], dict[str, Any]]:
    """Both ways to cut an epoch into batches, and what they are like."""
    lengths = [len(example) for example in examples]
    arrival = [list(range(start, min(start + ROWS, len(examples)))) for start in range(0, len(examples), ROWS)]
    padded = [len(batch) * max(lengths[i] for i in batch) for batch in arrival]
    budget = round(sum(padded) / len(padded))
    ways = {"buckets": BucketSampler(lengths, token_budget=budget, seed=0).epoch(0), "arrival": arrival}
    for name, batches in ways.items():
        if sorted(i for batch in batches for i in batch) != list(range(len(examples))):
            raise SystemExit(f"{name} does not hold every example once: nothing to report")
    told: dict[str, Any] = {"real_tokens": sum(lengths), "token_budget": budget}
    for name, batches in ways.items():
        size = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
        told[name] = {"batches": len(batches), "share_of_padding": round(1 - sum(lengths) / size, 3)}
    return {name: [[examples[i] for i in batch] for batch in batches] for name, batches in ways.items()}, told


def case(kind: str, ways: dict[str, list[list[Tensor]]], tokens: int, rounds: int, clock: str) -> dict[str, Any]:
    torch.manual_seed(0)
    model = Model(KINDS[kind]())
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)
    with torch.no_grad():
        losses = {name: sum(float(model.loss(batch)) for batch in batches) for name, batches in ways.items()}
    if not abs(losses["buckets"] - losses["arrival"]) <= TOLERANCE * losses["arrival"]:
        raise SystemExit(f"{kind}: the losses of all examples differ, {losses}: nothing to report")

    def epoch(batches: list[list[Tensor]]) -> None:
        for batch in batches:
            optimiser.zero_grad()
            (model.loss(batch) / sum(map(len, batch))).backward()
            optimiser.step()

    taken = times({name: lambda b=batches: epoch(b) for name, batches in ways.items()}, rounds)  # type: ignore[misc]
    return {
        "losses": losses,
        "real_tokens_per_second": {
            name: spread([tokens / seconds for seconds in values]) for name, values in taken[clock].items()
        },
        "buckets against arrival": ratio(taken, "arrival", "buckets", clock),
    }


def main() -> None:
    parser = command_line(__doc__, rounds=5)
    parser.add_argument("--examples", type=int, default=256)
    add_clock(parser)
    options = parser.parse_args()
    clock = "processor_seconds" if options.cpu_time else "seconds"
    torch.set_num_threads(options.threads)
    ways, told = batches_of(make_examples(options.examples))
    print(told, flush=True)
    cases = {}
    for kind in KINDS:
        cases[kind] = case(kind, ways, told["real_tokens"], options.rounds, clock)
        tell(f"{kind}: buckets against arrival, real tokens a second", cases[kind]["buckets against arrival"])
    settings = {
        "rounds": options.rounds,
        "examples": options.examples,
        "median": MEDIAN,
        "spread": SPREAD,
        "longest": LONGEST,
    }
    store("length_buckets", options.out, {"clock": clock, **settings, "rows": ROWS, **told}, cases)


if __name__ == "__main__":
    main()
