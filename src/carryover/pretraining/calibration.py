"""What a run will take, from a few steps of the real model on a little of the real data. Nothing is kept."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from carryover.devices import autocast, choose_device, choose_precision
from carryover.objectives.objective import Draft, Objective
from carryover.pretraining.initial_model import read_initial_model
from carryover.pretraining.optimiser import objective_and_optimiser
from carryover.pretraining.recipes import build_objective
from carryover.pretraining.settings import PretrainSettings
from carryover.progress import duration

STEPS = 5


def estimate(wanted: PretrainSettings) -> dict[str, Any]:
    """Tokens, parameters, seconds and memory of the run that `wanted` describes, as the JSON document of `--dry-run`.

    The data is read as far as the parameters depend on it, so that they are those of the run; a sample is trained on, of which
    the first step is not counted. Nothing is kept. Raises BadData when the data is empty.
    """
    objective = build_objective(wanted.objective)
    start = None if wanted.begin_with is None else read_initial_model(wanted.begin_with)
    device = choose_device(wanted.device)
    precision = choose_precision(wanted.precision, device)
    with tempfile.TemporaryDirectory() as folder:
        draft = objective.draft(wanted, Path(folder), None if start is None else start.coder)
        config = objective.config(wanted, draft.in_size)
        if start is not None:
            start.check(wanted, config.to_json())
        model = objective.build(config).to(device)
        seconds = _seconds_a_token(objective, config, model, draft, wanted, device, precision)
    tokens = draft.tokens
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


def peak_memory_gib() -> float:
    """The most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def _seconds_a_token(
    objective: Objective[Any],
    config: Any,
    model: torch.nn.Module,
    draft: Draft,
    wanted: PretrainSettings,
    device: str,
    precision: str,
) -> float:
    """Median time of a training step divided by its tokens."""
    trained, optimiser = objective_and_optimiser(objective, config, model, wanted, learning_rate=1e-6, precision=precision)
    state, times = objective.initial_state(model, draft.rows, device), list[float]()
    for step in range(STEPS + 1):
        batch = draft.batches.batch(wanted.seed, 0, step % draft.batches.steps_per_epoch()).to(device)
        began = time.perf_counter()
        with autocast(precision, device):
            loss, state, _ = trained(model, batch, state, step_seed=step)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - began) / max(1, batch.tokens))
    return sorted(times[1:])[STEPS // 2]
