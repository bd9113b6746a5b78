"""What a pretraining run is asked for, checked before anything is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from carryover.errors import UsageError, check_choice
from carryover.pretraining.recipes import DEFAULT, build_objective, summaries
from carryover.setting import (
    DATA,
    DEVICE,
    MODEL,
    RUN,
    SEED,
    TIME_LIMIT,
    TRAINING,
    column,
    option,
    seconds,
    sources,
)

# What the same run may be repeated with: longer, under another limit, stored more often, from a moved file.
MAY_GROW = ("epochs",)
MAY_DIFFER = ("raw", "valid", "begin_with", "time_limit", "checkpoint_seconds", "checkpoint_steps")
CONTENT = {"corpus": "raw", "held_out_text": "valid"}
WARN_IF_DIFFER = ("version", "threads", "processes")


@dataclass(frozen=True, kw_only=True)
class PretrainSettings:
    """Everything that decides the outcome of a pretraining run, and how long it may take.

    raw, valid : a file of text lines (also .gz and .xz) or a built-in corpus by its name, `builtin:…`. Without `valid`,
        `held_out_share` of the lines of `raw` are set aside, chosen by a hash of each line. `valid` may be several; then the
        record holds the figures of each, too.
    raw_column, raw_format : where the text of both is, and in which format they are, where they are no plain text.
    objective : one of `recipes.RECIPES`.
    size, model : a named size of the model and single fields of its configuration on top.
    input, vocabulary_size, minimum_count, softmax : what the model reads and predicts; softmax None is the size's own.
    keep_spaces : for words and subwords of the objective lm: white space is part of what is read and written (see
        `SpacedTokenizer`), so that text comes back exactly.
    begin_with : the folder of a pretrained model whose weights the run begins with instead of random ones. Objective, input
        and configuration must be that model's; `initial_model.continued` makes such settings. new_vocabulary : predict the
        words of the new text, with an output layer for them, instead of those the model knows.
    batch_size : lanes of text read side by side; None chooses 16 to 32 by the corpus, fewer for a small one.
    steps : tokens of a chunk of truncated back-propagation; see `Objective.usual_steps`. block_tokens : size of the blocks that are shuffled.
    epochs, time_limit (seconds, over all sessions), patience (evaluations without improvement) : when to end.
    optimiser : None is lazy-adam for a bidirectional model with a sampled softmax, else adam; see `optimisers`.
    learning_rate, schedule, warm_up (share of all steps), weight_decay, clip : how to step.
    evaluations : held-out measurements an epoch. log_steps : steps between lines of the metrics log.
    checkpoint_seconds, checkpoint_steps : how often to save; the latter, if given, counts instead.
    device, precision : "auto" chooses, see `devices`.
    threads : of one process on a CPU; None is one for the size tiny, whose products are too small to be shared, else what
        PyTorch is set to. Digits depend on it.

    Raises UsageError naming the field that is wrong.
    """

    raw: str | Path = field(
        metadata=option(
            "Text to learn from: a file (also .gz, .xz), a folder, a pattern such as 'src/**/*.py', builtin:NAME, or -.",
            DATA,
            metavar="TEXT",
        )
    )
    raw_column: str | int = field(
        default="text",
        metadata=option(
            "Column of the text if --raw is a table or JSON rows: a name, or a number from 0.",
            DATA,
            read=column,
            metavar="COLUMN",
        ),
    )
    raw_format: str | None = field(
        default=None,
        metadata=option(
            "Format of --raw: text, tsv, csv, jsonl, parquet, label-first, conll or conllu. Default: by the file's name.",
            DATA,
            metavar="FORMAT",
        ),
    )
    valid: str | Path | tuple[str | Path, ...] | None = field(
        default=None,
        metadata=option(
            "Held-out text, or several: a.txt,b.txt. Default: 2 % of the lines of --raw.", DATA, read=sources, metavar="TEXT"
        ),
    )
    held_out_share: float = 0.02
    objective: str = field(default=DEFAULT, metadata=option(summaries(), MODEL))
    size: str = field(
        default="small",
        metadata=option("Size of the model: tiny (seconds), small (minutes), medium, original (as published).", MODEL),
    )
    model: Mapping[str, Any] = field(default_factory=dict)
    input: str = field(
        default="characters",
        metadata=option("What the model reads: characters (no unknown words), words or subwords.", MODEL),
    )
    vocabulary_size: int = field(
        default=20_000,
        metadata=option("Size of the output vocabulary. With --begin-with: rebuild the vocabulary from this text.", MODEL),
    )
    minimum_count: int = field(default=1, metadata=option("Rarer words are predicted as unknown.", MODEL))
    softmax: str | None = field(default=None, metadata=option("full, sampled or adaptive. Default: from --size.", MODEL))
    keep_spaces: bool = field(
        default=False,
        metadata=option(
            "With --objective lm: words and subwords keep all white space, for code and LaTeX.", MODEL, "--keep-spaces"
        ),
    )
    begin_with: str | Path | None = field(
        default=None,
        metadata=option(
            "Continue from this pretrained or imported model, with its size, input and tokenizer.",
            MODEL,
            read=Path,
            metavar="FOLDER",
        ),
    )
    new_vocabulary: bool = False
    batch_size: int | None = field(
        default=None,
        metadata=option("Lanes of text read side by side. Default: 16 to 32, fewer for little text.", TRAINING),
    )
    steps: int = field(
        default=20,
        metadata=option(
            "Tokens in a chunk of truncated back-propagation; of series the length of a window. The default is 100 for "
            "--objective lm over characters and 256 for series.",
            TRAINING,
        ),
    )
    block_tokens: int = 2048
    epochs: int = field(default=5, metadata=option("Passes over the text.", TRAINING))
    time_limit: float | None = field(default=None, metadata=option(TIME_LIMIT, RUN, read=seconds, metavar="TIME"))
    patience: int | None = field(
        default=None,
        metadata=option(
            "Stop after this many held-out measurements without improvement. Default: train for all epochs.", TRAINING
        ),
    )
    optimiser: str | None = field(
        default=None,
        metadata=option(
            "adam, adamw, lazy-adam, adagrad, rmsprop or sgd. Default: adam; with a sampled softmax lazy-adam.", TRAINING
        ),
    )
    learning_rate: float = field(default=2e-3, metadata=option("Highest learning rate.", TRAINING))
    schedule: str = field(
        default="cosine",
        metadata=option(
            "Learning rate over time: constant, linear, cosine, slanted-triangular, inverse-square-root or staircase.",
            TRAINING,
        ),
    )
    warm_up: float = 0.02
    weight_decay: float = 0.0
    clip: float | None = 1.0
    evaluations: int = 2
    log_steps: int = 50
    checkpoint_seconds: float = 120.0
    checkpoint_steps: int | None = None
    seed: int = field(default=0, metadata=option(SEED, RUN))
    device: str = field(default="auto", metadata=option(DEVICE, RUN))
    precision: str = field(default="auto", metadata=option("auto, float32 or bfloat16.", TRAINING))
    threads: int | None = None

    def __post_init__(self) -> None:
        from carryover import devices
        from carryover.training import optimisers, schedules  # PyTorch: not for who only asks for a default

        objective = build_objective(self.objective)
        check_choice("schedule", self.schedule, schedules.KINDS)
        if self.optimiser is not None:
            check_choice("optimiser", self.optimiser, optimisers.KINDS)
        check_choice("precision", self.precision, devices.PRECISIONS)
        for name in ("vocabulary_size", "minimum_count", "steps", "block_tokens", "epochs", "evaluations", "log_steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", repair="give a whole number of at least 1")
        for name in ("batch_size", "patience", "checkpoint_steps", "threads"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", repair="give a whole number of at least 1")
        for name in ("learning_rate", "time_limit", "clip"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise UsageError(f"{name} is {value}", repair="give a positive number")
        if not 0 < self.held_out_share < 1 or not 0 <= self.warm_up < 1:
            raise UsageError(
                f"held_out_share is {self.held_out_share}, warm_up is {self.warm_up}",
                repair="give shares between 0 and 1",
            )
        if self.seed < 0:
            raise UsageError(f"seed is {self.seed}", repair="give a whole number from 0")
        if self.valid is not None and not self.valid_files:
            raise UsageError("valid is an empty list", repair="name files of held-out text, or leave it out")
        objective.check(self)
        if self.new_vocabulary and self.begin_with is None:
            raise UsageError(
                "new_vocabulary is for a run that begins with a model", repair="give begin_with, or leave it out"
            )

    @property
    def valid_files(self) -> tuple[str | Path, ...]:
        """The files of held-out text; none where lines of `raw` are set aside."""
        if self.valid is None or isinstance(self.valid, str | Path):
            return () if self.valid is None else (self.valid,)
        return tuple(self.valid)

    def to_json(self) -> dict[str, Any]:
        """The settings as a JSON object, paths as given."""
        content = asdict(self)
        names = [str(file) for file in self.valid_files]
        content["raw"], content["valid"] = str(self.raw), names if len(names) > 1 else next(iter(names), None)
        content["model"] = dict(self.model)
        for name in ("keep_spaces", "raw_column", "raw_format"):
            if content[name] == getattr(type(self), name):
                del content[name]  # as before there was such a setting
        if self.begin_with is None:
            del content["begin_with"], content["new_vocabulary"]
        else:
            content["begin_with"] = str(self.begin_with)
        return content


def deciding(stored: Any) -> Any:
    """Stored settings without those that are only told when they change."""
    return (
        {name: value for name, value in stored.items() if name not in WARN_IF_DIFFER} if isinstance(stored, dict) else stored
    )
