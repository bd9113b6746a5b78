"""What objectives share: the targets of ids, a pass over a stream without training, and means in nats as perplexities."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from carryover.data.stream import LanguageModelBatch, LanguageModelStream
from carryover.sequence import Sequence


def next_targets(ids: Sequence) -> Tensor:
    """[B, T]: at each step the id of the next one, −1 at the last step and in the padding."""
    if ids.time == 0:
        return ids.values
    targets = torch.full_like(ids.values, -1)
    targets[:, :-1] = ids.values[:, 1:]
    real = torch.arange(ids.time, device=ids.device) < (ids.lengths - 1).unsqueeze(1)
    return targets.masked_fill(~real, -1)


def perplexity(nats: float) -> float:
    """e to the power of a mean in nats; infinity where no number is as large."""
    return math.exp(nats) if nats < 700 else math.inf


def batches_of(stream: LanguageModelStream) -> Iterator[LanguageModelBatch]:
    """One pass over a stream, epoch 0 of seed 0; nothing where no lane is read here."""
    if not stream.part:
        return
    for step in range(stream.steps_per_epoch()):
        yield stream.batch(0, 0, step)


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode inside, whatever it was before afterwards."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)
