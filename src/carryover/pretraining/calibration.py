"""What a run will take, from a few steps of the real model on a little of the real text. Nothing is kept."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from carryover.data.batch_size import lanes_for
from carryover.data.coding import TokenCoder
from carryover.data.shards import build_shards
from carryover.data.stream import LanguageModelStream
from carryover.devices import autocast, choose_device, choose_precision
from carryover.errors import BadData
from carryover.pretraining.corpus import divide_text, keeps_vocabulary, learn_coder, vocabulary_length
from carryover.pretraining.families import Family, family_of, objective_and_optimiser
from carryover.pretraining.initial_model import read_start
from carryover.pretraining.settings import PretrainSettings
from carryover.progress import duration

SAMPLE_LINES = 2000
SAMPLE_CHARACTERS = 10_000_000
STEPS = 5


def estimate(wanted: PretrainSettings) -> dict[str, Any]:
    """Tokens, parameters, seconds and memory of the run that `wanted` describes, as the JSON document of `--dry-run`.

    The text is read for its length and for its vocabulary, which is counted until it is full, so that the parameters are
    those of the run; a sample is trained on, of which the first step is not counted. Nothing is kept. Raises BadData when
    the text holds no word.
    """
    start = None if wanted.begin_with is None else read_start(wanted.begin_with)
    lines, _ = divide_text(wanted)
    sample = list(islice(((n, line) for n, line in lines if line.strip()), SAMPLE_LINES))
    if not sample:
        raise BadData("no text: there is no line with a word", path=wanted.raw, repair="give a file with lines of words")
    characters = sum(len(line) for _, line in lines)
    family = family_of(wanted.objective)
    coder = _pieces_or_words(wanted, lines, characters) if start is None else start.coder
    known = keeps_vocabulary(wanted, None if start is None else start.coder)
    kept = coder.vocabulary if known else None
    device = choose_device(wanted.device)
    precision = choose_precision(wanted.precision, device)
    with tempfile.TemporaryDirectory() as folder:
        shards = build_shards(
            sample,
            coder.kind,
            Path(folder) / "shards",
            tokenize=coder.units,
            vocabulary_size=wanted.vocabulary_size,
            vocabulary=kept,
        )
        tokens = round(shards.tokens * characters / max(1, sum(len(line) for _, line in sample)))
        lanes = wanted.batch_size or lanes_for(tokens, wanted.steps)
        stream = LanguageModelStream(
            shards,
            batch_size=lanes,
            steps=wanted.steps,
            block_tokens=wanted.block_tokens,
            both_ways=family.both_ways,
        )
        config = family.config(wanted, len(kept) if kept is not None else vocabulary_length(wanted, coder, lines))
        if start is not None:
            start.check(wanted, config.to_json())
        model = family.build(config).to(device)
        seconds = _seconds_a_token(family, model, stream, lanes, wanted, device, precision)
    total = seconds * tokens * wanted.epochs
    limited = total if wanted.time_limit is None else min(total, wanted.time_limit)
    memory = peak_memory_gib()
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


def _pieces_or_words(wanted: PretrainSettings, lines: Iterable[tuple[int, str]], characters: int) -> TokenCoder:
    """The coder of the run; pieces are learned of the beginning of a long text where that fills their vocabulary, too."""
    if wanted.input != "subwords" or characters <= SAMPLE_CHARACTERS:
        return learn_coder(wanted, lines)
    coder = learn_coder(wanted, _beginning(lines, SAMPLE_CHARACTERS))
    return coder if len(coder.vocabulary) >= wanted.vocabulary_size else learn_coder(wanted, lines)


def _beginning(lines: Iterable[tuple[int, str]], characters: int) -> Iterator[tuple[int, str]]:
    for number, line in lines:
        yield number, line
        characters -= len(line)
        if characters < 0:
            return


def peak_memory_gib() -> float:
    """The most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def _seconds_a_token(
    family: Family,
    model: torch.nn.Module,
    stream: LanguageModelStream,
    lanes: int,
    wanted: PretrainSettings,
    device: str,
    precision: str,
) -> float:
    """Median time of a training step divided by its tokens."""
    logits = torch.bfloat16 if precision == "bfloat16" else None
    objective, optimiser = objective_and_optimiser(family, model, wanted, learning_rate=1e-6, logits_dtype=logits)
    state, times = family.initial_state(model, lanes, device), list[float]()
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
