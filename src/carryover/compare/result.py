"""What a comparison hands back: cells, analysis, verdict, costs, and all of it as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from carryover.compare.analysis import Analysis
from carryover.compare.cells import NOT_LEARNED, Cell, CellFailure, CellResult, file_name
from carryover.compare.encoders import entry, folder_of, written
from carryover.compare.findings import Point, plain
from carryover.compare.ladder import REFERENCE, row_of
from carryover.compare.plan import ComparePlan
from carryover.compare.verdict import cost_sentences, verdict
from carryover.data.columns import Columns
from carryover.data.schemes import AUTO
from carryover.setting import option_of
from carryover.tasks import TASKS
from carryover.transfer.plan import CarryPlan
from carryover.transfer.settings import FitSettings, TaskRun

SCHEMA = "carryover.compare/1"
LANGUAGE_MODEL = "language model"
WORD_VECTORS = "word vectors"
ENCODER_FOLDER = "language-model"
VECTORS_FOLDER = "word-vectors"
BEST_FOLDER = "best"


@dataclass(frozen=True)
class CompareResult:
    """Finished cells and what follows from them.

    `others` are the same cells by other metrics (accuracy and macro-F1 both, for classification), `never_answered` the labels
    that a rung answers in none of its cells at a budget, `changed_from` the title of the metric that would hide those.
    `pretraining` holds the seconds of what was made once ("language model", "language model NAME", "word vectors"), `already` how many cells an
    earlier run had finished, `missing` the cells that were never started, `failures` those that ended in an error, `data`
    facts about the examples, `remarks` sentences about them worth saying aloud.
    """

    plan: ComparePlan
    folder: Path
    analysis: Analysis
    results: Sequence[CellResult]
    missing: Sequence[Cell] = ()
    failures: Sequence[CellFailure] = ()
    already: int = 0
    pretraining: Mapping[str, float] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    others: Sequence[Analysis] = ()
    never_answered: Mapping[tuple[str, int | str], tuple[str, ...]] = field(default_factory=dict)
    changed_from: str | None = None

    @cached_property
    def verdict(self) -> list[str]:
        """Sentences; the same for the same cells, whatever the clock said."""
        return verdict(
            self.analysis,
            self.missing,
            self.failures,
            never_answered=self.never_answered,
            not_learned=[row.cell for row in self.results if NOT_LEARNED in row.notes],
            changed_from=self.changed_from,
        )

    def incomplete(self) -> list[Point]:
        """Points whose mean is over fewer seeds than the plan asks for, in table order."""
        return [point for point in self.analysis.points.values() if len(point.seeds) < self.plan.seeds]

    @cached_property
    def cost(self) -> list[str]:
        """Sentences about measured times and sizes."""
        return cost_sentences(self.analysis, self.results, dict(self.pretraining))

    @property
    def looks_at_test(self) -> int:
        """How often the test split was read: once a finished cell."""
        return len(self.results)

    @property
    def exit_code(self) -> int:
        """0, or the code of the first failed cell."""
        return self.failures[0].exit_code if self.failures else 0

    @property
    def page(self) -> Path:
        return self.folder / "report.html"

    def pretraining_seconds(self, rung: str) -> float:
        """What had to be made once before this rung could run."""
        row = row_of(rung)
        language_model = self.pretraining.get(entry(row.encoder, LANGUAGE_MODEL), 0.0) if row.needs.encoder else 0.0
        return language_model + (self.pretraining.get(WORD_VECTORS, 0.0) if row.needs.vectors else 0.0)

    def carried_folder(self, rung: str) -> Path | None:
        """Where what a rung carries over lies: the language model, the word vectors, or nothing."""
        row = row_of(rung)
        if row.needs.encoder:
            return folder_of(row.encoder, self.plan.encoders) or self.folder / ENCODER_FOLDER
        return self.folder / VECTORS_FOLDER if row.needs.vectors else None

    def cell_rows(self) -> list[dict[str, Any]]:
        """One row a finished cell, in table order."""
        rows = []
        for result in self.results:
            interval = self.analysis.resampling.cell_interval(result.cell)
            scores = {each.metric.name: each.resampling.scores[result.cell] for each in (self.analysis, *self.others)}
            rows.append(
                {
                    "rung": result.rung,
                    "budget": result.budget,
                    "labels": result.labels,
                    "seed": result.seed,
                    "score": scores[self.analysis.metric.name],
                    "scores": scores,
                    "interval": interval.to_json(),
                    "seconds": result.seconds,
                    "pretraining_seconds": self.pretraining_seconds(result.rung),
                    "prediction_milliseconds": result.prediction_milliseconds,
                    "parameters": result.parameters,
                    "trainable": result.trainable,
                    "peak_memory_mib": result.peak_memory_mib,
                    "predictions": f"cells/{result.cell.name}/predictions.npy",
                    "notes": result.notes,
                }
            )
        return rows

    def next_command(self) -> list[str]:
        """The likely next command: to continue when something is missing, else to train what the verdict takes."""
        plan, analysis = self.plan, self.analysis
        if self.missing or self.failures or not self.results:
            return ["carryover", "compare", *_data_options(plan), "--out", str(self.folder)]
        command = self.training_command(analysis.recommended_rung())
        return command or ["python", "-m", "webbrowser", str(self.page)]

    def training_command(self, rung: str | None, out: Path | None = None) -> list[str] | None:
        """The command that trains a rung on all labels with the settings of the comparison; None for no rung, and for one that
        `train` does not offer."""
        options = None if rung is None else row_of(rung).train_options()
        if rung is None or options is None:
            return None
        plan, made = self.plan, self.carried_folder(rung)
        carried = [] if made is None else ["--encoder", str(made)]
        if row_of(rung).has_placement and plan.placement != CarryPlan.placement:
            options = [*options, "--elmo-placement", plan.placement]
        spelled = {one.name for one in fields(FitSettings) if option_of(one.metadata) is not None}
        for name, value in row_of(rung).fitting_options(plan.fitting).items():
            options = [*options, *([f"--{name.replace('_', '-')}", str(value)] if name in spelled else [])]
        seed = ["--seed", str(plan.seed)] if plan.seed else []
        folder = out or self.folder.parent / f"{self.folder.name}-{file_name(rung)}"
        return ["carryover", "train", *_data_options(plan, training=True), *carried, *options, *seed, "--out", str(folder)]

    def task_run(self, rung: str) -> TaskRun:
        """The same for `carryover.transfer.train`: what `training_command` asks for."""
        plan, row = self.plan, row_of(rung)
        placed = {"placement": plan.placement} if row.has_placement else {}
        asked = {"seed": plan.seed, "metric": plan.metric, "class_weights": plan.class_weights}
        return TaskRun(
            task=plan.task,
            train=str(plan.train),
            encoder=self.carried_folder(rung),
            mode=row.mode,
            plan={**placed, **row.plan_options},
            fitting={**asked, "multi_label": plan.multi_label is not None, **row.fitting_options(plan.fitting)},
            columns=Columns(**{one.name: getattr(plan, one.name) for one in fields(Columns)}),
            device=plan.device,
        )

    def after(self) -> list[list[str]]:
        """The commands that train, score and use what the verdict recommends, none where it recommends nothing."""
        best = self.folder / BEST_FOLDER
        trained = self.training_command(self.analysis.recommended_rung(), best)
        if trained is None:
            return []
        test = str(self.plan.test) if self.plan.test is not None else "TEST"
        return [
            trained,
            ["carryover", "evaluate", str(best), "--test", test],
            ["carryover", "predict", str(best), "NEW"],
        ]

    def to_json(self) -> dict[str, Any]:
        """The document `--json` prints, `schema` first."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "cost": self.cost,
            "task": self.plan.task,
            "metric": self.analysis.metric.name,
            "reference": REFERENCE,
            "guessing": self.analysis.guessing,
            "confidence": self.plan.confidence,
            "rungs": list(self.plan.rungs),
            "budgets": list(self.plan.budgets),
            "seeds": list(self.plan.all_seeds),
            "looks_at_test": self.looks_at_test,
            "cells": self.cell_rows(),
            **self.analysis.to_json(),
            "other_metrics": [
                {"metric": other.metric.name, "points": [plain(point) for point in other.points.values()]}
                for other in self.others
            ],
            "never_answered": [
                {"rung": rung, "budget": budget, "labels": list(labels)}
                for (rung, budget), labels in self.never_answered.items()
            ],
            "missing": [{"rung": cell.rung, "budget": cell.budget, "seed": cell.seed} for cell in self.missing],
            "failures": [
                {key: value for key, value in failure.to_json().items() if key != "trace"} for failure in self.failures
            ],
            "pretraining_seconds": dict(self.pretraining),
            "data": dict(self.data),
            "remarks": list(self.remarks),
            "report": str(self.page),
        }


def _data_options(plan: ComparePlan, *, training: bool = False) -> list[str]:
    """The plan's data as options of the command line."""
    words = ["--task", plan.task, "--train", str(plan.train)]
    if not training:
        named = {"test": plan.test, "raw": plan.raw, "valid": plan.valid, "encoder": written(plan.encoder)}
        for name, value in named.items():
            words += [] if value is None else [f"--{name}", str(value)]
        words += ["--rungs", ",".join(plan.rungs), "--budgets", ",".join(str(budget) for budget in plan.budgets)]
        words += ["--seeds", str(plan.seeds), *(["--seed", str(plan.seed)] if plan.seed else [])]
    if TASKS[plan.kind].input_columns and plan.text_column != "text":
        words += ["--text-column", str(plan.text_column)]
    if plan.label_column is not None:
        words += ["--label-column", str(plan.label_column)]
    for name in ("format", "multi_label", "coarse", "scheme"):
        value = getattr(plan, name)
        words += [] if value in (None, AUTO) else [f"--{name.replace('_', '-')}", str(value)]
    words += [] if plan.on_error == "stop" else ["--on-error", plan.on_error]
    words += [] if plan.metric == "auto" else ["--metric", plan.metric]
    words += [] if plan.class_weights == "none" else ["--class-weights", plan.class_weights]
    return words
