"""From a sequence to one vector a row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor, nn

from carryover.errors import UsageError
from carryover.layers.base import check_numbers, require_sequence
from carryover.sequence import Sequence

POOLINGS = ("mean", "max", "last", "ends", "sum", "attention")


class Pooling(nn.Module, ABC):
    """A map from `Sequence` [B, T, in_size] to one vector a row, [B, out_size], that ignores padding.

    A row of length 0 gives zeros.
    """

    in_size: int
    out_size: int

    @abstractmethod
    def forward(self, x: Sequence) -> Tensor:
        """[B, T, in_size] to [B, out_size]. TypeError on integers, ValueError when the feature size is not `in_size`."""

    def check_input(self, x: Sequence) -> None:
        """Raise TypeError on what is no `Sequence` and on integers, ValueError on another shape than [batch, time, in_size]."""
        require_sequence(self, x)
        check_numbers(self, x.values)
        if x.values.dim() != 3 or x.values.shape[-1] != self.in_size:
            raise ValueError(
                f"{type(self).__name__} pools values [batch, time, {self.in_size}], got {tuple(x.values.shape)}: "
                "build it with the features of its input"
            )


class _EachFeature(Pooling):
    """A pooling that gives as many features as it reads."""

    def __init__(self, in_size: int) -> None:
        super().__init__()
        self.in_size = self.out_size = in_size


@final
class SumPooling(_EachFeature):
    """Σ_t x_t over the real steps."""

    def forward(self, x: Sequence) -> Tensor:
        self.check_input(x)
        return x.zero_padding().values.sum(1)


@final
class MeanPooling(_EachFeature):
    """Σ_t x_t / length over the real steps."""

    def forward(self, x: Sequence) -> Tensor:
        self.check_input(x)
        return x.zero_padding().values.sum(1) / x.lengths.clamp(min=1).unsqueeze(1)


@final
class MaxPooling(_EachFeature):
    """The largest value of each feature over the real steps."""

    def forward(self, x: Sequence) -> Tensor:
        self.check_input(x)
        if x.time == 0:
            return x.values.new_zeros(x.batch_size, self.out_size)
        largest = x.values.masked_fill(~x.expand_mask(), -torch.inf).max(1).values
        return largest.masked_fill((x.lengths == 0).unsqueeze(1), 0)


@final
class LastPooling(_EachFeature):
    """The last real step; with `both_ends`, what a bidirectional layer knows after reading the whole row.

    With `both_ends` the first half of the features (the forward direction) is taken at the last step and the second
    half (the backward direction, which ends at the row's start) at the first.
    """

    def __init__(self, in_size: int, *, both_ends: bool = False) -> None:
        super().__init__(in_size)
        if both_ends and in_size % 2:
            raise ValueError(f"in_size is {in_size} and both_ends takes two halves: in_size must be even")
        self.both_ends = both_ends

    def forward(self, x: Sequence) -> Tensor:
        self.check_input(x)
        if not self.both_ends:
            return x.last()
        half = self.in_size // 2
        first = x.with_values(x.values[..., half:]).slice(0, 1)
        return torch.cat([x.with_values(x.values[..., :half]).last(), first.last()], dim=-1)


@final
class AttentionPooling(_EachFeature):
    """Σ_t a_t x_t with a = softmax_t(vᵀ tanh(W x_t + b)): the row's steps weighted by a learned question.

    Yang et al. 2016, "Hierarchical attention networks", equations 5–7.

    Parameters learned: `score_hidden.weight` [attention_size, in_size], `score_hidden.bias` [attention_size] and
    `question` [attention_size].
    """

    def __init__(self, in_size: int, attention_size: int) -> None:
        super().__init__(in_size)
        self.score_hidden = nn.Linear(in_size, attention_size)
        self.question = nn.Parameter(torch.randn(attention_size) / attention_size**0.5)

    def weights(self, x: Sequence) -> Tensor:
        """a [B, T]: sums to 1 over the real steps of a row, 0 in the padding (and everywhere in a row of length 0)."""
        scores = torch.tanh(self.score_hidden(x.zero_padding().values)) @ self.question
        # The most negative number rather than −∞: a row without steps would else be 0/0.
        scores = scores.masked_fill(~x.mask, torch.finfo(scores.dtype).min)
        return scores.softmax(1) * x.mask

    def forward(self, x: Sequence) -> Tensor:
        self.check_input(x)
        return torch.einsum("bt,btd->bd", self.weights(x), x.zero_padding().values)


@final
class ConcatenatedPooling(Pooling):
    """Several poolings of the same sequence side by side, such as [last; max; mean] of ULMFiT.

    Howard, Ruder 2018, "Universal language model fine-tuning", section 3.3. ValueError when they read different sizes.
    """

    def __init__(self, *poolings: Pooling) -> None:
        super().__init__()
        sizes = sorted({pooling.in_size for pooling in poolings})
        if len(sizes) != 1:
            raise ValueError(f"the poolings read {sizes} features: give at least one, all reading the same size")
        self.poolings = nn.ModuleList(poolings)
        self.in_size = sizes[0]
        self.out_size = sum(pooling.out_size for pooling in poolings)

    def forward(self, x: Sequence) -> Tensor:
        self.check_input(x)
        return torch.cat([pooling(x) for pooling in self.poolings], dim=-1)


def build_pooling(names: str, size: int) -> Pooling:
    """One pooling, or several joined by `+` side by side. Raises UsageError for an unknown name.

    `ends` is what a bidirectional encoder knows after reading everything: the forward half of the last state and the
    backward half of the first.
    """

    def build(name: str) -> Pooling:
        if name not in POOLINGS:
            raise UsageError(f"pooling {name!r} is unknown", repair=f"use {', '.join(POOLINGS)}, or several joined by +")
        if name == "attention":
            return AttentionPooling(size, size)
        if name in ("last", "ends"):
            return LastPooling(size, both_ends=name == "ends")
        if name == "max":
            return MaxPooling(size)
        return MeanPooling(size) if name == "mean" else SumPooling(size)

    chosen = names.split("+")
    if len(chosen) > len(POOLINGS) or len(set(chosen)) < len(chosen):
        raise UsageError(f"pooling {names[:80]!r} names one twice", repair="name every pooling once")
    return ConcatenatedPooling(*(build(name) for name in chosen))
