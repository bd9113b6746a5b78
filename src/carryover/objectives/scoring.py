"""What the objectives of language models share: the softmax over a model's output layer, targets, and how scores are taken."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from carryover.data.stream import LanguageModelBatch, LanguageModelStream
from carryover.errors import UsageError
from carryover.models.bilm import BiLanguageModel
from carryover.models.language_model import LanguageModel
from carryover.models.output import AdaptiveOutputLayer, NoOutputLayer
from carryover.objectives.adaptive import AdaptiveSoftmax
from carryover.objectives.sampled import SampledSoftmax
from carryover.objectives.softmax import FullSoftmax, Softmax
from carryover.sequence import Sequence


def softmax_of(
    model: BiLanguageModel | LanguageModel, *, logits_dtype: torch.dtype | None = None, chunk_rows: int | None = None
) -> Softmax:
    """The softmax that the model's configuration names, over the model's own output layer.

    Raises UsageError for a model whose weights came without an output layer.
    """
    output = model.output_layer() if isinstance(model, LanguageModel) else model.output
    if isinstance(output, NoOutputLayer):
        raise UsageError(
            "the language model has no output layer (its weights were published without one), so it gives vectors but "
            "cannot be scored",
            repair="use it with embed, train or compare, or make it an output layer with `carryover pretrain --begin-with`",
        )
    if isinstance(output, AdaptiveOutputLayer):
        return AdaptiveSoftmax(output, logits_dtype=logits_dtype, chunk_rows=chunk_rows)
    if model.config.softmax == "sampled":
        return SampledSoftmax(output, samples=model.config.samples, logits_dtype=logits_dtype, chunk_rows=chunk_rows)
    return FullSoftmax(output, logits_dtype=logits_dtype, chunk_rows=chunk_rows)


def next_targets(ids: Sequence) -> Tensor:
    """[B, T]: at each step the id of the next one, −1 at the last step and in the padding."""
    if ids.time == 0:
        return ids.values
    targets = torch.full_like(ids.values, -1)
    targets[:, :-1] = ids.values[:, 1:]
    real = torch.arange(ids.time, device=ids.device) < (ids.lengths - 1).unsqueeze(1)
    return targets.masked_fill(~real, -1)


def exponential(nats: float) -> float:
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
