"""What a comparison would cost, measured on a few updates of each rung; nothing is written and no test example is read.

The calibration fits each rung on the smallest budget for a handful of updates, with an untrained language model of the
wanted size where none exists yet: its speed is that of a trained one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from carryover.compare.cells import order_cells
from carryover.compare.ladder import rung_of, table_rank
from carryover.compare.ladder.calibration import Calibration
from carryover.compare.plan import ComparePlan
from carryover.compare.problem import Problem, load_problem
from carryover.compare.resources import check_material
from carryover.compare.result import ENCODER_FOLDER
from carryover.compare.trial import store_of
from carryover.errors import CarryoverError
from carryover.experiments.process import PeakMemory, one_thread
from carryover.experiments.schedule import default_jobs
from carryover.progress import duration

SCHEMA = "carryover.compare-estimate/1"


def estimate(plan: ComparePlan, out: Path | str) -> dict[str, Any]:
    """Number of cells, seconds and memory as a document; `lines` says the same in words.

    An upper estimate: early stopping may end cells sooner. Raises what `compare` would raise for the same input.
    """
    folder = Path(out)
    problem = load_problem(plan)
    plan = plan.resolve(len(problem.train), words=problem.has_words)
    check_material(plan)
    store = store_of(folder, problem)
    cells = order_cells(plan.rungs, plan.budgets, plan.all_seeds)
    missing = store.unfinished(cells)
    jobs = plan.jobs or default_jobs(plan.device)
    calibration, labels = _calibration(plan, problem, folder), plan.label_counts(len(problem.train))
    seconds, memory = {}, {}
    with one_thread():
        for rung in plan.rungs:
            budgets = [labels[cell.budget] for cell in missing if cell.rung == rung]
            peak = PeakMemory()
            seconds[rung], mib = rung_of(rung).forecast(calibration, budgets) if budgets else (0.0, 0.0)
            memory[rung] = max(peak.read(), mib)
    once = _pretraining(plan, folder) if any(_made_here(plan, cell.rung) for cell in missing) else 0.0
    total = once + sum(seconds.values()) / jobs
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "cells": len(cells),
        "finished": len(cells) - len(missing),
        "missing": len(missing),
        "jobs": jobs,
        "seconds": total,
        "pretraining_seconds": once,
        "seconds_by_rung": seconds,
        "peak_memory_mib": max(memory.values()) * max(1, min(jobs, len(missing))),
    }
    return {**document, "lines": _lines(document)}


def _lines(document: dict[str, Any]) -> list[str]:
    lines = [f"{document['cells']} cells, {document['finished']} of them finished, {document['missing']} to run"]
    if document["pretraining_seconds"]:
        lines.append(f"pretraining, once: about {duration(document['pretraining_seconds'])}")
    for rung, seconds in sorted(document["seconds_by_rung"].items(), key=lambda item: table_rank(item[0])):
        lines.append(f"{rung}: about {duration(seconds)} of one core")
    whole, jobs = duration(document["seconds"]), document["jobs"]
    lines.append(
        f"in all at most about {whole} with {jobs} {'cell' if jobs == 1 else 'cells'} at once; cells may stop early"
    )
    lines.append(f"memory: about {document['peak_memory_mib']:,.0f} MiB")
    return lines


def _calibration(plan: ComparePlan, problem: Problem, folder: Path) -> Calibration:
    labels = plan.label_counts(len(problem.train))
    return Calibration(
        task=problem.asked(plan.class_weights),
        train=problem.train,
        test_examples=len(problem.test),
        smallest=min(labels.values()),
        encoder=lambda name: _encoder(plan, name, folder),
        vector_size=plan.vectors.get("size", 100),
        fitting=plan.fitting,
        placement=plan.placement,
        device=plan.device,
    )


def _made_here(plan: ComparePlan, rung: str) -> bool:
    """Whether the rung is over a language model that the comparison pretrains."""
    found = rung_of(rung)
    return found.needs.encoder and plan.rung_encoders[found.encoder] is None


def _encoder(plan: ComparePlan, name: str, folder: Path) -> Any:
    """The language model that a rung names if there is one, else an untrained one of the same size."""
    from carryover.encoders.loading import load_encoder

    try:
        return load_encoder(plan.rung_encoders[name] or folder / ENCODER_FOLDER, device=plan.device)
    except CarryoverError:
        pass
    from carryover.compare.resources import pretrain_settings
    from carryover.encoders.loading import encoder_class
    from carryover.pretraining.recipes import build_objective

    wanted = pretrain_settings(plan)
    objective = build_objective(wanted.objective)
    config, coder = objective.stand_in(wanted)
    untrained = encoder_class(objective.kind).build(config.to_json(), coder)
    untrained.model.to(plan.device)
    return untrained


def _pretraining(plan: ComparePlan, folder: Path) -> float:
    """Seconds of pretraining that are still to come; 0 where the language model exists already."""
    if (folder / ENCODER_FOLDER / "config.json").exists():
        return 0.0
    from carryover.compare.resources import pretrain_settings
    from carryover.pretraining.calibration import estimate as estimate_pretraining

    return float(estimate_pretraining(pretrain_settings(plan))["seconds"])
