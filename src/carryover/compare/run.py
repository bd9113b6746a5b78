"""The comparison as a whole: read, prepare once, run what is missing, and say what came out.

Everything that can be wrong with the input is found before the first byte is written. Every finished cell is on the disk
at once, so the same command continues after any end, and its result depends on the cells alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from carryover.compare.analysis import Analysis
from carryover.compare.cells import Cell, CellResult, order_cells
from carryover.compare.estimate import estimate
from carryover.compare.ladder import Resources, table_rank
from carryover.compare.plan import PLAN_SCHEMA, ComparePlan, check_same_question
from carryover.compare.problem import Problem, load_problem, name_of
from carryover.compare.reference import Reference
from carryover.compare.resources import MADE_ONCE, check_material, prepare, read_as
from carryover.compare.result import CompareResult
from carryover.compare.statistics import resample_examples
from carryover.compare.store import PLAN_FILE, check_present
from carryover.compare.trial import Trial, remember, run_trial, store_of
from carryover.data.builtin import is_earlier_fingerprint
from carryover.errors import BadData, CarryoverError, InputMissing, UsageError
from carryover.experiments.schedule import WorkerLost, default_jobs, run_side_by_side
from carryover.progress import Progress, duration, say
from carryover.storage import LOCK, atomic_write, is_temporary, read_json, run_lock, sweep
from carryover.training.stopping import Interrupted, Stopping, Terminated, stop_signals

__all__ = ["PLAN_FILE", "compare", "estimate"]

RESULTS_FILE = "results.json"
REJECTED_FILE = "rejected.jsonl"
_SECONDS_BETWEEN_PAGES = 60.0


def compare(plan: ComparePlan, out: str | os.PathLike[str], quiet: bool = False) -> CompareResult:
    """Run the cells of `plan` that `out` does not hold yet and write `results.json` and `report.html` there.

    An error in a cell is recorded (`CompareResult.failures`, `exit_code`) and tried again next time. Raises UsageError
    (also for an `out` that holds another comparison, naming the difference), InputMissing, BadData, Busy, CannotWrite,
    DiskFault, and after Ctrl-C or SIGTERM `Interrupted` or `Terminated`, every finished cell stored.
    """
    from carryover.data.formats.reading import write_rejected

    started = time.monotonic()
    folder = Path(out)
    problem = load_problem(plan)
    plan = plan.resolve(len(problem.train), words=problem.has_words)
    fingerprints = check_material(plan)
    with stop_signals(quiet), _held(folder):
        _check_folder(folder)
        sweep(folder)
        before = _store_plan(plan, problem, fingerprints, folder)
        if problem.rejected:
            write_rejected(folder / REJECTED_FILE, problem.rejected)
        if not quiet:
            for remark in problem.remarks:
                say(remark)
        try:
            resources = prepare(plan, folder, fingerprints, quiet=quiet)
        except (UsageError, BadData, InputMissing):
            _restore_plan(folder, before)
            raise
        return _run(plan, problem, resources, folder, started, quiet)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder for this process alone; one that was made here goes again when an error leaves nothing in it."""
    exists = folder.exists()
    try:
        with run_lock(folder):
            yield
    except (CarryoverError, Stopping):
        if not exists:
            with suppress(OSError):
                folder.rmdir()
        raise


def _run(
    plan: ComparePlan, problem: Problem, resources: Resources, folder: Path, started: float, quiet: bool
) -> CompareResult:
    labels = plan.label_counts(len(problem.train))
    cells = order_cells(plan.rungs, plan.budgets, plan.all_seeds)
    store = store_of(folder, problem)
    check_present(folder)
    sweep(folder / "cells")
    missing = store.unfinished(cells)
    finished = set(cells) - set(missing)
    if not quiet:
        _say_what_is_there(cells, finished)
    remember(problem)
    reference = Reference(problem, labels)
    fingerprints = (problem.train_fingerprint, problem.test_fingerprint)
    trials = [Trial(plan, cell, labels[cell.budget], folder, resources, fingerprints) for cell in missing]
    shown = time.monotonic()
    with Progress("cells", len(cells), "cells", quiet, done=len(finished)) as progress:

        def done() -> None:
            nonlocal shown
            progress.advance(1)
            check_present(folder)
            if time.monotonic() - shown > _SECONDS_BETWEEN_PAGES:
                write_page(collect(plan, problem, resources, folder, reference=reference))
                shown = time.monotonic()

        deadline = None if plan.time_limit is None else started + plan.time_limit
        try:
            run_side_by_side(
                run_trial,
                trials,
                jobs=plan.jobs or default_jobs(plan.device),
                backend=plan.backend,
                deadline=deadline,
                done=done,
            )
        except WorkerLost as error:
            count = sum(store.holds(cell) for cell in cells)
            message = f"{error.message}: {count} of {len(cells)} cells are stored"
            raise WorkerLost(message, path=folder, repair=error.repair) from None
        except (Stopping, Interrupted, Terminated) as stopped:
            kind = type(stopped.error if isinstance(stopped, Stopping) else stopped)
            count = sum(store.holds(cell) for cell in cells)
            message = f"stopped: {count} of {len(cells)} cells are finished and stored"
            raise kind(message, path=folder, repair="run the same command again to continue") from None
    check_present(folder)
    result = collect(plan, problem, resources, folder, already=len(finished), reference=reference)
    write_page(result)
    atomic_write(folder / RESULTS_FILE, json.dumps(result.to_json(), ensure_ascii=False, allow_nan=False, indent=1))
    if not quiet:
        _say_how_it_ended(result)
    return result


def collect(
    plan: ComparePlan,
    problem: Problem,
    resources: Resources,
    folder: Path,
    *,
    already: int = 0,
    reference: Reference | None = None,
) -> CompareResult:
    """What the stored cells of `plan` show so far, and the majority's answers for reference."""
    labels = plan.label_counts(len(problem.train))
    store = store_of(folder, problem)
    results: list[CellResult] = []
    counts: dict[Cell, Any] = {}
    missing = []
    cells = order_cells(plan.rungs, plan.budgets, plan.all_seeds)
    failures = {failure.cell: failure for failure in store.failures(cells)}
    for cell in cells:
        if not store.holds(cell):
            if cell not in failures:
                missing.append(cell)
            continue
        failures.pop(cell, None)
        result, predictions = store.read(cell)
        results.append(result)
        counts[cell] = problem.question.counts(problem.gold, predictions)
    counts |= (reference or Reference(problem, labels)).counts([row.cell for row in results])
    place = {budget: i for i, budget in enumerate(plan.budgets)}
    results.sort(key=lambda result: (table_rank(result.rung), place[result.budget], result.seed))
    drawn = resample_examples(counts, problem.question, replicates=plan.replicates)
    analyses = {
        metric.name: Analysis(counts, labels, metric, replicates=plan.replicates, confidence=plan.confidence, drawn=drawn)
        for metric in problem.metrics
    }
    unanswered = {
        place: answerable
        for analysis in analyses.values()
        for place, missed in analysis.never_answered.items()
        if (answerable := tuple(label for label in missed if label in problem.answerable))
    }
    # What hides that a label is never answered is not what a recommendation should rest on, unless it was asked for.
    hides = plan.metric == "auto" and unanswered and problem.metric.name == "accuracy"
    main = analyses.pop("macro_f1" if hides else problem.metric.name)
    return CompareResult(
        plan=plan,
        folder=folder,
        analysis=main,
        others=tuple(analyses.values()),
        never_answered=unanswered,
        changed_from=problem.metric.title if hides else None,
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
        "encoder_name": _encoder_names(plan),
        "train_examples": len(problem.train),
        "test_examples": len(problem.test),
        "labels": len(problem.labels),
        "rejected_rows": len(problem.rejected),
    }


def _encoder_names(plan: ComparePlan) -> str | None:
    """The folders of the given encoders, each behind its name where it has one."""
    given = {**plan.encoders, **{name: folder for name, folder in plan.rung_encoders.items() if folder is not None}}
    return ", ".join(f"{name}: {name_of(folder)}" if name else name_of(folder) for name, folder in given.items()) or None


def _check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else. Raises UsageError naming what lies there."""
    if not folder.is_dir() or (folder / PLAN_FILE).exists():
        return
    ours = (LOCK, REJECTED_FILE, *MADE_ONCE)
    strange = [place.name for place in sorted(folder.iterdir()) if place.name not in ours and not is_temporary(place)]
    if strange:
        raise UsageError(
            f"is not empty and not the folder of a comparison: it holds {strange[0]!r}",
            path=folder,
            repair="choose another folder",
        )


def _store_plan(plan: ComparePlan, problem: Problem, fingerprints: Mapping[str, str | None], folder: Path) -> bytes | None:
    """Store the plan of a new comparison, or check it against the stored one and extend that. Returns what was stored."""
    asked = {
        "schema": PLAN_SCHEMA,
        "question": question(plan, problem, fingerprints),
        "rungs": list(plan.rungs),
        "budgets": list(plan.budgets),
        "seeds": list(plan.all_seeds),
    }
    asked = json.loads(json.dumps(asked))
    path = folder / PLAN_FILE
    before = None
    if path.exists():
        before = path.read_bytes()
        stored = read_json(path)
        if not isinstance(stored, dict) or not isinstance(stored.get("question"), dict):
            raise UsageError("is not the plan of a comparison", path=path, repair="choose another folder")
        for name, source in (("raw text", plan.raw), ("held-out raw text", plan.valid)):
            if is_earlier_fingerprint(stored["question"].get(name), asked["question"][name]):
                say(f"an earlier version started this comparison; carryover assumes that {source} is still the same text")
                stored["question"][name] = asked["question"][name]
        check_same_question(stored, asked, folder)
        if stored == asked:
            return before
    atomic_write(path, json.dumps(asked, ensure_ascii=False, indent=1))
    return before


def _restore_plan(folder: Path, before: bytes | None) -> None:
    """Take back the plan that was just stored: what it asks for was refused, and a corrected one is to be stored."""
    if before is not None:
        atomic_write(folder / PLAN_FILE, before)
        return
    for name in (PLAN_FILE, REJECTED_FILE):
        (folder / name).unlink(missing_ok=True)


def question(plan: ComparePlan, problem: Problem, fingerprints: Mapping[str, str | None]) -> dict[str, Any]:
    """What must be the same for cells to belong together. Files count by their content, not by their names."""
    return {
        "task": plan.task,
        "training data": problem.train_fingerprint,
        "test data": problem.test_fingerprint,
        "raw text": fingerprints["raw"],
        "held-out raw text": fingerprints["valid"],
        **{name: found for name, found in fingerprints.items() if name not in ("raw", "valid")},
        "metric": problem.metric.name,
        "multi-label": plan.multi_label is not None,
        "first seed": plan.seed,
        "device": plan.device,
        "pretraining": dict(plan.pretraining),
        "vectors": dict(plan.vectors),
        "fitting": dict(plan.fitting),
        "placement": plan.placement,
        "class weights": plan.class_weights,
        "strata of budgets": problem.strata,
        # What earlier versions, which chose by these alone, did not store.
        "metric of early stopping": None if problem.fitting_metric in ("accuracy", "span_f1") else problem.fitting_metric,
        **read_as(plan),
    }


def _say_what_is_there(cells: Sequence[Cell], finished: set[Cell]) -> None:
    seeds = {cell.seed for cell in cells}
    if finished:
        say(f"continuing: {len(finished)} of {len(cells)} cells are already finished")
    else:
        say(f"{len(cells)} cells to run, seeds {min(seeds)} to {max(seeds)}")


def _say_how_it_ended(result: CompareResult) -> None:
    done = len(result.results)
    if result.missing:
        say(f"time limit reached: {done} cells finished, {len(result.missing)} not run: {_some(result.missing)}")
        say("run the same command without the limit, or with a longer one, to continue")
    for failure in result.failures:
        say(f"failed: {failure.cell}: {failure.message}")
    spent = sum(row.seconds for row in result.results)
    say(f"{done} cells, {duration(spent)} of training in all; report: {result.page}")


def _some(cells: Sequence[Cell]) -> str:
    listed = "; ".join(str(cell) for cell in cells[:8])
    return listed + (f"; and {len(cells) - 8} more" if len(cells) > 8 else "")
