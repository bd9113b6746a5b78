"""One cell from beginning to end, in whatever process it runs: draw its labels, run its rung, score it once, store it."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from carryover.compare.cells import Cell, CellFailure, CellResult
from carryover.compare.plan import ComparePlan
from carryover.compare.problem import Problem, load_problem
from carryover.compare.resources import Resources
from carryover.compare.store import CellStore, check_present
from carryover.data.splits import nested_budgets
from carryover.errors import BadData, CarryoverError

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
    """Run and store a cell; None when that went well. An error becomes a stored failure, so that other cells go on.

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


def store_of(out: Path, problem: Problem) -> CellStore:
    """The store of a comparison's cells under `out`."""
    return CellStore(out, lengths=problem.token_counts, multi_label=problem.multi_label)


def _measure(trial: Trial, problem: Problem) -> tuple[CellResult, list[tuple[str, ...]]]:
    from carryover.compare.rungs import run_rung

    cell = trial.cell
    chosen = nested_budgets(problem.train, [trial.labels], cell.seed)[trial.labels]
    train = [problem.train[i] for i in chosen]
    memory = PeakMemory()
    outcome = run_rung(
        cell.rung,
        problem.task,
        train,
        problem.test,
        cell.seed,
        trial.resources,
        multi_label=problem.multi_label,
        metric=problem.fitting_metric,
        class_weights=trial.plan.class_weights,
    )
    counts = problem.metric.count(problem.gold(problem.test), outcome.predictions)
    result = CellResult(
        rung=cell.rung,
        budget=cell.budget,
        labels=trial.labels,
        seed=cell.seed,
        score=float(problem.metric.score(counts.sum(axis=0))),
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


class PeakMemory:
    """Largest resident memory of this process since the object was made, in MiB.

    Linux lets a process reset its own high-water mark; elsewhere it is that of the whole life of the process.
    """

    def __init__(self) -> None:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def read(self) -> float:
        with suppress(OSError):
            for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
        try:
            import resource
        except ImportError:  # Windows
            return 0.0
        import sys

        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch and for the linear algebra below numpy: cells run side by side, and the same numbers come out
    however many of them do."""
    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions that decide the numbers of a cell."""
    import carryover

    others = {name: metadata.version(name) for name in ("numpy", "scikit-learn", "torch")}
    return {"carryover": carryover.__version__, **others}


def be_a_worker(owner: int) -> None:
    """Called first in a local worker process: Ctrl-C is the owner's business, and when the owner dies (killed, say) so does
    the worker."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, name="watch-owner", daemon=True).start()
