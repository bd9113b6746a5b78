"""Attention scored by a product."""

from __future__ import annotations

from typing import Literal, final, get_args

from torch import Tensor, nn

from carryover.layers.attention.dot_product import attend
from carryover.layers.attention.memory_attention import Memory, MemoryAttention

Score = Literal["dot", "general"]


@final
class MultiplicativeAttention(MemoryAttention):
    """c_t = Σ_s softmax_s(score(x_t, m_s)) m_s (Luong, Pham & Manning 2015, section 3.1, equations 7–8), with

        score="dot"      x_t · m_s, which needs in_size = memory_size
        score="general"  x_t · W m_s

    x [B, T, in_size] and memory [B, S, memory_size] to contexts [B, T, memory_size]; used like `AdditiveAttention`. The
    scores are not divided by √size, as in the paper.

    Parameter of "general": `key.weight` W [in_size, memory_size]; "dot" has none. `weights` is [B, T, S]. ValueError for
    another score, or when "dot" meets two sizes.
    """

    def __init__(self, in_size: int, memory_size: int, *, score: Score = "general") -> None:
        super().__init__(in_size, memory_size, memory_size)
        if score not in get_args(Score):
            raise ValueError(f"MultiplicativeAttention has score {score!r}: choose 'dot' or 'general'")
        if score == "dot" and in_size != memory_size:
            raise ValueError(
                f"MultiplicativeAttention with score 'dot' has in_size {in_size} and memory_size {memory_size}: "
                "make them equal or choose score='general'"
            )
        self.score: Score = score
        self.key = nn.Linear(memory_size, in_size, bias=False) if score == "general" else None

    def prepare(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        return memory if self.key is None else self.key(memory), memory

    def look(self, x: Tensor, memory: Memory, visible: Tensor) -> tuple[Tensor, str]:
        keys, values = memory.keys.to(x.dtype), memory.values.to(x.dtype)
        return attend(x, keys, values, self.weights, visible=visible, scale=1.0, fast=self.fast)

    def extra_repr(self) -> str:
        return f"{self.in_size}, {self.memory_size}, score={self.score}"
