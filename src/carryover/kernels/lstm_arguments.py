"""What the kernels of LSTMs take beside their input: weights, state and options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from carryover.kernels.packed_steps import PackedSteps


class LSTMState(NamedTuple):
    """State of an LSTM: `hidden` [B, P] (what the next step reads, projected) and `cell` [B, C]."""

    hidden: Tensor
    cell: Tensor


class LSTMWeights(NamedTuple):
    """What a kernel reads besides its input; gates in the order i, f, g, o."""

    input: Tensor  # [4C, in]
    hidden: Tensor  # [4C, P]
    bias: Tensor  # [4C]
    projection: Tensor | None  # [P, C]
    peephole: Tensor | None  # [3, C]


@dataclass(frozen=True, eq=False)
class ScanOptions:
    """How a scan runs: over which steps, between which bounds, with products of which type."""

    steps: PackedSteps
    cell_clip: float | None
    projection_clip: float | None
    dtype: torch.dtype  # of the products

    @property
    def wide(self) -> torch.dtype:
        """Type of gates and cells."""
        return torch.float32 if self.dtype in (torch.bfloat16, torch.float16) else self.dtype
