"""The common shape of layers that look at one step at a time and remember nothing."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from carryover.layers.base import Layer, State
from carryover.sequence import Sequence


class ElementLayer(Layer):
    """A function of one step, applied at every step: y_t = element(x_t).

    Such a layer is causal with a receptive field of 1, and its state is empty: `()`. A subclass implements `element`
    and sets `in_size` and `out_size`; a subclass that reads integer ids sets `reads_ids` too.
    """

    causal = True
    receptive_field = 1
    axes = None

    @abstractmethod
    def element(self, values: Tensor) -> Tensor:
        """[..., in_size] to [..., out_size] for any leading axes; sees no padding other than zeros."""

    def forward(self, x: Sequence) -> Sequence:
        self.check_input(x)
        return x.map(self.element)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return ()

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        return self.forward(x), state
