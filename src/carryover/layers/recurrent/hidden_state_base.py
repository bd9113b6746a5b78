"""The common shape of recurrent layers whose state is their latest output."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from carryover.kernels import elman_gru_lstm_compiled
from carryover.kernels.elman_gru_lstm_compiled import RecurrenceWeights
from carryover.kernels.pytorch_recurrent import FusedKernel, last_hidden, run_fused
from carryover.layers.base import Layer
from carryover.sequence import Sequence


class HiddenRecurrence(Layer):
    """A causal layer with the state h [B, size], which is also its output; values [B, T, in] to [B, T, size].

    A row of length l ends with its state after l steps; one of length 0 keeps it. Parameters: `input_weight` [G · size, in],
    `hidden_weight` [G · size, size] and `bias` [G · size] for G `gates`, and what a subclass adds; a subclass calls
    `reset_parameters` when it has.

    `last_path` says what the latest call ran: "compiled" (`elman_gru_lstm_compiled`), "fused" (PyTorch's kernel), "scan" where
    there is neither, or "loop", the plain loop all are tested against, where `fast` is False. ValueError for a size that is not positive.
    """

    causal = True

    def __init__(self, in_size: int, size: int, *, gates: int = 1) -> None:
        super().__init__()
        if in_size <= 0 or size <= 0:
            raise ValueError(f"in_size is {in_size} and size {size}: both must be positive")
        self.in_size, self.out_size = in_size, size
        self.input_weight = nn.Parameter(torch.empty(gates * size, in_size))
        self.hidden_weight = nn.Parameter(torch.empty(gates * size, size))
        self.bias = nn.Parameter(torch.empty(gates * size))
        self.last_path: str | None = None

    @property
    def kernel(self) -> str | None:
        """Name of PyTorch's kernel, see `carryover.kernels.pytorch_recurrent`; None where there is none."""
        return None

    @property
    def kind(self) -> str | None:
        """Name of the compiled recurrence, one of `elman_gru_lstm_compiled.KINDS`; None where there is none."""
        return self.kernel

    def recurrence_weights(self) -> RecurrenceWeights:
        """What the compiled recurrence reads."""
        return RecurrenceWeights(self.input_weight, self.hidden_weight, self.bias)

    def hidden_bias(self) -> Tensor:
        """Of the kernel: what it adds to the product of the hidden state alone, [G · size]."""
        return torch.zeros_like(self.bias)

    @abstractmethod
    def scan(self, x: Sequence, state: Tensor) -> tuple[Sequence, Tensor]:
        """`step` for at least one row and one step, where there is no kernel."""

    @abstractmethod
    def loop(self, x: Sequence, state: Tensor) -> tuple[Sequence, Tensor]:
        """`step` by the plain loop."""

    def reset_parameters(self) -> None:
        """Uniform in ±1/√size, as `torch.nn.RNN` and `torch.nn.GRU`."""
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
        self.last_path = "scan" if self.kernel is None else "fused"
        if not x.values.numel():
            return x.with_values(x.values.new_zeros(x.batch_size, x.time, self.out_size)), state
        if not self.fast:
            self.last_path = "loop"
            return self.loop(x, state)
        if self._is_compiled(x, state):
            assert self.kind is not None
            self.last_path = "compiled"
            outputs, last, _ = elman_gru_lstm_compiled.run(self.kind, self.recurrence_weights(), x, state)
            return outputs, last
        if self.kernel is None:
            return self.scan(x, state)
        full = x.full
        outputs, (last,) = run_fused(self.kernel, self._kernel_weights(), x, (state,), full=full)
        return outputs, (last if full else last_hidden(outputs, state.to(last.dtype))).to(state.dtype)

    def fused_kernel(self, x: Sequence) -> FusedKernel | None:
        if self.kernel is None or not self.fast or not x.values.numel() or self._is_compiled(x):
            return None
        return FusedKernel(self.kernel, self._kernel_weights())

    def _is_compiled(self, x: Sequence, *state: Tensor) -> bool:
        return self.kind is not None and elman_gru_lstm_compiled.fits(self.recurrence_weights(), x, *state)

    def _kernel_weights(self) -> list[Tensor]:
        return [self.input_weight, self.hidden_weight, self.bias, self.hidden_bias()]
