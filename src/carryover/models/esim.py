"""The enhanced sequential inference model between two encoded sentences: align, compare, compose, pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from carryover.errors import UsageError
from carryover.layers import LSTM, Bidirectional, ConcatenatedPooling, MaxPooling, MeanPooling, MultiplicativeAttention
from carryover.layers.base import check_numbers, require_sequence
from carryover.layers.dropout import check_probability, drop
from carryover.sequence import Sequence


@final
class ESIM(nn.Module):
    """Two sequences of states to one vector that says how they relate (Chen et al. 2017, "Enhanced LSTM for natural language
    inference", sections 3.2 and 3.3).

        e_ij = a_i · b_j;  ã_i = Σ_j softmax_j(e_ij) b_j;  b̃_j = Σ_i softmax_i(e_ij) a_i         equations 11 to 13
        m_a = [a; ã; a − ã; a ⊙ ã],  m_b = [b; b̃; b − b̃; b ⊙ b̃]                                  equations 14, 15
        v_a = BiLSTM(ReLU(W m_a + c)),  v_b = BiLSTM(ReLU(W m_b + c))                            equations 16, 17
        v = [mean v_a; max v_a; mean v_b; max v_b]                                               equations 18 to 20

    The states a and b are what the paper's input encoding gives (its equations 1 and 2). Both sides share all weights. Rows
    are independent, padding is not read, and a side without words gives zeros.

    `forward(first, second)`: [B, T, in_size] and [B, S, in_size] to [B, out_size]; `out_size` is 8 × `cell_size`.

    Parameters learned: `compare.weight` [cell_size, 4 · in_size], `compare.bias` [cell_size], and those of `compose`, a
    bidirectional LSTM with `cell_size` cells a direction. Raises ValueError for another number of features or unequal batches.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """`dropout` is drawn over the compared states, before the LSTM. Raises UsageError for a size below 1."""

        in_size: int
        cell_size: int
        dropout: float = 0.0

        def __post_init__(self) -> None:
            for name in ("in_size", "cell_size"):
                if getattr(self, name) < 1:
                    raise UsageError(f"{name} is {getattr(self, name)}", repair="give a size of at least 1")
            check_probability(self.dropout)

    def __init__(self, config: ESIM.Config) -> None:
        super().__init__()
        self.config = config
        size, cells = config.in_size, config.cell_size
        self.align = MultiplicativeAttention(size, size, score="dot")
        self.compare = nn.Linear(4 * size, cells)
        self.compose = Bidirectional(LSTM(cells, cells), LSTM(cells, cells))
        self.pool = ConcatenatedPooling(MeanPooling(2 * cells), MaxPooling(2 * cells))
        self.out_size = 2 * self.pool.out_size

    def forward(self, first: Sequence, second: Sequence) -> Tensor:
        for side in (first, second):
            require_sequence(self, side)
            check_numbers(self, side.values)
        if first.batch_size != second.batch_size:
            raise ValueError(
                f"ESIM was given {first.batch_size} first and {second.batch_size} second sentences: give as many of each"
            )
        pooled = [self._side(first, second), self._side(second, first)]
        return torch.cat(pooled, dim=1)  # [B, 8 · cell_size]

    def _side(self, own: Sequence, other: Sequence) -> Tensor:
        """One sentence seen in the light of the other, [B, 4 · cell_size]."""
        a, aligned = own.zero_padding().values, self.align(own, other).values
        compared = self.compare(torch.cat([a, aligned, a - aligned, a * aligned], dim=-1)).relu()  # [B, T, cell_size]
        return self.pool(self.compose(own.with_values(drop(compared, self.config.dropout, self.training))))
