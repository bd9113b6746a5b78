"""Two causal layers, one reading each row from its start and one from its end."""

from __future__ import annotations

from typing import Protocol, final, runtime_checkable

import torch

from carryover.kernels.pytorch_recurrent import FusedKernel, run_both_directions
from carryover.layers.base import Layer
from carryover.sequence import Sequence


@runtime_checkable
class FusedLayer(Protocol):
    """A layer that can run as one of PyTorch's fused kernels."""

    last_path: str | None

    def fused_kernel(self, x: Sequence) -> FusedKernel | None:
        """What runs a whole pass over `x` from the first state; None where another path does."""


@final
class Bidirectional(Layer):
    """y_t = [→h_t ; ←h_t]: one layer's outputs beside those of another that reads the row backwards.

    Schuster, Paliwal 1997, "Bidirectional recurrent neural networks". Each row is reversed within its own length, so
    padding never comes before a row's end. Values [B, T, in_size] to [B, T, forward.out_size + backward.out_size].
    Not causal; with layers that see r and s steps it sees r + s − 1. ValueError unless both layers are causal, read the
    same number of features and keep the number of steps.

    Parameters are named `forward_layer.…` and `backward_layer.…`.
    """

    causal = False

    def __init__(self, forward_layer: Layer, backward_layer: Layer) -> None:
        super().__init__()
        for layer in (forward_layer, backward_layer):
            if not layer.causal or not layer.keeps_length:
                raise ValueError(
                    f"{type(layer).__name__} has causal {layer.causal} and a ratio of {layer.ratio}: "
                    "a bidirectional layer is made of two causal layers of ratio 1"
                )
        if forward_layer.in_size != backward_layer.in_size:
            raise ValueError(
                f"the forward layer reads {forward_layer.in_size} features and the backward layer "
                f"{backward_layer.in_size}: both must read the same"
            )
        if forward_layer is backward_layer:
            raise ValueError("the forward and backward layer are one object: build two, or their weights are shared")
        self.forward_layer, self.backward_layer = forward_layer, backward_layer
        self.in_size = forward_layer.in_size
        self.reads_ids, self.axes = forward_layer.reads_ids, forward_layer.axes
        self.out_size = forward_layer.out_size + backward_layer.out_size
        fields = (forward_layer.receptive_field, backward_layer.receptive_field)
        self.receptive_field = None if fields[0] is None or fields[1] is None else fields[0] + fields[1] - 1

    def forward(self, x: Sequence) -> Sequence:
        self.check_input(x)
        if (both := self._fused(x)) is not None:
            return both
        ahead = self.forward_layer(x)
        back = self.backward_layer(x.reverse()).reverse()
        return x.with_values(torch.cat([ahead.values, back.values], dim=-1))

    def _fused(self, x: Sequence) -> Sequence | None:
        """Both directions in one call of PyTorch's kernel; None where there is none for them, or hooks wait for theirs."""
        ahead, back = self.forward_layer, self.backward_layer
        if any(layer._forward_hooks or layer._forward_pre_hooks for layer in (ahead, back)):
            return None
        if not (self.fast and isinstance(ahead, FusedLayer) and isinstance(back, FusedLayer)):
            return None
        kernel, other = ahead.fused_kernel(x), back.fused_kernel(x)
        if kernel is None or other is None or (both := run_both_directions(kernel, other, x)) is None:
            return None
        ahead.last_path = back.last_path = "fused"
        return both
