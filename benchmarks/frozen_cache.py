"""What an epoch over cached frozen representations costs, beside training the same head on ready-made tensors.

Both train the same task model (mixture of all layers, LSTM, tagging head) with the same batches. `cached` takes every
batch from the memory-mapped cache on disk, as `carryover train` does; `ready` finds all batches padded in memory, which is
the least any program could do; `computed` runs the language model in every epoch, which is what a cache saves. Interleaved
epochs in one process; the ratio is the median over pairs of neighbouring epochs. Nothing is reported when losses differ.

    python benchmarks/frozen_cache.py [--sentences 400] [--epochs 9] [--out benchmarks/results]
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from pathlib import Path

import torch
from measuring.results import command_line, heading, write

from carryover.data.buckets import BucketSampler
from carryover.data.coding import TokenCoder
from carryover.data.vocabulary import Vocabulary
from carryover.encoders.bilm import BidirectionalEncoder
from carryover.encoders.vector_cache import RepresentationCache, Representations
from carryover.models.bilm import BiLanguageModel
from carryover.sequence import Sequence
from carryover.tasks import Tag
from carryover.transfer.predictor import TaskModel
from carryover.transfer.trainable_encoders import MixedEncoder

LABELS = tuple(f"tag{number:02d}" for number in range(17))
CELLS = 128
TARGET = 1.2


def make_sentences(count: int, seed: int) -> list[tuple[str, ...]]:
    """Made-up words; lengths log-normal with a median of 15, as in treebanks."""
    draw = random.Random(seed)
    words = ["".join(draw.choice("abcdefghijklmnop") for _ in range(draw.randint(1, 10))) for _ in range(2000)]
    return [
        tuple(draw.choice(words) for _ in range(min(120, max(1, round(draw.lognormvariate(2.7, 0.6))))))
        for _ in range(count)
    ]


def make_model(language_model: BiLanguageModel, coder: TokenCoder) -> TaskModel:
    torch.manual_seed(1)
    encoder = MixedEncoder(BidirectionalEncoder(language_model, coder, {}), fixed=True, dropout=0.5)
    language_model.requires_grad_(False)
    return TaskModel(encoder, Tag(LABELS, 2 * CELLS, dropout=0.5), context_size=CELLS)


class Training:
    """One way of getting at the representations, with a model and an optimiser of its own."""

    def __init__(self, name: str, model: TaskModel, sentences: list[tuple[str, ...]], targets: list[torch.Tensor]) -> None:
        self.name, self.model, self.sentences, self.targets = name, model, sentences, targets
        self.optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3, fused=True)
        self.cached: Representations | None = None
        self.ready: dict[tuple[int, ...], tuple[Sequence, torch.Tensor]] = {}

    def prepare(self, positions: list[int]) -> None:
        """Pad a batch beforehand; not timed."""
        assert self.cached is not None
        targets = self.model.head.stack([self.targets[p] for p in positions])
        self.ready[tuple(positions)] = (self.cached.batch(positions), targets)

    def epoch(self, batches: list[list[int]]) -> tuple[float, list[float]]:
        """Seconds and losses."""
        losses = []
        self.model.train()
        start = time.perf_counter()
        for number, positions in enumerate(batches):
            torch.manual_seed(number)
            sentences = [self.sentences[p] for p in positions]
            if self.name == "ready":
                vectors, targets = self.ready[tuple(positions)]
            else:
                vectors = self.cached.batch(positions) if self.name == "cached" and self.cached is not None else None
                targets = self.model.head.stack([self.targets[p] for p in positions])
            self.optimiser.zero_grad(set_to_none=True)
            loss = self.model.loss(sentences, targets, vectors)
            loss.backward()
            self.optimiser.step()
            losses.append(float(loss.detach()))
        return time.perf_counter() - start, losses


def run(count: int, epochs: int) -> dict[str, object]:
    coder = TokenCoder("characters", Vocabulary(["a"]))
    torch.manual_seed(0)
    config = BiLanguageModel.Config.of_size("small", vocabulary_size=8)
    sentences = make_sentences(count, seed=0)
    draw = random.Random(1)
    targets = [torch.tensor([draw.randrange(len(LABELS)) for _ in words]) for words in sentences]
    sampler = BucketSampler([len(words) for words in sentences], token_budget=512, seed=0)
    trainings = {}
    weights = None
    with tempfile.TemporaryDirectory() as folder:
        for name in ("ready", "cached", "computed"):
            language_model = BiLanguageModel(config).eval()
            if weights is not None:
                language_model.load_state_dict(weights)
            weights = {key: value.clone() for key, value in language_model.state_dict().items()}
            training = Training(name, make_model(language_model, coder), sentences, targets)
            start = time.perf_counter()
            training.cached = RepresentationCache(BidirectionalEncoder(language_model, coder, {}), folder=Path(folder)).get(
                sentences
            )
            if name == "ready":
                first_time = time.perf_counter() - start
            trainings[name] = training
        seconds: dict[str, list[float]] = {name: [] for name in trainings}
        for epoch in range(epochs + 1):  # the first is a warm-up
            batches = sampler.epoch(epoch)
            for positions in batches:
                trainings["ready"].prepare(positions)
            order = list(trainings) if epoch % 2 else list(trainings)[::-1]
            found = {}
            for name in order:
                if name == "computed" and epoch > 2:
                    continue
                elapsed, found[name] = trainings[name].epoch(batches)
                if epoch:
                    seconds[name].append(elapsed)
            trainings["ready"].ready.clear()
            for name in ("cached", "computed") if "computed" in found else ("cached",):
                worst = max(abs(a - b) for a, b in zip(found["ready"], found[name], strict=True))
                if worst > 1e-3:
                    raise SystemExit(f"losses of ready and {name} differ by {worst:.2e} in epoch {epoch}: nothing to report")
    ratios = [cached / ready for cached, ready in zip(seconds["cached"], seconds["ready"], strict=True)]
    return {
        **heading("frozen_cache"),
        "sentences": count,
        "words": sum(map(len, sentences)),
        "batches": len(sampler.epoch(0)),
        "language_model": {"cells": config.cells, "projection": config.projection, "layers": config.layers},
        "head_cells": CELLS,
        "epoch_seconds_median": {name: statistics.median(values) for name, values in seconds.items()},
        "epoch_seconds": seconds,
        "first_computation_seconds": first_time,
        "ratio_cached_to_ready": {"median": statistics.median(ratios), "smallest": min(ratios), "largest": max(ratios)},
        "ratio_computed_to_cached": statistics.median(seconds["computed"]) / statistics.median(seconds["cached"]),
        "target": TARGET,
        "met": statistics.median(ratios) <= TARGET,
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = command_line(__doc__, threads=1)
    parser.add_argument("--sentences", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = run(options.sentences, options.epochs)
    print(json.dumps(result, indent=1))
    write(options.out, f"frozen_cache-{result['date']}", result)


if __name__ == "__main__":
    main()
