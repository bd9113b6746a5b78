"""The last inputs of every row: what a layer that looks a fixed number of steps back carries from chunk to chunk."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from carryover.layers.base import State

ROOM = 16
"""Fewest steps a storage has room for beyond the window."""


class StepBuffer(tuple[Tensor]):
    """One tensor [B, size, ...]: the last `size` steps of every row, oldest first, zeros before a row's first step.

    A state may never change, yet copying a long window for every new step would cost more than the layer itself.
    Without gradients the window is therefore a view into a longer storage: the next step is written *behind* it, where
    no older state looks, and the new state is the view one further. Only one successor can have that room, so a state
    hands it on once; a second one that goes on from the same state, and one from a state that was copied, detached or
    mixed, begins a storage of its own. Copying thus costs about one step a step, however long the window.

    Where gradients are recorded, the old window and the new steps are simply joined.
    """

    _room: list[tuple[Tensor, int]]
    """At most one (storage [B, capacity, ...], end of this window in it); popped by the first successor."""

    def __new__(cls, window: Tensor, room: tuple[Tensor, int] | None = None) -> StepBuffer:
        buffer = super().__new__(cls, (window,))
        buffer._room = [] if room is None else [room]
        return buffer

    def __reduce__(self) -> tuple[Any, ...]:
        return StepBuffer, (self[0].clone(),)

    @classmethod
    def zeros(
        cls, batch_size: int, size: int, *features: int, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> StepBuffer:
        return cls(torch.zeros(batch_size, size, *features, device=device, dtype=dtype))


def advance(state: State, values: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, StepBuffer]:
    """The window with `values` [B, n, ...] behind it, [B, size + n, ...], and the state after them.

    Row b moves by `lengths[b]` of the n steps, by all of them without `lengths`. Only read the joined tensor: it may
    share its memory with the state. ValueError when the window holds other features than `values`.
    """
    window: Tensor = state[0]
    size, steps = window.size(1), values.size(1)
    if window.size(-1) != values.size(-1) or window.dim() != values.dim():
        raise ValueError(
            f"StepBuffer holds steps of shape {tuple(window.shape[2:])} and was given steps of shape "
            f"{tuple(values.shape[2:])}: use a state that this layer's initial_state made"
        )
    if size == 0:
        return values, StepBuffer(window)
    if lengths is None and steps <= size and not torch.is_grad_enabled():
        return _append(state, values)
    joined = torch.cat([window, values], dim=1)
    if lengths is None:
        return joined, StepBuffer(joined[:, steps:].to(window.dtype).clone())
    index = lengths.unsqueeze(1) + torch.arange(size, device=lengths.device)  # [B, size]
    index = index.view(*index.shape, *([1] * (values.dim() - 2))).expand(-1, -1, *values.shape[2:])
    return joined, StepBuffer(joined.gather(1, index).to(window.dtype))


def _append(state: State, values: Tensor) -> tuple[Tensor, StepBuffer]:
    window: Tensor = state[0]
    size, steps = window.size(1), values.size(1)
    room = None
    if isinstance(state, StepBuffer):
        try:
            room = state._room.pop()  # at once for all threads: only one successor gets it
        except IndexError:
            room = None
    if room is None or room[1] + steps > room[0].size(1) or room[0].is_inference() != torch.is_inference_mode_enabled():
        storage = window.new_empty(window.shape[0], size + max(size, ROOM), *window.shape[2:])
        storage.narrow(1, 0, size).copy_(window)
        end = size
    else:
        storage, end = room
    storage.narrow(1, end, steps).copy_(values)
    joined, end = storage.narrow(1, end - size, size + steps), end + steps
    return joined, StepBuffer(storage.narrow(1, end - size, size), (storage, end))
