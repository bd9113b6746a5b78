"""The multi-layer perceptron, applied to every step independently."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn

from carryover.layers.dropout import drop
from carryover.layers.element import ElementLayer


@final
class Perceptron(ElementLayer):
    """Affine maps with an activation between them, the same at every step; [B, T, in_size] to [B, T, out_size].

    h_0 = x;  h_k = f(W_k h_{k−1} + b_k) for the hidden layers;  y = W h + b. No activation follows the last map.
    Without `hidden` the layer is one affine map.

    Parameters
    ----------
    in_size, out_size : features in and out.
    hidden : sizes of the hidden layers, first to last.
    activation : f, by default the rectifier.
    dropout : probability with which a hidden unit is set to zero in training.

    Parameters learned: `maps.k.weight` [size_k, size_{k−1}] and `maps.k.bias` [size_k].
    """

    def __init__(
        self,
        in_size: int,
        hidden: tuple[int, ...],
        out_size: int,
        *,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_size, self.out_size = in_size, out_size
        self.activation, self.dropout = activation, dropout
        self.maps = nn.ModuleList(nn.Linear(a, b, bias=bias) for a, b in pairwise((in_size, *hidden, out_size)))

    def element(self, values: Tensor) -> Tensor:
        for affine in self.maps[:-1]:
            values = drop(self.activation(affine(values)), self.dropout, self.training)
        return self.maps[-1](values)
