"""The modes of `train` that need no encoder and no gradient: hand-made features, and what answers without looking."""

from __future__ import annotations

import json
import platform
import shlex
import sys
import time
from collections.abc import Sequence as ListOf
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import carryover
from carryover.classical.feature_model import FeatureModel
from carryover.classical.predictor import FeaturePredictor, weight_lines
from carryover.data.examples import Example
from carryover.data.metric_names import metric_title
from carryover.errors import NothingToLearn, UsageError
from carryover.progress import say
from carryover.storage import artefact
from carryover.tasks import TASKS
from carryover.training.run_folder import open_run
from carryover.transfer.plan import FITTED
from carryover.transfer.settings import FitSettings, TaskRun
from carryover.transfer.train import LabelledFiles, TaskRunResult, content_of, read_labelled, set_aside

USED = ("seed", "metric", "class_weights", "multi_label")
"""The settings of `FitSettings` that these modes use."""
_WEIGHTS_KEPT = 20


@dataclass(frozen=True)
class FeatureRunResult(TaskRunResult):
    """How a run ended and where its artefact is."""

    def lines(self) -> list[str]:
        record = self.record
        score = record.get("dev_score")
        scored = f", {metric_title(score['main_name'])} {score['main']:.4f} on the development examples" if score else ""
        checked = record.get("cross_validation")
        inside = (
            ""
            if checked is None
            else f" (best in cross-validation: {metric_title(checked['metric'])} {checked['score']:.4f})"
        )
        return [
            f"{self.folder}: {record['chosen']}{inside}{scored}, {record['train_examples']:,} examples, "
            f"{record['parameters']:,} weights, seed {record['seed']}",
            *(f"  {line}" for line in weight_lines(record.get("weights", {}))),
        ]


def fit_features(
    kind: str, examples: ListOf[Example[Any, Any]], settings: FitSettings, mode: str, labels: ListOf[str] | None = None
) -> FeaturePredictor:
    """The model of `mode`, one of `carryover.transfer.plan.FITTED`, for the examples of a task. `labels` are all there are, where these lack some.

    Raises NothingToLearn where the examples hold one label only, or no word.
    """
    began = time.monotonic()
    task_class = TASKS[kind]
    gold = [task_class.gold(example) for example in examples]
    automatic = settings.metric == "auto"
    metric = task_class.metric_of(gold, multi_label=settings.multi_label) if automatic else settings.metric
    known = tuple(labels) if labels is not None else task_class.labels_of(examples)
    task = task_class.of(known, {**settings.task_options(), "metric": metric})
    decides = metric or "accuracy"
    options = {"multi_label": settings.multi_label, "metric": decides, "class_weights": settings.class_weights}
    inputs = [example.input.content for example in examples]
    module, _, name = FITTED[mode].partition(":")
    made: FeatureModel = getattr(import_module(module), name)(type(inputs[0]), **options)
    model = made.fit(inputs, gold, settings.seed)
    checked = model.scores
    record = {
        "schema": "carryover.task-record/1",
        "task": kind,
        "seed": settings.seed,
        "plan": {"mode": mode},
        "settings": {name: getattr(settings, name) for name in USED},
        "train_examples": len(examples),
        "dev_examples": 0,
        "dev_score": None,
        "chosen": str(model.chosen),
        "cross_validation": {"metric": decides, "score": float(checked[model.chosen])} if checked else None,
        "weights": model.weights(_WEIGHTS_KEPT),
        "parameters": int(model.parameter_count()),
        "trainable": int(model.parameter_count()),
        "seconds": time.monotonic() - began,
        "versions": _versions(),
    }
    return FeaturePredictor(model, task, record)


def train_features(wanted: TaskRun, out: Path, *, quiet: bool = False) -> FeatureRunResult:
    """Choose and fit the model of the mode that `wanted` names, one of `carryover.transfer.plan.FITTED`, and store it; see `train_task` for what is raised."""
    settings = _settings(wanted)
    files = read_labelled(wanted, settings)
    mode = wanted.carry_mode
    with open_run(out, artefact.is_artefact_file) as folder:
        before = artefact.load_artefact(folder.out).record if artefact.has_artefact(folder.out) else None
        folder.check_settings(
            _resolved(wanted, settings, files),
            may_differ=("train", "dev"),
            warn_if_differ=("version",),
            content={"train_content": "train", "dev_content": "dev"},
            finished=before is not None,
        )
        for name, path, result in files.read:
            set_aside(path, result, folder.run / f"rejected-{name}.jsonl")
        if before is not None:
            say(f"{folder.out}: finished before, nothing to do")
            return FeatureRunResult(folder.out, before, None)
        if not quiet:
            say(f"fitting {mode} to {len(files.train):,} examples")
        try:
            predictor = fit_features(wanted.kind, files.train, files.settings, mode, files.labels)
        except NothingToLearn as error:
            raise NothingToLearn(error.message, path=error.path or wanted.train, repair=error.repair) from error
        record = predictor.record
        if files.dev:
            record["dev_examples"], record["dev_score"] = len(files.dev), predictor.score(files.dev, wanted.dev)
        record |= {"command": shlex.join(sys.argv), "columns": wanted.columns.to_json(), "finished": True}
        predictor.save(folder.out)
    return FeatureRunResult(folder.out, record, None)


def _settings(wanted: TaskRun) -> FitSettings:
    """Raises UsageError for what a mode without encoder and gradient cannot use."""
    mode = wanted.carry_mode
    if not TASKS[wanted.kind].by_features:
        raise UsageError(
            f"mode {mode} answers one column of tags, and --label-column is {wanted.columns.label_column}",
            repair="name one column of tags, or choose another --mode",
        )
    unused = [name for name in wanted.fitting if name not in USED]
    if wanted.encoder is not None:
        raise UsageError(
            f"mode {mode} carries nothing over and does not use --encoder", repair="leave it out or choose --mode"
        )
    if unused or wanted.plan:
        name = min([*unused, *wanted.plan])
        raise UsageError(f"mode {mode} does not use {name}", repair="leave it out or choose another --mode")
    return FitSettings(**wanted.fitting)


def _resolved(wanted: TaskRun, settings: FitSettings, files: LabelledFiles) -> dict[str, Any]:
    resolved = {
        "task": wanted.task,
        "train": wanted.train,
        "dev": wanted.dev,
        "plan.mode": wanted.carry_mode,
        "version": carryover.__version__,
        **{f"{name}_content": content_of(TASKS[wanted.kind], path, result) for name, path, result in files.read},
        **{f"columns.{name}": value for name, value in wanted.columns.to_json().items()},
        **{name: getattr(settings, name) for name in USED},
    }
    return dict(json.loads(json.dumps(resolved)))


def _versions() -> dict[str, str]:
    import sklearn

    return {
        "carryover": carryover.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "scikit-learn": sklearn.__version__,
    }
