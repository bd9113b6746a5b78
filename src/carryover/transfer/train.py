"""A task from files of labelled examples to an artefact: what `train` does.

Everything in a run folder is decided by the settings, the files and the seed; the same call continues a stopped run.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import carryover
from carryover.ambient import default_torch_state
from carryover.data.builtin import lines_fingerprint
from carryover.data.coding import TokenCoder
from carryover.data.columns import Columns
from carryover.data.formats.choosing import is_builtin
from carryover.data.formats.reading import write_rejected
from carryover.data.formats.text import ReadResult
from carryover.data.metric_names import metric_title
from carryover.data.schemes import AUTO, PLAIN, Like, Scheme
from carryover.data.shards import content_fingerprint
from carryover.data.splits import stratified_split
from carryover.encoders.encoder import Encoder
from carryover.encoders.loading import load_encoder
from carryover.errors import BadData, UsageError, check_choice, check_fields
from carryover.progress import say
from carryover.storage import artefact, fingerprint
from carryover.tasks import TASKS, Task
from carryover.training.run_folder import RunFolder, open_run
from carryover.training.stopping import stop_signals
from carryover.transfer.fit import FitResult, fit_task
from carryover.transfer.initial_encoder import Vectors, check_material
from carryover.transfer.learners import check_input, learner_of
from carryover.transfer.plan import CarryPlan
from carryover.transfer.settings import FitSettings, TaskRun

DEV_SHARE = 0.2
FEWEST_TO_DIVIDE = 4


@dataclass(frozen=True)
class TaskRunResult:
    """How a run ended and where its artefact is."""

    folder: Path
    record: dict[str, Any]
    fitted: FitResult | None

    def to_json(self) -> dict[str, Any]:
        """The document `--json` prints."""
        return {"schema": "carryover.train/1", "folder": str(self.folder), "record": self.record}

    def lines(self) -> list[str]:
        """What a person reads at the end."""
        score = self.record.get("dev_score")
        found = f"{metric_title(score['main_name'])} {score['main']:.4f} on the held-out examples" if score else "not scored"
        return [
            f"{self.folder}: {found} after {self.record['updates']:,} updates{_why(self.record['stopped_by'])}, "
            f"{self.record['trainable']:,} of {self.record['parameters']:,} parameters trained, seed {self.record['seed']}",
        ]

    def mix_lines(self) -> list[str]:
        """How the pretrained model's layers were mixed in the end."""
        found = []
        for place, mix in self.record.get("mix", {}).items():
            names = ["tokens", *(f"layer {number}" for number in range(1, len(mix["shares"])))]
            shares = ", ".join(f"{name} {share:.3f}" for name, share in zip(names, mix["shares"], strict=True))
            found.append(
                f"shares of the pretrained model's layers at the {place} of the task: {shares}; scale {mix['scale']:.3f}"
            )
        return [*found, f"drawn in {self.folder / 'mix.svg'}"] if found else []

    def proof_lines(self) -> list[str]:
        """What was carried over, and how far it moved."""
        return list(self.record.get("proof_lines", []))


def _why(stopped_by: str) -> str:
    """What ended a training before its last update, in brackets."""
    return "" if stopped_by == "updates" else f" ({stopped_by})"


def read_examples(
    task: str,
    path: str | Path,
    columns: Columns,
    *,
    require_labels: bool = True,
    rejects: Path | None = None,
    like: Like = None,
) -> list[Any]:
    """The examples of a file for a task. With `on_error="skip"` faulty rows go to `rejects` and are counted aloud.

    `like` is the span scheme of the training data. Raises UsageError for an unknown task, BadData when nothing is left.
    """
    result = _read(task, path, columns, require_labels=require_labels, like=like)
    if rejects is not None:
        set_aside(path, result, rejects)
    return list(result.examples)


def _read(
    task: str, path: str | Path, columns: Columns, *, require_labels: bool = True, like: Like = None
) -> ReadResult[Any]:
    check_choice("task", task, TASKS)
    result = TASKS[task].read(path, columns, require_labels=require_labels, like=like)
    if isinstance(like, Scheme) and result.scheme is not None and result.scheme != like:
        say(f"{path}: its tags are {result.scheme} and were converted; the training data has {like}")
    return result


def set_aside(path: str | Path, result: ReadResult[Any], rejects: Path) -> None:
    if result.rejected:
        write_rejected(rejects, result.rejected)
        say(
            f"{path}: {result.rows:,} rows = {len(result.examples):,} used + {len(result.rejected):,} rejected, written to "
            f"{rejects}"
        )


@dataclass(frozen=True)
class Material:
    """What a training run works on, read and checked; nothing has been written for it."""

    plan: CarryPlan
    settings: FitSettings
    encoder: Encoder | None
    train: list[Any]
    dev: list[Any]
    read: tuple[tuple[str, str, ReadResult[Any]], ...]  # name, path and outcome of every file

    @property
    def held_out_of_train(self) -> bool:
        return len(self.read) == 1


@dataclass(frozen=True)
class LabelledFiles:
    """The labelled examples of a run, read and checked. `settings` know the span scheme; `dev` is empty without `--dev`."""

    settings: FitSettings
    train: list[Any]
    dev: list[Any]
    labels: tuple[str, ...]
    """Of the training examples."""
    read: tuple[tuple[str, str, ReadResult[Any]], ...]  # name, path and outcome of every file


def read_labelled(wanted: TaskRun, settings: FitSettings) -> LabelledFiles:
    """Read `--train` and, where it is given, `--dev`. Raises InputMissing, BadData naming file and line."""
    read = [("train", wanted.train, _read(wanted.kind, wanted.train, wanted.columns))]
    train = list(read[0][2].examples)
    scheme = read[0][2].scheme
    settings = replace(settings, scheme=PLAIN if scheme is None else scheme.spelling)
    labels = TASKS[wanted.kind].labels_of(train)
    if not labels or (len(labels) < 2 and not settings.multi_label):
        found = f"only the label {labels[0]!r}" if labels else "no label at all"
        raise BadData(f"holds {found}", path=wanted.train, repair="give examples with at least two different labels")
    asked = {} if settings.metric == "auto" else {"metric": settings.metric}
    TASKS[wanted.kind].of(labels, {**settings.task_options(), **asked}).check(train, wanted.train)
    if wanted.dev is not None:
        read.append(("dev", wanted.dev, _read(wanted.kind, wanted.dev, wanted.columns, like=scheme or PLAIN)))
    dev = list(read[1][2].examples) if wanted.dev is not None else []
    return LabelledFiles(settings, train, dev, tuple(labels), tuple(read))


def read_material(wanted: TaskRun, vectors: Vectors | None = None) -> Material:
    """Read and check everything that `wanted` names.

    Raises UsageError where its parts do not fit together, InputMissing, BadData naming file and line.
    """
    check_choice("task", wanted.task, TASKS)
    check_fields("plan", wanted.plan, CarryPlan)
    check_fields("fitting", wanted.fitting, FitSettings)
    plan = CarryPlan(mode=wanted.carry_mode, **wanted.plan)
    settings = FitSettings(**wanted.fitting)
    encoder = _encoder(wanted, plan)
    check_material(plan, encoder, vectors)
    files = read_labelled(wanted, settings)
    train, dev, settings = files.train, files.dev, files.settings
    if wanted.dev is None:
        if len(train) < FEWEST_TO_DIVIDE:
            raise BadData(
                f"holds {len(train)} examples, too few to hold some out",
                path=wanted.train,
                repair="give more, or give --dev",
            )
        own, held_out = stratified_split(train, [1 - DEV_SHARE, DEV_SHARE], settings.seed)
        train, dev = [train[i] for i in own], [train[i] for i in held_out]
    if encoder is not None:
        check_input(encoder, [*train, *dev])
    return Material(plan, settings, encoder, train, dev, files.read)


def _encoder(wanted: TaskRun, plan: CarryPlan) -> Encoder | None:
    if not plan.uses_encoder:
        if wanted.encoder is not None and plan.kind.carries_nothing:
            raise UsageError(
                f"mode {plan.mode} carries nothing over and does not use --encoder",
                repair="leave it out or choose --mode",
            )
        return None
    if wanted.encoder is None:
        raise UsageError(f"mode {plan.mode} needs a pretrained model, but none was given", repair="give --encoder FOLDER")
    return load_encoder(wanted.encoder, device=wanted.device)


@default_torch_state(gradients=True)
def train_task(wanted: TaskRun, out: Path, *, vectors: Vectors | None = None, quiet: bool = False) -> TaskRunResult:
    """Train what `wanted` says into `out`; the same call continues a stopped run and returns at once after a finished one.

    Everything that can be wrong with the input is found before the first byte is written. Raises UsageError, Busy,
    InputMissing, BadData, CannotWrite, DiskFault, TrainingFailed, and after saving `stopping.Interrupted` or
    `stopping.Terminated`.
    """
    with stop_signals(quiet) as stop:
        material = read_material(wanted, vectors)
        with open_run(out, artefact.is_artefact_file) as folder:
            free = ("train", "dev", "encoder", "time_limit")  # files may move; what is in them must not change
            content = {"train_content": "train", "dev_content": "dev"}
            folder.check_settings(
                _resolved(wanted, material, vectors),
                may_differ=free,
                warn_if_differ=("version",),
                content=content,
                finished=artefact.has_artefact(folder.out),
            )
            for name, path, result in material.read:
                set_aside(path, result, folder.run / f"rejected-{name}.jsonl")
            finished = _finished(folder, material.settings.time_limit)
            if finished is not None:
                return TaskRunResult(folder.out, finished, None)
            if material.held_out_of_train and not quiet:
                whole = len(material.train) + len(material.dev)
                say(f"no --dev: {len(material.dev):,} of the {whole:,} examples are held out to choose when to stop")
            tokenize = TokenCoder("characters").tokenize if material.encoder is None else material.encoder.tokenize
            for _, path, result in material.read:
                sentences = [TASKS[wanted.kind].words(one, tokenize) for one in result.examples]
                (material.encoder or learner_of(sentences[0])).say_cut(path, sentences)
            fitted = fit_task(
                wanted.kind,
                material.train,
                material.dev,
                plan=material.plan,
                encoder=material.encoder,
                vectors=vectors,
                settings=material.settings,
                device=wanted.device,
                folder=folder,
                quiet=quiet,
                stop=stop,
            )
            folder.check_present()
            record = fitted.predictor.record
            record["command"] = shlex.join(sys.argv)
            record["columns"] = wanted.columns.to_json()
            record["finished"] = fitted.stopped_by != "time limit"
            fitted.predictor.save(folder.out)
    return TaskRunResult(folder.out, record, fitted)


def _resolved(wanted: TaskRun, material: Material, vectors: Vectors | None) -> dict[str, Any]:
    encoder = material.encoder
    resolved = {
        "task": wanted.task,
        "train": wanted.train,
        "dev": wanted.dev,
        "encoder": None if wanted.encoder is None else str(wanted.encoder),
        "train_content": None,
        "dev_content": None,
        **{f"{name}_content": content_of(TASKS[wanted.kind], path, result) for name, path, result in material.read},
        "encoder_content": None if encoder is None else encoder.content(),
        "vectors_content": None if vectors is None else fingerprint(*vectors[0].tokens, vectors[1]),
        "device": wanted.device,
        "version": carryover.__version__,
        **{f"plan.{name}": value for name, value in material.plan.to_json().items()},
        **{
            f"columns.{name}": value for name, value in wanted.columns.to_json().items() if (name, value) != ("scheme", AUTO)
        },
        **material.settings.asked(),
    }
    return dict(json.loads(json.dumps(resolved)))


def content_of(task: type[Task], path: str, result: ReadResult[Any]) -> str:
    """A file by its bytes, built-in examples by what they are."""
    if not is_builtin(path):
        return content_fingerprint(path)
    rows = ({**task.row(example), "line": example.source.line} for example in result.examples)
    return lines_fingerprint(json.dumps(row, ensure_ascii=False) for row in rows)


def _finished(folder: RunFolder, time_limit: float | None) -> dict[str, Any] | None:
    """The record of the artefact in the folder when nothing is left to train."""
    if not (folder.out / "record.json").exists():
        return None
    record = artefact.load_artefact(folder.out).record
    if not record.get("finished") and (time_limit is None or time_limit > record.get("seconds", 0.0)):
        return None
    say(f"{folder.out}: finished before, nothing to do")
    return record
