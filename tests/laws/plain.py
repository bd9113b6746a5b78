"""A small honest layer with memory; the broken layers of the law tests are this one with a single fault each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from carryover.layers import Layer, State, WaveNet, WaveNetBlock
from carryover.sequence import Sequence


class LeakySum(Layer):
    """h_t = 0.9 h_{t−1} + W x_t, y_t = h_t, as a plain loop."""

    causal = True
    receptive_field: int | None = None

    def __init__(self, in_size: int = 3, out_size: int = 4) -> None:
        super().__init__()
        self.in_size, self.out_size = in_size, out_size
        self.hidden_weight = nn.Parameter(torch.full((out_size,), 0.9))
        self.input_weight = nn.Parameter(torch.randn(out_size, in_size))

    def forward(self, x: Sequence) -> Sequence:
        return self.step(x, self.initial_state(x.batch_size, device=x.device, dtype=x.values.dtype))[0]

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return torch.zeros(batch_size, self.out_size, device=device, dtype=dtype)

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        self.check_input(x)
        self.check_state(x, state)
        inputs = x.zero_padding().values @ self.input_weight.T
        outputs = []
        for step in range(x.time):
            state = self.advance(inputs[:, step], state, x.mask[:, step : step + 1])
            outputs.append(state)
        values = torch.stack(outputs, 1) if outputs else inputs
        return x.with_values(values).zero_padding(), state

    def advance(self, drive: Tensor, state: Tensor, real: Tensor) -> Tensor:
        return torch.where(real, self.hidden_weight * state + drive, state)


class Conditioned(Layer):
    """A WaveNet or one of its blocks that finds its local condition behind its input's features; the global one is fixed."""

    causal = True

    def __init__(self, layer: WaveNet | WaveNetBlock) -> None:
        super().__init__()
        self.layer = layer
        self.in_size, self.out_size = layer.in_size + layer.local_size, layer.out_size
        self.receptive_field = layer.receptive_field
        self.context = nn.Parameter(torch.randn(layer.global_size))

    def forward(self, x: Sequence) -> Sequence:
        return self.layer(*self._split(x))

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return self.layer.initial_state(batch_size, device=device, dtype=dtype)

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        x, local, context = self._split(x)
        return self.layer.step(x, state, local, context)

    def _split(self, x: Sequence) -> tuple[Sequence, Sequence, Tensor]:
        own = self.layer.in_size
        context = self.context.expand(x.batch_size, -1)
        return x.with_values(x.values[..., :own]), x.with_values(x.values[..., own:]), context
