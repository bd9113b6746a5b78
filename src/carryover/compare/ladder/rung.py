"""What a rung is: one way of answering a labelled task, with its place in the order of costs, its looks and its fit.

All labels a rung may look at are in `train`, the budget. Test examples are read only to predict them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from carryover.compare.ladder.task import RungTask
from carryover.errors import UsageError

if TYPE_CHECKING:
    from carryover.compare.ladder.calibration import Calibration

Answers = list[tuple[str, ...]]


class Cost(NamedTuple):
    """Order of rungs by what they ask for: first what must be made beforehand (0 nothing, 1 word vectors, 2 a language
    model), then how much is trained. Fixed, not measured, so that a verdict does not flip with the noise of a clock."""

    beforehand: int
    trained: int
    layers: int = 0


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What is made once for all cells of a rung. `raw` is the raw text where nothing else may take its place; `encoder` a
    pretrained model, given or made from the raw text; `vectors` word vectors of the raw text. `words`: the examples must
    hold words."""

    raw: bool = False
    encoder: bool = False
    vectors: bool = False
    words: bool = False

    def __bool__(self) -> bool:
        return self.raw or self.encoder or self.vectors


@dataclass(frozen=True, kw_only=True)
class Style:
    """Looks of a curve: colours on a light and on a dark page, marker and line as matplotlib writes them."""

    light: str
    dark: str
    marker: str
    line: Any


@dataclass(frozen=True)
class Resources:
    """Where a cell finds what was made once, and the settings it fits with. `seconds` tell what making it took.

    `encoders` are folders by the `encoder` of the rungs, `placement` is that of the mixture in the rung frozen.
    """

    encoders: Mapping[str, Path] = field(default_factory=dict)
    vectors: Path | None = None
    device: str = "cpu"
    fitting: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    placement: str = "input"


@dataclass(frozen=True)
class Fitted:
    """A fitted rung. `predict` gives the labels of each input (one tag a token when tagging); `seconds` is training, choices
    inside the budget included; `parameters` counts the whole model, `trainable` what was trained at any time."""

    predict: Callable[[list[Any]], Any]
    seconds: float
    parameters: int
    trainable: int
    notes: dict[str, Any] = field(default_factory=dict)


class LadderRow(ABC):
    """A row of tables and a line of figures: the reference, or a rung."""

    name: str
    family: ClassVar[str]
    """All rungs of a family have one colour and one sentence."""
    cost: Cost
    needs: Needs = Needs()
    style: ClassVar[Style]
    sentence: ClassVar[str]
    """What the report says that it is."""
    layers: int = 0
    """Order within the family."""
    encoder: str = ""
    """The pretrained model that it carries over, by name or folder; empty: the one of the comparison."""

    mode: ClassVar[str] = ""
    """The mode of `carryover train` that trains this, empty where that command does not offer it."""

    @property
    def has_placement(self) -> bool:
        """Whether a task LSTM reads a mixture of layers, so that this can be placed before or behind it."""
        return False

    @property
    def plan_options(self) -> dict[str, Any]:
        """Fields of `CarryPlan` that are not the mode's defaults."""
        return {}

    def fitting_options(self, fitting: Mapping[str, Any]) -> dict[str, Any]:
        """Those of a comparison's settings of fitting that concern it."""
        return {}

    def train_options(self) -> list[str] | None:
        """Options of `carryover train` that train this, None where that command does not offer it."""
        if not self.mode:
            return None
        options = ["--mode", self.mode]
        for name, value in self.plan_options.items():
            flag = f"--{name.replace('_', '-')}"
            options += [flag] if value is True else [flag, str(value)]
        return options


class Rung(LadderRow):
    """One way of answering a task. Objects are small and have no state: a rung is what its name says."""

    usual: ClassVar[bool] = False
    """Whether it is compared where no rungs are named."""
    baseline: ClassVar[int] = 0
    """Error reductions are against the rung present that has the highest; 0 is never one."""

    def named(self, text: str) -> Rung | None:
        """The rung of this family that `text` spells, None where it spells none."""
        return self if text == self.name else None

    def over(self, encoder: str) -> Rung:
        """The same rung over a pretrained model of its own, by name or folder. Raises UsageError where it carries none over."""
        raise UsageError(
            f"rung {self.name} uses no pretrained model, and {encoder!r} names one", repair=f"write {self.name}"
        )

    def lacks(self, *, raw: bool, encoder: bool, words: bool = True) -> UsageError | None:
        """What it cannot be compared without, given whether there is raw text and a pretrained model, and whether the
        examples hold words."""
        if self.needs.words and not words:
            return UsageError(f"rung {self.name} needs words, and the examples hold none", repair="leave it out")
        if (self.needs.raw or self.needs.vectors) and not raw:
            purpose = " for its word vectors" if self.needs.vectors else ""
            return UsageError(f"rung {self.name} needs raw text{purpose}", repair="give --raw, or leave the rung out")
        if self.needs.encoder and not (raw or encoder or self.encoder):
            return UsageError(
                f"rung {self.name} needs a pretrained model",
                repair="give --raw or --encoder, or leave the rung out",
            )
        return None

    def fits(self, task: str) -> bool:
        """Whether it can answer this kind of task."""
        return True

    @abstractmethod
    def fit(self, task: RungTask, train: Sequence[Any], seed: int, resources: Resources) -> Fitted:
        """Learn from the budget `train`. The same arguments give the same predictions.

        Raises NothingToLearn where `train` holds one label only, no span or no word, TrainingFailed when training diverges.
        """

    @abstractmethod
    def forecast(self, calibration: Calibration, budgets: Sequence[int]) -> tuple[float, float]:
        """Seconds of one core for cells with these numbers of labels, and MiB of the largest where the calibration itself
        does not show them."""
