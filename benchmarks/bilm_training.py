"""Speed of training the bidirectional language model, beside a plain PyTorch one and AllenNLP's.

Two LSTM layers of 512 cells projected to 128 in each direction, a vocabulary of 20,000 words that follow Zipf's law,
sentences of log-normal lengths in batches of similar length. A step is loss, gradients and one update by Adam. Everything
is interleaved in one process, batch by batch; a ratio is the median over rounds of (peer's seconds / our seconds).

    python benchmarks/bilm_training.py [--rounds 7] [--out benchmarks/results]
    OMP_NUM_THREADS=1 python benchmarks/bilm_training.py --cpu-time      # on a machine that others use as well

Contestants
-----------
full, adaptive, sampled : ours, in float32.
full-bfloat16           : its logits in bfloat16, all else in float32.
adaptive-bfloat16       : all products in bfloat16, as `carryover pretrain --precision bfloat16` does them.
plain        : nn.LSTM(proj_size=128) per layer and direction, the same residual, nn.Linear and cross entropy over all
               positions of the padded batch.
plain-packed : the same on packed sequences, with nn.Linear on real positions only: the best a careful user would write.
allennlp     : ElmoLstm and SampledSoftmaxLoss of AllenNLP 2.10.1, when CARRYOVER_ALLENNLP names a folder made by
               `pip install --no-deps --target FOLDER allennlp==2.10.1`; see `peers/allennlp_modules.py`.

Before anything is timed all contestants are given the same weights. Nothing is reported unless the exact losses agree, and
for `plain` the gradients as well.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from measuring.results import write
from peers.allennlp_modules import find_allennlp
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from carryover.data.coding import TokenBatch
from carryover.data.stream import LanguageModelBatch
from carryover.devices import autocast
from carryover.models.bilm import BiLanguageModel
from carryover.objectives.bilm import BiLanguageModelObjective
from carryover.sequence import Sequence

VOCABULARY, CELLS, SIZE, LAYERS, SAMPLES = 20_000, 512, 128, 2, 8192
TARGETS = {"full over plain": 1.3, "adaptive or sampled over allennlp": 4.0}


def make_batches(count: int, rows: int, seed: int) -> list[LanguageModelBatch]:
    """Sentences with borders; those of similar length together, as any training program would batch them."""
    draw = random.Random(seed)
    lengths = sorted(min(120, max(3, round(draw.lognormvariate(2.9, 0.6)) + 2)) for _ in range(count * rows))
    batches = []
    for start in range(0, len(lengths), rows):
        chosen = torch.tensor(lengths[start : start + rows])
        uniform = torch.rand(rows, int(chosen.max()), generator=torch.Generator().manual_seed(seed + start))
        ids = torch.exp(uniform * math.log(VOCABULARY - 4)).long() + 3  # log-uniform ranks
        forward = Sequence(ids, chosen).zero_padding()
        backward = forward.reverse()
        batches.append(
            LanguageModelBatch(
                TokenBatch(forward, None, None, chosen),
                next_ids(forward),
                TokenBatch(backward, None, None, chosen),
                next_ids(backward),
                torch.ones(rows, dtype=torch.bool),
                int((chosen - 1).sum()),
            )
        )
    draw.shuffle(batches)
    return batches


def next_ids(x: Sequence) -> Tensor:
    """The id one step further, −1 at the last step and in the padding, [B, T]."""
    ahead = torch.nn.functional.pad(x.values[:, 1:], (0, 1), value=-1)
    return ahead.masked_fill(torch.arange(x.time) >= (x.lengths - 1).unsqueeze(1), -1)


# ---------------------------------------------------------------------- contestants


class Ours:
    """The package's model and objective; `config` changes the softmax."""

    def __init__(
        self, source: BiLanguageModel, logits_dtype: torch.dtype | None = None, *, products: str = "float32", **config: Any
    ) -> None:
        self.model = BiLanguageModel(replace(source.config, **config))
        names = self.model.state_dict()
        self.model.load_state_dict({**names, **{n: t for n, t in source.state_dict().items() if n in names}})
        self.objective = BiLanguageModelObjective(logits_dtype=logits_dtype)
        self.products = products
        self.steps = 0

    def loss(self, batch: LanguageModelBatch) -> Tensor:
        self.steps += 1
        state = self.model.initial_state(len(batch.fresh))
        with autocast(self.products, "cpu"):
            return self.objective(self.model, batch, state, step_seed=self.steps)[0]


class Plain(nn.Module):
    """A bidirectional language model as one writes it from PyTorch's own parts."""

    def __init__(self, source: BiLanguageModel, packed: bool) -> None:
        super().__init__()
        self.packed = packed
        self.embedding = nn.Embedding(VOCABULARY, SIZE)
        self.directions = nn.ModuleList(
            nn.ModuleList(nn.LSTM(SIZE, CELLS, proj_size=SIZE, batch_first=True) for _ in range(LAYERS)) for _ in range(2)
        )
        self.output = nn.Linear(SIZE, VOCABULARY)
        with torch.no_grad():
            self.embedding.weight.copy_(source.token_encoder.weight)  # type: ignore[arg-type]
            self.output.weight.copy_(source.output.weight)  # type: ignore[arg-type]
            self.output.bias.copy_(source.output.bias)  # type: ignore[arg-type]
            for mine, theirs in zip(self.directions, (source.forward_layers, source.backward_layers), strict=True):
                for lstm, layer in zip(mine, theirs, strict=True):  # type: ignore[call-overload]
                    lstm.weight_ih_l0.copy_(layer.input_weight)
                    lstm.weight_hh_l0.copy_(layer.hidden_weight)
                    lstm.weight_hr_l0.copy_(layer.projection_weight)
                    lstm.bias_ih_l0.copy_(layer.bias)
                    lstm.bias_hh_l0.zero_()

    def hidden(self, ids: Sequence, lstms: nn.ModuleList) -> Tensor:
        x = self.embedding(ids.values)
        for number, lstm in enumerate(lstms):
            if self.packed:
                packed = pack_padded_sequence(x, ids.lengths, batch_first=True, enforce_sorted=False)
                y, _ = pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=ids.time)
            else:
                y = lstm(x)[0]
            x = y if number == 0 else y + x
        return x

    def loss(self, batch: LanguageModelBatch) -> Tensor:
        total: Any = 0
        sides = ((batch.forward, batch.forward_targets), (batch.backward, batch.backward_targets))
        for (ids, targets), lstms in zip(sides, self.directions, strict=True):
            hidden = self.hidden(ids.index, lstms)  # type: ignore[arg-type]
            if self.packed:
                hidden, targets = hidden[targets >= 0], targets[targets >= 0]
            logits = self.output(hidden)
            total = total + cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=-1, reduction="sum")
        return total / (2 * batch.tokens)


class AllenNLP(nn.Module):
    """ElmoLstm with SampledSoftmaxLoss, called once for each direction as in that library's language model."""

    def __init__(self, source: BiLanguageModel, find: Callable[[str], Any]) -> None:
        super().__init__()
        elmo_lstm = find("modules.elmo_lstm.ElmoLstm")
        sampled = find("modules.sampled_softmax_loss.SampledSoftmaxLoss")
        self.embedding = nn.Embedding(VOCABULARY, SIZE)
        self.lstm = elmo_lstm(
            SIZE, SIZE, CELLS, LAYERS, requires_grad=True, memory_cell_clip_value=3.0, state_projection_clip_value=3.0
        )
        self.softmax = sampled(VOCABULARY, SIZE, SAMPLES)
        with torch.no_grad():
            self.embedding.weight.copy_(source.token_encoder.weight)  # type: ignore[arg-type]
            self.softmax.softmax_w.copy_(source.output.weight)
            self.softmax.softmax_b.copy_(source.output.bias)
            for name, theirs in (("forward", source.forward_layers), ("backward", source.backward_layers)):
                for number, layer in enumerate(theirs):
                    cell = getattr(self.lstm, f"{name}_layer_{number}")
                    cell.input_linearity.weight.copy_(layer.input_weight)
                    cell.state_linearity.weight.copy_(layer.hidden_weight)
                    cell.state_linearity.bias.copy_(layer.bias)
                    cell.state_projection.weight.copy_(layer.projection_weight)

    def loss(self, batch: LanguageModelBatch) -> Tensor:
        ids = batch.forward.index
        self.lstm.reset_states()
        top = self.lstm(self.embedding(ids.values), ids.mask)[-1]  # [B, T, 2P], both in text order
        ahead = batch.forward_targets
        behind = Sequence(batch.backward_targets, ids.lengths).reverse().values
        forward = self.softmax(top[..., :SIZE][ahead >= 0], ahead[ahead >= 0])
        backward = self.softmax(top[..., SIZE:][behind >= 0], behind[behind >= 0])
        return (forward + backward) / (2 * batch.tokens)


# ---------------------------------------------------------------------- agreement


def check_agreement(contestants: dict[str, Any], batches: list[LanguageModelBatch]) -> dict[str, float]:
    """Exact losses on the same weights, or SystemExit naming who disagrees with whom."""
    losses: dict[str, float] = {}
    for batch in batches[:3]:
        want = float(contestants["plain"].loss(batch).detach())
        for name, allowed in (("plain-packed", 1e-5), ("full", 1e-5), ("full-bfloat16", 2e-3)):
            agree(f"loss of {name}", float(contestants[name].loss(batch).detach()), want, allowed)
        if "allennlp" in contestants:
            peer = contestants["allennlp"]
            peer.eval()  # its softmax is exact then
            agree("exact loss of allennlp", float(peer.loss(batch).detach()), want, 1e-5)
            peer.train()
        sampled = Ours(contestants["full"].model, softmax="sampled", samples=VOCABULARY)
        agree("loss of sampled with every word drawn", float(sampled.loss(batch).detach()), want, 1e-5)
        ours, theirs = adaptive_losses(contestants["adaptive"], batch)
        agree("loss of adaptive beside torch's", ours, theirs, 1e-5)
        low = float(contestants["adaptive-bfloat16"].loss(batch).detach())
        agree("loss of adaptive-bfloat16", low, ours, 2e-3)
        losses = {"full": want, "adaptive": ours}
    ours, plain = contestants["full"], contestants["plain"]
    pairs = [(ours.model.token_encoder.weight, plain.embedding.weight), (ours.model.output.weight, plain.output.weight)]
    pairs.append((ours.model.backward_layers[0].hidden_weight, plain.directions[1][0].weight_hh_l0))
    for one, other in pairs:
        (got,) = torch.autograd.grad(ours.loss(batches[0]), [one])
        (want_gradient,) = torch.autograd.grad(plain.loss(batches[0]), [other])
        agree("gradient of full", float((got - want_gradient).norm() / want_gradient.norm()) + 1, 1, 1e-4)
    return losses


def adaptive_losses(ours: Ours, batch: LanguageModelBatch) -> tuple[float, float]:
    """Our adaptive loss and that of torch's module on the same weights and hidden states."""
    output: Any = ours.model.output
    torchs = nn.AdaptiveLogSoftmaxWithLoss(SIZE, VOCABULARY, list(output.cutoffs), head_bias=True)
    with torch.no_grad():
        torchs.head.weight.copy_(output.head_weight)
        torchs.head.bias.copy_(output.head_bias)
        for pair, projection, tail in zip(torchs.tail, output.projections, output.tails, strict=True):
            pair[0].weight.copy_(projection)  # type: ignore[index]
            pair[1].weight.copy_(tail)  # type: ignore[index]
        tops = ours.model.advance(batch.forward, batch.backward, ours.model.initial_state(len(batch.fresh)))
        hidden = torch.cat([top.values.flatten(0, 1) for top in tops[:2]])
        targets = torch.cat([batch.forward_targets.flatten(), batch.backward_targets.flatten()])
        loss = torchs(hidden[targets >= 0], targets[targets >= 0]).loss
        return float(ours.loss(batch)), float(loss)


def agree(what: str, got: float, want: float, allowed: float) -> None:
    if not abs(got - want) <= allowed * abs(want):
        raise SystemExit(f"{what} is {got} and not {want}: nothing is reported while results disagree")


# ---------------------------------------------------------------------- timing


def measure(
    contestants: dict[str, Any], batches: list[LanguageModelBatch], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each round for each contestant; within a round every batch goes through all of them in turn."""
    models = {name: one.model if isinstance(one, Ours) else one for name, one in contestants.items()}
    optimisers = {name: torch.optim.Adam(one.parameters(), lr=1e-4, fused=True) for name, one in models.items()}

    def step(name: str, batch: LanguageModelBatch) -> float:
        started = clock()
        optimisers[name].zero_grad()
        contestants[name].loss(batch).backward()
        optimisers[name].step()
        return clock() - started

    names = list(contestants)
    for name in names:  # warm: kernels chosen, memory taken
        step(name, max(batches, key=lambda batch: batch.tokens))
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        spent = dict.fromkeys(names, 0.0)
        for number, batch in enumerate(batches):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                spent[name] += step(name, batch)
        for name in names:
            seconds[name].append(spent[name])
    return seconds


def ratio(seconds: dict[str, list[float]], peer: str, ours: str) -> dict[str, Any]:
    pairs = [one / other for one, other in zip(seconds[peer], seconds[ours], strict=True)]
    return {
        "peer": peer,
        "ours": ours,
        "median": round(statistics.median(pairs), 2),
        "lowest": round(min(pairs), 2),
        "highest": round(max(pairs), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--rows", type=int, default=64, help="sentences in a batch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="folder for the dated result file")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count processor time instead of elapsed time: with one thread, for a machine that others use as well",
    )
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    batches = make_batches(options.batches, options.rows, options.seed)
    config = BiLanguageModel.Config(
        vocabulary_size=VOCABULARY, input="words", projection=SIZE, cells=CELLS, layers=LAYERS, dropout=0.0
    )
    source = BiLanguageModel(config)
    warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")  # of the plain one
    contestants: dict[str, Any] = {
        "full": Ours(source),
        "full-bfloat16": Ours(source, torch.bfloat16),
        "adaptive": Ours(source, softmax="adaptive"),
        "adaptive-bfloat16": Ours(source, torch.bfloat16, products="bfloat16", softmax="adaptive"),
        "sampled": Ours(source, softmax="sampled", samples=SAMPLES),
        "plain": Plain(source, packed=False),
        "plain-packed": Plain(source, packed=True),
    }
    find = find_allennlp()
    if find is None:
        print("allennlp is absent: set CARRYOVER_ALLENNLP to compare with it", file=sys.stderr)
    else:
        contestants["allennlp"] = AllenNLP(source, find)
    losses = check_agreement(contestants, batches)
    load_before = os.getloadavg()[0]
    seconds = measure(contestants, batches, options.rounds, time.process_time if options.cpu_time else time.perf_counter)

    tokens = sum(batch.tokens for batch in batches)
    padded = sum(batch.forward.index.values.numel() for batch in batches)
    ratios = [ratio(seconds, peer, ours) for peer in ("plain", "plain-packed") for ours in ("full", "full-bfloat16")]
    if find is not None:
        allennlps = ("sampled", "adaptive", "adaptive-bfloat16", "full", "full-bfloat16")
        ratios += [ratio(seconds, "allennlp", ours) for ours in allennlps]
    result = {
        "schema": "carryover.benchmark.bilm_training/1",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "clock": "processor time" if options.cpu_time else "elapsed time",
        "load_before": round(load_before, 2),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "threads": torch.get_num_threads(),
        "settings": {
            "vocabulary": VOCABULARY,
            "cells": CELLS,
            "projection": SIZE,
            "layers": LAYERS,
            "samples": SAMPLES,
            "rows": options.rows,
            "batches": options.batches,
            "rounds": options.rounds,
            "seed": options.seed,
            "share_of_padding": round(1 - sum(int(b.forward.index.lengths.sum()) for b in batches) / padded, 3),
        },
        "agreed_losses": losses,
        "tokens_per_second": {name: round(tokens / statistics.median(times)) for name, times in seconds.items()},
        "ratios": ratios,
        "targets": TARGETS,
    }
    print(json.dumps(result, indent=2))
    if options.out is not None:
        write(options.out, f"bilm_training-{datetime.now(UTC):%Y-%m-%d}-threads{torch.get_num_threads()}", result)


if __name__ == "__main__":
    main()
