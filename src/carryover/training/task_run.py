"""A task from files to an artefact, and from an artefact to scores and predictions: what the verbs of the command line do.

Everything in a run folder is decided by the settings, the files and the seed; the same call continues a stopped run.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as ListOf
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import carryover
from carryover.data.opening import inner_suffix, read_lines
from carryover.data.reading import read_tagged, read_texts, write_rejected
from carryover.data.shards import content_fingerprint
from carryover.data.splits import stratified_split
from carryover.data.text import ReadResult, TaggedSentence, TextExample
from carryover.errors import BadData, UsageError
from carryover.progress import say
from carryover.tasks import TASKS
from carryover.training import artefact
from carryover.training.carry import CarryPlan
from carryover.training.fit import FitResult, Vectors, fit_task
from carryover.training.fit_settings import FitSettings
from carryover.training.loading import LanguageModel, load
from carryover.training.run_folder import RunFolder, open_run
from carryover.training.stopping import stop_signals
from carryover.training.task_model import Prediction, TaskPredictor

DEV_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where text and labels stand in a file; see `carryover.data.reading`."""

    text_column: str | int = "text"
    label_column: str | int | None = None
    format: str | None = None
    multi_label: str | None = None
    on_error: str = "stop"


@dataclass(frozen=True, kw_only=True)
class TaskRun:
    """What a training run of a task is asked for. `plan` and `fitting` set single fields of `CarryPlan`, `FitSettings`."""

    task: str
    train: str
    dev: str | None = None
    encoder: Path | None = None
    mode: str = "scratch"
    plan: Mapping[str, Any] = field(default_factory=dict)
    fitting: Mapping[str, Any] = field(default_factory=dict)
    columns: Columns = field(default_factory=Columns)
    device: str = "cpu"


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
        found = (
            f"{score['main_name'].replace('_', ' ')} {score['main']:.4f} on the held-out examples" if score else "not scored"
        )
        return [
            *self.record.get("proof_lines", []),
            f"{self.folder}: {found} after {self.record['updates']:,} updates ({self.record['stopped_by']}), "
            f"{self.record['trainable']:,} of {self.record['parameters']:,} parameters trained",
        ]


def read_examples(
    task: str, path: str | Path, columns: Columns, *, require_labels: bool = True, rejects: Path | None = None
) -> list[Any]:
    """The examples of a file for a task. With `on_error="skip"` faulty rows go to `rejects` and are counted aloud.

    Raises UsageError for an unknown task, BadData when nothing is left.
    """
    if task not in TASKS:
        raise UsageError(f"task {task!r} is unknown", repair=f"use {' or '.join(TASKS)}")
    result: ReadResult[Any]
    if task == "tag":
        result = read_tagged(
            path,
            label_column=columns.label_column,
            format=columns.format,
            on_error=columns.on_error,
            require_labels=require_labels,
        )
    else:
        result = read_texts(
            path,
            text_column=columns.text_column,
            label_column="label" if columns.label_column is None else columns.label_column,
            format=columns.format,
            on_error=columns.on_error,
            multi_label=columns.multi_label,
            require_labels=require_labels,
        )
    if result.rejected:
        kept = "" if rejects is None else f", written to {rejects}"
        say(f"{path}: {result.rows:,} rows = {len(result.examples):,} used + {len(result.rejected):,} rejected{kept}")
        if rejects is not None:
            write_rejected(rejects, result.rejected)
    if not result.examples:
        raise BadData("holds no example", path=path, repair="give a file with at least a few labelled examples")
    return list(result.examples)


def train_task(wanted: TaskRun, out: Path, *, vectors: Vectors | None = None, quiet: bool = False) -> TaskRunResult:
    """Train what `wanted` says into `out`; the same call continues a stopped run and returns at once after a finished one.

    Raises UsageError, Busy, InputMissing, BadData, CannotWrite, DiskFault, TrainingFailed, and after saving
    `stopping.Interrupted` or `stopping.Terminated`.
    """
    plan = CarryPlan(mode=wanted.mode, **wanted.plan)
    settings = FitSettings(**wanted.fitting)
    encoder = None
    if plan.uses_language_model:
        if wanted.encoder is None:
            raise UsageError(f"mode {plan.mode} carries a language model over", repair="give --encoder FOLDER")
        encoder = load(wanted.encoder, device=wanted.device)
        if not isinstance(encoder, LanguageModel):
            raise UsageError("is a task model, not a pretrained one", path=wanted.encoder, repair="give a pretrained model")
    with stop_signals(quiet) as stop, open_run(out, artefact.is_artefact_file) as folder:
        train = read_examples(wanted.task, wanted.train, wanted.columns, rejects=folder.run / "rejected-train.jsonl")
        if wanted.dev is None:
            own, held_out = stratified_split(train, [1 - DEV_SHARE, DEV_SHARE], settings.seed)
            if not quiet:
                say(f"no --dev: {len(held_out):,} of the {len(train):,} examples are held out to choose when to stop")
            train, dev = [train[i] for i in own], [train[i] for i in held_out]
        else:
            dev = read_examples(wanted.task, wanted.dev, wanted.columns, rejects=folder.run / "rejected-dev.jsonl")
        folder.settle(_resolved(wanted, plan, settings), growing=("time_limit",), free=("train", "dev", "encoder"))
        finished = _finished(folder, settings.time_limit)
        if finished is not None:
            return TaskRunResult(folder.out, finished, None)
        fitted = fit_task(
            wanted.task,
            train,
            dev,
            plan=plan,
            encoder=encoder,
            vectors=vectors,
            settings=settings,
            device=wanted.device,
            checkpoint_folder=folder.checkpoints,
            quiet=quiet,
            stop=stop,
        )
        record = fitted.predictor.record
        record["command"] = shlex.join(sys.argv)
        record["columns"] = asdict(wanted.columns)
        record["finished"] = fitted.stopped_by != "time limit"
        fitted.predictor.save(folder.out)
    return TaskRunResult(folder.out, record, fitted)


def _resolved(wanted: TaskRun, plan: CarryPlan, settings: FitSettings) -> dict[str, Any]:
    resolved = {
        "task": wanted.task,
        "train": wanted.train,
        "dev": wanted.dev,
        "encoder": None if wanted.encoder is None else str(wanted.encoder),
        "train_content": content_fingerprint(wanted.train),
        "dev_content": None if wanted.dev is None else content_fingerprint(wanted.dev),
        "device": wanted.device,
        "version": carryover.__version__,
        **{f"plan.{name}": value for name, value in plan.to_json().items()},
        **{f"columns.{name}": value for name, value in asdict(wanted.columns).items()},
        **settings.to_json(),
    }
    return dict(json.loads(json.dumps(resolved)))


def _finished(folder: RunFolder, time_limit: float | None) -> dict[str, Any] | None:
    """The record of the artefact in the folder when nothing is left to train."""
    if not (folder.out / "record.json").exists():
        return None
    record = artefact.load_artefact(folder.out).record
    if not record.get("finished") and (time_limit is None or time_limit > record.get("seconds", 0.0)):
        return None
    say(f"{folder.out}: finished before, nothing is left to do")
    return record


# Using what was trained ---------------------------------------------------------------------------------------------


def require_task(loaded: Any, folder: Path) -> TaskPredictor:
    """The task model that was loaded. Raises UsageError when it is a pretrained one."""
    if not isinstance(loaded, TaskPredictor):
        raise UsageError(
            "is a pretrained model without a task", path=folder, repair="train one with `carryover train` first"
        )
    return loaded


def trained_columns(predictor: TaskPredictor, **given: Any) -> Columns:
    """The columns of the training files, with what is `given` (not None) in their place."""
    stored = predictor.record.get("columns", {})
    return Columns(**{**stored, **{name: value for name, value in given.items() if value is not None}})


def evaluate_task(folder: Path, test: str, *, device: str = "cpu", **columns: Any) -> dict[str, Any]:
    """Scores of the task model in `folder` on the labelled examples of `test`, as the JSON document of the command."""
    predictor = require_task(load(folder, device=device), folder)
    examples = read_examples(predictor.task.kind, test, trained_columns(predictor, **columns))
    scores = predictor.score(examples, test)
    return {
        "schema": "carryover.evaluate/1",
        "folder": str(folder),
        "test": test,
        "examples": len(examples),
        "scores": scores,
    }


def score_lines(document: Mapping[str, Any]) -> list[str]:
    """The scores as a person reads them."""
    scores = document["scores"]
    lines = [f"{scores['main_name'].replace('_', ' ')} {scores['main']:.4f} on {document['examples']:,} examples"]
    for name, value in scores.items():
        if isinstance(value, float) and name not in ("main", scores["main_name"]):
            lines.append(f"{name.replace('_', ' ')} {value:.4f}")
    for label, row in scores.get("labels", {}).items():
        lines.append(
            f"  {label}: precision {row['precision']:.4f} recall {row['recall']:.4f} F1 {row['f1']:.4f} "
            f"({row['gold']:,} in the test examples)"
        )
    return lines


def items_to_predict(predictor: TaskPredictor, source: str, **columns: Any) -> list[TextExample] | list[TaggedSentence]:
    """What stands in a file or on standard input: for a classifier one text a line (a table when a text column is named),
    for a tagger columns or one sentence a line. Empty lines are kept as empty texts, so that answers stay in line."""
    given = trained_columns(predictor, **{**columns, "on_error": None})
    if predictor.task.kind == "tag" and _is_columns(source, columns.get("format")):
        return read_examples("tag", source, given, require_labels=False)
    if predictor.task.kind == "classify" and columns.get("text_column") is not None:
        return read_examples("classify", source, given, require_labels=False)
    if predictor.task.kind == "tag":
        return [TaggedSentence(predictor.words(line), (), number) for number, line in read_lines(source)]
    return [TextExample(line, (), number) for number, line in read_lines(source)]


def _is_columns(source: str, format: str | None) -> bool:
    return source != "-" and (format is not None or inner_suffix(source) in (".conll", ".conllu", ".jsonl", ".iob", ".bio"))


def prediction_rows(predictor: TaskPredictor, items: ListOf[Any]) -> Iterator[dict[str, Any]]:
    """One row an item, in order: labels and the probability of each of them."""
    for item, answer in zip(items, predictor.predictions(items), strict=True):
        yield _row(predictor, item, answer)


def _row(predictor: TaskPredictor, item: Any, answer: Prediction) -> dict[str, Any]:
    place = {label: number for number, label in enumerate(predictor.labels)}
    if predictor.task.kind == "tag":
        chances = [round(float(row[place[tag]]), 6) for row, tag in zip(answer.probabilities, answer.labels, strict=True)]
        return {"tokens": list(answer.words), "tags": list(answer.labels), "probabilities": chances}
    chances = [round(float(answer.probabilities[place[label]]), 6) for label in answer.labels]
    return {"text": item.text, "labels": list(answer.labels), "probabilities": chances}


def prediction_lines(rows: Iterator[dict[str, Any]], *, probabilities: bool = False) -> Iterator[str]:
    """Rows as tab-separated lines: `labels TAB text`, or `word TAB tag` with an empty line after each sentence."""
    for row in rows:
        if "tokens" in row:
            for word, tag, chance in zip(row["tokens"], row["tags"], row["probabilities"], strict=True):
                yield f"{word}\t{tag}\t{chance:.6f}" if probabilities else f"{word}\t{tag}"
            yield ""
        else:
            chance = ",".join(f"{value:.6f}" for value in row["probabilities"])
            labels = ",".join(row["labels"])
            yield f"{labels}\t{chance}\t{row['text']}" if probabilities else f"{labels}\t{row['text']}"
