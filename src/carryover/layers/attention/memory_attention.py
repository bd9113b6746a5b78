"""The common shape of layers in which one sequence looks at another."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple, final

import torch
from torch import Tensor

from carryover.layers.attention.dot_product import AttentionWeights
from carryover.layers.base import Layer, check_numbers, map_state
from carryover.sequence import Sequence


class Memory(NamedTuple):
    """Another sequence made ready to be looked at: `keys` and `values` [B, S, ...] and `lengths` [B] (int64)."""

    keys: Tensor
    values: Tensor
    lengths: Tensor


class MemoryAttention(Layer):
    """Each step of x [B, T, in_size] looks at all real steps of a memory [B, S, memory_size] and at nothing else of x.

    The memory is the state. `remember(memory)` computes once what does not depend on x, and `step(x, state)` looks at it
    and hands it on unchanged, so a recurrent decoder or a generation pays for the memory once. `forward(x, memory)` is
    both in one call. The contract holds for x under any fixed memory (causal, a receptive field of 1) and a row of the
    state is restarted, exchanged or reordered like that of any other layer. The memory is no attribute of the layer: two
    streams can use one layer, and a saved model holds no sentence. `initial_state` is the empty memory.

    A row whose memory is empty gets exactly zero. The memory's padding may hold anything.

    A subclass implements `prepare` and `look`. `weights` names the attention weights for `carryover.layers.taps`;
    `last_path` says what the latest call ran, "fused" or "plain".
    """

    causal = True
    state_type = Memory
    receptive_field = 1

    def __init__(self, in_size: int, memory_size: int, out_size: int) -> None:
        super().__init__()
        for name, value in [("in_size", in_size), ("memory_size", memory_size), ("out_size", out_size)]:
            if value <= 0:
                raise ValueError(f"{type(self).__name__} has {name} {value}: it must be positive")
        self.in_size, self.memory_size, self.out_size = in_size, memory_size, out_size
        self.weights = AttentionWeights()
        self.last_path: str | None = None

    @abstractmethod
    def prepare(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, [B, S, ...] each, of a memory [B, S, memory_size] with zeros in its padding."""

    @abstractmethod
    def look(self, x: Tensor, memory: Memory, visible: Tensor) -> tuple[Tensor, str]:
        """[B, T, out_size] and the path taken, for x [B, T, in_size]; `visible` is bool [B, 1, S]."""

    @final
    def remember(self, memory: Sequence) -> Memory:
        """The state that holds this memory. TypeError on ids, ValueError when its feature size is not `memory_size`."""
        check_numbers(self, memory.values)
        if memory.values.shape[-1] != self.memory_size or memory.values.dim() != 3:
            raise ValueError(
                f"{type(self).__name__} looks at a memory [batch, time, {self.memory_size}] and got "
                f"{tuple(memory.values.shape)}: build it with memory_size={memory.values.shape[-1]} or project the memory first"
            )
        return Memory(*self.prepare(memory.zero_padding().values), memory.lengths)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Memory:
        """An empty memory: every output is zero until the state is exchanged for that of `remember`."""
        like = next(self.parameters(), torch.empty(0))
        nothing = like.new_zeros(batch_size, 0, self.memory_size)
        with torch.no_grad():
            empty = self.remember(Sequence(nothing, torch.zeros(batch_size, dtype=torch.int64, device=nothing.device)))
        return map_state(lambda part: part.to(device, dtype if part.is_floating_point() else None), empty)

    def forward(self, x: Sequence, memory: Sequence | None = None) -> Sequence:
        """Look at `memory`, which has as many rows as `x`. ValueError without a memory or with one of another batch size."""
        if memory is None:
            raise ValueError(f"{type(self).__name__} was given no memory: call it as layer(x, memory), or step with a state")
        return self.step(x, self.remember(memory))[0]

    def step(self, x: Sequence, state: Memory) -> tuple[Sequence, Memory]:
        self.check_input(x)
        self.check_state(x, state)
        slots = torch.arange(state.keys.shape[1], device=x.device)
        visible = (slots < state.lengths.unsqueeze(1)).unsqueeze(1)  # [B, 1, S]
        values, self.last_path = self.look(x.zero_padding().values, state, visible)
        values = values.masked_fill((state.lengths == 0)[:, None, None], 0)
        return x.with_values(values).zero_padding(), state
