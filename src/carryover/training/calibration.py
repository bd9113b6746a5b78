"""What a pretraining run will take, from a few steps of the real model on the beginning of the real text."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from carryover.data.coding import TokenCoder
from carryover.data.shards import build_shards
from carryover.data.stream import LanguageModelStream
from carryover.errors import BadData
from carryover.models.bilm import BiLanguageModel
from carryover.objectives.bilm import BiLanguageModelObjective
from carryover.progress import duration
from carryover.training.devices import autocast, choose_device, choose_precision
from carryover.training.held_out import raw_lines
from carryover.training.optimisers import build_optimiser
from carryover.training.settings import PretrainSettings

SAMPLE_LINES = 2000
STEPS = 5


def estimate(wanted: PretrainSettings) -> dict[str, Any]:
    """Tokens, seconds and memory of the run that `wanted` describes, as the JSON document of `--dry-run`.

    The text is read once for its length and a sample of it tokenised; the first step is not counted. Nothing is kept.
    Raises BadData when the text holds no word.
    """
    sample = list(islice(((n, line) for n, line in raw_lines(wanted.raw) if line.strip()), SAMPLE_LINES))
    if not sample:
        raise BadData("no text: there is no line with a word", path=wanted.raw, repair="give a file with lines of words")
    characters = sum(len(line) for _, line in raw_lines(wanted.raw))
    kind = "characters" if wanted.input == "characters" else "words"
    device = choose_device(wanted.device)
    precision = choose_precision(wanted.precision, device)
    with tempfile.TemporaryDirectory() as folder:
        shards = build_shards(
            sample, kind, Path(folder) / "shards", tokenize=TokenCoder(kind).units, vocabulary_size=wanted.vocabulary_size
        )
        tokens = round(shards.tokens * characters / max(1, sum(len(line) for _, line in sample)))
        lanes = wanted.batch_size or 32
        stream = LanguageModelStream(shards, batch_size=lanes, steps=wanted.steps, block_tokens=wanted.block_tokens)
        others = {**wanted.model, "input": kind, "vocabulary_size": max(wanted.vocabulary_size, len(shards.vocabulary))}
        if wanted.softmax is not None:
            others["softmax"] = wanted.softmax
        model = BiLanguageModel(BiLanguageModel.Config.of_size(wanted.size, **others)).to(device)
        seconds = _seconds_a_token(model, stream, lanes, wanted, device, precision)
    total = seconds * tokens * wanted.epochs
    limited = total if wanted.time_limit is None else min(total, wanted.time_limit)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024) / 1024
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "schema": "carryover.pretrain-estimate/1",
        "tokens": tokens,
        "epochs": wanted.epochs,
        "tokens_a_second": 1 / seconds,
        "seconds": limited,
        "parameters": parameters,
        "memory_gib": memory,
        "device": device,
        "lines": [
            f"about {tokens:,} tokens, {wanted.epochs} epochs, {parameters:,} parameters on {device}",
            f"about {1 / seconds:,.0f} tokens/s: {duration(limited)}"
            + ("" if limited == total else f" (the time limit; all epochs would take {duration(total)})"),
            f"about {memory:.1f} GiB of memory",
        ],
    }


def _seconds_a_token(
    model: BiLanguageModel,
    stream: LanguageModelStream,
    lanes: int,
    wanted: PretrainSettings,
    device: str,
    precision: str,
) -> float:
    """Median time of a training step divided by its tokens."""
    logits = torch.bfloat16 if precision == "bfloat16" else None
    objective = BiLanguageModelObjective(logits_dtype=logits)
    optimiser = build_optimiser(model, wanted.optimiser, learning_rate=1e-6, weight_decay=wanted.weight_decay)
    state, times = model.initial_state(lanes, device=device), []
    for step in range(STEPS + 1):
        batch = stream.batch(wanted.seed, 0, step % stream.steps_per_epoch()).to(device)
        began = time.perf_counter()
        with autocast(precision, device):
            loss, state, _ = objective(model, batch, state, step_seed=step)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - began) / max(1, batch.tokens))
    return sorted(times[1:])[STEPS // 2]
