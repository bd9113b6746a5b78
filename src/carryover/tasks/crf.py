"""Linear-chain conditional random field (Lafferty, McCallum and Pereira 2001; for tagging Lample et al. 2016).

For emissions e [T, K] and tags y the score of a whole tagging is

    s(y) = start[y_1] + Σ_t e_t[y_t] + Σ_t transitions[y_t−1, y_t] + end[y_T],        p(y) = exp(s(y) − log Z).

log Z follows from the forward recursion

    α_t[j] = e_t[j] + log Σ_i exp(α_t−1[i] + transitions[i, j]),    log Z = log Σ_j exp(α_T[j] + end[j])

and the marginals from it together with the backward one, which is the same recursion over the reversed sentence. The fast
path runs both side by side on probabilities scaled to sum 1 at every step (Rabiner 1989), one small matrix product a step,
and writes the gradient of log Z by hand: it is the table of marginals. Scaled probabilities cannot span more than
float32 does, so a batch whose states lie further apart takes `log_partition_by_recursion`, the formula as written.
An empty sentence has log Z = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from carryover.sequence import Sequence

_FORBIDDEN = -1e9  # finite, so that a state no path reaches gives a number and not NaN
_SMALLEST = 1e-26  # scaled probabilities below this leave the fast path: float32 underflows at 1e-38


class LinearChainCRF(nn.Module):
    """Scores, probabilities and best taggings over `size` tags.

    `allowed` [K, K] (from, to) and `allowed_first` [K] are bool; what they forbid has probability 0, in training and in
    decoding alike. Parameters `transitions` [K, K], `start` [K], `end` [K] begin at zero.
    """

    def __init__(self, size: int, *, allowed: Tensor | None = None, allowed_first: Tensor | None = None) -> None:
        super().__init__()
        self.size = size
        self.transitions = nn.Parameter(torch.zeros(size, size))
        self.start = nn.Parameter(torch.zeros(size))
        self.end = nn.Parameter(torch.zeros(size))
        real: dict[str, Any] = {"dtype": torch.bool, "device": "cpu"}  # also where a model is built without memory
        allowed = torch.ones(size, size, **real) if allowed is None else allowed
        allowed_first = torch.ones(size, **real) if allowed_first is None else allowed_first
        if allowed.shape != (size, size) or allowed_first.shape != (size,):
            raise ValueError(
                f"constraints of shape {tuple(allowed.shape)} and {tuple(allowed_first.shape)} for {size} tags: "
                f"give [{size}, {size}] and [{size}]"
            )
        # Derived from the labels, so they are rebuilt with the module and not saved beside its weights.
        self.register_buffer("allowed", allowed, persistent=False)
        self.register_buffer("allowed_first", allowed_first, persistent=False)

    def loss(self, emissions: Sequence, tags: Tensor) -> Tensor:
        """Negative log-likelihood of `tags` [B, T] (anything in the padding) for each row, [B], in nats."""
        emissions = self._clean(emissions)
        return self.log_partition(emissions) - self.score(emissions, tags)

    def score(self, emissions: Sequence, tags: Tensor) -> Tensor:
        """s(y) of each row, [B]; about −10⁹ for a tagging that the constraints forbid, 0 for an empty row."""
        emissions = self._clean(emissions)
        if not emissions.time:
            return emissions.values.sum((1, 2))
        transitions, start = self._constrained()
        tags = tags.masked_fill(~emissions.mask, 0)
        own = emissions.values.gather(2, tags.unsqueeze(2)).squeeze(2)  # [B, T]
        moves = transitions[tags[:, :-1], tags[:, 1:]].masked_fill(~emissions.mask[:, 1:], 0)
        ends = start[tags[:, 0]] + self.end[Sequence(tags, emissions.lengths).last()]
        total = own.masked_fill(~emissions.mask, 0).sum(1) + moves.sum(1)
        return total + ends.masked_fill(emissions.lengths == 0, 0)

    def log_partition(self, emissions: Sequence) -> Tensor:
        """log Z of each row, [B]."""
        emissions = self._clean(emissions)
        transitions, start = self._constrained()
        values, end = emissions.values, self.end
        tables = _scaled_tables(values.detach(), transitions.detach(), start.detach(), end.detach(), emissions.lengths)
        if tables is None:
            return self.log_partition_by_recursion(emissions)
        result: Tensor = _WithMarginals.apply(values, transitions, start, end, tables)
        return result

    def log_partition_by_recursion(self, emissions: Sequence) -> Tensor:
        """`log_partition` as the formula is written, differentiated by autograd: any range of values, and the reference."""
        emissions = self._clean(emissions)
        if not emissions.time:
            return emissions.values.sum((1, 2))
        transitions, start = self._constrained()
        alpha = start + emissions.values[:, 0]
        for step in range(1, emissions.time):
            ahead = torch.logsumexp(alpha.unsqueeze(2) + transitions, 1) + emissions.values[:, step]
            alpha = torch.where(emissions.mask[:, step, None], ahead, alpha)
        return torch.logsumexp(alpha + self.end, 1).masked_fill(emissions.lengths == 0, 0)

    def marginals(self, emissions: Sequence) -> Tensor:
        """p(y_t = k) of every step, [B, T, K]; zeros in the padding."""
        with torch.enable_grad():  # the gradient of log Z with respect to the emissions is the table of marginals
            values = self._clean(emissions).values.detach().requires_grad_()
            log_z = self.log_partition(Sequence(values, emissions.lengths))
            return torch.autograd.grad(log_z.sum(), values)[0]

    @torch.no_grad()
    def decode(self, emissions: Sequence) -> list[list[int]]:
        """The most probable tagging of each row (Viterbi 1967)."""
        emissions = self._clean(emissions)
        if not emissions.time:
            return [[] for _ in range(emissions.batch_size)]
        transitions, start = self._constrained()
        into = transitions.t().unsqueeze(0).contiguous()  # [1, K to, K from]
        best = emissions.values[:, 0] + start
        scores, origins = [best], []
        for step in range(1, emissions.time):
            best, origin = (best.unsqueeze(1) + into).max(2)
            best = best + emissions.values[:, step]
            scores.append(best)
            origins.append(origin)
        tag = (Sequence(torch.stack(scores, 1), emissions.lengths).last() + self.end).argmax(1)
        path = [tag]
        # Walking back, a row joins in at its own last step; before that its tag does not change.
        for step in range(emissions.time - 1, 0, -1):
            previous = origins[step - 1].gather(1, tag.unsqueeze(1)).squeeze(1)
            tag = torch.where(step < emissions.lengths, previous, tag)
            path.append(tag)
        rows = torch.stack(path[::-1], 1).tolist()
        return [row[:length] for row, length in zip(rows, emissions.lengths.tolist(), strict=True)]

    def _constrained(self) -> tuple[Tensor, Tensor]:
        allowed, allowed_first = self.get_buffer("allowed"), self.get_buffer("allowed_first")
        return self.transitions.masked_fill(~allowed, _FORBIDDEN), self.start.masked_fill(~allowed_first, _FORBIDDEN)

    def _clean(self, emissions: Sequence) -> Sequence:
        if emissions.values.dim() != 3 or emissions.values.shape[2] != self.size:
            raise ValueError(f"emissions are {tuple(emissions.values.shape)} for {self.size} tags: give [B, T, {self.size}]")
        # Half precision cannot hold sums over a sentence.
        values = emissions.values.float() if emissions.values.itemsize < 4 else emissions.values
        return emissions.with_values(values).zero_padding()


@dataclass(frozen=True)
class _Tables:
    """What the gradient of log Z is made of."""

    log_z: Tensor  # [B]
    unary: Tensor  # [B, T, K] p(y_t = k)
    left: Tensor  # [B, T−1, K]
    right: Tensor  # [B, T−1, K]; p(y_t = i, y_t+1 = j) = left[t, i] · factors[i, j] · right[t, j]
    factors: Tensor  # [K, K]
    lengths: Tensor


def _scaled_tables(values: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> _Tables | None:
    """Forward and backward recursion on scaled probabilities, None when they span more than the number format holds."""
    batch, time, size = values.shape
    if not batch or not time:
        return None
    emissions = Sequence(values, lengths)
    moves = transitions.max()
    factors = (transitions - moves).exp()  # [K from, K to]
    both = torch.stack([values, emissions.reverse().values])  # [2, B, T, K]
    peaks = both.amax(3, keepdim=True)
    likelihoods = (both - peaks).exp().unbind(2)
    matrices = torch.stack([factors, factors.t()])  # [2, K, K]
    borders = torch.stack([start, end]).unsqueeze(1)  # [2, 1, K]
    border_peaks = borders.amax(2, keepdim=True)

    state = (borders - border_peaks).exp() * likelihoods[0]
    states, scales = [], []
    for step in range(time):
        if step:
            state = torch.bmm(state, matrices) * likelihoods[step]
        scale = state.sum(2, keepdim=True)
        state = state / scale
        states.append(state)
        scales.append(scale)
    scaled = torch.stack(states, 2)  # [2, B, T, K], each step sums to 1

    # A state may be impossible at the border only; any other zero is an underflow that the result could depend on.
    possible = emissions.mask.unsqueeze(2).expand(-1, -1, size).repeat(2, 1, 1, 1)
    possible[:, :, 0] &= borders > _FORBIDDEN / 2
    if not bool((scaled >= _SMALLEST).logical_or(~possible).all()):
        return None
    logs = torch.stack(scales, 2)[0].log() + peaks[0] + moves  # [B, T, 1]
    logs = logs.squeeze(2).masked_fill(~emissions.mask, 0).sum(1) + border_peaks[0, 0, 0] - moves
    forward, backward = scaled[0], Sequence(scaled[1], lengths).reverse().values
    final = emissions.with_values(forward).last() * (end - border_peaks[1, 0, 0]).exp()
    log_z = (logs + final.sum(1).log() + border_peaks[1, 0, 0]).masked_fill(lengths == 0, 0)

    # Each step is normalised separately: no difference of two sums over the sentence loses digits.
    unary = (forward.log() + backward.log() - values).softmax(2).masked_fill(~emissions.expand_mask(), 0)
    left, right = forward[:, :-1], backward[:, 1:]
    together = (left @ factors * right).sum(2, keepdim=True)
    inside = emissions.mask[:, 1:].unsqueeze(2)
    if not bool((together >= _SMALLEST).logical_or(~inside).all()):
        return None
    left, right = (left / together).masked_fill(~inside, 0), right.masked_fill(~inside, 0)
    return _Tables(log_z, unary, left, right, factors, lengths)


class _WithMarginals(torch.autograd.Function):
    """log Z, whose gradients are expected counts."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, transitions: Tensor, start: Tensor, end: Tensor, tables: _Tables) -> Tensor:
        ctx.tables = tables
        return tables.log_z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        tables: _Tables = ctx.tables
        unary = tables.unary * upstream.view(-1, 1, 1)
        left = (tables.left * upstream.view(-1, 1, 1)).flatten(0, 1)  # [B · (T−1), K]
        moves = tables.factors * (left.t() @ tables.right.flatten(0, 1))
        return unary, moves, unary[:, 0].sum(0), Sequence(unary, tables.lengths).last().sum(0), None
