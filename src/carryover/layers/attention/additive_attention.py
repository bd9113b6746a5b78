"""Attention scored by a small network, as in the first neural translators."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from carryover.layers.attention.memory_attention import Memory, MemoryAttention


@final
class AdditiveAttention(MemoryAttention):
    """c_t = Σ_s softmax_s(vᵀ tanh(W x_t + U m_s + b)) m_s (Bahdanau, Cho & Bengio 2015, section 3.1 and appendix A.1.2).

    x [B, T, in_size], in a recurrent decoder its hidden state of the step before, and memory [B, S, memory_size], the
    encoder's annotations, to contexts [B, T, memory_size]. U m_s is computed once, by `remember`:

        state = attention.remember(annotations)
        context, state = attention.step(Sequence.of(hidden.unsqueeze(1)), state)  # for every word

    Parameters: `query.weight` W [attention_size, in_size], `key.weight` U [attention_size, memory_size], `key.bias` b and
    `question` v [attention_size]. `weights` is [B, T, S]. There is no fused kernel for it; T · S · attention_size numbers
    are held at a time. ValueError for a size that is not positive.
    """

    def __init__(self, in_size: int, memory_size: int, attention_size: int) -> None:
        super().__init__(in_size, memory_size, memory_size)
        if attention_size <= 0:
            raise ValueError(f"AdditiveAttention has attention_size {attention_size}: it must be positive")
        self.query = nn.Linear(in_size, attention_size, bias=False)
        self.key = nn.Linear(memory_size, attention_size)
        self.question = nn.Parameter(torch.randn(attention_size) / attention_size**0.5)

    def prepare(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        return self.key(memory), memory

    def look(self, x: Tensor, memory: Memory, visible: Tensor) -> tuple[Tensor, str]:
        hidden = torch.tanh(self.query(x).unsqueeze(2) + memory.keys.unsqueeze(1))  # [B, T, S, attention_size]
        weights = self.weights(hidden @ self.question, visible)  # [B, T, S]
        return weights @ memory.values.to(weights.dtype), "plain"
