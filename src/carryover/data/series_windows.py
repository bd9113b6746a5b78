"""Unlabelled series for pretraining: what is held out, and the windows that are read side by side.

Of many series whole ones are held out, chosen by a hash of what is in them, so that copies of one stay on one side. Of few, the
last part of each: a series is cut in time, and no window crosses the cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from carryover.data.examples import Series
from carryover.data.order import digest, permutation
from carryover.errors import BadData

FEWEST_TO_CHOOSE = 10
"""Series from which on whole ones are held out."""
_ORDER = 0x5E71  # keeps the order of windows apart from other draws of the same seed

Floats = NDArray[np.float32]


def divide(series: Sequence[Series], share: float, window: int) -> tuple[list[Series], list[Series]]:
    """The training part and what is held out, about `share` of all. Raises BadData where there is not enough to divide."""
    if len(series) >= FEWEST_TO_CHOOSE:
        hashes = [_hash(one) for one in series]
        last = sorted(hashes)[max(1, round(share * len(series))) - 1]
        kept = [one for one, found in zip(series, hashes, strict=True) if found > last]
        if kept:
            return kept, [one for one, found in zip(series, hashes, strict=True) if found <= last]
    before, behind = [], []
    for one in series:
        steps = len(one.values)
        cut = steps - max(round(share * steps), min(window, steps // 4))
        if min(cut, steps - cut) < 2:
            continue
        before.append(Series(one.values[:cut]))
        behind.append(Series(one.values[cut:]))
    if not before:
        raise BadData(
            f"{len(series)} series are too few or too short to hold some out", repair="give longer ones, or held-out files"
        )
    return before, behind


def _hash(series: Series) -> str:
    return hashlib.sha256(repr(series.values.shape).encode() + np.ascontiguousarray(series.values).tobytes()).hexdigest()


class Window(NamedTuple):
    """A piece of a series: which one, the first step and behind the last."""

    series: int
    start: int
    end: int


def cut_windows(lengths: Sequence[int], steps: int) -> list[Window]:
    """Windows of at most `steps` + 1 values of series of these lengths: every value but a series' first is predicted once, so a
    window begins with the last value of the one before. A series of one value has none."""
    return [
        Window(number, start, min(start + steps + 1, length))
        for number, length in enumerate(lengths)
        for start in range(0, length - 1, steps)
    ]


@dataclass(frozen=True, eq=False)
class WindowRows:
    """What is read in one step: `values` of each row, [T, C], T at least 2. All but the first of each are predicted."""

    rows: list[Floats]
    digest: int

    @property
    def tokens(self) -> int:
        """Values that are predicted."""
        return sum((len(row) - 1) * row.shape[1] for row in self.rows)


class SeriesWindows:
    """Windows of series in batches of `rows`, each epoch in another order: a pure function of (seed, epoch, step).

    The last batch of an epoch is filled up with its first windows. `part` are the rows that this process reads. Without
    `shuffle` windows come in their order and the last batch is smaller.
    """

    def __init__(
        self, series: Sequence[Floats], *, steps: int, rows: int, part: range | None = None, shuffle: bool = True
    ) -> None:
        self.series = list(series)
        self.windows = cut_windows([len(one) for one in series], steps)
        self.rows, self.shuffle = rows, shuffle
        self.part = range(rows) if part is None else part

    def __len__(self) -> int:
        return len(self.windows)

    def steps_per_epoch(self) -> int:
        return -(-len(self.windows) // self.rows)

    def batch(self, seed: int, epoch: int, step: int) -> WindowRows:
        count = len(self.windows)
        order = permutation(count, seed, epoch, _ORDER) if self.shuffle else np.arange(count)
        places = np.arange(step * self.rows, (step + 1) * self.rows)
        places = places % count if self.shuffle else places[places < count]
        chosen = [self.windows[order[place]] for row, place in enumerate(places) if row in self.part]
        read = np.array([[step, row] for row in range(len(places)) if row in self.part], dtype=np.int64).reshape(-1, 2)
        marked = np.concatenate([read, np.array(chosen, dtype=np.int64).reshape(-1, 3)], axis=1)
        return WindowRows([self.series[number][start:end] for number, start, end in chosen], digest(marked, seed, epoch))


def count_targets(series: Sequence[Floats]) -> int:
    """Values that one pass predicts."""
    return sum(max(0, len(one) - 1) * one.shape[1] for one in series)
