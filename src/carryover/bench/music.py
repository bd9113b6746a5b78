"""Polyphonic music: which keys sound next."""

from __future__ import annotations

from pathlib import Path
from typing import cast, final

import torch
import torch.nn.functional as F
from torch import Tensor

from carryover.bench.workload import Batch, Part, RowWorkload
from carryover.data.formats.piano_rolls import read_piano_rolls
from carryover.models.sequence_model import SequenceModel
from carryover.sequence import Sequence


@final
class PianoRollProblem(RowWorkload):
    """Every moment of a piece from those before it; negative log-likelihood of a moment, all keys together, in nats.

    A batch holds whole pieces, one as published. The mean is over moments, so a long piece weighs more in a measurement;
    a step's loss is the mean over its own moments. Raises InputMissing, BadData.
    """

    keeps_best = True

    def __init__(self, path: Path, batch_size: int) -> None:
        rolls = read_piano_rolls(path)
        super().__init__(len(rolls.train), batch_size)
        self.in_size = self.out_size = rolls.keys
        parts: dict[Part, list] = {"train": rolls.train, "valid": rolls.valid, "test": rolls.test}
        self.pieces: dict[Part, list[Tensor]] = {
            part: [torch.from_numpy(piece) for piece in pieces] for part, pieces in parts.items()
        }

    def count(self, part: Part) -> int:
        return len(self.pieces[part])

    def take(self, part: Part, numbers: list[int]) -> Batch:
        pieces = [self.pieces[part][number] for number in numbers]
        inputs = Sequence.pad([piece[:-1] for piece in pieces])
        return Batch(inputs, Sequence.pad([piece[1:] for piece in pieces]).values)

    def sums(self, model: SequenceModel, batch: Batch) -> tuple[Tensor, int, dict[str, float]]:
        scores = cast(Sequence, model(batch.inputs))
        wanted = scores.with_values(batch.targets).flatten()
        loss = F.binary_cross_entropy_with_logits(scores.flatten(), wanted, reduction="sum")
        return loss, len(wanted), {}
