"""The sampled softmax: the target against a few thousand drawn words instead of the whole vocabulary.

As in the published ELMo the words are drawn log-uniformly by frequency rank and shared by all rows of a step. With E_k the
chance that word k is among the candidates, a sum over candidates weighted by 1/E_k has the sum over all words as its
expectation, which gives the importance-sampled loss (Bengio and Senécal, IEEE Transactions on Neural Networks 2008; in this
form Blanc and Rendle, ICML 2018, section 2):

    s_k = w_k · h + b_k
    loss = −s_target + log(exp s_target + Σ_{k in candidates, k ≠ target} exp(s_k − log E_k))

The target is always present and so is not corrected. (Jean et al. 2015 subtract log E from its score as well; that has the
same optimum, but its loss is that of an easier guess and cannot be read as a perplexity.) A word drawn by accident that is
the target of a row counts once in that row. As the candidates approach the vocabulary the loss becomes the full softmax.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding, pad, softplus

from carryover.models.output import OutputLayer, TiedOutput
from carryover.objectives.softmax import (
    ROWS_STEP,
    FullSoftmax,
    GradientSums,
    Loss,
    check_rows,
    normalise_in_place,
    scale_gradients,
)


class SampledSoftmax:
    """Training by about `samples` words drawn anew for each `seed`; likelihoods for evaluation are exact.

    Word ids must be ranks by frequency. The number of draws is fixed so that the expected number of distinct words is
    `samples`; the chance E_k is then known exactly. The same seed draws the same words on any device.

    With `sparse_gradient` the gradients of the output layer are sparse tensors of the rows that the step looked up, in
    ascending order and each once: a step then costs the same for any vocabulary, if the optimiser takes them
    (`carryover.training.row_optimisers`). The output layer's parameters must then have no other use in the loss.
    """

    def __init__(
        self,
        output: OutputLayer | TiedOutput,
        *,
        samples: int = 8192,
        chunk_rows: int | None = None,
        logits_dtype: torch.dtype | None = None,
        sparse_gradient: bool = False,
    ) -> None:
        self.output = output
        self.samples = min(samples, output.vocabulary_size)
        self.sparse_gradient = sparse_gradient
        self.chunk_rows = chunk_rows
        self.logits_dtype = logits_dtype
        self.exact = FullSoftmax(output, chunk_rows=chunk_rows)

    def loss(self, hidden: Tensor, targets: Tensor, *, seed: int = 0) -> Loss:
        weight, bias = self.output.weight, self.output.bias
        check_rows(hidden, targets, weight.shape[1], weight.shape[0])
        kept = (targets >= 0).nonzero().squeeze(1)
        states, ids = hidden.index_select(0, kept), targets[kept]
        candidates = draw_candidates(self.output.vocabulary_size, self.samples, seed).to(hidden.device)
        place = torch.searchsorted(candidates, ids).clamp(max=max(0, len(candidates) - 1))
        hits = torch.where(candidates[place] == ids, place, -1)  # column of the target among the candidates
        drawn = len(candidates)
        candidates = pad(candidates, (0, -drawn % ROWS_STEP))  # see ROWS_STEP; those behind the drawn ones are not counted
        both = torch.cat([ids, candidates])  # looked up together: the table's gradient is made once
        if self.sparse_gradient:
            touched, both = torch.unique(both, return_inverse=True)
            weight, bias = _Rows.apply(weight, touched), _Rows.apply(bias, touched)
        target_rows, candidate_rows = embedding(both, weight).split([len(ids), len(candidates)])
        target_bias, candidate_bias = embedding(both, bias.unsqueeze(1)).squeeze(1).split([len(ids), len(candidates)])
        own = (states * target_rows).sum(dim=1) + target_bias
        candidate_bias = candidate_bias - self._log_chance(candidates, bias)
        candidate_bias = candidate_bias.masked_fill(torch.arange(len(candidates), device=ids.device) >= drawn, -torch.inf)
        with torch.autocast(hidden.device.type, enabled=False):
            total, parts = _ChunkedSampledCrossEntropy.apply(
                states, candidate_rows, candidate_bias, own, hits, self.chunk_rows, self.logits_dtype
            )
        return Loss(total, parts.new_zeros(len(targets)).index_copy_(0, kept, parts))

    def negative_log_likelihood(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return self.exact.negative_log_likelihood(hidden, targets)

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        return self.exact.log_probabilities(hidden)

    def _log_chance(self, ids: Tensor, like: Tensor) -> Tensor:
        """log E_k of the given ids."""
        if self.samples == self.output.vocabulary_size:
            return torch.zeros(len(ids), dtype=like.dtype, device=ids.device)
        chances = _inclusion(ids.double(), self.output.vocabulary_size, _draws(self.output.vocabulary_size, self.samples))
        return chances.log().to(like.dtype)


def draw_candidates(vocabulary_size: int, samples: int, seed: int) -> Tensor:
    """Distinct ids in ascending order, int64; about `samples` of them, all when `samples` reaches the vocabulary."""
    if samples >= vocabulary_size:
        return torch.arange(vocabulary_size)
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(_draws(vocabulary_size, samples), generator=generator, dtype=torch.float64)
    ids = torch.exp(uniform * math.log(vocabulary_size + 1)).long() - 1
    return torch.unique(ids.clamp(max=vocabulary_size - 1))


def _inclusion(ids: Tensor, vocabulary_size: int, draws: int) -> Tensor:
    """Chance that a word is among `draws` draws with p_k = log((k+2)/(k+1)) / log(V+1): 1 − (1 − p_k)^draws."""
    chance = torch.log((ids + 2) / (ids + 1)) / math.log(vocabulary_size + 1)
    return -torch.expm1(draws * torch.log1p(-chance))


@lru_cache(maxsize=8)
def _draws(vocabulary_size: int, samples: int) -> int:
    """Draws with replacement that give `samples` distinct words in expectation, by bisection."""
    ids = torch.arange(vocabulary_size, dtype=torch.float64)
    low, high = samples, 2 * samples
    while float(_inclusion(ids, vocabulary_size, high).sum()) < samples:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if float(_inclusion(ids, vocabulary_size, middle).sum()) < samples:
            low = middle
        else:
            high = middle
    return high


class _Rows(torch.autograd.Function):
    """table [V, ...] and distinct ascending ids [R] → [R, ...]; the table's gradient is sparse."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape = table.shape
        return table.index_select(0, ids)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        (ids,) = ctx.saved_tensors
        return torch.sparse_coo_tensor(ids.unsqueeze(0), upstream, ctx.shape, check_invariants=True, is_coalesced=True), None


class _ChunkedSampledCrossEntropy(torch.autograd.Function):
    """Loss and gradients for an upstream gradient of 1, chunk by chunk as in the full softmax.

    states [M, P], weight [S, P] and bias [S] of the candidates, own [M] the targets' scores, hits [M] the targets'
    columns among the candidates or −1.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor,
        own: Tensor,
        hits: Tensor,
        chunk_rows: int | None,
        logits_dtype: torch.dtype | None,
    ) -> tuple[Tensor, Tensor]:
        sums = GradientSums(states, weight, bias, chunk_rows, logits_dtype)
        wants = ctx.needs_input_grad
        sums.want(hidden=wants[0], weight=wants[1], bias=wants[2])
        losses = torch.empty(len(states), dtype=sums.precise, device=states.device)
        of_own = torch.empty_like(own)
        for rows in sums.chunks():
            scores = sums.logits(rows)  # [n, S]
            hit = (hits[rows] >= 0).nonzero().squeeze(1)
            scores[hit, hits[rows][hit]] = torch.finfo(scores.dtype).min
            others = normalise_in_place(scores)  # log Σ exp over the candidates without the target, [n]
            target = own[rows].to(others.dtype)
            losses[rows] = softplus(others - target, threshold=1000)
            share = torch.sigmoid(others - target)  # probability that it was another word
            of_own[rows] = -share.to(own.dtype)
            if sums.wanted:
                scores.mul_(share.to(scores.dtype).unsqueeze(1))
                sums.add(rows)
        ctx.mark_non_differentiable(losses)
        ctx.gradients = (*sums.gradients(), of_own)
        return losses.sum(), losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return (*scale_gradients(ctx.gradients, upstream), None, None, None)
