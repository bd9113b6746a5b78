"""The adaptive softmax: rare words share one entry of the head and cost a narrow second step only when they occur.

E. Grave et al., "Efficient softmax approximation for GPUs", ICML 2017. With clusters C_i beyond the first cutoff:

    p(w | h) = p_head(w | h)                                      for the frequent words
    p(w | h) = p_head(C_i | h) · softmax(T_i R_i h)[w]            for w in cluster i

It is a proper distribution, not an approximation of another: training loss and evaluation are the same exact
numbers. Each part goes through the chunked cross entropy of `carryover.objectives.softmax`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

from carryover.models.output import AdaptiveOutputLayer
from carryover.objectives.softmax import ROWS_STEP, Loss, check_rows, chunked_cross_entropy


class AdaptiveSoftmax:
    """Loss and likelihoods of an `AdaptiveOutputLayer`; see `carryover.objectives.softmax.Softmax`."""

    def __init__(
        self, output: AdaptiveOutputLayer, *, chunk_rows: int | None = None, logits_dtype: torch.dtype | None = None
    ) -> None:
        self.output = output
        self.chunk_rows = chunk_rows
        self.logits_dtype = logits_dtype

    def loss(self, hidden: Tensor, targets: Tensor, *, seed: int = 0) -> Loss:
        return self._loss(hidden, targets, self.logits_dtype)

    @torch.no_grad()
    def negative_log_likelihood(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return self._loss(hidden, targets, None).rows

    def _loss(self, hidden: Tensor, targets: Tensor, logits_dtype: torch.dtype | None) -> Loss:
        output = self.output
        check_rows(hidden, targets, output.in_size, output.vocabulary_size)
        frequent = output.cutoffs[0]
        # id of a frequent word, the cluster's entry for a rare one, −1 stays
        borders = torch.tensor(output.cutoffs, device=targets.device)
        cluster = torch.bucketize(targets, borders, right=True)  # 0 for frequent words, i + 1 in cluster i
        head_targets = torch.where(cluster > 0, frequent + cluster - 1, targets)
        head = chunked_cross_entropy(
            hidden,
            output.head_weight,
            output.head_bias,
            head_targets,
            chunk_rows=self.chunk_rows,
            logits_dtype=logits_dtype,
        )
        total, parts = head.total, head.rows
        for index, (low, _) in enumerate(output.ranges()):
            rows = (cluster == index + 1).nonzero().squeeze(1)
            empty = -len(rows) % ROWS_STEP
            states = pad(hidden.index_select(0, rows), (0, 0, 0, empty))
            tail = chunked_cross_entropy(
                linear(states, output.projections[index]),
                output.tails[index],
                None,
                pad(targets[rows] - low, (0, empty), value=-1),
                chunk_rows=self.chunk_rows,
                logits_dtype=logits_dtype,
            )
            total = total + tail.total
            parts = parts.index_add(0, rows, tail.rows[: len(rows)])
        return Loss(total, parts)

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        return self.output.scores(hidden)
