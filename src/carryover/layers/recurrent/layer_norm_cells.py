"""Recurrent layers whose sums of inputs are brought to one scale at every step.

Ba, Kiros & Hinton 2016, "Layer normalization", section 3.1 and the supplementary material. N(a; γ) = γ ⊙ (a − mean(a)) / √(var(a) + ε),
mean and variance over the units that stand in a, so that neither the scale of the weights nor the length of the row moves the
sums into saturation. The paper gives every N a separate bias; where two are only ever added, here one parameter holds
their sum.

There is no fused kernel: the products of the input and their normalization are computed for all steps at once ("scan"), and
with `fast` False step by step ("loop"). The equations written out for one row are their test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carryover.layers.base import Layer, State, choose_rows
from carryover.layers.recurrent.elman import FUNCTIONS, Nonlinearity, check_nonlinearity
from carryover.layers.recurrent.hidden_state_base import HiddenRecurrence
from carryover.layers.recurrent.lstm import LSTMState
from carryover.sequence import Sequence

EPSILON = 1e-5

StepFunction = Callable[[Tensor, State], State]
"""The inputs of a step and the state before to the state after."""


@final
class LayerNormElman(HiddenRecurrence):
    """h_t = φ(N(W x_t + U h_{t−1}; γ) + b) (Ba, Kiros & Hinton 2016, equation 4), φ = tanh, relu or sigmoid.

    Values [B, T, in] to [B, T, size]; the state is h, [B, size]. Parameters: `input_weight` [size, in], `hidden_weight`
    [size, size], `bias` b [size], zeros at the start, and `gain` γ [size], ones. ValueError for a size that is not positive
    or another nonlinearity.
    """

    def __init__(self, in_size: int, size: int, *, nonlinearity: Nonlinearity = "tanh") -> None:
        super().__init__(in_size, size)
        self.nonlinearity = check_nonlinearity(nonlinearity)
        self.gain = nn.Parameter(torch.empty(size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        start_norms(gains=[self.gain], biases=[self.bias])

    def scan(self, x: Sequence, state: Tensor) -> tuple[Sequence, Tensor]:
        return run_cell(self._cell, F.linear(x.zero_padding().values, self.input_weight), x, state)

    def loop(self, x: Sequence, state: Tensor) -> tuple[Sequence, Tensor]:
        return run_cell(lambda x_t, h: self._cell(F.linear(x_t, self.input_weight), h), x.zero_padding().values, x, state)

    def _cell(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        total = normalize(inputs + F.linear(hidden, self.hidden_weight), self.gain, self.bias)
        return FUNCTIONS[self.nonlinearity](total)

    def extra_repr(self) -> str:
        return f"{self.in_size}, {self.out_size}, nonlinearity={self.nonlinearity}"


@final
class LayerNormGRU(HiddenRecurrence):
    """A gated recurrent unit with normalized sums (Ba, Kiros & Hinton 2016, supplementary material):

        r, z = σ(N(W x_t; γ) + N(U h_{t−1}; δ) + b)                   r and z normalized together
        n    = tanh(N(W_n x_t; γ_n) + b_n + r ⊙ (N(U_n h_{t−1}; δ_n) + c))
        h_t  = (1 − z) ⊙ h_{t−1} + z ⊙ n

    Values [B, T, in] to [B, T, size]; the state is h, [B, size]. Parameters: `input_weight` [3H, in], `hidden_weight`
    [3H, H], `bias` b [3H], `input_gain` γ and `hidden_gain` δ [3H], all in the order r, z, n, and `candidate_bias` c [H].
    ValueError for a size that is not positive.
    """

    def __init__(self, in_size: int, size: int) -> None:
        super().__init__(in_size, size, gates=3)
        self.candidate_bias = nn.Parameter(torch.empty(size))
        self.input_gain, self.hidden_gain = (nn.Parameter(torch.empty(3 * size)) for _ in range(2))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        start_norms(gains=[self.input_gain, self.hidden_gain], biases=[self.bias, self.candidate_bias])

    def scan(self, x: Sequence, state: Tensor) -> tuple[Sequence, Tensor]:
        return run_cell(self._cell, self._inputs(x.zero_padding().values), x, state)

    def loop(self, x: Sequence, state: Tensor) -> tuple[Sequence, Tensor]:
        return run_cell(lambda x_t, h: self._cell(self._inputs(x_t), h), x.zero_padding().values, x, state)

    def _inputs(self, values: Tensor) -> Tensor:
        """The three normalized products of the input, biases included, [..., 3H]."""
        return self._normalize(F.linear(values, self.input_weight), self.input_gain, self.bias)

    def _cell(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        past = F.linear(hidden, self.hidden_weight)
        no_bias = self.bias.new_zeros(2 * self.out_size)
        past = self._normalize(past, self.hidden_gain, torch.cat([no_bias, self.candidate_bias]))
        (x_r, x_z, x_n), (h_r, h_z, h_n) = inputs.chunk(3, -1), past.chunk(3, -1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        return torch.lerp(hidden, torch.tanh(x_n + r * h_n), z)

    def _normalize(self, sums: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        parts = [2 * self.out_size, self.out_size]
        each = zip(sums.split(parts, -1), gain.split(parts), bias.split(parts), strict=True)
        return torch.cat([normalize(*part) for part in each], -1)

    def extra_repr(self) -> str:
        return f"{self.in_size}, {self.out_size}"


@final
class LayerNormLSTM(Layer):
    """An LSTM with normalized sums (Ba, Kiros & Hinton 2016, supplementary material):

        i, f, g, o = N(W x_t; γ) + N(U h_{t−1}; δ) + b             the four normalized together
        c_t = σ(f) ⊙ c_{t−1} + σ(i) ⊙ tanh(g)
        h_t = σ(o) ⊙ tanh(N(c_t; γ_c) + b_c)

    Values [B, T, in] to [B, T, C]; the state is an `LSTMState` of h and c, [B, C] each. A row of length l ends with its
    state after l steps; one of length 0 keeps it. Parameters: `input_weight` [4C, in], `hidden_weight` [4C, C], `bias`,
    `input_gain` γ and `hidden_gain` δ [4C], gates in the order i, f, g, o, `cell_gain` γ_c and `cell_bias` b_c [C].
    `last_path` is "scan", and "loop" where `fast` is False. ValueError for a size that is not positive.
    """

    causal = True
    state_type = LSTMState

    def __init__(self, in_size: int, cell_size: int) -> None:
        super().__init__()
        if in_size <= 0 or cell_size <= 0:
            raise ValueError(f"in_size is {in_size} and cell_size {cell_size}: both must be positive")
        self.in_size, self.out_size = in_size, cell_size
        self.input_weight = nn.Parameter(torch.empty(4 * cell_size, in_size))
        self.hidden_weight = nn.Parameter(torch.empty(4 * cell_size, cell_size))
        self.bias, self.input_gain, self.hidden_gain = (nn.Parameter(torch.empty(4 * cell_size)) for _ in range(3))
        self.cell_gain, self.cell_bias = (nn.Parameter(torch.empty(cell_size)) for _ in range(2))
        self.last_path: str | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights uniform in ±1/√C, gains 1, biases 0 but that of the forget gate, 1 as in `LSTM`."""
        with torch.no_grad():
            for weight in (self.input_weight, self.hidden_weight):
                weight.uniform_(-(self.out_size**-0.5), self.out_size**-0.5)
            start_norms(gains=[self.input_gain, self.hidden_gain, self.cell_gain], biases=[self.bias, self.cell_bias])
            self.bias[self.out_size : 2 * self.out_size] = 1

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LSTMState:
        """Zeros: hidden and cell [batch_size, C], of the parameters' device and type by default."""
        like = self.bias.new_empty(0, device=device, dtype=dtype)
        return LSTMState(like.new_zeros(batch_size, self.out_size), like.new_zeros(batch_size, self.out_size))

    def forward(self, x: Sequence) -> Sequence:
        return self.step(x, self.initial_state(x.batch_size, device=x.device))[0]

    def step(self, x: Sequence, state: LSTMState) -> tuple[Sequence, LSTMState]:
        self.check_input(x)
        self.check_state(x, state)
        values = x.zero_padding().values
        if not x.values.numel():
            return x.with_values(values.new_zeros(x.batch_size, x.time, self.out_size)), state
        if not self.fast:
            self.last_path = "loop"
            return run_cell(lambda x_t, before: self._cell(self._inputs(x_t), before), values, x, state)
        self.last_path = "scan"
        return run_cell(self._cell, self._inputs(values), x, state)

    def _inputs(self, values: Tensor) -> Tensor:
        return normalize(F.linear(values, self.input_weight), self.input_gain, self.bias)

    def _cell(self, inputs: Tensor, before: LSTMState) -> LSTMState:
        sums = inputs + normalize(F.linear(before.hidden, self.hidden_weight), self.hidden_gain, None)
        i, f, g, o = sums.chunk(4, -1)
        cell = torch.sigmoid(f) * before.cell + torch.sigmoid(i) * torch.tanh(g)
        return LSTMState(torch.sigmoid(o) * torch.tanh(normalize(cell, self.cell_gain, self.cell_bias)), cell)

    def extra_repr(self) -> str:
        return f"{self.in_size}, {self.out_size}"


def normalize(values: Tensor, gain: Tensor, bias: Tensor | None) -> Tensor:
    """N(values; gain) + bias over the last axis, in the parameters' precision also where products have another."""
    return F.layer_norm(values.to(gain.dtype), gain.shape, gain, bias, EPSILON)


def start_norms(*, gains: list[nn.Parameter], biases: list[nn.Parameter]) -> None:
    """Gains of one and biases of zero: at the start only the scale is taken out."""
    for gain in gains:
        nn.init.ones_(gain)
    for bias in biases:
        nn.init.zeros_(bias)


def run_cell(cell: StepFunction, inputs: Tensor, x: Sequence, state: State) -> tuple[Sequence, State]:
    """A cell over inputs [B, T, …] at the lengths of `x`; h is the state, or its first part."""
    full, outputs = x.full, []
    for t, inputs_t in enumerate(inputs.unbind(1)):
        after = cell(inputs_t, state)
        outputs.append(after if isinstance(after, Tensor) else after[0])
        state = after if full else choose_rows(t < x.lengths, after, state)
    y = x.with_values(torch.stack(outputs, dim=1))
    return (y if full else y.zero_padding()), state
