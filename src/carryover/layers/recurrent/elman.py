"""The simple recurrent network."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from carryover.kernels.elman_gru_scan import elman_scan
from carryover.layers.recurrent.hidden_state_base import HiddenRecurrence
from carryover.sequence import Sequence

__all__ = ["Elman", "elman_loop"]

Nonlinearity = Literal["tanh", "relu", "sigmoid"]
FUNCTIONS = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}


class Elman(HiddenRecurrence):
    """Elman network (Elman 1990, "Finding structure in time"): h_t = φ(W x_t + U h_{t−1} + b), φ = tanh, relu or sigmoid.

    Values [B, T, in] to [B, T, size]; the state is h, [B, size]. A row of length l ends with its state after l steps;
    one of length 0 keeps it. Parameters: `input_weight` [size, in], `hidden_weight` [size, size], `bias` [size].

    `last_path` says what the latest call ran: "compiled" (see `elman_gru_lstm_compiled`) or, where that is not to be had, "fused"
    (tanh and relu: PyTorch's kernel) or "scan" (sigmoid, for which there is none). `elman_loop` is the plain loop all
    are tested against, and "loop" where `fast` is False.
    ValueError for a size that is not positive or another nonlinearity.
    """

    def __init__(self, in_size: int, size: int, *, nonlinearity: Nonlinearity = "tanh") -> None:
        super().__init__(in_size, size)
        self.nonlinearity = check_nonlinearity(nonlinearity)
        self.reset_parameters()

    @property
    def kernel(self) -> str | None:
        return None if self.nonlinearity == "sigmoid" else self.nonlinearity

    @property
    def kind(self) -> str:
        return self.nonlinearity

    def scan(self, x: Sequence, state: Tensor) -> tuple[Sequence, Tensor]:
        return elman_scan(x, state, self.input_weight, self.hidden_weight, self.bias, self.nonlinearity)

    def loop(self, x: Sequence, state: Tensor) -> tuple[Sequence, Tensor]:
        return elman_loop(self, x, state)

    def extra_repr(self) -> str:
        return f"{self.in_size}, {self.out_size}, nonlinearity={self.nonlinearity}"


def check_nonlinearity(nonlinearity: Nonlinearity) -> Nonlinearity:
    """The nonlinearity itself; ValueError unless it is one of `Nonlinearity`."""
    if nonlinearity not in get_args(Nonlinearity):
        raise ValueError(f"nonlinearity is {nonlinearity!r}: choose from {', '.join(get_args(Nonlinearity))}")
    return nonlinearity


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
