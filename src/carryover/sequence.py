"""The one value that flows through carryover: a padded batch of sequences with their lengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from carryover.forking import computed_once


@dataclass(frozen=True, eq=False)
class Sequence:
    """A batch of sequences of unequal length: `values` [B, T, ...] and `lengths` [B] (int64).

    Row b is real at steps 0 … lengths[b]−1; the rest is padding and may hold anything. A length of 0 is
    legal. Raises ValueError when the shapes disagree; `validate` also checks the range of the lengths.
    """

    values: Tensor
    lengths: Tensor

    def __post_init__(self) -> None:
        if self.values.dim() < 2:
            raise ValueError(
                f"values must be [batch, time, ...], got shape {tuple(self.values.shape)}: add the missing axis"
            )
        if self.lengths.shape != self.values.shape[:1]:
            raise ValueError(
                f"lengths has shape {tuple(self.lengths.shape)} for a batch of {self.values.shape[0]}: give one length a row"
            )
        if self.lengths.dtype != torch.int64:
            raise ValueError(f"lengths must be int64, got {self.lengths.dtype}: use lengths.long()")

    @classmethod
    def of(cls, values: Tensor, lengths: Tensor | list[int] | None = None) -> Sequence:
        """A checked sequence, for data that enters; without `lengths` every row has the full length.

        Raises ValueError on a bad length and on NaN at a real step, TypeError on lengths that are no integers; what stands in
        the padding is not looked at.
        """
        if lengths is None:
            lengths = torch.full(values.shape[:1], values.shape[1] if values.dim() > 1 else 0)
        found = torch.as_tensor(lengths, device=values.device)
        if found.numel() and (found.is_floating_point() or found.dtype == torch.bool):
            raise TypeError(f"lengths are {found.dtype}: they count steps, give integers (of a mask, mask.sum(1))")
        return cls(values, found.long()).validate().check_numbers()

    @classmethod
    def pad(cls, rows: list[Tensor], value: float = 0) -> Sequence:
        """Rows of shape [T_b, ...] side by side, filled up with `value` to the longest."""
        if not rows:
            raise ValueError("cannot pad an empty list of rows: a batch needs at least one row")
        lengths = torch.tensor([row.shape[0] for row in rows], device=rows[0].device)
        return cls(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value), lengths)

    def check_numbers(self) -> Sequence:
        """Self, after checking that no real step holds NaN (reads the data). Layers do not look: it would cost each of them."""
        if self.values.is_floating_point() and bool(self.values.isnan().any()):
            wrong = (
                (self.values.isnan() & self.expand_mask()).flatten(2).any(2)
                if self.values.dim() > 2
                else (self.values.isnan() & self.mask)
            )
            if bool(wrong.any()):
                row, step = (int(place) for place in wrong.nonzero()[0])
                raise ValueError(
                    f"values has NaN at row {row}, step {step}, which is real (length {int(self.lengths[row])}): fill in what is "
                    "missing, or shorten the row"
                )
        return self

    def validate(self) -> Sequence:
        """Self, after checking 0 ≤ length ≤ T for every row (reads the data; costs a synchronisation on a GPU)."""
        if self.batch_size:
            low, high = int(self.lengths.min()), int(self.lengths.max())
            if low < 0:
                raise ValueError(f"a length is {low}: lengths count real steps and cannot be negative")
            if high > self.time:
                raise ValueError(f"a length is {high} but values has only {self.time} steps: shorten it or pad the values")
        return self

    @property
    def batch_size(self) -> int:
        return self.values.shape[0]

    @property
    def time(self) -> int:
        """Number of padded steps T."""
        return self.values.shape[1]

    @property
    def device(self) -> torch.device:
        return self.values.device

    @computed_once
    def full(self) -> bool:
        """Whether every row has all steps. Reads the lengths, once for a sequence and all that `with_values` makes of it."""
        return bool((self.lengths == self.time).all())

    @computed_once
    def mask(self) -> Tensor:
        """bool [B, T], true at real steps."""
        return torch.arange(self.time, device=self.device) < self.lengths.unsqueeze(1)

    def expand_mask(self) -> Tensor:
        """`mask` with as many trailing axes of size 1 as `values` has features."""
        return self.mask.view(*self.mask.shape, *([1] * (self.values.dim() - 2)))

    def zero_padding(self) -> Sequence:
        """The same sequence with exact zeros in the padding (a NaN there neither stays nor leaks into gradients)."""
        return Sequence(self.values.masked_fill(~self.expand_mask(), 0), self.lengths)

    def with_values(self, values: Tensor) -> Sequence:
        """Other values under the same lengths."""
        other = Sequence(values, self.lengths)
        if (full := self.__dict__.get("full")) is not None and values.shape[1] == self.time:
            other.__dict__["full"] = full
        return other

    def map(self, function: Callable[[Tensor], Tensor]) -> Sequence:
        """`function` of the values, padding set to zero before and after."""
        return self.with_values(function(self.zero_padding().values)).zero_padding()

    def to(self, *args: object, **kwargs: object) -> Sequence:
        """Move or cast the values as `Tensor.to` does; the lengths follow to the device only."""
        values = self.values.to(*args, **kwargs)  # type: ignore[call-overload]
        return Sequence(values, self.lengths.to(values.device))

    def detach(self) -> Sequence:
        return self.with_values(self.values.detach())

    def slice(self, start: int, stop: int) -> Sequence:
        """Padded steps start … stop−1; each row keeps what it has of them."""
        if not 0 <= start <= stop:
            raise ValueError(f"cannot slice from {start} to {stop}: 0 ≤ start ≤ stop is needed")
        stop = min(stop, self.time)
        start = min(start, stop)
        return Sequence(self.values[:, start:stop], (self.lengths - start).clamp(0, stop - start))

    def reverse(self) -> Sequence:
        """Each row reversed within its own length; the padding stays where it is."""
        steps = torch.arange(self.time, device=self.device)
        index = torch.where(self.mask, self.lengths.unsqueeze(1) - 1 - steps, steps)  # [B, T]
        places = index + self.time * torch.arange(self.batch_size, device=self.device).unsqueeze(1)
        return self.with_values(self.values.flatten(0, 1).index_select(0, places.flatten()).view_as(self.values))

    def last(self) -> Tensor:
        """Value of each row's last real step, [B, ...]; zeros for a row of length 0."""
        if self.time == 0:
            return self.values.new_zeros(self.batch_size, *self.values.shape[2:])
        index = (self.lengths - 1).clamp(min=0)
        picked = self.values[torch.arange(self.batch_size, device=self.device), index]
        empty = (self.lengths == 0).view(-1, *([1] * (picked.dim() - 1)))
        return picked.masked_fill(empty, 0)

    def rows(self) -> list[Tensor]:
        """The real part of every row, [lengths[b], ...] each."""
        return [row[:length] for row, length in zip(self.values, self.lengths.tolist(), strict=True)]

    def flatten(self) -> Tensor:
        """All real steps of all rows one below the other, [sum(lengths), ...]."""
        return self.values[self.mask]

    def unflatten(self, flat: Tensor) -> Sequence:
        """Inverse of `flatten`: put [sum(lengths), ...] back under this sequence's lengths, zeros in the padding."""
        if flat.shape[0] != int(self.lengths.sum()):
            raise ValueError(f"got {flat.shape[0]} steps for lengths that sum to {int(self.lengths.sum())}: they must agree")
        values = flat.new_zeros(self.batch_size, self.time, *flat.shape[1:])
        return self.with_values(values.masked_scatter(_like(self.mask, values), flat))

    @staticmethod
    def concatenate(parts: list[Sequence]) -> Sequence:
        """Join along time, row by row and without a gap: row b is its real steps of all parts in order."""
        if not parts:
            raise ValueError("cannot concatenate nothing: give at least one sequence")
        return Sequence.pad([torch.cat(pieces) for pieces in zip(*(part.rows() for part in parts), strict=True)])

    def pack(self) -> torch.nn.utils.rnn.PackedSequence:
        """For torch's recurrent layers, which refuse rows of length 0: ValueError names the first such row."""
        empty = (self.lengths == 0).nonzero()
        if len(empty):
            raise ValueError(f"row {int(empty[0])} has length 0 and cannot be packed: leave empty rows out first")
        return torch.nn.utils.rnn.pack_padded_sequence(
            self.values, self.lengths.cpu(), batch_first=True, enforce_sorted=False
        )

    @staticmethod
    def unpack(packed: torch.nn.utils.rnn.PackedSequence, time: int | None = None) -> Sequence:
        """Inverse of `pack`, padded with zeros to `time` steps."""
        values, lengths = torch.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True, total_length=time)
        return Sequence(values, lengths.to(values.device))


def _like(mask: Tensor, values: Tensor) -> Tensor:
    return mask.view(*mask.shape, *([1] * (values.dim() - 2))).expand_as(values)
