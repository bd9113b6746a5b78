"""What a comparison would cost, measured on a few updates of each rung; nothing is written and no test example is read.

The calibration fits each rung on the smallest budget for a handful of updates, with an untrained language model of the
wanted size where none exists yet: its speed is that of a trained one.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from carryover.compare.cells import Cell, needs_encoder, order_cells, table_rank
from carryover.compare.plan import ComparePlan
from carryover.compare.problem import Problem, content, gold, load_problem
from carryover.compare.resources import check_material
from carryover.compare.result import ENCODER_FOLDER
from carryover.compare.rungs import carry_plan, feature_model, split_budget
from carryover.compare.schedule import default_jobs
from carryover.compare.trial import PeakMemory, one_thread, store_of
from carryover.errors import CarryoverError
from carryover.progress import duration

SCHEMA = "carryover.compare-estimate/1"
_FEW, _MORE = 3, 9
_EXAMPLES = 64
_MORE_EXAMPLES = 256
_EXAMPLES_FOR_MEMORY = 1000


def estimate(plan: ComparePlan, out: Path | str) -> dict[str, Any]:
    """Number of cells, seconds and memory as a document; `lines` says the same in words.

    An upper estimate: early stopping may end cells sooner. Raises what `compare` would raise for the same input.
    """
    folder = Path(out)
    problem = load_problem(plan)
    plan = plan.resolve(len(problem.train))
    check_material(plan)
    store = store_of(folder, problem)
    cells = order_cells(plan.rungs, plan.budgets, plan.all_seeds)
    missing = [cell for cell in cells if not store.finished(cell)]
    jobs = plan.jobs or default_jobs(plan.device)
    seconds, memory = {}, {}
    with one_thread():
        for rung in plan.rungs:
            peak = PeakMemory()
            seconds[rung], mib = _cost_of_cells(rung, plan, problem, folder, missing)
            memory[rung] = max(peak.read(), mib)
    once = _pretraining(plan, folder) if any(needs_encoder(cell.rung) for cell in missing) else 0.0
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
        f"in all about {whole} with {jobs} {'cell' if jobs == 1 else 'cells'} at once, at most: cells may stop early"
    )
    lines.append(f"memory: about {document['peak_memory_mib']:,.0f} MiB")
    return lines


def _cost_of_cells(rung: str, plan: ComparePlan, problem: Problem, folder: Path, missing: list[Cell]) -> tuple[float, float]:
    """Seconds of one core for the missing cells of a rung, and MiB of the largest where the calibration does not show them."""
    mine = [cell for cell in missing if cell.rung == rung]
    if not mine:
        return 0.0, 0.0
    labels = plan.label_counts(len(problem.train))
    sample = _sample(problem, min(labels.values()))
    if rung == "features":
        largest = max(labels[cell.budget] for cell in mine)
        fixed, each = _calibrate_features(problem, largest)
        return sum(fixed + each * labels[cell.budget] for cell in mine), _features_mib(problem, largest)
    words = sum(len(_words(problem, example)) for example in problem.train) / len(problem.train)
    settings = _settings(plan, rung)
    fixed, update, predict = _calibrate_neural(rung, plan, problem, sample, folder)
    seconds = 0.0
    for cell in mine:
        batches = max(1.0, labels[cell.budget] * words / settings.token_budget)
        updates = max(settings.epochs * batches, settings.least_updates)
        held_out = settings.evaluations * 0.2 * labels[cell.budget] * predict
        seconds += fixed + updates * update + held_out + len(problem.test) * predict
    return seconds, 0.0


def _settings(plan: ComparePlan, rung: str) -> Any:
    from carryover.transfer.fit import FitSettings

    return FitSettings(**plan.fitting).resolve(carry_plan(rung, plan.placement))


def _sample(problem: Problem, count: int, most: int = _EXAMPLES) -> list[Any]:
    from carryover.data.splits import stratified_order

    return [problem.train[i] for i in stratified_order(problem.train, 0)[: min(max(count, 16), most, len(problem.train))]]


def _features_mib(problem: Problem, labels: int) -> float:
    """MiB of a process that fits hand-made features to `labels` examples, measured from this one, which has fitted a few."""
    sample = [content(example, problem.task) for example in _sample(problem, labels, most=_EXAMPLES_FOR_MEMORY)]
    kinds = len({label for example in problem.train for label in gold(example, problem.task)})
    more = feature_model(problem.task, multi_label=problem.multi_label).foretold_mib(sample, kinds, labels)
    return PeakMemory().read() + float(more)


def _calibrate_features(problem: Problem, labels: int) -> tuple[float, float]:
    """Seconds whatever the budget, and seconds a labelled example, where the largest budget has `labels` examples."""
    from carryover.compare.resources import Resources
    from carryover.compare.rungs import run_rung

    def run(examples: list[Any]) -> float:
        started = time.perf_counter()
        run_rung("features", problem.task, examples, examples[:8], 0, Resources(), multi_label=problem.multi_label)
        return time.perf_counter() - started

    few, more = _sample(problem, labels), _sample(problem, labels, most=_MORE_EXAMPLES)
    run(few)  # the first call also pays for imports
    short = run(few)
    if len(more) < 2 * len(few):
        return 0.0, short / len(few)
    # With many classes most of the time is theirs, however few examples each has.
    long = run(more)
    each = max(long - short, 0.1 * long) / (len(more) - len(few))
    return max(0.0, long - each * len(more)), each


def _calibrate_neural(
    rung: str, plan: ComparePlan, problem: Problem, sample: list[Any], folder: Path
) -> tuple[float, float, float]:
    """Seconds whatever the budget, seconds an update, seconds to predict an example."""
    from carryover.transfer.fit import FitSettings, fit_task

    encoder = _encoder(plan, folder) if needs_encoder(rung) else None
    vectors = _vectors(plan, problem, sample) if rung == "static" else None
    kept, held_out = split_budget(sample, 0)
    spent = []
    with tempfile.TemporaryDirectory() as cache:
        for updates in (_FEW, _MORE):
            options = {**plan.fitting, "epochs": 1, "least_updates": updates, "evaluations": 1}
            started = time.perf_counter()
            fit = fit_task(
                problem.task,
                kept,
                held_out,
                plan=carry_plan(rung, plan.placement),
                encoder=encoder,
                vectors=vectors,
                settings=FitSettings(**options),
                device=plan.device,
                cache_folder=Path(cache),
            )
            spent.append((fit.updates, time.perf_counter() - started))
    (few, first), (more, second) = spent
    update = max(second - first, 0.1 * second) / max(1, more - few)
    started = time.perf_counter()
    fit.predictor.predict([content(example, problem.task) for example in sample])
    predict = (time.perf_counter() - started) / len(sample)
    return max(0.0, second - more * update), update, predict


def _encoder(plan: ComparePlan, folder: Path) -> Any:
    """The language model if there is one, else an untrained one of the same size."""
    from carryover.encoders.language_model import LanguageModel
    from carryover.encoders.loading import load

    for place in (plan.encoder, folder / ENCODER_FOLDER):
        try:
            if place is not None:
                return load(Path(place), device=plan.device)
        except CarryoverError:
            continue
    from carryover.data.coding import TokenCoder
    from carryover.data.vocabulary import Vocabulary
    from carryover.models.bilm import BiLanguageModel

    options = dict(plan.pretraining)
    kind = options.get("input", "characters")
    kind = "words" if kind == "subwords" else kind
    vocabulary = Vocabulary(("the", "of", "and"))
    config = BiLanguageModel.Config.of_size(
        options.get("size", "small"), **{**options.get("model", {}), "input": kind, "vocabulary_size": len(vocabulary)}
    )
    return LanguageModel(BiLanguageModel(config).to(plan.device), TokenCoder(kind, vocabulary), {})


def _vectors(plan: ComparePlan, problem: Problem, sample: list[Any]) -> tuple[Any, Any]:
    import numpy as np

    from carryover.data.vocabulary import Vocabulary

    vocabulary = Vocabulary.count(word for example in sample for word in _words(problem, example))
    return vocabulary, np.zeros((len(vocabulary), plan.vectors.get("size", 100)), dtype=np.float32)


def _words(problem: Problem, example: Any) -> list[str]:
    seen = content(example, problem.task)
    return seen.split() if isinstance(seen, str) else list(seen)


def _pretraining(plan: ComparePlan, folder: Path) -> float:
    """Seconds of pretraining that are still to come; 0 where the language model stands already."""
    if plan.encoder is not None or (folder / ENCODER_FOLDER / "config.json").exists():
        return 0.0
    from carryover.compare.resources import pretrain_settings
    from carryover.pretraining.calibration import estimate as estimate_pretraining

    return float(estimate_pretraining(pretrain_settings(plan))["seconds"])
