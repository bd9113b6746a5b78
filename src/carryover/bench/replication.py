"""One cell of the table: a model trained on a task with a seed, continued where it was stopped, measured once, stored.

OUT/cells/TASK-LENGTH-MODEL-SEED/run/        while it is not finished: see `carryover.training.run_folder`
OUT/cells/TASK-LENGTH-MODEL-SEED/cell.json   when it is: settings, test figures, curve; nothing else is kept
OUT/cells/TASK-LENGTH-MODEL-SEED/failed.json the error that ended it, until it gets on
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from carryover import __version__
from carryover.bench.model import build_model, count_parameters
from carryover.bench.published import Entry, Recipe, find_entry
from carryover.bench.workload import Batch, Workload
from carryover.errors import BadData, TrainingFailed, UsageError
from carryover.experiments.store import AGAIN, CELL_FILE, CellStore
from carryover.layers.base import State
from carryover.models.sequence_model import SequenceModel
from carryover.storage import atomic_write, load_tensors, read_json
from carryover.training.checkpoint import checkpoint_folders
from carryover.training.job import Job, LoopSettings
from carryover.training.loop import LoopResult, TrainingLoop
from carryover.training.optimisers import build_optimiser
from carryover.training.run_folder import RunFolder, open_run
from carryover.training.schedules import Schedule
from carryover.training.stopping import StopRequest

SCHEMA = "carryover.bench-cell/1"
FAILED = "failed.json"
OTHER_SETTINGS = "remove the folder to run the cell again, or choose another --out"
_LOGS_AN_EPOCH = 5
_LEAST_SHARE = 1e-4  # of the rate: what annealing leaves then moves no figure, and most of the published 100 epochs are such


@dataclass(frozen=True, order=True)
class Replication:
    """A cell of the table: which model is trained on which task with which seed. `length` is None where the task has one only."""

    task: str
    length: int | None
    model: str
    seed: int

    @property
    def entry(self) -> Entry:
        return find_entry(self.task, self.length)

    @property
    def recipe(self) -> Recipe:
        """The published recipe."""
        return self.entry.recipes[self.model]

    @property
    def name(self) -> str:
        return f"{self.entry.name}-{self.model}-{self.seed}"

    @property
    def point(self) -> tuple[str, str]:
        """What its seeds are averaged over: a row of the table."""
        return self.entry.name, self.model


@dataclass(frozen=True, kw_only=True)
class ReplicationResult:
    """A finished cell. `result` is the number for the table, measured on the test part once.

    `curve` holds what was measured on the way, a dictionary each: `step` and either the mean training `loss` since the
    one before with the `learning_rate`, or the `held_out` figures. `settings` are the recipe with the size filled in.
    """

    cell: Replication
    settings: dict[str, Any]
    parameters: int
    result: float
    test: dict[str, float]
    steps: int
    best_step: int
    seconds: float
    sessions: int
    device: str
    data: dict[str, str]
    versions: dict[str, str]
    curve: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ReplicationResult:
        fields = {name: value for name, value in content.items() if name != "schema"}
        return cls(**{**fields, "cell": Replication(**content["cell"])})

    @property
    def shortened(self) -> bool:
        """Whether it was trained for another number of epochs than published."""
        return bool(self.settings["epochs"] != self.cell.recipe.epochs)


class ReplicationStore(CellStore[Replication, ReplicationResult]):
    """The cells under `folder`. A cell's folder is there from its first step on: it is finished when it has its result."""

    schema = failure_schema = SCHEMA

    def failure_path(self, cell: Replication) -> Path:
        return self.path(cell) / FAILED

    def holds(self, cell: Replication) -> bool:
        return (self.path(cell) / CELL_FILE).is_file()

    def read(self, cell: Replication) -> ReplicationResult:
        folder = self.path(cell)
        return _from_document(self.document(folder), folder)

    def write(self, result: ReplicationResult) -> None:
        """Store a finished cell, whole or not at all. Raises CannotWrite, DiskFault."""
        place = self.path(result.cell) / CELL_FILE
        atomic_write(place, json.dumps(result.to_json(), allow_nan=False, indent=1))


def read_result(folder: Path) -> ReplicationResult | None:
    """What the folder of a cell stored, None where it is not finished. Raises BadData for anything else in its place."""
    return _from_document(ReplicationStore.document(folder), folder) if (folder / CELL_FILE).is_file() else None


def _from_document(document: dict[str, Any], folder: Path) -> ReplicationResult:
    try:
        return ReplicationResult.from_json(document)
    except (TypeError, KeyError) as error:
        raise BadData(f"lacks a part: {error}", path=folder / CELL_FILE, repair=AGAIN) from error


def run_cell(
    cell: Replication,
    recipe: Recipe,
    workload: Workload,
    out: Path,
    *,
    data: dict[str, str] | None = None,
    device: str = "cpu",
    deadline: float | None = None,
    checkpoint_steps: int | None = None,
    stop: StopRequest | None = None,
    quiet: bool = False,
) -> ReplicationResult | None:
    """Run or continue a cell; None when the deadline (of `time.monotonic`) came first, everything done so far stored.

    `recipe` has a size; `data` are digests of the files that `workload` was read from. A finished cell is not run again.
    Raises UsageError for one that was begun or finished with other settings, Busy, TrainingFailed, and what
    `TrainingLoop.run` raises.
    """
    store = ReplicationStore(out)
    folder = store.path(cell)
    settings = json.loads(json.dumps(recipe.to_json()))
    if store.holds(cell):
        finished = store.read(cell)
        _check_same(finished, settings, data or {}, folder)
        if (folder / "run").exists():  # killed before it was cleared
            with open_run(folder, _is_ours) as run:
                run.discard()
        return finished
    with open_run(folder, _is_ours) as run:
        run.check_settings(
            {**settings, "cell": cell.name, "data": data or {}, "device": device, "threads": torch.get_num_threads()},
            warn_if_differ=("device", "threads"),
            repair=OTHER_SETTINGS,
        )
        model = build_model(
            recipe, workload.in_size, workload.out_size, reads=workload.reads, readout=workload.readout, seed=cell.seed
        ).to(device)
        loop = _loop(cell, recipe, workload, model, run, device, deadline, checkpoint_steps, stop, quiet)
        try:
            ended = loop.run()
        except TrainingFailed as error:
            store.note_failure(cell, {"error": error.message})
            raise
        store.forget_failure(cell)
        if ended.stopped_by == "deadline":
            return None
        run.check_present()
        result = _measure(cell, settings, workload, model, run, ended, device, data or {})
        store.write(result)
        run.discard()
        return result


def progress_of(store: ReplicationStore, cell: Replication) -> dict[str, Any] | None:
    """How far an unfinished cell is: step, epochs done of how many, the latest held-out figures, an error; None if not begun."""
    run = RunFolder(store.path(cell))
    found: dict[str, Any] = {}
    for place in reversed(checkpoint_folders(run.checkpoints)):
        if not (place / "state.json").is_file():
            continue  # another running process has just removed it
        found["step"] = read_json(place / "state.json")["step"]
        found["epochs"] = read_json(run.settings_file)["settings"]["epochs"]
        for line in _measurements(run):
            if line["step"] <= found["step"]:
                found |= {"held_out": line["held_out"]} if "held_out" in line else {"epoch": line["epoch"]}
        break
    failure = store.failure(cell)
    if failure is not None:
        found["error"] = failure["error"]
    return found or None


# The run ------------------------------------------------------------------------------------------------------------------


def _loop(
    cell: Replication,
    recipe: Recipe,
    workload: Workload,
    model: SequenceModel,
    run: RunFolder,
    device: str,
    deadline: float | None,
    checkpoint_steps: int | None,
    stop: StopRequest | None,
    quiet: bool,
) -> TrainingLoop:
    per_epoch = workload.steps_per_epoch()

    def objective(
        model: SequenceModel, batch: Batch, state: State, *, step_seed: int
    ) -> tuple[Tensor, State, dict[str, float]]:
        loss, state, count = workload.loss(model, batch, state)
        return loss, state, {"tokens": count}

    job = Job(
        model=model,
        objective=objective,
        stream=workload,
        optimiser=build_optimiser(model, recipe.optimiser, learning_rate=recipe.rate),
        initial_state=lambda: workload.initial_state(model, device),
        evaluate=lambda: workload.measure(model, "valid", device),
        amount=workload.items() * recipe.epochs,
        decides="loss",
        label=cell.name,
        unit="items",
    )
    kind = "staircase" if recipe.staircase else "constant"
    settings = LoopSettings(
        seed=cell.seed,
        epochs=recipe.epochs,
        schedule=Schedule(kind=kind, peak=recipe.rate, total=per_epoch * recipe.epochs),
        clip=recipe.clip,
        evaluate_steps=per_epoch,
        log_steps=max(1, per_epoch // _LOGS_AN_EPOCH),
        checkpoint_seconds=30.0,
        checkpoint_steps=checkpoint_steps,
        deadline=deadline,
        annealing=recipe.annealing,
        least_share=_LEAST_SHARE,
        device=device,
    )
    return TrainingLoop(job, settings, run, stop=stop, quiet=quiet)


def _measure(
    cell: Replication,
    settings: dict[str, Any],
    workload: Workload,
    model: SequenceModel,
    run: RunFolder,
    ended: LoopResult,
    device: str,
    data: dict[str, str],
) -> ReplicationResult:
    if workload.keeps_best:
        model.load_state_dict(load_tensors(ended.best_folder / "model.safetensors"))
    figures = workload.measure(model, "test", device)
    return ReplicationResult(
        cell=cell,
        settings=settings,
        parameters=count_parameters(model),
        result=workload.result(figures),
        test=figures,
        steps=ended.state.step,
        best_step=ended.state.best_step if workload.keeps_best else ended.state.step,
        seconds=round(ended.state.seconds, 1),
        sessions=ended.state.sessions,
        device=torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
        data=data,
        versions={"carryover": __version__, "torch": torch.__version__},
        curve=list(_measurements(run)),
    )


def _measurements(run: RunFolder) -> Iterator[dict[str, Any]]:
    """Lines of the metrics log, those of training without what does not concern a curve; a line cut short ends it."""
    if not run.metrics_file.is_file():
        return
    for line in run.metrics_file.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            return
        if "held_out" in entry:
            yield {"step": entry["step"], "held_out": entry["held_out"]}
        else:
            yield {name: entry[name] for name in ("step", "epoch", "loss", "learning_rate")}


def _is_ours(place: Path) -> bool:
    return place.name in (CELL_FILE, FAILED)


def _check_same(finished: ReplicationResult, settings: dict[str, Any], data: dict[str, str], folder: Path) -> None:
    before, now = {**finished.settings, "data": finished.data}, {**settings, "data": data}
    for name in sorted(set(before) | set(now)):
        if before.get(name) != now.get(name):
            raise UsageError(
                f"this cell was finished with {name} = {json.dumps(before.get(name))}, now it is {json.dumps(now.get(name))}",
                path=folder,
                repair=OTHER_SETTINGS,
            )
