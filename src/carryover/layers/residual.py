"""A layer whose input is added to its output."""

from __future__ import annotations

from typing import final

import torch

from carryover.layers.base import Layer, State
from carryover.sequence import Sequence


@final
class Residual(Layer):
    """y = x + layer(x): He et al. 2016, "Deep residual learning", equation 1; values [B, T, size] to the same.

    The state is the inner layer's. ValueError when the inner layer changes the number of features or of steps.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        if layer.in_size != layer.out_size or not layer.keeps_length:
            raise ValueError(
                f"{type(layer).__name__} maps {layer.in_size} features to {layer.out_size} at a ratio of {layer.ratio}"
                f"{'' if layer.ratio != 1 or layer.keeps_length else ' and drops steps'}: "
                "a residual layer needs equal sizes and a ratio of 1, an output for every step"
            )
        self.layer = layer
        self.in_size, self.out_size = layer.in_size, layer.out_size
        self.causal, self.receptive_field = layer.causal, layer.receptive_field
        self.feature_axis = layer.feature_axis
        self.reads_ids, self.axes = layer.reads_ids, layer.axes

    def forward(self, x: Sequence) -> Sequence:
        self.check_input(x)
        return self._add(x, self.layer(x))

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return self.layer.initial_state(batch_size, device=device, dtype=dtype)

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        self.check_input(x)
        y, state = self.layer.step(x, state)
        return self._add(x, y), state

    def _add(self, x: Sequence, y: Sequence) -> Sequence:
        return y.with_values(x.zero_padding().values + y.values)
