"""Highway layer: a learned gate chooses, feature by feature, between transforming and passing on."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

from carryover.layers.element import ElementLayer


@final
class Highway(ElementLayer):
    """y = g ⊙ f(W x + b) + (1 − g) ⊙ x with the gate g = σ(W_g x + b_g), at every step; [B, T, size] to the same.

    Srivastava, Greff, Schmidhuber 2015, "Highway networks", equations 2–3 with the carry gate 1 − g.

    Parameters
    ----------
    size : features in and out.
    gate_bias : start value of b_g; below zero the layer begins close to the identity, which lets deep stacks learn.
    activation : f, by default the rectifier.

    Parameters learned: `transform.weight`, `gate.weight` [size, size] and `transform.bias`, `gate.bias` [size].
    """

    def __init__(self, size: int, *, gate_bias: float = -2.0, activation: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        self.in_size = self.out_size = size
        self.activation = activation
        self.transform = nn.Linear(size, size)
        self.gate = nn.Linear(size, size)
        nn.init.constant_(self.gate.bias, gate_bias)

    def element(self, values: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate(values))
        return torch.lerp(values, self.activation(self.transform(values)), gate)
