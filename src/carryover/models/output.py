"""The parameters that turn a hidden state into a distribution over the vocabulary.

They belong to the model (they are saved, carried over and tuned with it); how a loss is computed from them is in
`carryover.objectives`, so that one set of weights can be trained with a sampled softmax and judged with the exact one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from carryover.errors import UsageError

NO_SOFTMAX = "none"
"""The softmax of a model whose weights came without one: it gives vectors and predicts nothing."""


class OutputLayer(nn.Module):
    """One row of weights and one bias a word: logits = W h + b.

    Parameters `weight` [V, P] and `bias` [V]. Read by the full and the sampled softmax.
    """

    def __init__(self, in_size: int, vocabulary_size: int) -> None:
        super().__init__()
        self.in_size = in_size
        self.vocabulary_size = vocabulary_size
        self.weight = nn.Parameter(torch.empty(vocabulary_size, in_size))
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        nn.init.normal_(self.weight, std=in_size**-0.5)

    def scores(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] of hidden states [..., P]."""
        return linear(hidden, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_size}, {self.vocabulary_size}"


class TiedOutput(NamedTuple):
    """An output layer whose weight [V, P] is that of an embedding, and its own bias [V]; read as an `OutputLayer` is."""

    weight: Tensor
    bias: Tensor

    @property
    def vocabulary_size(self) -> int:
        return len(self.weight)

    def scores(self, hidden: Tensor) -> Tensor:
        return linear(hidden, self.weight, self.bias)


class NoOutputLayer(nn.Module):
    """Stands where weights came without an output layer, as in the published ELMo files: nothing can be predicted."""


class AdaptiveOutputLayer(nn.Module):
    """Frequent words at full width, rarer ones in clusters of ever narrower rows (Grave et al. 2017, section 4).

    Ids must be sorted by frequency. With cutoffs c_1 < … < c_k the head holds a row for every word below c_1 and one
    for each cluster; cluster i holds the words c_i … c_{i+1}−1 on vectors of size P / reduction^i.

    Parameters: `head_weight` [c_1 + k, P], `head_bias` [c_1 + k], `projections.i` [P / reduction^i, P] and
    `tails.i` [c_{i+1} − c_i, P / reduction^i], named from i = 0. Raises UsageError when the cutoffs do not ascend
    within the vocabulary.
    """

    def __init__(self, in_size: int, vocabulary_size: int, cutoffs: tuple[int, ...], reduction: float = 4.0) -> None:
        super().__init__()
        if not cutoffs or sorted(set(cutoffs)) != list(cutoffs) or cutoffs[0] < 1 or cutoffs[-1] >= vocabulary_size:
            raise UsageError(
                f"adaptive cutoffs {list(cutoffs)} do not ascend between 1 and {vocabulary_size - 1}, the last id of a "
                f"vocabulary of {vocabulary_size}",
                repair="give ascending cutoffs below the vocabulary size, or leave them out",
            )
        self.in_size = in_size
        self.vocabulary_size = vocabulary_size
        self.cutoffs = tuple(cutoffs)
        self.head_weight = nn.Parameter(torch.empty(cutoffs[0] + len(cutoffs), in_size))
        self.head_bias = nn.Parameter(torch.zeros(cutoffs[0] + len(cutoffs)))
        self.projections = nn.ParameterList()
        self.tails = nn.ParameterList()
        for index, (low, high) in enumerate(pairwise((*cutoffs, vocabulary_size)), start=1):
            width = max(1, int(in_size / reduction**index))
            self.projections.append(nn.Parameter(torch.empty(width, in_size)))
            self.tails.append(nn.Parameter(torch.empty(high - low, width)))
        nn.init.normal_(self.head_weight, std=in_size**-0.5)
        for projection, tail in zip(self.projections, self.tails, strict=True):
            nn.init.normal_(projection, std=in_size**-0.5)
            nn.init.normal_(tail, std=tail.shape[1] ** -0.5)

    def ranges(self) -> list[tuple[int, int]]:
        """First id and the id after the last of every cluster."""
        return list(pairwise((*self.cutoffs, self.vocabulary_size)))

    def scores(self, hidden: Tensor) -> Tensor:
        """log p [..., V] of all words, of hidden states [..., P]: that of a cluster and that of the word within it."""
        frequent = self.cutoffs[0]
        head = torch.log_softmax(linear(hidden, self.head_weight, self.head_bias), dim=-1)
        parts = [head[..., :frequent]]
        for index, (projection, tail) in enumerate(zip(self.projections, self.tails, strict=True)):
            inside = torch.log_softmax(linear(linear(hidden, projection), tail), dim=-1)
            parts.append(inside + head[..., frequent + index, None])
        return torch.cat(parts, dim=-1)

    def extra_repr(self) -> str:
        return f"{self.in_size}, {self.vocabulary_size}, cutoffs={self.cutoffs}"


def default_cutoffs(vocabulary_size: int) -> tuple[int, ...]:
    """A tenth and four tenths of the vocabulary, rounded to multiples of 8: close to the published optimum for
    vocabularies of 10^4 to 10^5 words under a Zipf law, where a tenth of the words makes up over 80 % of the text."""

    def rounded(share: float) -> int:
        return max(1, int(vocabulary_size * share) // 8 * 8)

    return tuple(sorted({rounded(0.1), rounded(0.4)} - {vocabulary_size}))


def build_output_layer(
    size: int, words: int, softmax: str, *, cutoffs: tuple[int, ...] | None, reduction: float
) -> OutputLayer | AdaptiveOutputLayer | NoOutputLayer:
    """The output layer that goes with a softmax; `cutoffs` and `reduction` are of the adaptive one."""
    if softmax == NO_SOFTMAX:
        return NoOutputLayer()
    if softmax == "adaptive":
        return AdaptiveOutputLayer(size, words, cutoffs or default_cutoffs(words), reduction)
    return OutputLayer(size, words)
