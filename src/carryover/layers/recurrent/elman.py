"""The simple recurrent network."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from carryover.layers.base import Layer
from carryover.layers.fused import is_full, last_hidden, run_fused
from carryover.layers.recurrent.simple_scan import elman_scan
from carryover.sequence import Sequence

__all__ = ["Elman", "elman_loop"]

Nonlinearity = Literal["tanh", "relu", "sigmoid"]
FUNCTIONS = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}


class Elman(Layer):
    """Elman network (Elman 1990, "Finding structure in time"): h_t = φ(W x_t + U h_{t−1} + b), φ = tanh, relu or sigmoid.

    Values [B, T, in] to [B, T, size]; the state is h, [B, size]. A row of length l ends with its state after l steps;
    one of length 0 keeps it. Parameters: `input_weight` [size, in], `hidden_weight` [size, size], `bias` [size].

    `last_path` says what the latest call ran: "fused" (tanh and relu: the library's kernel) or "scan" (sigmoid, for
    which there is none). `elman_loop` is the plain loop both are tested against, and "loop" where `fast` is False.
    ValueError for a size that is not positive or another nonlinearity.
    """

    causal = True

    def __init__(self, in_size: int, size: int, *, nonlinearity: Nonlinearity = "tanh") -> None:
        super().__init__()
        if in_size <= 0 or size <= 0:
            raise ValueError(f"in_size is {in_size} and size {size}: both must be positive")
        if nonlinearity not in get_args(Nonlinearity):
            raise ValueError(f"nonlinearity is {nonlinearity!r}: choose from {', '.join(get_args(Nonlinearity))}")
        self.in_size, self.out_size = in_size, size
        self.nonlinearity: Nonlinearity = nonlinearity
        self.input_weight = nn.Parameter(torch.empty(size, in_size))
        self.hidden_weight = nn.Parameter(torch.empty(size, size))
        self.bias = nn.Parameter(torch.empty(size))
        self.last_path: str | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ±1/√size, as `torch.nn.RNN`."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-(self.out_size**-0.5), self.out_size**-0.5)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Zeros [batch_size, size], of the parameters' device and type by default."""
        return self.bias.new_zeros(batch_size, self.out_size, device=device, dtype=dtype)

    def forward(self, x: Sequence) -> Sequence:
        return self.step(x, self.initial_state(x.batch_size, device=x.device))[0]

    def step(self, x: Sequence, state: Tensor) -> tuple[Sequence, Tensor]:
        self.check_input(x)
        self.check_state(x, state)
        if not x.values.numel():
            self.last_path = "scan" if self.nonlinearity == "sigmoid" else "fused"
            return x.with_values(x.values.new_zeros(x.batch_size, x.time, self.out_size)), state
        if not self.fast:
            self.last_path = "loop"
            return elman_loop(self, x, state)
        if self.nonlinearity == "sigmoid":
            self.last_path = "scan"
            return elman_scan(x, state, self.input_weight, self.hidden_weight, self.bias, self.nonlinearity)
        self.last_path = "fused"
        weights = [self.input_weight, self.hidden_weight, self.bias, torch.zeros_like(self.bias)]
        full = is_full(x)
        outputs, (last,) = run_fused(self.nonlinearity, x, (state,), weights, full=full)
        return outputs, (last if full else last_hidden(outputs, state.to(last.dtype))).to(state.dtype)

    def extra_repr(self) -> str:
        return f"{self.in_size}, {self.out_size}, nonlinearity={self.nonlinearity}"


def elman_loop(layer: Elman, x: Sequence, state: Tensor) -> tuple[Sequence, Tensor]:
    """The equation of `Elman` word by word: slow, for reading and as the test of the fast paths."""
    values, outputs = x.zero_padding().values, []
    for t in range(x.time):
        new = values[:, t] @ layer.input_weight.t() + state @ layer.hidden_weight.t() + layer.bias
        new = FUNCTIONS[layer.nonlinearity](new)
        state = torch.where((t < x.lengths).unsqueeze(1), new, state)
        outputs.append(new)
    if not outputs:
        return x.with_values(state.new_zeros(x.batch_size, 0, layer.out_size)), state
    return x.with_values(torch.stack(outputs, dim=1)).zero_padding(), state
