"""The full softmax over a vocabulary, in chunks: neither the logits nor their gradient ever exist as a whole.

For N targets over V words a plain linear layer with cross entropy keeps N·V logits, their log-softmax and the gradient of
both. Here rows are taken a chunk at a time; within the chunk the logits become probabilities and then the gradient in
place, and are multiplied at once into the gradients of the hidden states and of the weights. Memory is chunk · V, and the
chunk stays in the processor's cache between the three products.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from carryover.kernels.products import prepare, product
from carryover.models.output import OutputLayer, TiedOutput

CHUNK_ELEMENTS = 3 * 1024 * 1024
"""Logits held at a time on a CPU: 12 MiB in float32. They stay in the cache between the products, and blocks below 32 MiB
are handed out again by the allocator without the system clearing their pages anew, which costs more than the product."""

GPU_CHUNK_ELEMENTS = 128 * 1024 * 1024
"""Logits held at a time elsewhere: 512 MiB in float32, enough to keep a large device busy."""


BLOCK_ROWS = 512
"""Rows that a block of words is multiplied with where not all words of a few rows have room."""

ROWS_STEP = 32
"""Rows are multiplied in multiples of this many, the last ones empty: oneDNN compiles a kernel for every shape and keeps
a thousand of them, a gigabyte of memory when the number of targets is another in every batch."""


class Loss(NamedTuple):
    """`total`: summed negative log-likelihood in nats, differentiable; `rows` [N]: its parts, detached, 0 where the
    target is −1."""

    total: Tensor
    rows: Tensor


class Softmax(Protocol):
    """What the language model objectives ask of a softmax. Targets are ids [N]; −1 means no loss there."""

    def loss(self, hidden: Tensor, targets: Tensor, *, seed: int = 0) -> Loss:
        """The training loss of hidden states [N, P]; `seed` is for those that sample."""

    def negative_log_likelihood(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Exact −log p of every target, [N], in bounded memory and without gradient; 0 where the target is −1."""

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """Exact log p of all words, [N, V]; holds all of them, so give it a few rows at a time."""


class FullSoftmax:
    """Cross entropy over all words of an `OutputLayer`, chunk by chunk.

    `logits_dtype=torch.bfloat16` computes the three products and the softmax in bfloat16 and adds the gradients up in the
    dtype of the weights: about twice as fast where the processor multiplies bfloat16; the loss is then exact to about
    three digits. `chunk_rows` bounds the rows taken at a time (None: chosen from the size of the vocabulary).
    """

    def __init__(
        self, output: OutputLayer | TiedOutput, *, chunk_rows: int | None = None, logits_dtype: torch.dtype | None = None
    ) -> None:
        self.output = output
        self.chunk_rows = chunk_rows
        self.logits_dtype = logits_dtype

    def loss(self, hidden: Tensor, targets: Tensor, *, seed: int = 0) -> Loss:
        return chunked_cross_entropy(
            hidden,
            self.output.weight,
            self.output.bias,
            targets,
            chunk_rows=self.chunk_rows,
            logits_dtype=self.logits_dtype,
        )

    def negative_log_likelihood(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return exact_losses(hidden, self.output.weight, self.output.bias, targets, chunk_rows=self.chunk_rows)

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        return torch.log_softmax(self.output.scores(hidden), dim=-1)


def chunked_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    chunk_rows: int | None = None,
    logits_dtype: torch.dtype | None = None,
) -> Loss:
    """Σ_n −log softmax(W h_n + b)[t_n] over the rows with a target ≥ 0; see `Loss`.

    hidden [N, P], weight [V, P], bias [V], targets [N] int64. Equal to `torch.nn.functional.cross_entropy(…,
    ignore_index=-1, reduction="sum")` in value and first derivatives; second derivatives are refused. Raises ValueError
    when sizes disagree or a target is outside the vocabulary.
    """
    check_rows(hidden, targets, weight.shape[1], weight.shape[0])
    with torch.autocast(hidden.device.type, enabled=False):  # the caller says in which type to multiply
        total, rows = _ChunkedCrossEntropy.apply(hidden, weight, bias, targets, chunk_rows, logits_dtype)
    return Loss(total, rows)


@torch.no_grad()
def exact_losses(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, chunk_rows: int | None = None) -> Tensor:
    """`chunked_cross_entropy` without gradients: −log softmax(W h_n + b)[t_n] of every row, [N].

    Words are taken a block at a time, and log Σ exp of the blocks are added up, so that the memory is that of
    `CHUNK_ELEMENTS` logits for any N and V.
    """
    check_rows(hidden, targets, weight.shape[1], weight.shape[0])
    precise = torch.promote_types(weight.dtype, torch.float32)
    kept = (targets >= 0).nonzero().squeeze(1)
    ids, count = targets[kept], len(kept)
    elements = CHUNK_ELEMENTS if hidden.device.type == "cpu" else GPU_CHUNK_ELEMENTS
    rows = chunk_rows or max(ROWS_STEP, elements // max(1, len(weight)) // ROWS_STEP * ROWS_STEP)
    if rows * len(weight) > elements:
        rows = chunk_rows or min(BLOCK_ROWS, count + -count % ROWS_STEP)
    words = max(1, elements // max(1, rows))
    states = pad(hidden[kept].to(weight.dtype), (0, 0, 0, -count % min(ROWS_STEP, rows)))
    losses = torch.full((len(states),), -torch.inf, dtype=precise, device=hidden.device)
    picked = torch.zeros_like(losses[:count])
    with torch.autocast(hidden.device.type, enabled=False):
        for first in range(0, len(weight) if count else 0, words):
            block = weight[first : first + words]
            score = prepare(block, min(rows, len(states)))
            for start in range(0, len(states), rows):
                scores = score(states[start : start + rows]).add_(bias[first : first + words])  # [n, words]
                place = ids[start : start + rows] - first
                here = ((place >= 0) & (place < len(block))).nonzero().squeeze(1)
                picked[start + here] = scores[here, place[here]].to(precise)
                some = losses[start : start + rows]
                torch.logaddexp(some, normalise_in_place(scores), out=some)
    found = losses.new_zeros(len(targets))
    return found.index_copy_(0, kept, losses[:count] - picked)


def check_rows(hidden: Tensor, targets: Tensor, size: int, vocabulary_size: int) -> None:
    """Raise ValueError unless hidden is [N, size] and targets [N] with ids from −1 to vocabulary_size − 1."""
    if hidden.dim() != 2 or hidden.shape[1] != size:
        raise ValueError(
            f"the softmax reads hidden states [N, {size}] and got shape {tuple(hidden.shape)}: flatten batch and time into "
            f"one axis, and let the last be {size}"
        )
    if targets.shape != hidden.shape[:1]:
        raise ValueError(f"{hidden.shape[0]} hidden states but targets of shape {tuple(targets.shape)}: give one id a row")
    if targets.numel():
        low, high = (int(bound) for bound in torch.aminmax(targets))
        if low < -1 or high >= vocabulary_size:
            raise ValueError(
                f"a target is {low if low < -1 else high} but the vocabulary has {vocabulary_size} words: ids run from 0 to "
                f"{vocabulary_size - 1}, and -1 means no loss"
            )


class _ChunkedCrossEntropy(torch.autograd.Function):
    """The loss and, where wanted, all gradients for an upstream gradient of 1, computed in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        chunk_rows: int | None,
        logits_dtype: torch.dtype | None,
    ) -> tuple[Tensor, Tensor]:
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        kept = (targets >= 0).nonzero().squeeze(1)
        ids = targets[kept]
        sums = GradientSums(hidden[kept], weight, bias, chunk_rows, logits_dtype)
        sums.want(hidden=wants_hidden, weight=wants_weight, bias=wants_bias)
        losses = torch.empty(len(kept), dtype=sums.precise, device=hidden.device)
        for rows in sums.chunks():
            scores = sums.logits(rows)  # [n, V]
            losses[rows] = softmax_in_place(scores, ids[rows])
            if sums.wanted:
                # the gradient of −log p_t is the probabilities less one at the target
                scores[torch.arange(len(scores), device=scores.device), ids[rows]] -= 1
                sums.add(rows)
        parts = losses.new_zeros(len(targets)).index_copy_(0, kept, losses)
        ctx.mark_non_differentiable(parts)
        of_states, of_weight, of_bias = sums.gradients()
        if of_states is not None:
            of_states = torch.zeros_like(hidden).index_copy_(0, kept, of_states)
        ctx.gradients = (of_states, of_weight, of_bias)
        return losses.sum(), parts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return (*scale_gradients(ctx.gradients, upstream), None, None, None)


class GradientSums:
    """The products around a softmax over W h + b, a chunk of rows at a time, and the sums of their gradients.

    states [M, P], weight [V, P], bias [V] or None. Products are computed in `logits_dtype` (None: that of the weight), sums
    over chunks in at least float32. A chunk's logits are worked on where they stand until they are their gradient.
    """

    def __init__(
        self,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        chunk_rows: int | None,
        logits_dtype: torch.dtype | None,
    ) -> None:
        dtype = logits_dtype or weight.dtype
        self.precise = torch.promote_types(weight.dtype, torch.float32)
        self.given = (states.dtype, weight.dtype, weight.dtype if bias is None else bias.dtype)
        elements = CHUNK_ELEMENTS if states.device.type == "cpu" else GPU_CHUNK_ELEMENTS
        self.rows = chunk_rows or max(1, elements // max(1, len(weight)) // ROWS_STEP) * ROWS_STEP
        self.count = len(states)
        empty = -self.count % min(ROWS_STEP, self.rows)
        self.states = pad(states.to(dtype), (0, 0, 0, empty))
        self.columns = weight.to(dtype)
        self.bias = None if bias is None else bias.to(dtype)
        self.score = prepare(self.columns, min(self.rows, len(states)))
        self.of_states: Tensor | None = None
        self.of_weight: Tensor | None = None
        self.of_bias: Tensor | None = None
        self.wanted = False

    def want(self, *, hidden: bool, weight: bool, bias: bool) -> None:
        """Say which gradients to compute."""
        if hidden:
            self.of_states = torch.empty_like(self.states)
            self.back = prepare(self.columns.mT, min(self.rows, len(self.states)))
        if weight:
            # the transpose: both its factors are then read in the order in which they lie
            self.of_weight = torch.zeros(*self.columns.mT.shape, dtype=self.precise, device=self.states.device)
        if bias and self.bias is not None:
            self.of_bias = torch.zeros(len(self.columns), dtype=self.precise, device=self.states.device)
        self.wanted = hidden or weight or bias

    def chunks(self) -> Iterator[slice]:
        for start in range(0, self.count, self.rows):
            yield slice(start, min(start + self.rows, self.count))

    def logits(self, rows: slice) -> Tensor:
        """[n, V], to be worked on in place; valid until the next chunk's are asked for."""
        self.whole = self.score(self.states[self._rounded(rows)])
        if self.bias is not None:
            self.whole.add_(self.bias)
        return self.whole[: rows.stop - rows.start]

    def add(self, rows: slice) -> None:
        """Take in the gradient of the logits of these rows, which is where `logits` gave them."""
        gradient, rounded = self.whole, self._rounded(rows)
        gradient[rows.stop - rows.start :] = 0
        if self.of_states is not None:
            self.of_states[rounded] = self.back(gradient)
        if self.of_weight is not None:
            self.of_weight += product(self.states[rounded].mT.contiguous(), gradient.mT)  # [P, n] · [n, V]
        if self.of_bias is not None:
            self.of_bias += gradient.sum(dim=0)

    def _rounded(self, rows: slice) -> slice:
        """These rows and the empty ones behind the last."""
        return slice(rows.start, len(self.states) if rows.stop == self.count else rows.stop)

    def gradients(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Of states, weight and bias, in the types these came in; None where not wanted."""
        of_states = None if self.of_states is None else self.of_states[: self.count]
        of_weight = None if self.of_weight is None else self.of_weight.mT.contiguous()
        found = zip((of_states, of_weight, self.of_bias), self.given, strict=True)
        first, second, third = (None if gradient is None else gradient.to(dtype) for gradient, dtype in found)
        return first, second, third


def scale_gradients(gradients: tuple[Tensor | None, ...], upstream: Tensor) -> list[Tensor | None]:
    """Gradients computed for an upstream gradient of 1, for the one that came."""
    return [None if gradient is None else gradient * upstream.to(gradient.dtype) for gradient in gradients]


def softmax_in_place(logits: Tensor, ids: Tensor) -> Tensor:
    """Turn logits [n, V] into probabilities where they stand and return −log p of `ids`, [n]."""
    picked = logits.gather(1, ids.unsqueeze(1)).squeeze(1)
    log_sums = normalise_in_place(logits)
    return log_sums - picked.to(log_sums.dtype)


def normalise_in_place(logits: Tensor) -> Tensor:
    """Turn logits [n, V] into probabilities where they stand and return log Σ exp of the rows, [n], at least float32.

    The sum is recovered from the largest entry, whose probability is at least 1/V and so never underflows.
    """
    precise = torch.promote_types(logits.dtype, torch.float32)
    largest = logits.amax(dim=1)
    torch.softmax(logits, dim=1, out=logits)
    return largest.to(precise) - logits.amax(dim=1).to(precise).log()
