"""Multi-head attention from one sequence to another."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from carryover.layers.attention.dot_product import attend, check_heads, merge_heads, split_heads
from carryover.layers.attention.memory_attention import Memory, MemoryAttention
from carryover.layers.dropout import check_probability


@final
class CrossAttention(MemoryAttention):
    """Multi-head attention with queries from x and keys and values from a memory (Vaswani et al. 2017, section 3.2.3).

        q = W_q x, k = W_k m, v = W_v m in heads of d = size / heads;  y_t = W_o [head_1; …; head_n] + b_o,
        head = Σ_s softmax_s(q_t · k_s / √d) v_s

    `layer(x, memory)`, or `state = layer.remember(memory)` once and `layer.step(x, state)`; why the memory is the state
    is told in `MemoryAttention`. x [B, T, size] and memory [B, S, memory_size] to [B, T, size].

    Parameters: `query`, `output` (weight [size, size]), `key`, `value` (weight [size, memory_size]), each with a bias
    [size]. `weights` is [B, heads, T, S]. ValueError when heads do not divide size.
    """

    def __init__(
        self, size: int, heads: int, *, memory_size: int | None = None, dropout: float = 0.0, bias: bool = True
    ) -> None:
        super().__init__(size, size if memory_size is None else memory_size, size)
        check_heads(self, size, heads)
        self.heads, self.dropout = heads, check_probability(dropout)
        self.query, self.output = nn.Linear(size, size, bias=bias), nn.Linear(size, size, bias=bias)
        self.key, self.value = (nn.Linear(self.memory_size, size, bias=bias) for _ in range(2))
        for parameter in self.parameters():
            if parameter.dim() == 1:
                nn.init.zeros_(parameter)
            else:
                nn.init.xavier_uniform_(parameter)

    def prepare(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        heads = (self.heads, self.out_size // self.heads)
        return self.key(memory).unflatten(-1, heads), self.value(memory).unflatten(-1, heads)  # [B, S, heads, d]

    def look(self, x: Tensor, memory: Memory, visible: Tensor) -> tuple[Tensor, str]:
        queries = split_heads(self.query(x), self.heads)
        dropout = self.dropout if self.training else 0.0
        keys, values = (part.to(queries.dtype).transpose(1, 2) for part in (memory.keys, memory.values))
        context, path = attend(
            queries, keys, values, self.weights, visible=visible.unsqueeze(1), dropout=dropout, fast=self.fast
        )
        return self.output(merge_heads(context)), path

    def extra_repr(self) -> str:
        return f"{self.in_size}, heads={self.heads}, memory_size={self.memory_size}, dropout={self.dropout}"
