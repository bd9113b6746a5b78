"""Attention among neighbours on a grid, as in the Swin Transformer."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carryover.layers.attention.dot_product import AttentionWeights, attend, check_heads
from carryover.layers.dropout import check_probability


@final
class WindowAttention2D(nn.Module):
    """Multi-head attention inside the windows of a grid [B, H, W, size] (Liu et al. 2021, "Swin Transformer", section 3.2).

    The grid is cut into windows of `window` × `window` cells, and a cell sees the cells of its own window:

        head = softmax(q kᵀ / √d + bias[row distance, column distance]) v           equation 4

    With `shift` s the cuts lie at s, s + window, s + 2·window, … instead of 0, window, …, so that the smaller windows at
    the edges hold what is left; computed as in the paper by rolling the grid and hiding cells that were not neighbours.
    A height or width that is no multiple of the window is filled up with cells that nobody sees. Along an axis that one
    window covers there is nothing to shift, and the shift is left out there, as in the published code.

    A plain module, not a `Layer`: a grid has no before and after. Parameters: `query_key_value`, `output` (affine maps) and
    `bias_table` [(2·window − 1)², heads], row distance first. `weights` is [B · windows, heads, window², window²] for
    `taps`; `last_path` says what ran, "fused" or "plain". ValueError when heads do not divide size, for a window below
    1, or a shift outside 0 … window − 1.
    """

    fast: bool = True

    def __init__(self, size: int, heads: int, window: int, *, shift: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        check_heads(self, size, heads)
        if window < 1:
            raise ValueError(f"WindowAttention2D has windows of {window} cells a side: choose at least 1")
        if not 0 <= shift < window:
            raise ValueError(f"WindowAttention2D has shift {shift} with windows of {window}: choose 0 … {window - 1}")
        self.in_size = self.out_size = size
        self.heads, self.window, self.shift = heads, window, shift
        self.dropout = check_probability(dropout)
        self.query_key_value = nn.Linear(size, 3 * size)
        self.output = nn.Linear(size, size)
        self.bias_table = nn.Parameter(torch.randn((2 * window - 1) ** 2, heads) * 0.02)
        self.weights = AttentionWeights()
        self.last_path: str | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, size] to the same. ValueError for another shape."""
        if x.dim() != 4 or x.shape[-1] != self.in_size:
            raise ValueError(
                f"WindowAttention2D expects a grid [batch, height, width, {self.in_size}] and got {tuple(x.shape)}: "
                "bring the features to the last axis, or build it with their number"
            )
        height, width = x.shape[1:3]
        windows = self._cut(self._roll(F.pad(x, (0, 0, 0, -width % self.window, 0, -height % self.window)), height, width))
        queries, keys, values = (  # [B · windows, heads, window², d] each
            self.query_key_value(windows).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        )
        regions = self._regions(height, width, x.device)  # [windows, window²]
        visible = (regions.unsqueeze(1) == regions.unsqueeze(2)) & (regions >= 0).unsqueeze(1)
        visible = visible.repeat(x.shape[0], 1, 1).unsqueeze(1)  # [B · windows, 1, window², window²]
        dropout = self.dropout if self.training else 0.0
        context, self.last_path = attend(
            queries,
            keys,
            values,
            self.weights,
            visible=visible,
            bias=self.relative_bias(),
            dropout=dropout,
            fast=self.fast,
        )
        y = self.output(context.transpose(1, 2).flatten(2))  # [B · windows, window², size]
        return self._join(y, height, width)

    def relative_bias(self) -> Tensor:
        """[heads, window², window²]: the entry of `bias_table` for each pair of cells, query first."""
        cells = torch.arange(self.window, device=self.bias_table.device)
        distance = cells.unsqueeze(1) - cells + self.window - 1  # [window, window], 0 … 2·window − 2
        index = distance[:, None, :, None] * (2 * self.window - 1) + distance[None, :, None, :]
        return self.bias_table[index.reshape(self.window**2, -1)].permute(2, 0, 1)

    def _shifts(self, height: int, width: int) -> tuple[int, int]:
        return tuple(self.shift if side > self.window else 0 for side in (height, width))  # type: ignore[return-value]

    def _roll(self, grid: Tensor, height: int, width: int, back: bool = False) -> Tensor:
        down, right = self._shifts(height, width)
        return grid.roll((down, right) if back else (-down, -right), (1, 2)) if down or right else grid

    def _cut(self, grid: Tensor) -> Tensor:
        """[B, rows · window, columns · window, size] to [B · rows · columns, window², size]."""
        pieces = grid.unflatten(2, (-1, self.window)).unflatten(1, (-1, self.window))  # [B, rows, w, columns, w, size]
        return pieces.transpose(2, 3).flatten(3, 4).flatten(0, 2)

    def _join(self, windows: Tensor, height: int, width: int) -> Tensor:
        """Back from [B · rows · columns, window², size] to the grid as it was given."""
        rows, columns = -(-height // self.window), -(-width // self.window)
        pieces = windows.unflatten(1, (self.window, self.window)).unflatten(0, (-1, rows, columns))
        grid = pieces.transpose(2, 3).flatten(3, 4).flatten(1, 2)  # [B, rows · w, columns · w, size]
        return self._roll(grid, height, width, back=True)[:, :height, :width]

    def _regions(self, height: int, width: int, device: torch.device) -> Tensor:
        """int64 [windows, window²]: cells that may see each other have one number; cells outside the grid are negative."""
        numbers = []
        for side, shift in zip((height, width), self._shifts(height, width), strict=True):
            cells = torch.arange(-(-side // self.window) * self.window, device=device)
            region = (cells - shift).div(self.window, rounding_mode="floor") + 1  # which window a cell lies in
            numbers.append(torch.where(cells < side, region, -1))
        down, across = numbers
        grid = torch.where((down.unsqueeze(1) >= 0) & (across >= 0), down.unsqueeze(1) * (width + 2) + across, -1)
        rolled = self._roll(grid[None, :, :, None], height, width)
        return self._cut(rolled).squeeze(-1)

    def extra_repr(self) -> str:
        return f"{self.in_size}, heads={self.heads}, window={self.window}, shift={self.shift}"
