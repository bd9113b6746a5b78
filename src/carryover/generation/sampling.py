"""Which token comes next: the likeliest, or one drawn from a distribution that was sharpened and cut.

In this order: scores are divided by the temperature; the k likeliest tokens are kept (Fan, Lewis, Dauphin 2018,
"Hierarchical neural story generation"); of these the nucleus, the fewest likeliest tokens that hold a share p of what is
left (Holtzman et al. 2020, "The curious case of neural text degeneration"). Everything is computed in float64 on the CPU,
row by row, so that the draw of a row depends on its own scores and its own number alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from carryover.errors import UsageError

_SLACK = 1e-9
"""A nucleus is full within this: probabilities come rounded, and 0.4 + 0.3 shall reach 0.7."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn. Raises UsageError naming the field that is wrong.

    temperature : scores are divided by it; below 1 likely tokens become likelier. Above 0.
    top_k : exactly this many likeliest tokens are kept (all, where there are fewer); of equal ones the lowest ids.
    top_p : of these, the smallest number of likeliest tokens whose share reaches it, at least one. In (0, 1].
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise UsageError(
                f"temperature is {self.temperature}", repair="give a number above 0; the likeliest token alone is greedy"
            )
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top_k is {self.top_k}", repair="give a whole number of at least 1, or leave it out")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"top_p is {self.top_p}", repair="give a share above 0 and at most 1, or leave it out")

    def probabilities(self, scores: Tensor) -> Tensor:
        """The distribution that is drawn from, [..., V] float64, of scores [..., V]; zero for what was cut."""
        scores = scores.to("cpu", torch.float64)
        scores = (scores - scores.amax(dim=-1, keepdim=True)) / self.temperature
        if self.top_k is not None and self.top_k < scores.shape[-1]:
            scores = scores.masked_fill(~most_likely(scores, self.top_k), -math.inf)
        probabilities = torch.softmax(scores, dim=-1)
        if self.top_p is not None and self.top_p < 1:
            probabilities = probabilities * _nucleus(probabilities, self.top_p)
            probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)
        return probabilities

    def draw(self, scores: Tensor, numbers: Tensor) -> Tensor:
        """One id a row, [B], of scores [B, V] and numbers [B] drawn uniformly from [0, 1)."""
        sums = self.probabilities(scores).cumsum(dim=-1)
        places = (numbers.to(torch.float64) * sums[:, -1]).unsqueeze(1)
        ids = torch.searchsorted(sums, places, right=True).squeeze(1)
        last = (sums < sums[:, -1:]).sum(dim=-1)  # the last id of any probability
        return torch.minimum(ids, last)


def likeliest(scores: Tensor) -> Tensor:
    """The id of the highest score of each row [..., V], the lowest of equal ones."""
    return scores.argmax(dim=-1)


def most_likely(scores: Tensor, count: int) -> Tensor:
    """bool [..., V], true at exactly the `count` highest scores, of equal ones at the lowest ids."""
    border = scores.topk(count, dim=-1).values[..., -1:]
    above, equal = scores > border, scores == border
    room = count - above.sum(dim=-1, keepdim=True)
    return above | (equal & (equal.cumsum(dim=-1) <= room))


def best_places(scores: Tensor, count: int) -> list[int]:
    """Places of the `count` highest of flat scores [N] (or all N), the highest first, of equal ones the lowest first."""
    places = most_likely(scores, min(count, len(scores))).nonzero().squeeze(1)
    order = torch.sort(scores[places], descending=True, stable=True).indices
    return [int(place) for place in places[order]]


def _nucleus(probabilities: Tensor, share: float) -> Tensor:
    """bool [..., V], true at the fewest likeliest tokens that hold `share`; of equal ones the lowest ids."""
    ordered, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = before < share - _SLACK
    kept[..., 0] = True
    return torch.zeros_like(kept).scatter(-1, order, kept)
