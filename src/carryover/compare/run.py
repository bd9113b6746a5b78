"""The comparison as a whole: read, prepare once, run what is missing, and say what came out.

Everything that can be wrong with the input is found before the first byte is written. Every finished cell is on the disk
at once, so the same command continues after any end, and its result depends on the cells alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from carryover.compare.analysis import Analysis
from carryover.compare.cells import Cell, CellResult, order_cells, table_rank
from carryover.compare.estimate import estimate
from carryover.compare.plan import PLAN_SCHEMA, ComparePlan, check_same_question
from carryover.compare.problem import Problem, load_problem, name_of
from carryover.compare.resources import Resources, check_material, prepare
from carryover.compare.result import CompareResult
from carryover.compare.schedule import default_jobs, run_trials
from carryover.compare.trial import Trial, remember, store_of
from carryover.errors import CarryoverError, UsageError
from carryover.progress import Progress, duration, say
from carryover.storage import LOCK, atomic_write, is_temporary, read_json, run_lock, sweep

__all__ = ["compare", "estimate"]

PLAN_FILE = "plan.json"
RESULTS_FILE = "results.json"
_SECONDS_BETWEEN_PAGES = 60.0


def compare(plan: ComparePlan, out: str | os.PathLike[str], quiet: bool = False) -> CompareResult:
    """Run the cells of `plan` that `out` does not hold yet and write `results.json` and `report.html` there.

    An error in a cell is recorded (`CompareResult.failures`, `exit_code`) and tried again next time. Raises UsageError
    (also for an `out` that holds another comparison, naming the difference), InputMissing, BadData, Busy, CannotWrite,
    DiskFault, and after Ctrl-C or SIGTERM `Interrupted` or `Terminated`, every finished cell stored.
    """
    from carryover.data.formats.reading import write_rejected
    from carryover.training.stopping import stop_signals

    started = time.monotonic()
    folder = Path(out)
    problem = load_problem(plan)
    plan = plan.resolve(len(problem.train))
    fingerprints = check_material(plan)
    with stop_signals(quiet), run_lock(folder):
        _check_folder(folder)
        sweep(folder)
        if problem.rejected:
            write_rejected(folder / "rejected.jsonl", problem.rejected)
        _settle(plan, problem, fingerprints, folder)
        if not quiet:
            for remark in problem.remarks:
                say(remark)
        resources = prepare(plan, folder, fingerprints, quiet=quiet)
        return _run(plan, problem, resources, folder, started, quiet)


def _run(
    plan: ComparePlan, problem: Problem, resources: Resources, folder: Path, started: float, quiet: bool
) -> CompareResult:
    labels = plan.label_counts(len(problem.train))
    cells = order_cells(plan.rungs, plan.budgets, plan.all_seeds)
    store = store_of(folder, problem)
    sweep(folder / "cells")
    finished = {cell for cell in cells if store.finished(cell)}
    missing = [cell for cell in cells if cell not in finished]
    if not quiet:
        _say_what_is_there(cells, finished)
    remember(problem)
    fingerprints = (problem.train_fingerprint, problem.test_fingerprint)
    trials = [Trial(plan, cell, labels[cell.budget], folder, resources, fingerprints) for cell in missing]
    shown = time.monotonic()
    with Progress("cells", len(cells), "cells", quiet, done=len(finished)) as progress:

        def done() -> None:
            nonlocal shown
            progress.advance(1)
            if time.monotonic() - shown > _SECONDS_BETWEEN_PAGES:
                write_page(collect(plan, problem, resources, folder))
                shown = time.monotonic()

        deadline = None if plan.time_limit is None else started + plan.time_limit
        try:
            run_trials(
                trials, jobs=plan.jobs or default_jobs(plan.device), backend=plan.backend, deadline=deadline, done=done
            )
        except CarryoverError as error:
            if error.exit_code not in (130, 143):
                raise
            count = sum(store.path(cell).is_dir() for cell in cells)
            message = f"stopped: {count} of {len(cells)} cells are finished and stored"
            raise type(error)(message, path=folder, repair="run the same command again to continue") from None
    result = collect(plan, problem, resources, folder, already=len(finished))
    write_page(result)
    atomic_write(folder / RESULTS_FILE, json.dumps(result.to_json(), ensure_ascii=False, allow_nan=False, indent=1))
    if not quiet:
        _say_how_it_ended(result)
    return result


def collect(plan: ComparePlan, problem: Problem, resources: Resources, folder: Path, *, already: int = 0) -> CompareResult:
    """What the stored cells of `plan` say so far."""
    store = store_of(folder, problem)
    gold = problem.gold(problem.test)
    results: list[CellResult] = []
    counts: dict[Cell, Any] = {}
    missing = []
    cells = order_cells(plan.rungs, plan.budgets, plan.all_seeds)
    failures = {failure.cell: failure for failure in store.failures(cells)}
    for cell in cells:
        if not store.path(cell).is_dir():
            if cell not in failures:
                missing.append(cell)
            continue
        failures.pop(cell, None)
        result, predictions = store.read(cell)
        results.append(result)
        counts[cell] = problem.metric.count(gold, predictions)
    place = {budget: i for i, budget in enumerate(plan.budgets)}
    results.sort(key=lambda result: (table_rank(result.rung), place[result.budget], result.seed))
    analysis = Analysis(
        counts,
        plan.label_counts(len(problem.train)),
        problem.metric,
        replicates=plan.replicates,
        confidence=plan.confidence,
    )
    return CompareResult(
        plan=plan,
        folder=folder,
        analysis=analysis,
        results=results,
        missing=missing,
        failures=list(failures.values()),
        already=already,
        pretraining=dict(resources.seconds),
        data=_facts(plan, problem),
        remarks=problem.remarks,
    )


def write_page(result: CompareResult) -> None:
    """The HTML page, whole or not at all."""
    from carryover.compare.report import render

    atomic_write(result.page, render(result))


def _facts(plan: ComparePlan, problem: Problem) -> dict[str, Any]:
    return {
        "train_name": name_of(str(plan.train)),
        "test_name": f"a part of {name_of(str(plan.train))}" if plan.test is None else name_of(str(plan.test)),
        "raw_name": None if plan.raw is None else name_of(str(plan.raw)),
        "encoder_name": None if plan.encoder is None else name_of(str(plan.encoder)),
        "train_examples": len(problem.train),
        "test_examples": len(problem.test),
        "labels": len(problem.labels),
        "rejected_rows": len(problem.rejected),
    }


def _check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else. Raises UsageError naming what lies there."""
    if not folder.is_dir() or (folder / PLAN_FILE).exists():
        return
    strange = [place.name for place in sorted(folder.iterdir()) if place.name != LOCK and not is_temporary(place)]
    if strange:
        raise UsageError(
            f"is not empty and not the folder of a comparison: it holds {strange[0]!r}",
            path=folder,
            repair="choose another folder",
        )


def _settle(plan: ComparePlan, problem: Problem, fingerprints: Mapping[str, str | None], folder: Path) -> None:
    """Store the plan of a new comparison, or check it against the stored one and extend that."""
    asked = {
        "schema": PLAN_SCHEMA,
        "question": question(plan, problem, fingerprints),
        "rungs": list(plan.rungs),
        "budgets": list(plan.budgets),
        "seeds": list(plan.all_seeds),
    }
    asked = json.loads(json.dumps(asked))
    path = folder / PLAN_FILE
    if path.exists():
        stored = read_json(path)
        if not isinstance(stored, dict) or not isinstance(stored.get("question"), dict):
            raise UsageError("is not the plan of a comparison", path=path, repair="choose another folder")
        check_same_question(stored, asked, folder)
        if stored == asked:
            return
    atomic_write(path, json.dumps(asked, ensure_ascii=False, indent=1))


def question(plan: ComparePlan, problem: Problem, fingerprints: Mapping[str, str | None]) -> dict[str, Any]:
    """What must be the same for cells to belong together. Files count by their content, not by their names."""
    return {
        "task": plan.task,
        "training data": problem.train_fingerprint,
        "test data": problem.test_fingerprint,
        "raw text": fingerprints["raw"],
        "held-out raw text": fingerprints["valid"],
        "encoder": fingerprints["encoder"],
        "metric": problem.metric.name,
        "multi-label": plan.multi_label is not None,
        "first seed": plan.seed,
        "device": plan.device,
        "pretraining": dict(plan.pretraining),
        "vectors": dict(plan.vectors),
        "fitting": dict(plan.fitting),
        "placement": plan.placement,
    }


def _say_what_is_there(cells: Sequence[Cell], finished: set[Cell]) -> None:
    seeds = {cell.seed for cell in cells}
    if finished:
        say(f"continuing: {len(finished)} of {len(cells)} cells are already there")
    else:
        say(f"{len(cells)} cells to run, seeds {min(seeds)} to {max(seeds)}")


def _say_how_it_ended(result: CompareResult) -> None:
    done = len(result.results)
    if result.missing:
        say(f"time limit reached: {done} cells finished, {len(result.missing)} not run: {_some(result.missing)}")
        say("the same command without the limit, or with a longer one, continues")
    for failure in result.failures:
        say(f"failed: {failure.cell}: {failure.message}")
    spent = sum(row.seconds for row in result.results)
    say(f"{done} cells, {duration(spent)} of training in all; report: {result.page}")


def _some(cells: Sequence[Cell]) -> str:
    listed = "; ".join(str(cell) for cell in cells[:8])
    return listed + (f"; and {len(cells) - 8} more" if len(cells) > 8 else "")
