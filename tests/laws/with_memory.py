"""Layers of two inputs as layers of one, so that the laws can run over them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from carryover.layers import Conditioned, Layer, MemoryAttention, MemoryDecoder, State, TransformerBlock
from carryover.layers.laws.keeping import Reference
from carryover.sequence import Sequence

Inner = MemoryAttention | MemoryDecoder | TransformerBlock
RowWithMemory = Callable[[Layer, Tensor, Tensor], Tensor]
"""The layer, a row [length, in] and its memory [S, memory] to outputs [length, out]."""


class OverItself(Layer):
    """The memory is the input itself: every law of a whole pass then holds for the memory and its padding too."""

    causal = False

    def __init__(self, inner: Inner) -> None:
        super().__init__()
        self.inner = inner
        self.in_size, self.out_size = inner.in_size, inner.out_size

    def forward(self, x: Sequence) -> Sequence:
        return self.inner(x, x)


class OverFixed(Layer):
    """The memory is the same five random steps for every row, and two of NaN in the padding: the laws of the state hold."""

    def __init__(self, inner: Inner) -> None:
        super().__init__()
        self.inner = inner
        self.in_size, self.out_size = inner.in_size, inner.out_size
        self.causal, self.receptive_field = inner.causal, inner.receptive_field
        self.register_buffer("memory", torch.randn(5, inner.memory_size))

    def remembered(self, batch_size: int) -> Sequence:
        padding = torch.full((batch_size, 2, self.memory.shape[1]), torch.nan).to(self.memory)
        values = torch.cat([self.memory.expand(batch_size, -1, -1), padding], dim=1)
        return Sequence(values, torch.full((batch_size,), 5))

    def forward(self, x: Sequence) -> Sequence:
        return self.inner(x, self.remembered(x.batch_size))

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return self.inner.remember(self.remembered(batch_size))

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        return self.inner.step(x, state)


class AboutFixed(Layer):
    """Every row is about the same random vector."""

    causal = True

    def __init__(self, inner: Conditioned) -> None:
        super().__init__()
        self.inner = inner
        self.in_size, self.out_size, self.receptive_field = inner.in_size, inner.out_size, inner.receptive_field
        self.register_buffer("vector", torch.randn(inner.condition_size))

    def forward(self, x: Sequence) -> Sequence:
        return self.inner(x, self.vector.expand(x.batch_size, -1))

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return self.inner.begin(self.vector.expand(batch_size, -1))

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        return self.inner.step(x, state)


def about_fixed(function: RowWithMemory) -> Reference:
    def compute(layer: AboutFixed, x: Sequence) -> Sequence:
        return Sequence.pad([function(layer.inner, row, layer.vector) for row in x.rows()])

    return compute


def over_itself(function: RowWithMemory) -> Reference:
    def compute(layer: OverItself, x: Sequence) -> Sequence:
        return Sequence.pad([function(layer.inner, row, row) for row in x.rows()])

    return compute


def over_fixed(function: RowWithMemory) -> Reference:
    def compute(layer: OverFixed, x: Sequence) -> Sequence:
        return Sequence.pad([function(layer.inner, row, layer.memory) for row in x.rows()])

    return compute
