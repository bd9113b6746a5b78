"""What a training run of a task is asked for, how it trains and, for each mode of carrying over, the defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from carryover.data.columns import Columns
from carryover.data.metric_names import metric_name
from carryover.errors import UsageError, check_choice
from carryover.setting import DATA, DEVICE, MODEL, RUN, SEED, TIME_LIMIT, TRAINING, option, seconds
from carryover.transfer.plan import FITTED, MODES, CarryPlan, usual_mode

CLASS_WEIGHTS = ("none", "balanced")
STACKS = ("cnn", "tcn", "lstm", "gru")
"""Layers that can be learned from series."""


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a task is trained. None is the default of the mode, see `resolve`. Raises UsageError naming the field.

    epochs, least_updates : how long, whichever is longer; `epochs` alone is the exact number of passes. patience : end after so many evaluations without a better score; None
        runs to the end, where the learning rate has fallen, which is what small held-out parts are best served by.
    evaluations : how often the held-out examples are scored in the whole run.
    token_budget : words in a batch, padding counted.
    learning_rate, weight_decay, clip : of Adam.
    dropout, hidden (cells a direction of the task's own LSTM), word_size, filters : the model.
    output ("softmax", "crf"), pooling, multi_label, scheme : the task; see `carryover.tasks`.
    metric : the score that decides which weights are kept; "auto" is span F1 for span tags, macro-F1 where one label is that
        of more than two thirds of the texts or a text has several labels, else accuracy.
    class_weights : "balanced" gives every class the same weight in the loss of classification, "none" every example.
    time_limit : seconds after which training ends with what is best so far.
    checkpoint_seconds, checkpoint_updates : how often to save; the latter, if given, counts instead.
    """

    seed: int = field(default=0, metadata=option(SEED, RUN))
    epochs: int | None = field(
        default=None,
        metadata=option("Passes over the training examples. Default: by the mode, more for few examples.", TRAINING),
    )
    least_updates: int | None = None
    patience: int | None = field(
        default=None,
        metadata=option(
            "Stop after this many measurements on the development examples without improvement. Default: train for all epochs.",
            TRAINING,
        ),
    )
    evaluations: int = 25
    token_budget: int | None = None
    learning_rate: float | None = field(
        default=None, metadata=option("Highest learning rate. Default: by the mode.", TRAINING)
    )
    weight_decay: float = 0.0
    clip: float | None = 1.0
    dropout: float | None = field(
        default=None, metadata=option("Dropout probability of the task's own layers. Default: by the mode.", TRAINING)
    )
    hidden: int = field(default=128, metadata=option("Cells per direction of the LSTM of the task.", MODEL))
    word_size: int = 64
    filters: tuple[tuple[int, int], ...] = ((2, 25), (3, 25), (4, 25))
    output: str | None = field(
        default=None,
        metadata=option("Output layer of a tagger: softmax or crf. Default: crf for span tags, else softmax.", MODEL),
    )
    stack: str = field(
        default="cnn",
        metadata=option("Layers that mode scratch learns from series: cnn, tcn, lstm or gru.", MODEL),
    )
    pooling: str = "mean+max"
    multi_label: bool = False
    scheme: str | None = None
    metric: str = field(
        default="auto",
        metadata=option(
            "accuracy, macro_f1, micro_f1 or span_f1; of numbers pearson or spearman. auto: span_f1 for span tags; macro_f1 if texts have several labels, or "
            "if more than two thirds of the texts have the same label; pearson for numbers; else accuracy.",
            TRAINING,
        ),
    )
    class_weights: str = field(
        default="none",
        metadata=option("balanced: every class has the same weight in the loss; none: every example has.", TRAINING),
    )
    time_limit: float | None = field(default=None, metadata=option(TIME_LIMIT, RUN, read=seconds, metavar="TIME"))
    checkpoint_seconds: float = 60.0
    checkpoint_updates: int | None = None

    def __post_init__(self) -> None:
        if self.epochs is not None and self.least_updates is None:
            object.__setattr__(self, "least_updates", 1)
        object.__setattr__(self, "filters", tuple((int(width), int(count)) for width, count in self.filters))
        object.__setattr__(self, "metric", metric_name(self.metric, also=("auto",)))
        check_choice("class weights", self.class_weights, CLASS_WEIGHTS)
        check_choice("stack", self.stack, STACKS)
        counts = ("epochs", "least_updates", "patience", "evaluations", "token_budget", "hidden", "word_size")
        for name in (*counts, "checkpoint_updates"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", repair="give a whole number of at least 1")
        for name in ("learning_rate", "clip", "time_limit"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise UsageError(f"{name} is {value}", repair="give a positive number")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is {self.dropout}", repair="give a probability of at least 0 and below 1")
        if self.seed < 0 or self.weight_decay < 0:
            raise UsageError(f"seed is {self.seed}, weight_decay {self.weight_decay}", repair="give numbers from 0")

    def resolve(self, plan: CarryPlan, usual: Mapping[str, Any] | None = None) -> FitSettings:
        """The settings with the defaults of the plan's mode filled in, those of `usual` in place of them."""
        defaults = {**plan.kind.defaults, **(usual or {})}
        return replace(self, **{name: value for name, value in defaults.items() if getattr(self, name) is None})

    def task_options(self) -> dict[str, Any]:
        """What a task and its head take, each of them what concerns it."""
        return {name: getattr(self, name) for name in ("dropout", "hidden", "output", "pooling", "multi_label", "scheme")}

    def deciding(self) -> dict[str, Any]:
        """The settings that decide the outcome: all but how long it may take and how often it is saved."""
        free = ("time_limit", "checkpoint_seconds", "checkpoint_updates")
        return {name: value for name, value in self.asked().items() if name not in free}

    def asked(self) -> dict[str, Any]:
        """The settings as a run compares them with those it began with: what earlier versions did not have is left out
        while it is as it was then. The scheme follows from the examples."""
        added = {"metric": "auto", "class_weights": "none", "scheme": self.scheme, "stack": "cnn"}
        return {name: value for name, value in self.to_json().items() if name not in added or value != added[name]}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class TaskRun:
    """What a training run of a task is asked for. `plan` and `fitting` set single fields of `CarryPlan`, `FitSettings`.

    mode : of `CarryPlan`; None is "frozen" with an encoder and "scratch" without.
    device : "auto" chooses, see `carryover.devices`, which also says what is raised.
    """

    task: str = field(
        metadata=option(
            "classify: one text, one or more labels; tag: one or more labels for each token; pair: two texts, one label or number.",
            DATA,
            metavar="TASK",
        )
    )
    train: str = field(metadata=option("Labelled training examples: a file, or builtin:NAME.", DATA, metavar="FILE"))
    dev: str | None = field(
        default=None,
        metadata=option("Labelled development examples. Default: a fifth of --train.", DATA, metavar="FILE"),
    )
    encoder: Path | None = field(
        default=None,
        metadata=option(
            "Pretrained model to carry over, or word vectors for --mode static.", MODEL, read=Path, metavar="FOLDER"
        ),
    )
    mode: str | None = field(
        default=None,
        metadata=option(
            "features, majority, scratch, static, frozen, head, top-k or full. Default: frozen with --encoder, else scratch.",
            MODEL,
        ),
    )
    plan: Mapping[str, Any] = field(default_factory=dict)
    fitting: Mapping[str, Any] = field(default_factory=dict)
    columns: Columns = field(default_factory=Columns)
    device: str = field(default="auto", metadata=option(DEVICE, RUN))

    def __post_init__(self) -> None:
        from carryover.devices import choose_device  # PyTorch: not for who only asks for a default

        if self.mode is not None:
            check_choice("mode", self.mode, (*FITTED, *MODES))

        object.__setattr__(self, "device", choose_device(self.device))

    @property
    def carry_mode(self) -> str:
        """The mode of carrying over that was asked for, or the one that goes with the encoder."""
        return self.mode or usual_mode(with_encoder=self.encoder is not None)

    @property
    def kind(self) -> str:
        """The task that the columns make of the one that was asked for. Raises UsageError for an unknown one."""
        from carryover.tasks import TASKS  # NumPy: not for who only asks for a default

        check_choice("task", self.task, TASKS)
        return TASKS[self.task].for_columns(self.columns).name
