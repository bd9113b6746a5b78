"""Steps of a ragged batch without their padding: rows ordered by length, step t holding only the rows still running."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from carryover.forking import computed_once


class PackedSteps:
    """Place of each real step of a batch [B, T] when steps lie one below the other, longest row first.

    Attributes
    ----------
    sizes : running rows at each step, never increasing, up to the longest length.
    total : number of real steps, the rows of a packed tensor.
    starts : first packed row of each step.
    order : row of the batch for each place, None when all lengths are equal and nothing moves.

    Building one reads the lengths (a synchronisation on a GPU); build it once for all layers that share them.
    """

    def __init__(self, lengths: Tensor, time: int) -> None:
        self.batch, self.time, self.device = lengths.shape[0], time, lengths.device
        self._lengths = lengths.tolist()
        longest = max(self._lengths, default=0)
        if longest > time or min(self._lengths, default=0) < 0:
            raise ValueError(f"lengths go from {min(self._lengths)} to {longest}: they must lie in 0 … {time}, the steps")
        self.even = all(length == longest for length in self._lengths)
        self.order: Tensor | None = None
        if self.even:
            self.sizes = [self.batch] * longest if self.batch else []
        else:
            self.order = lengths.argsort(descending=True, stable=True)
            ends = [0] * (longest + 1)
            for length in self._lengths:
                ends[length] += 1
            self.sizes, running = [], self.batch
            for length in range(longest):
                running -= ends[length]
                self.sizes.append(running)
        self.starts, self.total = [], 0
        for size in self.sizes:
            self.starts.append(self.total)
            self.total += size

    @computed_once
    def _places(self) -> Tensor:
        """int64 [total]: place of each packed row in a batch flattened to [B · T]."""
        assert self.order is not None
        sizes = torch.tensor(self.sizes, device=self.device)
        step = torch.repeat_interleave(torch.arange(len(self.sizes), device=self.device), sizes)
        starts = torch.tensor(self.starts, device=self.device)
        return self.order[torch.arange(self.total, device=self.device) - starts[step]] * self.time + step

    @computed_once
    def _previous(self) -> Tensor:
        """int64 [total]: place of the state before each packed row in [B + total] (the B first states lead)."""
        back = [self.batch if t else 0 for t in range(len(self.sizes))]
        starts = [0, *self.starts[:-1]]
        pieces = [torch.arange(a + b, a + b + n) for a, b, n in zip(starts, back, self.sizes, strict=True)]
        return torch.cat(pieces).to(self.device)

    @computed_once
    def _last(self) -> Tensor:
        """int64 [B]: where each row of the batch (in its own order) finds its last state in [B + total]."""
        order = range(self.batch) if self.order is None else self.order.tolist()
        last = [0] * self.batch
        for place, row in enumerate(order):
            length = self._lengths[row]
            last[row] = place if length == 0 else self.batch + self.starts[length - 1] + place
        return torch.tensor(last, dtype=torch.int64, device=self.device)

    def pack(self, values: Tensor) -> Tensor:
        """[B, T, D] to [total, D]; differentiable."""
        if self.even:
            return values[:, : len(self.sizes)].transpose(0, 1).reshape(self.total, values.shape[-1])
        return values.reshape(self.batch * self.time, -1).index_select(0, self._places)

    def unpack(self, packed: Tensor) -> Tensor:
        """[total, D] to [B, T, D], zeros in the padding; differentiable. Time may be the slower axis in memory."""
        size = packed.shape[-1]
        if self.even:
            values = packed.view(len(self.sizes), self.batch, size).transpose(0, 1)
            if len(self.sizes) == self.time:
                return values
            return torch.nn.functional.pad(values, (0, 0, 0, self.time - len(self.sizes)))
        values = packed.new_zeros(self.batch * self.time, size)
        return values.index_copy(0, self._places, packed).view(self.batch, self.time, size)

    def sort(self, rows: Tensor) -> Tensor:
        """[..., B, D] in the batch's order to the order of the packed rows."""
        return rows if self.order is None else rows.index_select(-2, self.order)

    def unsort(self, rows: Tensor) -> Tensor:
        """Inverse of `sort`."""
        return rows if self.order is None else torch.empty_like(rows).index_copy_(-2, self.order, rows)

    def begin(self, first: Tensor) -> Tensor:
        """Room for all states [B + total, D], the first ones [B, D] filled in."""
        states = first.new_empty(self.batch + self.total, first.shape[1])
        states[: self.batch] = first
        return states

    def last(self, states: Tensor) -> Tensor:
        """[..., B + total, D], the first states above all later ones, to each row's last state, [..., B, D]."""
        if self.even:
            return states.narrow(-2, self.total, self.batch)
        return states.index_select(-2, self._last)

    def before(self, states: Tensor) -> list[Tensor]:
        """For every step a view of the states its rows start from, out of [..., B + total, D]."""
        starts = [0, *(self.batch + start for start in self.starts[:-1])]
        return [states.narrow(-2, start, size) for start, size in zip(starts, self.sizes, strict=False)]

    def after(self, states: Tensor) -> tuple[Tensor, ...]:
        """For every step a view of the states its rows end with."""
        return states.narrow(-2, self.batch, self.total).split(self.sizes, -2)

    def all_before(self, states: Tensor) -> Tensor:
        """The states all steps start from below each other, [..., total, D]."""
        return states.narrow(-2, 0, self.total) if self.even else states.index_select(-2, self._previous)

    def blocks(self, rows: int) -> Iterator[tuple[int, int]]:
        """Ranges (first, stop) of steps that cover all steps, each of at most `rows` packed rows or of one step."""
        first, held = 0, 0
        for t, size in enumerate(self.sizes):
            if t > first and held + size > rows:
                yield first, t
                first, held = t, 0
            held += size
        if self.sizes:
            yield first, len(self.sizes)

    def narrow(self, packed: Tensor, first: int, stop: int) -> Tensor:
        """The packed rows of steps first … stop−1."""
        return packed.narrow(-2, self.starts[first], sum(self.sizes[first:stop]))
