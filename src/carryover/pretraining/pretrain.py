"""Pretraining a model on raw data, from a file to an artefact; killed at any moment, it continues.

Everything in the run is decided by the settings, the data and the seed; what depends on the objective, the objective is asked; processes may share it (see `processes`).
"""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch

import carryover
from carryover import storage
from carryover.ambient import default_torch_state
from carryover.data.order import random_bits
from carryover.devices import choose_device, choose_precision
from carryover.errors import CarryoverError, UsageError
from carryover.objectives.objective import Corpus, Objective
from carryover.pretraining import settings
from carryover.pretraining.evaluation import measure_files
from carryover.pretraining.initial_model import Initialisation, InitialModel, read_initial_model
from carryover.pretraining.optimiser import objective_and_optimiser, optimiser_name
from carryover.pretraining.recipes import build_objective
from carryover.pretraining.settings import PretrainSettings
from carryover.pretraining.soundness import doubts_of_record, warnings_and_notes
from carryover.progress import duration, say
from carryover.storage import artefact
from carryover.training.job import Job, LoopSettings
from carryover.training.loop import LoopResult, TrainingLoop
from carryover.training.meeting import open_processes
from carryover.training.processes import Processes
from carryover.training.run_folder import RunFolder, follow_run, open_run
from carryover.training.schedules import Schedule
from carryover.training.stopping import StopRequest, stop_signals

_INITIAL_WEIGHTS = 0x1217  # keeps the seed of the initial weights apart from those of the steps


@dataclass(frozen=True)
class PretrainResult:
    """How a run ended and where it is. `record` is what the artefact stores; `resumed_from` a step or None.

    `held_out` is the best held-out figure, of the name `decides` (`perplexity` of a language model).
    `process` is the number of this process of those that shared the run; 0, the leader, has it all to tell.
    """

    folder: Path
    record: dict[str, Any]
    stopped_by: str
    resumed_from: int | None
    steps: int
    seconds: float
    decides: str
    held_out: float
    process: int = 0

    def to_json(self) -> dict[str, Any]:
        """The result as one JSON object, its schema first."""
        return {
            "schema": "carryover.pretrain/1",
            "folder": str(self.folder),
            self.decides: self.held_out,
            "stopped_by": self.stopped_by,
            "resumed_from": self.resumed_from,
            "steps": self.steps,
            "seconds": self.seconds,
            "record": self.record,
        }


@default_torch_state(gradients=True)
def pretrain(wanted: PretrainSettings, out: Path | str, *, quiet: bool = False) -> PretrainResult:
    """Train a language model as `wanted` says and write its artefact into `out`.

    The same call again continues a run that was stopped or killed, to the bit on a CPU, and returns at once when it has
    finished. Raises UsageError (other settings than the run was started with, a folder with other things in it), Busy,
    InputMissing, BadData, CannotWrite, DiskFault, TrainingFailed, and after saving `stopping.Interrupted` or
    `stopping.Terminated`.

    Started by `torchrun`, the processes share the run: the same call in each, the same update as in one process, and the
    same result in all. Then it also raises `processes.ProcessLost` when another of them ends.
    """
    device = choose_device(wanted.device)
    precision = choose_precision(wanted.precision, device)
    objective = build_objective(wanted.objective)
    start = None if wanted.begin_with is None else read_initial_model(wanted.begin_with)
    asked = objective.config(wanted, None)
    if start is not None:
        start.check(wanted, asked.to_json(), Path(out))
    with stop_signals(quiet) as stop, open_processes(device, stop) as processes, _threads(wanted):
        quiet = stop.quiet = quiet or not processes.leads
        outcome = _run(wanted, Path(out), objective, asked, start, device, precision, stop, quiet, processes)
    if not quiet:
        say(
            f"{'finished before: ' if outcome.resumed_from == outcome.steps else ''}held-out "
            f"{objective.deciding({outcome.decides: outcome.held_out})} after {outcome.steps:,} steps and "
            f"{duration(outcome.seconds)} "
            f"(ended by {outcome.stopped_by}): {outcome.folder}"
        )
    for line in () if outcome.process else warnings_and_notes(outcome.record, quiet):
        say(line)
    return outcome


def _run(
    wanted: PretrainSettings,
    out: Path,
    objective: Objective[Any],
    asked: Any,
    start: InitialModel | None,
    device: str,
    precision: str,
    stop: StopRequest,
    quiet: bool,
    processes: Processes,
) -> PretrainResult:
    if processes.leads:
        fingerprint, valid_fingerprint = objective.fingerprints(wanted)
        processes.broadcast([fingerprint, valid_fingerprint, wanted.to_json()])
    else:
        fingerprint, valid_fingerprint, led = processes.receive()
        _check_same(led, _comparable(wanted.to_json()), processes.rank)
    processes.all_reduce([1.0])  # nothing is written before all have come so far
    with open_run(out, artefact.is_artefact_file) if processes.leads else follow_run(out) as folder:
        resolved = {
            **wanted.to_json(),
            "device": device,
            "precision": precision,
            "optimiser": optimiser_name(objective, asked, wanted),
            "corpus": fingerprint,
            "held_out_text": None if wanted.valid is None else valid_fingerprint,
            "version": carryover.__version__,
            "threads": torch.get_num_threads(),
            "processes": processes.size,
            **({} if start is None else {"begun_with": start.fingerprint}),
        }
        if processes.leads:
            folder.check_settings(
                resolved,
                may_grow=settings.MAY_GROW,
                may_differ=settings.MAY_DIFFER,
                warn_if_differ=settings.WARN_IF_DIFFER,
                content=settings.CONTENT,
            )
            coder = None if start is None else start.coder
            corpus = objective.prepare(wanted, folder.run, (fingerprint, valid_fingerprint), quiet=quiet, coder=coder)
            processes.broadcast(corpus.shared())
        else:
            corpus = objective.open(folder.run, processes.receive())
        processes.all_reduce([1.0])  # all have opened it, before anything can go wrong that removes it
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(random_bits(1, wanted.seed, _INITIAL_WEIGHTS)[0] >> 1))
            config = objective.config(wanted, corpus.in_size)
            place = processes.device(device)
            model = objective.build(config).to(place)
            begun = (
                None
                if start is None
                else _begin_with(start, wanted, folder, corpus, objective, model, place, quiet, processes)
            )
            result = _train(wanted, folder, corpus, objective, config, model, place, precision, stop, quiet, processes)
        if processes.leads:
            record = _publish(wanted, resolved, folder, corpus, objective, config.to_json(), model.cpu(), result, begun)
            processes.broadcast(record)
        else:
            record = processes.receive()
    assert result.state.best is not None
    return PretrainResult(
        folder=folder.out,
        record=record,
        stopped_by=result.stopped_by,
        resumed_from=result.resumed_from,
        steps=result.state.step,
        seconds=result.state.seconds,
        decides=objective.decides,
        held_out=result.state.best[objective.decides],
        process=processes.rank,
    )


def _check_same(led: dict[str, Any], own: dict[str, Any], rank: int) -> None:
    """Raise UsageError where this process was asked for another run than the leader."""
    for name in sorted(set(led) | set(own)):
        if led.get(name) != own.get(name):
            raise UsageError(
                f"process {rank} was given {name} = {json.dumps(own.get(name))}, the leading one {json.dumps(led.get(name))}",
                repair="start all processes of a run with the same command",
            )


@contextmanager
def _threads(wanted: PretrainSettings) -> Iterator[None]:
    """As many threads as asked for while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(wanted.threads or (1 if wanted.size == "tiny" else before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _begin_with(
    start: InitialModel,
    wanted: PretrainSettings,
    folder: RunFolder,
    corpus: Corpus,
    objective: Objective[Any],
    model: torch.nn.Module,
    device: str,
    quiet: bool,
    processes: Processes,
) -> Initialisation:
    if not processes.leads:
        processes.all_reduce([1.0])  # the figures that the leader measures are there now
    begun = Initialisation.make(
        start,
        model,
        objective,
        corpus,
        stored=folder.run / "before.json",
        held_out=objective.held_out(wanted, corpus, objective.rows(wanted, corpus)),
        device=device,
        quiet=quiet,
    )
    if processes.leads:
        processes.all_reduce([1.0])
    return begun


# The training -----------------------------------------------------------------------------------------------------------


def _train(
    wanted: PretrainSettings,
    folder: RunFolder,
    corpus: Corpus,
    objective: Objective[Any],
    config: Any,
    model: torch.nn.Module,
    device: str,
    precision: str,
    stop: StopRequest,
    quiet: bool,
    processes: Processes,
) -> LoopResult:
    rows = objective.rows(wanted, corpus)
    if rows < processes.size:
        raise UsageError(
            f"{rows} lanes of text cannot be split over {processes.size} processes",
            repair=f"start at most {rows}, or give a batch size of at least {processes.size}",
        )
    part = processes.part(rows)
    batches = objective.batches(wanted, corpus, rows, part)
    held_out = objective.held_out(wanted, corpus, rows, processes.part)
    per_epoch = batches.steps_per_epoch()
    total = per_epoch * wanted.epochs
    schedule = Schedule(
        kind=wanted.schedule, peak=wanted.learning_rate, total=total, warm_up=max(1, round(wanted.warm_up * total))
    )
    trained, optimiser = objective_and_optimiser(
        objective, config, model, wanted, learning_rate=wanted.learning_rate, precision=precision
    )
    job = Job(
        model=model,
        objective=processes.of_part(trained, rows),
        stream=batches,
        optimiser=optimiser,
        initial_state=processes.of_part(lambda: objective.initial_state(model, len(part), device), rows),
        evaluate=lambda: objective.evaluate(model, held_out, corpus, device, processes.all_reduce),
        amount=corpus.targets * wanted.epochs,
        decides=objective.decides,
        digest=lambda batch: batch.digest,
        part=part,
    )
    loop = TrainingLoop(
        job,
        LoopSettings(
            seed=wanted.seed,
            epochs=wanted.epochs,
            schedule=schedule,
            clip=wanted.clip,
            patience=wanted.patience,
            evaluate_steps=max(1, -(-per_epoch // wanted.evaluations)),
            log_steps=wanted.log_steps,
            checkpoint_seconds=wanted.checkpoint_seconds,
            checkpoint_steps=wanted.checkpoint_steps,
            time_limit=wanted.time_limit,
            device=device,
            precision=precision,
        ),
        folder,
        stop=stop,
        quiet=quiet,
        processes=processes,
    )
    return loop.run()


# The artefact -----------------------------------------------------------------------------------------------------------


def _publish(
    wanted: PretrainSettings,
    resolved: dict[str, Any],
    folder: RunFolder,
    corpus: Corpus,
    objective: Objective[Any],
    config: dict[str, Any],
    model: torch.nn.Module,
    result: LoopResult,
    begun: Initialisation | None,
) -> dict[str, Any]:
    """Write the artefact of the best model, unless the very same one is there already. Returns its record."""
    folder.check_present()
    state = result.state
    try:
        existing = artefact.load_artefact(folder.out).record
        # Killed while it was put in place, it can be read and is not there yet: then it is written again.
        in_place = (folder.out / storage.MANIFEST).exists()
        same = settings.deciding(existing.get("settings")) == settings.deciding(_comparable(resolved))
        if in_place and same and existing.get("steps") == state.step:
            return existing
    except CarryoverError:
        pass
    storage.verify_manifest(result.best_folder)
    tensors = storage.load_tensors(result.best_folder / "model.safetensors")
    model.load_state_dict(tensors)
    record: dict[str, Any] = {
        "schema": "carryover.record/1",
        "objective": wanted.objective,
        "corpus": {
            "raw": str(wanted.raw),
            "fingerprint": corpus.fingerprint,
            **corpus.training_facts(),
        },
        "held_out": {
            "text": ", ".join(map(str, wanted.valid_files)) or objective.set_aside,
            "fingerprint": corpus.valid_fingerprint,
            **corpus.held_out_facts(),
            **(state.best or {}),
            "best_step": state.best_step,
        },
        "heldout_check": objective.check_figures(model, corpus),
        "seed": wanted.seed,
        "steps": state.step,
        "epochs": wanted.epochs,
        "tokens": state.tokens,
        "stopped_by": result.stopped_by,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "versions": {
            "carryover": carryover.__version__,
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
        "command": shlex.join(sys.argv),
        "settings": _comparable(resolved),
        "seconds": round(state.seconds, 3),
    }
    if len(wanted.valid_files) > 1:
        how = {"steps": wanted.steps, "block_tokens": wanted.block_tokens, "device": "cpu"}
        record["held_out"]["files"] = measure_files(
            wanted.valid_files, model, corpus.coder, objective, lanes=objective.rows(wanted, corpus), **how
        )
    if begun is not None:
        record["begun_with"] = begun.record(model, objective, corpus)
    if doubts := doubts_of_record(record):
        record["doubts"] = doubts
    artefact.save_artefact(
        folder.out,
        kind=objective.kind,
        config=config,
        tensors=tensors,
        tokenizer=corpus.tokenizer(),
        labels=None,
        record=record,
        card=objective.card(config, record),
        files=corpus.files(),
    )
    return record


def _comparable(resolved: dict[str, Any]) -> dict[str, Any]:
    """The settings as JSON gives them back."""
    return dict(json.loads(json.dumps(resolved)))
