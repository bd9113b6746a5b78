"""What a task of the table is to the training loop: batches by number, a loss, a measurement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carryover.data.order import permutation
from carryover.layers.base import State
from carryover.models.sequence_model import SequenceModel
from carryover.sequence import Sequence

Part = Literal["train", "valid", "test"]
EVALUATION_ROWS = 64


class Batch(NamedTuple):
    """Inputs [B, T, …] and what is to be said of them; `begins`: no state is carried into it."""

    inputs: Sequence
    targets: Tensor
    begins: bool = True

    def to(self, device: str) -> Batch:
        return Batch(self.inputs.to(device), self.targets.to(device), self.begins)


class Workload(ABC):
    """A task with its data.

    in_size, out_size : of the model; `reads` "values" or "ids"; `readout` as of `SequenceModel`.
    keeps_best : whether the weights with the lowest loss on the validation part are scored (else the last ones are).
    """

    in_size: int
    out_size: int
    reads: str = "values"
    readout: str = "every"
    keeps_best: bool = False

    @abstractmethod
    def steps_per_epoch(self) -> int: ...

    @abstractmethod
    def batch(self, seed: int, epoch: int, step: int) -> Batch:
        """Training batch `step` of an epoch: a pure function of these numbers."""

    @abstractmethod
    def loss(self, model: SequenceModel, batch: Batch, carried: State) -> tuple[Tensor, State, int]:
        """Mean loss, the state for the next batch (without history; `()` where none is carried), and of how many items."""

    @abstractmethod
    def measure(self, model: SequenceModel, part: Part, device: str) -> dict[str, float]:
        """Mean `loss` of a held-out part, and other figures."""

    def initial_state(self, model: SequenceModel, device: str) -> State:
        return ()

    def items(self) -> int:
        """Rows, pieces or tokens of an epoch: what progress counts."""
        return 0

    def result(self, figures: dict[str, float]) -> float:
        """The number for the table, from what `measure` found."""
        return figures["loss"]


class RowWorkload(Workload):
    """Independent rows: shuffled anew in every epoch, the last batch as large as is left."""

    def __init__(self, rows: int, batch_size: int) -> None:
        self.rows, self.batch_size = rows, batch_size

    @abstractmethod
    def take(self, part: Part, numbers: list[int]) -> Batch:
        """The rows of these numbers."""

    @abstractmethod
    def count(self, part: Part) -> int:
        """Rows of a part."""

    @abstractmethod
    def sums(self, model: SequenceModel, batch: Batch) -> tuple[Tensor, int, dict[str, float]]:
        """Sum of the losses, of how many items, and sums of other figures."""

    def items(self) -> int:
        return self.rows

    def steps_per_epoch(self) -> int:
        return -(-self.rows // self.batch_size)

    def batch(self, seed: int, epoch: int, step: int) -> Batch:
        order = _epoch_order(self.rows, seed, epoch)
        return self.take("train", order[step * self.batch_size : (step + 1) * self.batch_size].tolist())

    def loss(self, model: SequenceModel, batch: Batch, carried: State) -> tuple[Tensor, State, int]:
        total, count, _ = self.sums(model, batch)
        return total / max(count, 1), (), batch.inputs.batch_size

    def measure(self, model: SequenceModel, part: Part, device: str) -> dict[str, float]:
        model.eval()
        found: dict[str, float] = {"loss": 0.0}
        items = 0
        with torch.no_grad():
            for batch in self._each(part):
                total, count, others = self.sums(model, batch.to(device))
                items += count
                for name, value in {"loss": float(total), **others}.items():
                    found[name] = found.get(name, 0.0) + value
        return {name: value / max(items, 1) for name, value in found.items()}

    def _each(self, part: Part) -> Iterator[Batch]:
        numbers = list(range(self.count(part)))
        for start in range(0, len(numbers), EVALUATION_ROWS):
            yield self.take(part, numbers[start : start + EVALUATION_ROWS])


@lru_cache(maxsize=1)
def _epoch_order(rows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of an epoch, kept from step to step: of 50,000 rows it takes as long as a tenth of a TCN's step."""
    order = permutation(rows, seed, epoch)
    order.setflags(write=False)
    return order
