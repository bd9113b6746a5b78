"""What a run will take, from a few steps of the real model on a little of the real data. Nothing is kept."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from carryover.data.buckets import BucketSampler
from carryover.data.coding import TokenCoder
from carryover.data.shards import build_shards
from carryover.data.stream import LanguageModelStream
from carryover.errors import BadData
from carryover.progress import duration
from carryover.tasks import TASKS
from carryover.training.continuing import read_start
from carryover.training.corpus import divide_text, keeps_vocabulary, learn_coder, vocabulary_length
from carryover.training.devices import autocast, choose_device, choose_precision
from carryover.training.families import Family, family_of, objective_and_optimiser
from carryover.training.fitting.beginning import Vectors
from carryover.training.fitting.fit import count_parameters, fit_task
from carryover.training.fitting.task_run import TaskRun, read_material
from carryover.training.lanes import lanes_for
from carryover.training.settings import PretrainSettings

SAMPLE_LINES = 2000
SAMPLE_CHARACTERS = 10_000_000
STEPS = 5
CALIBRATION_EXAMPLES = 64
FEW_UPDATES, MANY_UPDATES = 2, 8


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
    memory = _peak_memory_gib()
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


def _peak_memory_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def estimate_task(wanted: TaskRun, vectors: Vectors | None = None) -> dict[str, Any]:
    """Updates, seconds and memory of the training that `wanted` describes, as the JSON document of `--dry-run`.

    Everything is read and checked as for the training itself, and raises the same errors; two short trainings on a few
    examples tell what an update costs and what comes before the first.
    """
    material = read_material(wanted, vectors)
    settings = material.settings.resolve(material.plan)
    assert settings.token_budget and settings.epochs and settings.least_updates
    task = TASKS[wanted.task]
    coder = TokenCoder("words") if material.encoder is None else material.encoder.coder
    lengths = [max(1, len(task.words(example, coder.tokenize))) for example in material.train]
    batches = len(BucketSampler(lengths, token_budget=settings.token_budget, seed=settings.seed).epoch(0))
    updates = max(settings.epochs * batches, settings.least_updates)
    few, many = material.train[:CALIBRATION_EXAMPLES], material.dev[: CALIBRATION_EXAMPLES // 4]
    spent = []
    with tempfile.TemporaryDirectory() as cache:
        for count in (FEW_UPDATES, MANY_UPDATES):
            short = replace(settings, epochs=1, least_updates=count, evaluations=1, time_limit=None)
            began = time.perf_counter()
            fitted = fit_task(
                wanted.task,
                few,
                many,
                plan=material.plan,
                encoder=material.encoder,
                vectors=vectors,
                settings=short,
                device=wanted.device,
                cache_folder=Path(cache),
            )
            spent.append((fitted.updates, time.perf_counter() - began))
    (less, first), (more, second) = spent
    update = max(second - first, 0.1 * second) / max(1, more - less)
    total = updates * update + max(0.0, second - more * update)
    limited = total if settings.time_limit is None else min(total, settings.time_limit)
    memory = _peak_memory_gib()
    parameters, trainable = count_parameters(
        wanted.task,
        material.train,
        material.dev,
        plan=material.plan,
        settings=settings,
        encoder=material.encoder,
        vectors=vectors,
        device=wanted.device,
    )
    return {
        "schema": "carryover.train-estimate/1",
        "examples": len(material.train),
        "held_out_examples": len(material.dev),
        "updates": updates,
        "seconds": limited,
        "parameters": parameters,
        "trainable": trainable,
        "memory_gib": memory,
        "device": wanted.device,
        "lines": [
            f"{len(material.train):,} examples to train on, {len(material.dev):,} held out, at most {updates:,} updates, "
            f"{trainable:,} of {parameters:,} parameters trained on {wanted.device}",
            f"about {duration(limited)}, less when it stops early"
            + ("" if limited == total else f" (the time limit; all updates would take {duration(total)})"),
            f"about {memory:.1f} GiB of memory",
        ],
    }


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
