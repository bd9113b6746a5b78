"""One cell from beginning to end, in whatever process it runs: draw its labels, run its rung, score it once, store it."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carryover.compare.cells import Cell, CellFailure, CellResult
from carryover.compare.ladder import Resources
from carryover.compare.plan import ComparePlan
from carryover.compare.problem import Problem, load_problem
from carryover.compare.store import PredictionStore, check_present
from carryover.data.splits import nested_budgets
from carryover.errors import BadData, CarryoverError
from carryover.experiments.process import PeakMemory, one_thread, versions

STOPPED = 128
"""Exit codes above this belong to signals: such a cell did not fail, it was stopped."""


@dataclass(frozen=True)
class Trial:
    """Everything a process needs to run one cell: small, so that it travels to a worker or another machine cheaply."""

    plan: ComparePlan
    cell: Cell
    labels: int
    out: Path
    resources: Resources
    fingerprints: tuple[str, str]


def run_trial(trial: Trial) -> CellFailure | None:
    """Run and store a cell; None when that went well. An error becomes a stored failure, so that other cells continue.

    Faults of the output place (full disk, no permission) are raised: every other cell would meet them too.
    """
    problem = _problem_of(trial)
    store = store_of(trial.out, problem)
    try:
        with one_thread():
            result, predictions = _measure(trial, problem)
    except CarryoverError as error:
        if error.exit_code > STOPPED:
            raise
        check_present(trial.out)
        failure = _failure(trial.cell, error, error.exit_code)
        store.write_failure(failure)
        return failure
    except Exception as error:  # whatever a rung does wrong is one cell's failure, told in full at the end
        check_present(trial.out)
        failure = _failure(trial.cell, error, 1)
        store.write_failure(failure)
        return failure
    check_present(trial.out)
    store.write(result, predictions)
    return None


def store_of(out: Path, problem: Problem) -> PredictionStore:
    """The store of a comparison's cells under `out`."""
    return PredictionStore(out, problem.question, [example.input for example in problem.test])


def _measure(trial: Trial, problem: Problem) -> tuple[CellResult, list[Any]]:
    from carryover.compare.ladder.running import run_rung

    cell = trial.cell
    chosen = nested_budgets(problem.train, [trial.labels], cell.seed)[trial.labels]
    train = [problem.train[i] for i in chosen]
    memory = PeakMemory()
    task = problem.asked(trial.plan.class_weights)
    outcome = run_rung(cell.rung, task, train, problem.test, cell.seed, trial.resources)
    counts = problem.question.counts(problem.gold, outcome.predictions)
    result = CellResult(
        rung=cell.rung,
        budget=cell.budget,
        labels=trial.labels,
        seed=cell.seed,
        score=float(problem.metric.of(counts.sum(axis=0))),
        seconds=outcome.seconds,
        prediction_milliseconds=outcome.prediction_milliseconds,
        parameters=outcome.parameters,
        trainable=outcome.trainable,
        peak_memory_mib=memory.read(),
        test_examples=len(problem.test),
        versions=versions(),
        notes=outcome.notes,
    )
    return result, outcome.predictions


def _failure(cell: Cell, error: Exception, exit_code: int) -> CellFailure:
    message = str(error) or type(error).__name__
    name = type(error).__name__
    return CellFailure(cell.rung, cell.budget, cell.seed, name, message, exit_code, traceback.format_exc())


_loaded: dict[str, Problem] = {}


def remember(problem: Problem) -> None:
    """Let trials in this very process use the examples that are already read."""
    _loaded.clear()
    _loaded[problem.train_fingerprint + problem.test_fingerprint] = problem


def _problem_of(trial: Trial) -> Problem:
    """The examples, read once a process. Raises BadData when a file changed since the comparison began."""
    key = "".join(trial.fingerprints)
    if key not in _loaded:
        problem = load_problem(trial.plan)
        if (problem.train_fingerprint, problem.test_fingerprint) != trial.fingerprints:
            raise BadData("changed while the comparison ran", path=trial.plan.train, repair="run the comparison again")
        remember(problem)
    return _loaded[key]
