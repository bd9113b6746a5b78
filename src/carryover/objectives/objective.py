"""What a pretraining run asks of its objective: corpus, network, loss, held-out figures, and what people read of them.

The run (`carryover.pretraining`) knows no objective by name and no kind of corpus. An objective brings its own: running text,
windows of a series, or anything else that gives batches which are pure functions of (seed, epoch, step).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from collections.abc import Sequence as ListOf
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from carryover.errors import UsageError
from carryover.layers.base import State

AllReduce = Callable[[list[float]], list[float]]
"""Sums over the processes that share a run; `list` for one process alone."""
Source = str | Path


class Request(Protocol):
    """What an objective may read of a run's settings; `PretrainSettings` describes each."""

    @property
    def raw(self) -> Source: ...
    @property
    def valid_files(self) -> tuple[Source, ...]: ...
    @property
    def held_out_share(self) -> float: ...
    @property
    def raw_column(self) -> str | int: ...
    @property
    def raw_format(self) -> str | None: ...
    @property
    def objective(self) -> str: ...
    @property
    def size(self) -> str: ...
    @property
    def model(self) -> Mapping[str, Any]: ...
    @property
    def input(self) -> str: ...
    @property
    def vocabulary_size(self) -> int: ...
    @property
    def minimum_count(self) -> int: ...
    @property
    def softmax(self) -> str | None: ...
    @property
    def keep_spaces(self) -> bool: ...
    @property
    def begin_with(self) -> Source | None: ...
    @property
    def new_vocabulary(self) -> bool: ...
    @property
    def batch_size(self) -> int | None: ...
    @property
    def steps(self) -> int: ...
    @property
    def block_tokens(self) -> int: ...


class Batch(Protocol):
    """What is read and predicted in one step. `tokens` counts what is predicted; `digest`s of the parts that processes read add
    up, modulo 2⁶⁴, to that of the whole batch (see `carryover.data.order.digest`)."""

    @property
    def tokens(self) -> int: ...
    @property
    def digest(self) -> int: ...
    def to(self, device: str, /) -> Any: ...


class Batches(Protocol):
    """Random access to the batches of an epoch, so that a resumed run asks for step k and gets it."""

    def steps_per_epoch(self) -> int: ...
    def batch(self, seed: int, epoch: int, step: int, /) -> Any: ...


class Corpus(Protocol):
    """The prepared data of a run.

    `in_size` is what the data decides of the model's configuration (entries of the vocabulary, channels of a series), `targets`
    how many predictions one pass over the training part makes. `coder` turns raw input into what the model reads.
    """

    @property
    def fingerprint(self) -> str: ...
    @property
    def valid_fingerprint(self) -> str: ...
    @property
    def in_size(self) -> int: ...
    @property
    def targets(self) -> int: ...
    @property
    def coder(self) -> Any: ...
    def training_facts(self) -> dict[str, Any]:
        """What the record says of the training part."""

    def held_out_facts(self) -> dict[str, Any]:
        """What the record says of the held-out part."""

    def tokenizer(self) -> dict[str, Any]:
        """`tokenizer.json` of the artefact: all that turns raw input into what the model reads."""

    def files(self) -> dict[str, bytes]:
        """Further files of the artefact by name, such as a sample of what was held out."""

    def shared(self) -> Any:
        """What `Objective.open` needs in another process, as a JSON value."""


C = TypeVar("C", bound=Corpus)


@dataclass(frozen=True)
class Draft:
    """A little of a corpus for a short calibration: its batches, and `in_size` and `tokens` of the whole."""

    batches: Batches
    rows: int
    in_size: int
    tokens: int


class Objective(ABC, Generic[C]):
    """What is learned from raw data, and everything about a run that depends on it.

    kind : of the artefacts. decides : the held-out figure that says which model is best, lower is better; decides_title,
    decides_format and decides_least : how it is named (empty: as the figure is) and written for people, and the best that it can be.
    continues : whether a run may begin with a stored model. set_aside : what is held out where no held-out files are given.
    model_options : common options of a model (`layers`, `width`, …) → fields of the configuration.

    `logits_dtype` (None: that of the weights), `chunk_rows` and `sparse_gradient` say how a softmax computes its loss; an
    objective without one ignores them.
    """

    kind: ClassVar[str]
    decides: ClassVar[str] = "perplexity"
    decides_title: ClassVar[str] = ""
    decides_format: ClassVar[str] = ".4g"
    decides_least: ClassVar[float] = 0.0
    continues: ClassVar[bool] = False
    set_aside: ClassVar[str] = "a part of the same data"
    model_options: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        *,
        logits_dtype: torch.dtype | None = None,
        chunk_rows: int | None = None,
        sparse_gradient: bool = False,
    ) -> None:
        self.logits_dtype = logits_dtype
        self.chunk_rows = chunk_rows
        self.sparse_gradient = sparse_gradient

    # ------------------------------------------------------------------ settings and network

    @classmethod
    def usual_for(cls, raw: Source, format: str | None) -> Mapping[str, Any] | None:
        """Settings of a run over this raw data where nobody asked for an objective; None where it is not for this objective."""
        return None

    def check(self, wanted: Request) -> None:
        """Raise UsageError for settings that this objective has no use for."""
        for name, unused in (("keep_spaces", False), ("softmax", None)):
            value = getattr(wanted, name)
            if value != unused:
                raise UsageError(f"{name} is {value}, and {wanted.objective} does not use it", repair="leave it out")

    def usual_steps(self, input: str) -> int:
        """Steps of a chunk of truncated back-propagation where none are asked for."""
        return 20

    @abstractmethod
    def config(self, wanted: Request, in_size: int | None) -> Any:
        """The configuration asked for; `in_size` is None before the corpus is read.

        Raises UsageError for an unknown size or field, or one that does not go here.
        """

    @abstractmethod
    def build(self, config: Any) -> nn.Module:
        """The network, with random weights."""

    def samples_output_rows(self, config: Any) -> bool:
        """Whether a step looks up some rows of the output layer only and needs no gradient of the others."""
        return False

    def predicts(self, config: Any) -> bool:
        """Whether a model of this configuration can be scored: weights may be published without an output layer."""
        return True

    def may_replace_vocabulary(self, config: Mapping[str, Any]) -> bool:
        """Whether a model of this configuration reads something else than its vocabulary, which may then become another one."""
        return False

    # ------------------------------------------------------------------ corpus

    @abstractmethod
    def fingerprints(self, wanted: Request) -> tuple[str, str]:
        """Of the training and of the held-out data, read before anything is written. Raises InputMissing, BadData."""

    @abstractmethod
    def prepare(self, wanted: Request, folder: Path, fingerprints: tuple[str, str], *, quiet: bool, coder: Any) -> C:
        """The corpus, kept in `folder` for later sessions: what an earlier one left, if it is sound, else made again.

        `coder` reads the input of the model that the run begins with, None where it begins at random. Raises BadData naming
        file and line.
        """

    @abstractmethod
    def open(self, folder: Path, shared: Any) -> C:
        """The corpus that another process has prepared in `folder`; `shared` is what it says of it."""

    @abstractmethod
    def draft(self, wanted: Request, folder: Path, coder: Any) -> Draft:
        """A little of the corpus, made in `folder`, for an estimate. Raises BadData where the data is empty."""

    def stand_in(self, wanted: Request) -> tuple[Any, Any]:
        """Configuration and coder of a model of the wanted size, for an estimate of what its use costs, from little of the data."""
        raise UsageError(f"the cost of a model of {wanted.objective} is not estimated", repair="leave --dry-run out")

    @abstractmethod
    def rows(self, wanted: Request, corpus: C) -> int:
        """Rows of a batch: lanes of text, windows of a series."""

    @abstractmethod
    def batches(self, wanted: Request, corpus: C, rows: int, part: range) -> Batches:
        """The training batches; `part` are the rows that this process reads."""

    @abstractmethod
    def held_out(self, wanted: Request, corpus: C, rows: int, part: Callable[[int], range] = range) -> Any:
        """What `evaluate` reads of the held-out part; `part` says which of how many rows are read here."""

    # ------------------------------------------------------------------ training and measuring

    @abstractmethod
    def initial_state(self, model: Any, rows: int, device: str) -> State:
        """The state before the first step; `()` where nothing is carried from step to step."""

    @abstractmethod
    def __call__(self, model: Any, batch: Any, state: Any, *, step_seed: int) -> tuple[Tensor, Any, dict[str, float]]:
        """Mean loss (a scalar with gradient), the new state without its history, and figures.

        Among the figures are `tokens` (what was predicted) and `targets` (what the loss is a mean over).
        """

    @abstractmethod
    def evaluate(self, model: Any, held_out: Any, corpus: C, device: str, all_reduce: AllReduce = list) -> dict[str, float]:
        """Held-out figures, the one that `decides` and `tokens` among them."""

    def check_figures(self, model: Any, corpus: C, examples: ListOf[Any] | None = None) -> dict[str, float]:
        """Figures of the held-out sample that goes with the model, to be measured again after loading; none as a rule.

        `examples` are those that came with another model.
        """
        return {}

    def measure(self, model: Any, coder: Any, files: ListOf[Source], **how: Any) -> dict[str, Any]:
        """Figures of a model over `files`. Raises UsageError where the objective measures its own held-out part only."""
        raise UsageError("this model cannot be scored on further files", repair="see the held-out figures in record.json")

    # ------------------------------------------------------------------ for people

    @abstractmethod
    def card(self, config: dict[str, Any], record: dict[str, Any]) -> str:
        """The artefact's README, as Markdown."""

    def details(self, figures: Mapping[str, Any]) -> str:
        """The text in brackets after the deciding figure."""
        return f"{figures['tokens']:,} targets"

    def counted(self, figures: Mapping[str, Any]) -> str:
        """How much `measure` measured, for the end of a line of its figures."""
        return f"{figures['tokens']:,} targets"

    def held_out_line(self, figures: Mapping[str, Any]) -> str:
        """The held-out figures of a finished run in a line."""
        return f"held-out {self.deciding(figures)} ({self.details(figures)})"

    def deciding(self, figures: Mapping[str, Any]) -> str:
        """The figure that decides, with its name."""
        return f"{self.title} {figures[self.decides]:{self.decides_format}}"

    @property
    def title(self) -> str:
        """What the figure that decides is called."""
        return self.decides_title or self.decides.replace("_", " ")

    def after_training(self, out: Path, wanted: Request) -> list[Any]:
        """The arguments of the command that most likely follows a run; none as a rule."""
        return []

    def after_evaluation(self, folder: Path, file: Source) -> list[Any]:
        """The arguments of the command that most likely follows a measurement; none as a rule."""
        return []
