"""Other ways to compute decoders: one row, one step and one cell of torch's at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from carryover.layers import (
    GRU,
    LSTM,
    BahdanauDecoder,
    Elman,
    FirstStateCondition,
    InputFeedingDecoder,
    LuongDecoder,
    RepeatedCondition,
    SummaryDecoder,
)
from laws.attention_references import loop_additive, loop_multiplicative
from laws.references import both_ends, loop_of


def gru_cell(layer: GRU, x: Tensor, hidden: Tensor) -> Tensor:
    """One step of one row, [in] and [size] to [size]."""
    bias = torch.cat([x.new_zeros(2 * layer.out_size), layer.candidate_bias])
    return torch.gru_cell(x[None], hidden[None], layer.input_weight, layer.hidden_weight, layer.bias, bias)[0]


def lstm_cell(layer: LSTM, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    state = (hidden[None], cell[None])
    after = torch.lstm_cell(
        x[None], state, layer.input_weight, layer.hidden_weight, layer.bias, torch.zeros_like(layer.bias)
    )
    return after[0][0], after[1][0]


def elman_cell(layer: Elman, x: Tensor, hidden: Tensor) -> Tensor:
    return torch.tanh(layer.input_weight @ x + layer.hidden_weight @ hidden + layer.bias)


def stacked(outputs: list[Tensor], row: Tensor, size: int) -> Tensor:
    return torch.stack(outputs) if outputs else row.new_zeros(0, size)


def loop_bahdanau(decoder: BahdanauDecoder, row: Tensor, memory: Tensor) -> Tensor:
    hidden, outputs = row.new_zeros(decoder.out_size), []
    for x in row:
        context = (
            loop_additive(decoder.attention, hidden[None], memory)[0] if len(memory) else row.new_zeros(memory.shape[1])
        )
        hidden = gru_cell(decoder.layer, torch.cat([x, context]), hidden)
        outputs.append(hidden)
    return stacked(outputs, row, decoder.out_size)


def loop_luong(decoder: LuongDecoder, row: Tensor, memory: Tensor) -> Tensor:
    hidden = loop_of(decoder.layer, row) if len(row) else row.new_zeros(0, decoder.layer.out_size)
    contexts = loop_multiplicative(decoder.attention, hidden, memory)
    return torch.tanh(torch.cat([contexts, hidden], dim=1) @ decoder.combine.weight.T)


def loop_input_feeding(decoder: InputFeedingDecoder, row: Tensor, memory: Tensor) -> Tensor:
    """Of an LSTM."""
    layer, output, outputs = decoder.layer, row.new_zeros(decoder.out_size), []
    hidden = cell = row.new_zeros(layer.out_size)
    for x in row:
        hidden, cell = lstm_cell(layer, torch.cat([x, output]), hidden, cell)
        context = loop_multiplicative(decoder.attention, hidden[None], memory)[0]
        output = torch.tanh(decoder.combine.weight @ torch.cat([context, hidden]))
        outputs.append(output)
    return stacked(outputs, row, decoder.out_size)


def loop_first_state_lstm(wrapper: FirstStateCondition, row: Tensor, vector: Tensor) -> Tensor:
    """Of an LSTM: the first half of the mapped numbers is h, the second c."""
    hidden, cell = torch.tanh(wrapper.first_state.weight @ vector + wrapper.first_state.bias).chunk(2)
    outputs = []
    for x in row:
        hidden, cell = lstm_cell(wrapper.layer, x, hidden, cell)
        outputs.append(hidden)
    return stacked(outputs, row, wrapper.out_size)


def loop_first_state_stack(wrapper: FirstStateCondition, row: Tensor, vector: Tensor) -> Tensor:
    """Of Stacked(GRU, Dropout, Residual(Elman))."""
    numbers = torch.tanh(wrapper.first_state.weight @ vector + wrapper.first_state.bias)
    below, above = wrapper.layer.layers[0], wrapper.layer.layers[2].layer
    low, high, outputs = numbers[: below.out_size], numbers[below.out_size :], []
    for x in row:
        low = gru_cell(below, x, low)
        high = elman_cell(above, low, high)
        outputs.append(low + high)
    return stacked(outputs, row, wrapper.out_size)


def loop_repeated(run: Callable[..., Tensor]) -> Callable[[RepeatedCondition, Tensor, Tensor], Tensor]:
    """With the reference `run` of the layer within."""

    def compute(wrapper: RepeatedCondition, row: Tensor, vector: Tensor) -> Tensor:
        if wrapper.map is None:
            return run(wrapper.layer, torch.cat([row, vector.expand(len(row), -1)], dim=1))
        return run(wrapper.layer, row + wrapper.map.weight @ vector)

    return compute


def loop_summary(decoder: SummaryDecoder, row: Tensor, memory: Tensor) -> Tensor:
    """With `LastPooling` of both ends and the first state of an LSTM."""
    size = decoder.memory_size
    vector = both_ends(decoder.pooling, memory) if len(memory) else row.new_zeros(size)
    return loop_first_state_lstm(decoder.layer, row, vector)
