"""The task's mixture of an encoder's layers."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carryover.layers.element import ElementLayer
from carryover.sequence import Sequence


@final
class ScalarMix(ElementLayer):
    """y_t = γ Σ_j s_j h_{t,j} with s = softmax(w) over the layers j; values [B, T, layers, size] to [B, T, size].

    Peters et al. 2018, "Deep contextualized word representations", equation 1.

    Parameters
    ----------
    layers : number of representations mixed (L+1 for a language model of L layers).
    size : features of each.
    layer_norm : bring every h_{t,j} to mean 0 and variance 1 over its own features first. The published code takes
        mean and variance over all real tokens of the batch instead (AllenNLP's `do_layer_norm`), so that a representation
        depends on its neighbours; here a row never does, and weights learned that way do not carry over.

    Parameters learned: `layer_weights` w [layers], zero at the start (an even mixture), and `scale` γ, a single number,
    1 at the start.
    """

    def __init__(self, layers: int, size: int, *, layer_norm: bool = False) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"ScalarMix cannot mix {layers} layers: give at least one")
        self.in_size = self.out_size = size
        self.layers, self.layer_norm = layers, layer_norm
        self.layer_weights = nn.Parameter(torch.zeros(layers))
        self.scale = nn.Parameter(torch.ones(()))

    def shares(self) -> Tensor:
        """s [layers]: the share of each layer, positive and summing to 1."""
        return self.layer_weights.softmax(0)

    def element(self, values: Tensor) -> Tensor:
        if self.layer_norm:
            values = F.layer_norm(values, (self.in_size,))
        return self.scale * torch.einsum("...ld,l->...d", values, self.shares())

    def check_input(self, x: Sequence) -> None:
        """Raise TypeError on ids, ValueError on another shape than [batch, time, layers, in_size]."""
        super().check_input(x)
        if x.values.dim() != 4 or x.values.shape[2] != self.layers:
            raise ValueError(
                f"ScalarMix mixes values [batch, time, {self.layers}, {self.in_size}], got {tuple(x.values.shape)}: "
                "stack the layers' outputs along axis 2"
            )
