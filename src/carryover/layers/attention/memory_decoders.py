"""Layers of a decoder: any causal layer with access to a memory, at every step by attention or once by a summary.

Each is a layer of two inputs, as `CrossAttention` and a `Transformer` with `memory_size` are: `layer(x, memory)` for the whole
pass, `layer.remember(memory)` for the state from which `step` continues.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from carryover.layers.attention.memory_attention import Memory, MemoryAttention
from carryover.layers.base import Layer, State
from carryover.layers.conditioning import Conditioned
from carryover.layers.pooling import Pooling
from carryover.sequence import Sequence


class MemoryDecoder(Layer):
    """A causal layer over x [B, T, in_size] that also knows a memory [B, S, memory_size], another sequence.

    The memory is part of the state, see `MemoryAttention`; `initial_state` is that of an empty memory. A subclass
    implements `remember`, `initial_state` and `step`.
    """

    causal = True
    memory_size: int

    @abstractmethod
    def remember(self, memory: Sequence) -> State:
        """The state before the first step of rows about this memory. ValueError when its feature size is another."""

    def forward(self, x: Sequence, memory: Sequence | None = None) -> Sequence:
        """Whole pass over x and its memory, row by row. ValueError without a memory."""
        if memory is None:
            raise ValueError(f"{type(self).__name__} was given no memory: call it as layer(x, memory), or step with a state")
        return self.step(x, self.remember(memory))[0]


class FeedbackState(NamedTuple):
    """State of a decoder that looks back at its own output: its layer's, the memory, and the latest output [B, out_size]."""

    layer: State
    memory: Memory
    output: Tensor


class FeedbackDecoder(MemoryDecoder):
    """A decoder whose step depends on its output before, so that steps are taken one by one even in a whole pass.

    y_0 is zero, as is the layer's first state. A subclass implements `advance`. Parameters: `layer.…` and `attention.…`.
    """

    state_type = FeedbackState

    def __init__(self, layer: Layer, attention: MemoryAttention) -> None:
        super().__init__()
        _check(self, layer, attention)
        self.layer, self.attention, self.memory_size = layer, attention, attention.memory_size

    @abstractmethod
    def advance(self, x: Sequence, before: Tensor, memory: Memory, inner: State) -> tuple[Tensor, State]:
        """y_t [B, 1, out_size] and the layer's new state from x_t [B, 1, in_size] and y_{t−1} [B, out_size]."""

    @final
    def remember(self, memory: Sequence) -> FeedbackState:
        return self._begin(self.attention.remember(memory))

    @final
    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> FeedbackState:
        return self._begin(self.attention.initial_state(batch_size, device=device, dtype=dtype))

    @final
    def step(self, x: Sequence, state: FeedbackState) -> tuple[Sequence, FeedbackState]:
        self.check_input(x)
        self.check_state_type(x, state)
        self.check_batch_size(x, state.output)
        inner, memory, output = state
        x, mask, outputs = x.zero_padding(), x.mask, []
        for t in range(x.time):
            y, inner = self.advance(x.slice(t, t + 1), output, memory, inner)
            output = torch.where(mask[:, t, None], y[:, 0].to(output.dtype), output)
            outputs.append(y)
        whole = torch.cat(outputs, dim=1) if outputs else x.values.new_zeros(x.batch_size, 0, self.out_size)
        return x.with_values(whole).zero_padding(), FeedbackState(inner, memory, output)

    def _begin(self, memory: Memory) -> FeedbackState:
        like, rows = memory.values, len(memory.lengths)
        inner = self.layer.initial_state(rows, device=like.device, dtype=like.dtype)
        return FeedbackState(inner, memory, like.new_zeros(rows, self.out_size))


@final
class BahdanauDecoder(FeedbackDecoder):
    """c_t = attention(y_{t−1}, memory),  y_t = layer([x_t; c_t]): the layer looks before it reads.

    Bahdanau, Cho & Bengio 2015, section 3.1 and appendix A.2.2, with `AdditiveAttention` and a GRU; attention and layer may
    be any. The layer's first state is zero (the paper maps the encoder's last state to it).

    x [B, T, in_size], layer.in_size = in_size + attention.out_size, attention.in_size = layer.out_size, to
    [B, T, layer.out_size]. ValueError for sizes that do not fit, and for a layer that is not causal or changes the number
    of steps.
    """

    def __init__(self, layer: Layer, attention: MemoryAttention) -> None:
        super().__init__(layer, attention)
        self.in_size, self.out_size = _beside(self, layer, attention.out_size, "contexts"), layer.out_size

    def advance(self, x: Sequence, before: Tensor, memory: Memory, inner: State) -> tuple[Tensor, State]:
        context, _ = self.attention.step(x.with_values(before.unsqueeze(1)), memory)
        joined = torch.cat([x.values, context.values.to(x.values.dtype)], dim=-1)
        y, inner = self.layer.step(x.with_values(joined), inner)
        return y.values, inner


@final
class InputFeedingDecoder(FeedbackDecoder):
    """s_t = layer([x_t; y_{t−1}]),  c_t = attention(s_t, memory),  y_t = tanh(W [c_t; s_t]): what was looked at is read next.

    A `LuongDecoder` with the input feeding of Luong, Pham & Manning 2015, section 3.3: the layer knows what the attention
    has chosen before. The price is that steps are taken one by one.

    x [B, T, in_size], layer.in_size = in_size + size, attention.in_size = layer.out_size, to [B, T, size]. Parameters also
    `combine.weight` W [size, attention.out_size + layer.out_size]. ValueError as for a `BahdanauDecoder`.
    """

    def __init__(self, layer: Layer, attention: MemoryAttention, size: int) -> None:
        super().__init__(layer, attention)
        self.combine = _combination(self, layer, attention, size)
        self.in_size, self.out_size = _beside(self, layer, size, "outputs"), size

    def advance(self, x: Sequence, before: Tensor, memory: Memory, inner: State) -> tuple[Tensor, State]:
        joined = torch.cat([x.values, before.unsqueeze(1).to(x.values.dtype)], dim=-1)
        s, inner = self.layer.step(x.with_values(joined), inner)
        context, _ = self.attention.step(s, memory)
        return torch.tanh(self.combine(torch.cat([context.values.to(s.values.dtype), s.values], dim=-1))), inner


class LuongState(NamedTuple):
    """State of a `LuongDecoder`: its layer's and the memory."""

    layer: State
    memory: Memory


@final
class LuongDecoder(MemoryDecoder):
    """s_t = layer(x_1 … x_t),  c_t = attention(s_t, memory),  y_t = tanh(W [c_t; s_t]): the layer reads before it looks.

    Luong, Pham & Manning 2015, "Effective approaches to attention-based neural machine translation", equation 5 without
    input feeding (that is an `InputFeedingDecoder`), with `MultiplicativeAttention` and an LSTM; attention and layer may be
    any. What is looked at changes nothing of the layer's state, so a whole pass takes all steps at once.

    x [B, T, layer.in_size], attention.in_size = layer.out_size, to [B, T, size]. Parameters: `layer.…`, `attention.…` and
    `combine.weight` W [size, attention.out_size + layer.out_size]. ValueError as for a `BahdanauDecoder`.
    """

    state_type = LuongState

    def __init__(self, layer: Layer, attention: MemoryAttention, size: int) -> None:
        super().__init__()
        _check(self, layer, attention)
        self.layer, self.attention = layer, attention
        self.in_size, self.out_size = layer.in_size, size
        self.memory_size = attention.memory_size
        self.receptive_field = layer.receptive_field
        self.combine = _combination(self, layer, attention, size)

    def remember(self, memory: Sequence) -> LuongState:
        return self._begin(self.attention.remember(memory))

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LuongState:
        return self._begin(self.attention.initial_state(batch_size, device=device, dtype=dtype))

    def forward(self, x: Sequence, memory: Sequence | None = None) -> Sequence:
        """As `step`, with the layer's whole pass, which may be faster than its steps."""
        return super().forward(x) if memory is None else self._look(self.layer(x), self.attention.remember(memory))

    def step(self, x: Sequence, state: LuongState) -> tuple[Sequence, LuongState]:
        self.check_input(x)
        self.check_state_type(x, state)
        y, inner = self.layer.step(x, state.layer)
        return self._look(y, state.memory), LuongState(inner, state.memory)

    def _look(self, y: Sequence, memory: Memory) -> Sequence:
        context, _ = self.attention.step(y, memory)
        joined = torch.cat([context.values.to(y.values.dtype), y.values], dim=-1)
        return y.with_values(torch.tanh(self.combine(joined))).zero_padding()

    def _begin(self, memory: Memory) -> LuongState:
        like = memory.values
        return LuongState(self.layer.initial_state(len(memory.lengths), device=like.device, dtype=like.dtype), memory)


@final
class SummaryDecoder(MemoryDecoder):
    """A layer conditioned on one vector of the memory: y_1 … y_T = layer(x_1 … x_T, pooling(memory)).

    The encoder–decoder without attention: Sutskever, Vinyals & Le 2014, "Sequence to sequence learning with neural networks",
    with `LastPooling` and `FirstStateCondition`; Cho et al. 2014 with `RepeatedCondition`. An empty memory is a vector of
    zeros. x [B, T, layer.in_size] to [B, T, layer.out_size]; the state is the layer's. Parameters: `pooling.…`, `layer.…`.
    ValueError when the pooling gives another size than the layer is about.
    """

    def __init__(self, pooling: Pooling, layer: Conditioned) -> None:
        super().__init__()
        if pooling.out_size != layer.condition_size:
            raise ValueError(
                f"the pooling gives vectors of {pooling.out_size} and {type(layer).__name__} is about vectors of "
                f"{layer.condition_size}: make the sizes equal"
            )
        self.pooling, self.layer = pooling, layer
        self.in_size, self.out_size, self.memory_size = layer.in_size, layer.out_size, pooling.in_size
        self.receptive_field = layer.receptive_field

    def remember(self, memory: Sequence) -> State:
        return self.layer.begin(self.pooling(memory))

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return self.layer.initial_state(batch_size, device=device, dtype=dtype)

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        return self.layer.step(x, state)


def _check(decoder: MemoryDecoder, layer: Layer, attention: MemoryAttention) -> None:
    name = type(decoder).__name__
    if not layer.causal or not layer.keeps_length:
        raise ValueError(
            f"{name} was given {type(layer).__name__} with causal {layer.causal} and a ratio of {layer.ratio}: "
            "it takes a causal layer of one output a step"
        )
    if attention.in_size != layer.out_size:
        raise ValueError(
            f"{name} was given an attention that reads {attention.in_size} features and a layer that gives "
            f"{layer.out_size}: make the sizes equal"
        )


def _combination(decoder: MemoryDecoder, layer: Layer, attention: MemoryAttention, size: int) -> nn.Linear:
    """W [size, attention.out_size + layer.out_size] without bias."""
    if size <= 0:
        raise ValueError(f"{type(decoder).__name__} has size {size}: it must be positive")
    return nn.Linear(attention.out_size + layer.out_size, size, bias=False)


def _beside(decoder: MemoryDecoder, layer: Layer, size: int, what: str) -> int:
    """Features that are left for the decoder's own input where `size` numbers are set beside it."""
    if layer.in_size <= size:
        raise ValueError(
            f"{type(decoder).__name__} sets {what} of {size} features beside the input of a layer that reads "
            f"{layer.in_size}: build the layer for in_size + {size} features"
        )
    return layer.in_size - size
