"""What causal self-attention remembers between steps: keys and values already computed, each row at its own position."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

ROOM = 64
"""Fewest slots a storage has beyond those written."""

_room = WeakTensorKeyDictionary()
"""Cache → the storage of which it is the beginning, as long as nobody has written behind it."""


class AttentionState(NamedTuple):
    """Cache of causal self-attention: `keys` and `values` [B, S, heads, d], and `steps` [B] (int64), how many were read so far.

    Without a horizon S is the largest of `steps`: slot p holds the key of position p, and the cache grows with what was
    read. With a horizon S is the horizon for ever: position p takes slot p mod S and pushes out position p − S.
    Slots not written are zero.

    A state may never change, yet copying the whole cache for every new step would cost as much as looking at it. Without gradients
    a growing cache is therefore the beginning of a longer storage, which doubles when it is full: new steps are written behind
    it, where no older state looks. Only one successor can have that room. A second one from the same state, one of a state that
    was copied, detached or mixed, and one whose rows are not all at the same position copy as before.
    """

    keys: Tensor
    values: Tensor
    steps: Tensor


def cached_positions(state: AttentionState, horizon: int | None) -> Tensor:
    """int64 [B, S]: the position whose key is in each slot, negative where there is none."""
    count = state.steps.unsqueeze(1)
    slots = torch.arange(state.keys.shape[1], device=count.device)
    if horizon is None:
        return torch.where(slots < count, slots, -1)
    return count - 1 - (count - 1 - slots) % horizon  # the latest position below count that falls into the slot


def extend_cache(
    state: AttentionState, keys: Tensor, values: Tensor, lengths: Tensor, horizon: int | None
) -> AttentionState:
    """A new cache after `keys` and `values` [B, T, heads, d], of which row b has `lengths[b]` real steps.

    Without a horizon it is as wide as the longest row has become, no wider (on a GPU this waits for that number).
    """
    steps = torch.arange(keys.shape[1], device=keys.device)
    count = state.steps + lengths
    if horizon is None and not torch.is_grad_enabled() and in_step(state, lengths, keys.shape[1]):
        return AttentionState(_append(state.keys, keys), _append(state.values, values), count)
    positions = state.steps.unsqueeze(1) + steps  # [B, T]
    kept = steps < lengths.unsqueeze(1)
    if horizon is None:
        width = int(count.max()) if len(count) else 0
        slots = positions
    else:
        width = horizon
        slots = positions % horizon
        kept = kept & (steps >= (lengths - horizon).unsqueeze(1))  # of two steps for one slot the later one is kept
    slots = torch.where(kept, slots, width)[:, :, None, None]  # what is not kept goes to one slot more, dropped below
    return AttentionState(_write(state.keys, keys, slots, width), _write(state.values, values, slots, width), count)


def _write(cache: Tensor, new: Tensor, slots: Tensor, width: int) -> Tensor:
    old = cache[:, :width]
    more = old.new_zeros(old.shape[0], width + 1 - old.shape[1], *old.shape[2:])
    return torch.cat([old, more], dim=1).scatter_(1, slots.expand_as(new), new.to(old.dtype))[:, :width]


def in_step(state: AttentionState, lengths: Tensor, time: int) -> bool:
    """Whether all rows fill the whole cache and advance by all of `time` steps."""
    return bool(((state.steps == state.keys.shape[1]) & (lengths == time)).all())


def _append(cache: Tensor, new: Tensor) -> Tensor:
    """`cache` [B, S, ...] with `new` [B, T, ...] behind it, [B, S + T, ...]."""
    old, end = cache.shape[1], cache.shape[1] + new.shape[1]
    storage = _room.pop(cache, None)  # at once for all threads: only one successor gets it
    if storage is None or storage.shape[1] < end or storage.is_inference() != torch.is_inference_mode_enabled():
        # One head's slots in a row in memory: so the kernel reads them.
        rows, _, heads, size = cache.shape
        storage = cache.new_empty(rows, heads, max(2 * end, ROOM), size).transpose(1, 2)
        storage[:, :old] = cache
    storage[:, old:end] = new
    grown = storage[:, :end]
    _room[grown] = storage
    return grown
