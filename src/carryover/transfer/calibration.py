"""What a training on labelled examples will take, from two short trainings on a few of them. Nothing is kept."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from carryover.data.buckets import BucketSampler
from carryover.data.coding import TokenCoder
from carryover.pretraining.calibration import peak_memory_gib
from carryover.progress import duration
from carryover.tasks import TASKS
from carryover.transfer.fit import count_parameters, fit_task
from carryover.transfer.initial_encoder import Vectors
from carryover.transfer.learners import usual_settings
from carryover.transfer.train import TaskRun, read_material

CALIBRATION_EXAMPLES = 64
FEW_UPDATES, MANY_UPDATES = 2, 8


def estimate_task(wanted: TaskRun, vectors: Vectors | None = None) -> dict[str, Any]:
    """Updates, seconds and memory of the training that `wanted` describes, as the JSON document of `--dry-run`.

    Everything is read and checked as for the training itself, and raises the same errors; two short trainings on a few
    examples tell what an update costs and what comes before the first.
    """
    material = read_material(wanted, vectors)
    usual = usual_settings(wanted.kind, material.plan, material.encoder, material.train)
    settings = material.settings.resolve(material.plan, usual)
    assert settings.token_budget and settings.epochs and settings.least_updates
    task = TASKS[wanted.kind]
    tokenize = TokenCoder("words").tokenize if material.encoder is None else material.encoder.tokenize
    lengths = [max(1, len(task.words(example, tokenize))) for example in material.train]
    batches = len(BucketSampler(lengths, token_budget=settings.token_budget, seed=settings.seed).epoch(0))
    updates = max(settings.epochs * batches, settings.least_updates)
    few, many = material.train[:CALIBRATION_EXAMPLES], material.dev[: CALIBRATION_EXAMPLES // 4]
    spent = []
    with tempfile.TemporaryDirectory() as cache:
        for count in (FEW_UPDATES, MANY_UPDATES):
            short = replace(settings, epochs=1, least_updates=count, evaluations=1, time_limit=None)
            began = time.perf_counter()
            fitted = fit_task(
                wanted.kind,
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
    memory = peak_memory_gib()
    parameters, trainable = count_parameters(
        wanted.kind,
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
