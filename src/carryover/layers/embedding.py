"""One learned vector for each id, and the product with one-hot vectors that it abbreviates."""

from __future__ import annotations

from typing import Self, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carryover.layers.base import Layer
from carryover.layers.element import ElementLayer
from carryover.sequence import Sequence


def embed_by_one_hot(ids: Tensor, weight: Tensor) -> Tensor:
    """onehot(ids) · W: what `Embedding` computes, written as the matrix product (slow; for reading and for the tests).

    `ids` is an integer tensor of any shape with values in 0 … N−1, `weight` is [N, D]; the result is [*ids.shape, D].
    """
    return F.one_hot(ids, weight.shape[0]).to(weight.dtype) @ weight


def no_such_id(layer: Layer, ids: Tensor) -> str:
    """What is wrong with ids of which one is outside 0 … in_size − 1."""
    wrong = int(ids[(ids < 0) | (ids >= layer.in_size)][0])
    return (
        f"{type(layer).__name__} has the ids 0 … {layer.in_size - 1} and got {wrong}: number the items by the vocabulary it was "
        "built for, or build it with a larger in_size"
    )


@final
class Embedding(ElementLayer):
    """Learned vectors: y_t = W[x_t], the row of `weight` that the id names; ids [B, T] to values [B, T, out_size].

    The same function as one-hot vectors times `weight`, without ever making them.

    Parameters
    ----------
    in_size : number of ids; an id outside 0 … in_size−1 raises IndexError.
    out_size : length of each vector.
    padding_id : an id whose vector is zero at the start and never receives a gradient.
    sparse_gradient : let the gradient of `weight` hold the rows met in the batch only (for very many ids; needs
        an optimiser that takes sparse gradients, such as `torch.optim.SparseAdam`).

    Parameter: `weight` [in_size, out_size], drawn from a normal distribution of variance 1/out_size.
    """

    reads_ids = True

    def __init__(self, in_size: int, out_size: int, *, padding_id: int | None = None, sparse_gradient: bool = False) -> None:
        super().__init__()
        if padding_id is not None and not 0 <= padding_id < in_size:
            raise ValueError(f"padding_id is {padding_id} but the ids are 0 … {in_size - 1}: choose one of them")
        self.in_size, self.out_size = in_size, out_size
        self.padding_id, self.sparse_gradient = padding_id, sparse_gradient
        self.weight = nn.Parameter(torch.randn(in_size, out_size) / out_size**0.5)
        if padding_id is not None:
            with torch.no_grad():
                self.weight[padding_id] = 0

    @classmethod
    def from_vectors(cls, vectors: Tensor, *, frozen: bool, padding_id: int | None = None) -> Self:
        """An embedding that starts from ready-made vectors [N, D] (a copy of them); `frozen` keeps them as they are."""
        layer = cls(vectors.shape[0], vectors.shape[1], padding_id=padding_id)
        layer.weight = nn.Parameter(vectors.detach().clone(), requires_grad=not frozen)
        return layer

    def element(self, values: Tensor) -> Tensor:
        try:
            return F.embedding(values, self.weight, padding_idx=self.padding_id, sparse=self.sparse_gradient)
        except IndexError as error:
            raise IndexError(no_such_id(self, values)) from error

    def check_input(self, x: Sequence) -> None:
        """Raise TypeError on real numbers, ValueError on another shape than [batch, time]."""
        super().check_input(x)
        if x.values.dim() != 2:
            raise ValueError(f"Embedding reads ids [batch, time], got shape {tuple(x.values.shape)}: give one id a step")

    def extra_repr(self) -> str:
        return f"{self.in_size}, {self.out_size}"
