"""What the training loop is given: a job (what is trained on what) and how it is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from carryover.layers.base import State
from carryover.training.keeping import Keeper
from carryover.training.schedules import Annealing, Schedule


class Stream(Protocol):
    """Batches by number; see `carryover.data.stream.LanguageModelStream`."""

    def steps_per_epoch(self) -> int: ...

    def batch(self, seed: int, epoch: int, step: int) -> Any: ...


class LossFunction(Protocol):
    """An objective as the loop uses it: batch and carried state in; mean loss, new state (without history) and figures out,
    `tokens` among them.

    `targets`, the number the loss is a mean over, is needed among them where processes share the batch. `states`, how many
    carried states were looked at, and `clipped_states`, how many of those were at their clip, go to the metrics log.
    """

    def __call__(self, model: Any, batch: Any, state: Any, *, step_seed: int) -> tuple[Tensor, Any, dict[str, float]]: ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is trained on what.

    Attributes
    ----------
    initial_state : makes the state before the first step (`()` where nothing is carried).
    evaluate : held-out figures, None where nothing is held out; the one named by `decides` says which model is best.
    amount, unit : how much there is to read in the whole run, and what it is counted in, for the progress line.
    keeper : which weights are kept; None keeps those with the lowest deciding figure, on the disk.
    trained : parameters by name that a checkpoint stores; None stores the whole model.
    before_step : called with the number of each step, for what is to change at a certain one.
    place : number of a step → (epoch, batch); None where all epochs have `steps_per_epoch()` batches.
    identity : names and digests of what a checkpoint belongs to; a checkpoint with another digest is refused.
    upgrade : makes of the state an earlier version stored what this version stores.
    digest : tells what a batch holds (see `carryover.data.order.digest`); the metrics log then tells it of what was read.
    part : the rows of the carried state that are here, None all of them.
    first_seed : the number whose random numbers the first step draws.
    step_name, finished_by : what a step is called in messages, and the reason to end when all are done.
    """

    model: nn.Module
    objective: LossFunction
    stream: Stream
    optimiser: torch.optim.Optimizer
    initial_state: Callable[[], State] = tuple
    evaluate: Callable[[], dict[str, float] | None]
    amount: int
    decides: str = "perplexity"
    label: str = "pretraining"
    unit: str = "tokens"
    keeper: Keeper | None = None
    trained: Mapping[str, nn.Parameter] | None = None
    before_step: Callable[[int], object] = lambda step: None
    place: Callable[[int], tuple[int, int]] | None = None
    identity: Mapping[str, str] = field(default_factory=dict)
    upgrade: Callable[[dict[str, Any]], dict[str, Any]] = lambda state: state
    digest: Callable[[Any], int] | None = None
    part: range | None = None
    first_seed: int = 0
    step_name: str = "step"
    finished_by: str = "epochs"


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How a job is run. Times are in seconds, None is without limit; `evaluate_steps` and `log_steps` are intervals.

    `time_limit` is for all sessions of the run together and ends it; `deadline`, a moment of `time.monotonic`, ends this
    session only, without a measurement that an uninterrupted run would not make. `annealing` divides the schedule's rate
    when held-out figures stop falling, and when it has left `least_share` of it or less, the run ends. `steps` is the
    length of the run where it is not a number of epochs.
    """

    seed: int = 0
    epochs: int = 1
    steps: int | None = None
    schedule: Schedule
    clip: float | None = 1.0
    patience: int | None = None
    evaluate_steps: int = 1000
    log_steps: int = 50
    checkpoint_seconds: float = 120.0
    checkpoint_steps: int | None = None
    time_limit: float | None = None
    deadline: float | None = None
    annealing: Annealing | None = None
    least_share: float = 0.0
    device: str = "cpu"
    precision: str = "float32"
