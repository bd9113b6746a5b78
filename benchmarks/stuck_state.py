"""Whether a language model runs into a state that it never leaves where a lane begins inside a line, and what keeps it out.

A bidirectional model of size `small` with an adaptive softmax is trained in bfloat16 as `carryover pretrain` trains it. Held-out text
is then read in 64 lanes from zeros: once every lane begins at the beginning of a line, as the stream has it, once where an
even cut falls. Reported are perplexities forward and backward, the share of states at the projection's clip, and the share
of chunks that are stuck: predicted worse than by a guess among all words.

    python benchmarks/stuck_state.py --raw lm-english-mixed/train.txt.gz [--steps 1600] [--seeds 0,1] [--resets 0,0.02] [--rates 0.002]

`--resets P` gives every lane of a training batch a fresh state with probability P, wherever it is.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import product
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring.ending import leave
from measuring.results import command_line, store
from numpy.typing import NDArray

from carryover.data.batch_size import lanes_for
from carryover.data.coding import TokenCoder
from carryover.data.held_out import hold_out
from carryover.data.shards import Shards, build_shards
from carryover.data.stream import LanguageModelStream
from carryover.layers.base import choose_rows
from carryover.models.bilm import BiLanguageModel
from carryover.objectives.bilm import BiLanguageModelObjective, clipped_states, softmax_of
from carryover.objectives.scoring import evaluation_mode
from carryover.training.optimisers import build_optimiser, clip_gradients, set_learning_rate
from carryover.training.schedules import Schedule

STEPS, HELD_OUT_LANES, EPOCHS = 20, 64, 2


class CutAnywhere(LanguageModelStream):
    """Lanes that begin where an even cut falls, mostly inside a line, without a border in front."""

    def __init__(self, shards: Shards, *, batch_size: int, steps: int) -> None:
        super().__init__(shards, batch_size=batch_size, steps=steps, shuffle=False)
        self.block_starts = np.arange(batch_size + 1) * shards.tokens // batch_size
        self._chunks = self._lane_chunks = -(-np.diff(self.block_starts) // steps)
        self._lane_of, self._cut = np.arange(batch_size), np.zeros(batch_size + 1, dtype=bool)
        self._steps_per_epoch = int(self._lane_chunks.max())

    def _read(self, rows: Any) -> list[NDArray[np.int64]]:
        return super()._read(replace(rows, fresh=np.zeros_like(rows.fresh)))


@torch.no_grad()
def measure(model: BiLanguageModel, stream: LanguageModelStream) -> dict[str, Any]:
    """Figures of held-out text, [forward, backward]."""
    softmax, guess = softmax_of(model), log(model.config.vocabulary_size)
    nats, targets, stuck, clipped, read = np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(2), 0
    state = model.initial_state(stream.batch_size)
    with evaluation_mode(model):
        for step in range(stream.steps_per_epoch()):
            batch = stream.batch(0, 0, step)
            assert batch.backward is not None and batch.backward_targets is not None
            state = choose_rows(batch.fresh, model.initial_state(stream.batch_size), state)
            *tops, state = model.advance(batch.forward, batch.backward, state)
            for side, (top, ids) in enumerate(zip(tops, (batch.forward_targets, batch.backward_targets), strict=True)):
                rows = softmax.negative_log_likelihood(top.values.flatten(0, 1), ids.flatten().clamp(min=0))
                lanes, counts = (rows.view_as(ids) * (ids >= 0)).sum(1), (ids >= 0).sum(1)
                nats[side] += float(lanes.sum())
                targets[side] += int(counts.sum())
                stuck[side] += int(((lanes > guess * counts) & (counts > STEPS // 2)).sum())
            sides, lanes_read = clipped_states(model, batch, state)
            clipped, read = clipped + sides, read + lanes_read
    return {
        "perplexity": [round(exp(mean), 1) for mean in nats / targets],
        "states_at_the_clip": (clipped / read).round(4).tolist(),
        "stuck_chunks": (stuck / read).round(4).tolist(),
    }


def case(
    train: Shards, held_out: Shards, steps: int, every: int, seed: int, resets: float, rate: float
) -> list[dict[str, Any]]:
    """One run, measured at a fixed interval of steps."""
    torch.manual_seed(seed)
    model = BiLanguageModel(
        BiLanguageModel.Config.of_size("small", vocabulary_size=len(train.vocabulary), softmax="adaptive")
    )
    lanes = lanes_for(train.tokens, STEPS)
    stream = LanguageModelStream(train, batch_size=lanes, steps=STEPS)
    held = {
        "from the beginning of a line": LanguageModelStream(held_out, batch_size=HELD_OUT_LANES, steps=STEPS, shuffle=False),
        "from inside a line": CutAnywhere(held_out, batch_size=HELD_OUT_LANES, steps=STEPS),
    }
    total = stream.steps_per_epoch() * EPOCHS
    schedule = Schedule(kind="cosine", peak=rate, total=total, warm_up=round(0.02 * total))
    optimiser = build_optimiser(model, "adam", learning_rate=rate)
    objective, state = BiLanguageModelObjective(logits_dtype=torch.bfloat16), model.initial_state(lanes)
    draw, found = torch.Generator().manual_seed(seed), list[dict[str, Any]]()
    sums, targets, clipped, states = 0.0, 0, 0, 0
    for step in range(min(steps, total)):
        set_learning_rate(optimiser, schedule.rate(step))
        batch = stream.batch(seed, *divmod(step, stream.steps_per_epoch()))
        if resets:
            batch = replace(batch, fresh=batch.fresh | (torch.rand(lanes, generator=draw) < resets), begins=True)
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss, state, figures = objective(model, batch, state, step_seed=step)
        loss.backward()
        clip_gradients(model, 1.0)
        optimiser.step()
        sums, targets = sums + figures["forward_nll"] + figures["backward_nll"], targets + int(figures["targets"])
        clipped, states = clipped + int(figures["clipped_states"]), states + int(figures["states"])
        if (step + 1) % every == 0 or step + 1 == steps:
            row = {
                "step": step + 1,
                "training": {"perplexity": round(exp(sums / targets), 1), "states_at_the_clip": round(clipped / states, 4)},
                **{name: measure(model, held_stream) for name, held_stream in held.items()},
            }
            print(seed, resets, rate, row, flush=True)
            found.append(row)
            sums, targets, clipped, states = 0.0, 0, 0, 0
    return found


def main() -> None:
    parser = command_line(__doc__, threads=1)
    parser.add_argument("--raw", required=True)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--every", type=int, default=400)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--resets", default="0")
    parser.add_argument("--rates", default="0.002")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    coder = TokenCoder("characters")
    with tempfile.TemporaryDirectory() as folder:
        own, others = hold_out(options.raw, 0.02)
        place = Path(folder)
        train = build_shards(own, "characters", place / "train", tokenize=coder.units, vocabulary_size=20_000)
        vocabulary = train.vocabulary
        held_out = build_shards(others, "characters", place / "held-out", tokenize=coder.units, vocabulary=vocabulary)
        cases = {}
        for seed, resets, rate in product(
            *(options_of.split(",") for options_of in (options.seeds, options.resets, options.rates))
        ):
            name = f"seed {seed}, resets {resets}, rate {rate}"
            cases[name] = case(train, held_out, options.steps, options.every, int(seed), float(resets), float(rate))
    settings = {name: getattr(options, name) for name in ("raw", "steps", "every", "seeds", "resets", "rates")}
    store("stuck_state", options.out, settings, {name: {"rows": rows} for name, rows in cases.items()})


if __name__ == "__main__":
    leave(main)
