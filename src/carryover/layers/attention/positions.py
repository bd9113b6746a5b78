"""The position of a step: as waves, as a learned table, or by rotating queries and keys."""

from __future__ import annotations

from abc import abstractmethod
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carryover.layers.base import Layer, State
from carryover.sequence import Sequence

BASE = 10000.0


def _angles(positions: Tensor, size: int) -> Tensor:
    """position · 10000^(−2i/size) for i = 0 … size/2 − 1, [..., size/2].

    In double precision, because single precision blurs late positions (except where the device has none).
    """
    dtype = torch.float32 if positions.device.type == "mps" else torch.float64
    rates = BASE ** (-torch.arange(0, size, 2, device=positions.device, dtype=dtype) / size)
    return positions.unsqueeze(-1) * rates


def sinusoid(positions: Tensor, size: int) -> Tensor:
    """Sine at the even and cosine at the odd features of wavelengths 2π … 10000 · 2π; int64 [...] to [..., size].

    Vaswani et al. 2017, section 3.5. Positions may be negative (distances).
    """
    angles = _angles(positions, size)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def rotate(values: Tensor, positions: Tensor) -> Tensor:
    """Turn each pair of features (2i, 2i+1) of `values` [..., T, d] by position · 10000^(−2i/d); `positions` [..., T].

    Rotary position embedding (Su et al. 2021, equation 34): the product of a turned query and a turned key depends on
    the difference of their positions only.
    """
    angles = _angles(positions, values.shape[-1])
    cosine, sine = angles.cos().to(values.dtype), angles.sin().to(values.dtype)
    even, odd = values.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], dim=-1).flatten(-2)


class Positions(Layer):
    """y_t = x_t + p_t with a vector for every position; values [B, T, size] to the same.

    The state is the position of the next step of each row, int64 [B].
    """

    causal = True
    receptive_field = 1

    @abstractmethod
    def vectors(self, positions: Tensor) -> Tensor:
        """int64 [B or 1, T] to [B or 1, T, size]."""

    def check_end(self, x: Sequence, start: Tensor | int) -> None:
        """Raise ValueError when a row would run beyond the last position there is, if there is one."""

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Zeros, int64 [batch_size]."""
        return torch.zeros(batch_size, dtype=torch.int64, device=device or self.device())

    def device(self) -> torch.device | None:
        return next((parameter.device for parameter in self.parameters()), None)

    def forward(self, x: Sequence) -> Sequence:
        self.check_input(x)
        self.check_end(x, 0)
        return self._add(x, torch.arange(x.time, device=x.device).unsqueeze(0))

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        self.check_input(x)
        self.check_state(x, state)
        state = state.to(x.device)  # waves have no parameter that could tell `initial_state` the device
        self.check_end(x, state)
        positions = state.unsqueeze(1) + torch.arange(x.time, device=x.device)  # [B, T]
        return self._add(x, positions), state + x.lengths

    def _add(self, x: Sequence, positions: Tensor) -> Sequence:
        return x.map(lambda values: values + self.vectors(positions).to(values.dtype))


@final
class SinusoidalPositions(Positions):
    """y_t = x_t + sinusoid(t): nothing is learned and no position is the last (Vaswani et al. 2017, section 3.5).

    ValueError when `size` is not even. The paper multiplies the embeddings below by √size first; here they are taken as
    they are.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if size <= 0 or size % 2:
            raise ValueError(f"SinusoidalPositions has size {size}: sine and cosine go in pairs, choose an even size")
        self.in_size = self.out_size = size

    def vectors(self, positions: Tensor) -> Tensor:
        return sinusoid(positions, self.in_size)


@final
class LearnedPositions(Positions):
    """y_t = x_t + weight[t] with a learned table of `positions` vectors (Gehring et al. 2017; BERT, GPT).

    A row with more real steps than the table has raises ValueError; padding may reach beyond it.
    Parameter: `weight` [positions, size], normal with standard deviation 0.02 at the start.
    """

    def __init__(self, size: int, positions: int) -> None:
        super().__init__()
        if size <= 0 or positions <= 0:
            raise ValueError(f"LearnedPositions has size {size} and {positions} positions: both must be positive")
        self.in_size = self.out_size = size
        self.positions = positions
        self.weight = nn.Parameter(torch.randn(positions, size) * 0.02)

    def vectors(self, positions: Tensor) -> Tensor:
        return F.embedding(positions.clamp(max=self.positions - 1), self.weight)  # only padding is ever beyond

    def check_end(self, x: Sequence, start: Tensor | int) -> None:
        if isinstance(start, int) and x.time <= self.positions:
            return
        end = int((x.lengths + start).max()) if x.batch_size else 0
        if end > self.positions:
            raise ValueError(
                f"LearnedPositions has a table of {self.positions} positions and a row reaches {end}: shorten the rows, "
                f"build it with positions={end}, or use SinusoidalPositions, which has no limit"
            )

    def extra_repr(self) -> str:
        return f"{self.in_size}, positions={self.positions}"
