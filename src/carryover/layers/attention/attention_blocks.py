"""A bounded horizon on a long row: blocks of queries beside the blocks of keys they can reach, instead of all pairs.

With blocks as long as the horizon h, a query reaches its own block, the one before and, when it looks ahead, the one
after. T steps then cost T · 2h or T · 3h scores instead of T².
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cut_queries(values: Tensor, width: int) -> Tensor:
    """[B, heads, T, d] to [B · blocks, heads, width, d], the last block filled up with zeros."""
    return _blocks(values, width).transpose(1, 2).flatten(0, 1)


def cut_keys(values: Tensor, width: int, *, ahead: bool) -> Tensor:
    """[B, heads, T, d] to [B · blocks, heads, 2 or 3 times width, d]: each block with that before it and, perhaps, after.

    Beyond both ends stand zeros.
    """
    blocks = _blocks(values, width)  # [B, heads, blocks, width, d]
    shifts = [(1, -1), (0, 0), (-1, 1)] if ahead else [(1, -1), (0, 0)]
    beside = [F.pad(blocks, (0, 0, 0, 0, before, after)) for before, after in shifts]
    return torch.cat(beside, dim=3).transpose(1, 2).flatten(0, 1)


def join_blocks(values: Tensor, batch_size: int, time: int) -> Tensor:
    """Inverse of `cut_queries`: [B · blocks, heads, width, d] to [B, heads, time, d]."""
    return values.unflatten(0, (batch_size, -1)).transpose(1, 2).flatten(2, 3)[:, :, :time]


def _blocks(values: Tensor, width: int) -> Tensor:
    return F.pad(values, (0, 0, 0, -values.shape[2] % width)).unflatten(2, (-1, width))
