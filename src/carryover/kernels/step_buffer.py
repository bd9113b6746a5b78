"""The last inputs of every row, in memory with room for those that follow: the state of layers that look a fixed number of steps back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

ROOM = 64
"""Fewest steps a storage has room for beyond the window."""


class StepBuffer:
    """A state of one tensor, `window` [B, size, ...]: the last `size` steps of every row, oldest first.

    Zeros stand for what was before a row's first step. A state may never change, yet copying a long window for every new
    step would cost more than the layer itself. Without gradients the window is therefore a part of a longer storage: the
    next step is written *behind* it, where no older state looks, and the new state is the part one further. Only one
    successor can have that room, so a state hands it on once; a second one that continues from the same state, and one
    from a state that was copied, detached or mixed, begins a new storage. Copying thus costs about one step a
    step, however long the window. Where gradients are recorded, the old window and the new steps are simply joined.

    To `state_tensors` and `map_state` it has one part, the window.
    """

    __slots__ = ("_end", "_room", "_size", "_storage")

    def __init__(self, window: Tensor) -> None:
        self._storage = window
        self._size = self._end = window.size(1)
        self._room: list[Tensor] = []  # the storage once more where there is room behind, popped by the first successor

    @classmethod
    def zeros(
        cls, batch_size: int, size: int, *features: int, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> StepBuffer:
        return cls(torch.zeros(batch_size, size, *features, device=device, dtype=dtype))

    @property
    def window(self) -> Tensor:
        return self._storage.narrow(1, self._end - self._size, self._size)

    def __iter__(self) -> Iterator[Tensor]:
        yield self.window

    def __getitem__(self, number: int) -> Tensor:
        return (self.window,)[number]

    def __len__(self) -> int:
        return 1

    def __reduce__(self) -> tuple[Any, ...]:
        return StepBuffer, (self.window.clone(),)

    def append(self, values: Tensor) -> tuple[Tensor, StepBuffer]:
        """`advance` without gradients by no more than `size` steps of every row."""
        steps = values.size(1)
        storage, end, after = self._make_room(steps)
        storage.narrow(1, end, steps).copy_(values)
        return storage.narrow(1, end - self._size, self._size + steps), after

    def append_one(self, values: Tensor, taps: int, spacing: int) -> tuple[Tensor, StepBuffer]:
        """`append` for one step [B, 1, features], giving only what a dilated window reads: [B, features, taps].

        The last of the taps is the new step, the others stand `spacing` apart before it.
        """
        _check_features(self._storage, values)
        storage, end, after = self._make_room(1)
        storage.narrow(1, end, 1).copy_(values)
        rows, capacity, features = storage.shape
        strides = (capacity * features, 1, spacing * features)
        return storage.as_strided((rows, features, taps), strides, (end - (taps - 1) * spacing) * features), after

    def holds(self, rows: int, size: int, features: int) -> bool:
        """Whether this is the window of `size` steps of that number of rows, in float32 in the memory of the CPU."""
        storage = self._storage
        return (
            self._size == size
            and type(storage) is Tensor
            and storage.dtype is torch.float32
            and storage.is_cpu
            and storage.dim() == 3
            and storage.size(0) == rows
            and storage.size(2) == features
        )

    def place_for_one(self) -> tuple[int, int, StepBuffer]:
        """Where a kernel has to write the next step of the first row; steps from there to the next row; the state after.

        For a buffer that `holds` what the kernel expects. The window lies before that place.
        """
        storage, end, after = self._make_room(1)
        return storage.data_ptr() + 4 * end * storage.size(2), storage.size(1), after

    def _make_room(self, steps: int) -> tuple[Tensor, int, StepBuffer]:
        """A storage that holds this window, ends at the place given and is free behind it; the state after `steps`."""
        try:
            storage, end = self._room.pop(), self._end  # at once for all threads: only one successor gets it
        except IndexError:
            storage, end = self._begin_storage()
        if end + steps > storage.size(1) or storage.is_inference() != torch.is_inference_mode_enabled():
            storage, end = self._begin_storage()
        after = StepBuffer.__new__(StepBuffer)
        after._storage, after._size, after._end, after._room = storage, self._size, end + steps, [storage]
        return storage, end, after

    def _begin_storage(self) -> tuple[Tensor, int]:
        window, size = self.window, self._size
        storage = window.new_empty(window.size(0), size + max(size, ROOM), *window.shape[2:])
        storage.narrow(1, 0, size).copy_(window)
        return storage, size


Window = StepBuffer | tuple[Tensor]
"""The state of such a layer; a plain tuple after it has gone through functions that know nothing of buffers."""


def advance(state: Window, values: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, StepBuffer]:
    """The window with `values` [B, n, ...] behind it, [B, size + n, ...], and the state after them.

    Row b moves by `lengths[b]` of the n steps, by all of them without `lengths`. Only read the joined tensor: it may
    share its memory with the state. ValueError when the window holds other features than `values`.
    """
    buffer = state if isinstance(state, StepBuffer) else StepBuffer(state[0])
    size, steps, storage = buffer._size, values.size(1), buffer._storage
    _check_features(storage, values)
    if size == 0:
        return values, buffer
    if lengths is None and steps <= size and not torch.is_grad_enabled():
        return buffer.append(values)
    window = buffer.window
    joined = torch.cat([window, values], dim=1)
    if lengths is None:
        return joined, StepBuffer(joined[:, steps:].to(window.dtype).clone())
    index = lengths.unsqueeze(1) + torch.arange(size, device=lengths.device)  # [B, size]
    index = index.view(*index.shape, *([1] * (values.dim() - 2))).expand(-1, -1, *values.shape[2:])
    return joined, StepBuffer(joined.gather(1, index).to(window.dtype))


def _check_features(storage: Tensor, values: Tensor) -> None:
    if storage.size(-1) != values.size(-1) or storage.dim() != values.dim():
        raise ValueError(
            f"StepBuffer holds steps of shape {tuple(storage.shape[2:])} and was given steps of shape "
            f"{tuple(values.shape[2:])}: use a state that this layer's initial_state made"
        )
