"""Bringing the features of a step to one scale."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carryover.layers.element import ElementLayer


@final
class LayerNorm(ElementLayer):
    """y = w ⊙ (x − mean(x)) / √(var(x) + ε) + b over the features of one step; values [B, T, size] to the same.

    Ba, Kiros & Hinton 2016, "Layer normalization", equation 4. With `rms` neither mean nor b:
    y = w ⊙ x / √(mean(x²) + ε) (Zhang & Sennrich 2019, "Root mean square layer normalization", equation 4).

    Parameters learned: `weight` [size], ones at the start, and without `rms` `bias` [size], zeros. ValueError for a size
    or an epsilon that is not positive.
    """

    def __init__(self, size: int, *, rms: bool = False, epsilon: float = 1e-5) -> None:
        super().__init__()
        if size <= 0 or epsilon <= 0:
            raise ValueError(f"LayerNorm has size {size} and epsilon {epsilon}: both must be positive")
        self.in_size = self.out_size = size
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = None if rms else nn.Parameter(torch.zeros(size))

    def element(self, values: Tensor) -> Tensor:
        if self.bias is None:
            return F.rms_norm(values, (self.in_size,), self.weight, self.epsilon)
        return F.layer_norm(values, (self.in_size,), self.weight, self.bias, self.epsilon)

    def extra_repr(self) -> str:
        return f"{self.in_size}, rms={self.bias is None}, epsilon={self.epsilon}"
