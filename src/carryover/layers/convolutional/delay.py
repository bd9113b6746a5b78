"""The past as it was."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F

from carryover.kernels.step_buffer import StepBuffer, advance
from carryover.layers.base import Layer, State
from carryover.sequence import Sequence


@final
class Delay(Layer):
    """y_t = x_{t−steps}, zeros for the first steps of a row; values [B, T, size] to the same.

    The lines of a time-delay network (Waibel et al. 1989) and the naive forecast. An output sees one input, so
    `receptive_field` is 1 however far back that lies; warm-up: the first `steps` outputs are zeros. The state is the
    last inputs, `StepBuffer` [B, steps, size]. ValueError for a size below 1 or a negative delay; 0 steps is the identity.
    """

    causal = True
    state_type = StepBuffer
    receptive_field = 1

    def __init__(self, size: int, steps: int) -> None:
        super().__init__()
        if size < 1 or steps < 0:
            raise ValueError(
                f"Delay was given size {size} and steps {steps}: take a size of at least 1 and no negative delay"
            )
        self.in_size = self.out_size = size
        self.steps = steps

    def forward(self, x: Sequence) -> Sequence:
        self.check_input(x)
        delayed = F.pad(x.zero_padding().values, (0, 0, self.steps, 0))[:, : x.time]
        return x.with_values(delayed).zero_padding()

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """Zeros, `StepBuffer` [batch_size, steps, size]."""
        return StepBuffer.zeros(batch_size, self.steps, self.in_size, device=device, dtype=dtype)

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        self.check_input(x)
        self.check_state(x, state)
        joined, state = advance(state, x.zero_padding().values, None if x.full else x.lengths)
        return x.with_values(joined[:, : x.time]).zero_padding(), state

    def extra_repr(self) -> str:
        return f"{self.in_size}, {self.steps}"
