"""The synthetic stress tests and the images read pixel by pixel."""

from __future__ import annotations

from pathlib import Path
from typing import cast, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from carryover.bench.workload import Batch, Part, RowWorkload
from carryover.data.formats.idx import LabelledImages, read_labelled_images
from carryover.data.order import permutation
from carryover.data.synthetic import DIGITS, adding_problem, copy_memory
from carryover.models.sequence_model import SequenceModel
from carryover.sequence import Sequence

_PARTS: dict[Part, int] = {"train": 0, "valid": 1, "test": 2}
_IMAGE_SEED = 0  # of the order of pixels: the same in every run, so that all models meet the same task


@final
class AddingProblem(RowWorkload):
    """The sum of two marked numbers of a row; mean squared error. 50,000 rows to train on, 1,000 to test."""

    in_size, out_size, readout = 2, 1, "last"

    def __init__(self, length: int, batch_size: int, seed: int, *, rows: int = 50_000, held_out: int = 1000) -> None:
        super().__init__(rows, batch_size)
        self.length, self.seed, self.held_out = length, seed, held_out

    def count(self, part: Part) -> int:
        return self.rows if part == "train" else self.held_out

    def take(self, part: Part, numbers: list[int]) -> Batch:
        values, targets = adding_problem(numbers, self.length, self.seed, _PARTS[part])
        return Batch(Sequence.of(torch.from_numpy(values)), torch.from_numpy(targets))

    def sums(self, model: SequenceModel, batch: Batch) -> tuple[Tensor, int, dict[str, float]]:
        said = cast(Tensor, model(batch.inputs)).squeeze(1)
        return F.mse_loss(said, batch.targets, reduction="sum"), len(said), {}


@final
class CopyMemory(RowWorkload):
    """Ten symbols said again after a long blank; cross entropy a step. 10,000 rows to train on, 1,000 to test.

    The symbols are read as one number a step, as in the authors' implementation.
    """

    in_size, out_size = 1, 10

    def __init__(self, blank: int, batch_size: int, seed: int, *, rows: int = 10_000, held_out: int = 1000) -> None:
        super().__init__(rows, batch_size)
        self.blank, self.seed, self.held_out = blank, seed, held_out

    def count(self, part: Part) -> int:
        return self.rows if part == "train" else self.held_out

    def take(self, part: Part, numbers: list[int]) -> Batch:
        values, targets = copy_memory(numbers, self.blank, self.seed, _PARTS[part])
        return Batch(Sequence.of(torch.from_numpy(values)), torch.from_numpy(targets))

    def sums(self, model: SequenceModel, batch: Batch) -> tuple[Tensor, int, dict[str, float]]:
        scores = cast(Sequence, model(batch.inputs)).values  # [B, T, 10], every row full
        loss = F.cross_entropy(scores.transpose(1, 2), batch.targets, reduction="sum")  # over [B, 10, T]: 5 × as fast
        steps = batch.targets.shape[1]
        recalled = scores[:, -DIGITS:].detach().argmax(2) == batch.targets[:, -DIGITS:]
        return loss, batch.targets.numel(), {"recalled": float(recalled.sum()) * steps / DIGITS}


@final
class PixelMnist(RowWorkload):
    """Digits read as 784 steps of one pixel in [0, 1], row by row or in a fixed random order; accuracy in percent.

    All 60,000 training images are trained on, as published. So there is no validation part: the curve is that of the
    test images, and nothing is chosen by it. Raises InputMissing, BadData.
    """

    in_size, out_size, readout = 1, 10, "last"

    def __init__(self, folder: Path, batch_size: int, *, permuted: bool) -> None:
        train, test = read_labelled_images(folder, "train"), read_labelled_images(folder, "t10k")
        super().__init__(len(train.labels), batch_size)
        pixels = train.images[0].size
        order = permutation(pixels, _IMAGE_SEED) if permuted else None
        held_out = _flat(test, order)
        self.parts: dict[Part, tuple[Tensor, Tensor]] = {"train": _flat(train, order), "valid": held_out, "test": held_out}

    def count(self, part: Part) -> int:
        return len(self.parts[part][1])

    def take(self, part: Part, numbers: list[int]) -> Batch:
        pixels, labels = self.parts[part]
        values = pixels[numbers].unsqueeze(2).float() / 255
        return Batch(Sequence.of(values), labels[numbers])

    def sums(self, model: SequenceModel, batch: Batch) -> tuple[Tensor, int, dict[str, float]]:
        scores = cast(Tensor, model(batch.inputs))
        right = (scores.detach().argmax(1) == batch.targets).sum()
        loss = F.cross_entropy(scores, batch.targets, reduction="sum")
        return loss, len(scores), {"accuracy": 100 * float(right)}

    def result(self, figures: dict[str, float]) -> float:
        return figures["accuracy"]


def _flat(data: LabelledImages, order: NDArray[np.int64] | None) -> tuple[Tensor, Tensor]:
    """Pixels [N, height · width] in the given order, and labels [N]."""
    flat = data.images.reshape(len(data.labels), -1)
    flat = flat.copy() if order is None else flat[:, order]
    return torch.from_numpy(flat), torch.from_numpy(data.labels.astype("int64"))
