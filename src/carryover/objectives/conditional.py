"""The objective of a model that writes about a source: guess the next id from the true ones before it and the source.

    loss = − Σ_k log p(y_k | y_1 … y_{k−1}, source) / number of targets,   k to the end token of each row

This is teacher forcing (Williams & Zipser 1989): while it learns, the decoder reads the true ids. With a share of `truth` below
1 it reads some of its own (see `scheduled_sampling`). How well it does when all are its own is another figure, `exact`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from carryover.generation import Sampling, generate
from carryover.models.conditional import ConditionalLanguageModel
from carryover.objectives.scheduled_sampling import draw_inputs
from carryover.objectives.scoring import evaluation_mode, perplexity
from carryover.objectives.softmax import FullSoftmax
from carryover.sequence import Sequence


class Pairs(NamedTuple):
    """A batch: what is written about, one a row (a `Sequence`, labels or vectors), and the ids to write, without the begin
    and end token; a row may be empty."""

    source: Any
    target: Sequence


class ConditionalObjective:
    """Batch in, mean loss out. `begin` is read before the first id of every row, `end` is to be guessed after the last.

    `sampling` is how ids are drawn where the true one is not read, None the likeliest. `logits_dtype` (None: that of the
    weights) and `chunk_rows` are those of `FullSoftmax`.
    """

    def __init__(
        self,
        *,
        begin: int,
        end: int,
        sampling: Sampling | None = None,
        logits_dtype: torch.dtype | None = None,
        chunk_rows: int | None = None,
    ) -> None:
        self.begin, self.end, self.sampling = begin, end, sampling
        self.logits_dtype, self.chunk_rows = logits_dtype, chunk_rows

    def __call__(
        self, model: ConditionalLanguageModel, batch: Pairs, *, truth: float = 1.0, seed: int = 0
    ) -> tuple[Tensor, dict[str, float]]:
        """The mean loss in nats over the targets, end tokens included (a scalar with gradient), and the figures `nll` (the
        sum in nats) and `tokens` (the number of targets).

        With `truth` below 1 each true id is read with that probability, as `seed` decides, else one of the model's own: these
        are drawn first, step by step, then the loss takes one whole pass. Without dropout that is the loss of a single pass
        that draws as it goes. Raises UsageError for a share that is none.
        """
        inputs, targets = self.shift(batch.target)
        if truth != 1:
            inputs = draw_inputs(model, batch.source, inputs, truth=truth, seed=seed, sampling=self.sampling)
        hidden = model.hidden(batch.source, inputs).values.flatten(0, 1)
        softmax = FullSoftmax(model.output, chunk_rows=self.chunk_rows, logits_dtype=self.logits_dtype)
        total, parts = softmax.loss(hidden, targets.flatten())
        tokens = int((targets >= 0).sum())
        return total / max(1, tokens), {"nll": float(parts.sum()), "tokens": tokens}

    def shift(self, target: Sequence) -> tuple[Sequence, Tensor]:
        """What the decoder reads, begin token first, and what it is to guess, [B, T + 1], end token last, −1 in the padding."""
        ids, rows = target.zero_padding().values, target.batch_size
        inputs = torch.cat([ids.new_full((rows, 1), self.begin), ids], dim=1)
        guessed = torch.cat([ids.masked_fill(~target.mask, -1), ids.new_full((rows, 1), -1)], dim=1)
        guessed.scatter_(1, target.lengths.unsqueeze(1), self.end)
        return Sequence(inputs, target.lengths + 1), guessed


@torch.no_grad()
def evaluate_conditional(
    model: ConditionalLanguageModel, batches: Iterable[Pairs], *, begin: int, end: int, max_tokens: int
) -> dict[str, float]:
    """Figures over batches: `perplexity` of a token by teacher forcing, and, with the model reading its own ids, `exact`, the
    share of rows that are written without a fault (greedily, at most `max_tokens` with the end token); `rows`, `tokens`.

    The model is put into evaluation mode meanwhile. Raises ValueError when there is nothing to score.
    """
    objective, nats, tokens, rows, right = ConditionalObjective(begin=begin, end=end), 0.0, 0, 0, 0
    with evaluation_mode(model):
        for batch in batches:
            _, figures = objective(model, batch)
            nats, tokens = nats + figures["nll"], tokens + int(figures["tokens"])
            prompts = [[begin]] * batch.target.batch_size
            found = generate(model.given(batch.source), prompts, max_tokens=max_tokens, stop=[end])
            for one, wanted in zip(found, batch.target.rows(), strict=True):
                rows += 1
                right += one.stopped_by == end and one.tokens == wanted.tolist()
    if not rows:
        raise ValueError("there is no row to score: give at least one batch")
    return {"perplexity": perplexity(nats / tokens), "exact": right / rows, "rows": rows, "tokens": tokens}
