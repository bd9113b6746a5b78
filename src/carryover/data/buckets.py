"""Batches of examples of similar length, with a bounded number of tokens and a place that can be saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from carryover.data.order import permutation, uniform
from carryover.errors import BadData, UsageError
from carryover.storage import fingerprint

_NOISE = 0.2
"""Share by which a length may vary before sorting, so that an example meets other neighbours in every epoch."""


class BucketSampler:
    """Batches of positions: long examples in small batches, short ones in large batches, in random order.

    Parameters
    ----------
    lengths : tokens of each example.
    token_budget : a batch's number of examples times its longest length stays within this. An example longer than the
        budget is a batch alone: none is ever dropped.
    largest_batch : most examples in a batch, however short; None for no bound.
    seed : of the order. `epoch(k)` is a pure function of (seed, k).

    The position (`at_epoch`, `at_batch`: batches consumed in it) is all there is to save.
    """

    def __init__(self, lengths: Sequence[int], *, token_budget: int, seed: int, largest_batch: int | None = None) -> None:
        if token_budget < 1 or (largest_batch is not None and largest_batch < 1):
            raise UsageError(
                f"token_budget is {token_budget} and largest_batch {largest_batch}", repair="both must be 1 or more"
            )
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.token_budget, self.largest_batch, self.seed = token_budget, largest_batch, seed
        self.at_epoch = 0
        self.at_batch = 0

    def epoch(self, epoch: int) -> list[list[int]]:
        """All batches of an epoch; every position is in exactly one."""
        count = len(self.lengths)
        noise = 1 + _NOISE * (uniform(count, self.seed, epoch, 1) - 0.5)
        order = np.argsort(self.lengths * noise, kind="stable").tolist()
        batches: list[list[int]] = []
        longest = 0
        for position in order:
            length = max(int(self.lengths[position]), 1)
            size = len(batches[-1]) + 1 if batches else 0
            fits = size * max(longest, length) <= self.token_budget and size <= (self.largest_batch or size)
            if size and fits:
                batches[-1].append(position)
                longest = max(longest, length)
            else:
                batches.append([position])
                longest = length
        return [batches[i] for i in permutation(len(batches), self.seed, epoch, 2).tolist()]

    def remaining(self) -> Iterator[list[int]]:
        """The batches of the current epoch that are not consumed yet; afterwards the position is the next epoch's start.

        A batch counts as consumed as soon as it is handed out, so a position saved inside the loop resumes after it.
        """
        batches = self.epoch(self.at_epoch)
        while self.at_batch < len(batches):
            self.at_batch += 1
            yield batches[self.at_batch - 1]
        self.at_epoch += 1
        self.at_batch = 0

    def state_dict(self) -> dict[str, Any]:
        """The position, and what it is a position in."""
        return {"epoch": self.at_epoch, "batch": self.at_batch, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a saved position. Raises BadData when it was saved over other examples, budget or seed."""
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise BadData(
                    f"the saved position has {name.replace('_', ' ')} {state.get(name)!r}, these batches have {value!r}",
                    repair="continue with the data and settings it was saved with, or start again",
                )
        self.at_epoch, self.at_batch = int(state["epoch"]), int(state["batch"])

    def _identity(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "token_budget": self.token_budget,
            "largest_batch": self.largest_batch,
            "lengths_fingerprint": fingerprint(self.lengths)[:16],
        }
