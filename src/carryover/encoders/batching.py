"""The one way of putting inputs of unequal length into batches: those of similar length together."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as ListOf


def batches_by_length(lengths: ListOf[int], limit: int) -> Iterator[list[int]]:
    """Positions of items of similar length, at most `limit` padded steps together; a longer item comes alone."""
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda number: lengths[number]):
        if batch and (len(batch) + 1) * max(lengths[position], 1) > limit:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch
