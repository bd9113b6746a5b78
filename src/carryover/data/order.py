"""The order of samples as a pure function of numbers: seed, epoch, and whatever else tells two orders apart.

Nothing here has a state, so a run that resumes at step k needs no stored random state to see the samples it would have
seen. The numbers come from the counter-based generator SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable
pseudorandom number generators", figure 15), written out here because numpy does not promise that its own generators give
the same stream in every version.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def random_bits(count: int, *keys: int) -> NDArray[np.uint64]:
    """`count` independent 64-bit numbers, [count]; the same for the same keys on every machine."""
    counters = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_STEP) + np.uint64(_state(keys))
    return _mix_all(counters)


def uniform_rows(count: int, numbers: Iterable[int], *keys: int) -> NDArray[np.float64]:
    """`uniform(count, *keys, number)` for each of `numbers`, one below the other: [B, count]."""
    states = np.array([_state((*keys, number)) for number in numbers], dtype=np.uint64)
    counters = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_STEP)
    return (_mix_all(states[:, None] + counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(count: int, *keys: int) -> NDArray[np.int64]:
    """The numbers 0 … count−1 in an order drawn by the keys, [count]."""
    return np.argsort(random_bits(count, *keys), kind="stable")


def uniform(count: int, *keys: int) -> NDArray[np.float64]:
    """`count` numbers drawn uniformly from [0, 1)."""
    return (random_bits(count, *keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def digest(rows: NDArray[np.int64], *keys: int) -> int:
    """64 bits that tell what the rows [n, columns] hold and under which keys, whatever order the rows come in.

    The digests of parts of the rows add up, modulo 2⁶⁴, to that of all of them. Each row is a weighted sum of its numbers,
    mixed; so a row must itself say which it is.
    """
    with np.errstate(over="ignore"):
        weights = random_bits(rows.shape[1], *keys) | np.uint64(1)
        sums = (rows.astype(np.uint64) * weights).sum(axis=1, dtype=np.uint64)
        mixed = (sums ^ (sums >> np.uint64(30))) * np.uint64(_FIRST)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_SECOND)
        return int((mixed ^ (mixed >> np.uint64(31))).sum(dtype=np.uint64))


def _mix(number: int) -> int:
    """The mixing function of SplitMix64 on one Python integer below 2⁶⁴."""
    number = ((number ^ (number >> 30)) * _FIRST) & _MASK
    number = ((number ^ (number >> 27)) * _SECOND) & _MASK
    return number ^ (number >> 31)


def _state(keys: Iterable[int]) -> int:
    state = 0
    for key in keys:
        state = _mix((state + _STEP + (key & _MASK)) & _MASK)
    return state


def _mix_all(counters: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """`_mix` on many numbers."""
    mixed = (counters ^ (counters >> np.uint64(30))) * np.uint64(_FIRST)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_SECOND)
    return mixed ^ (mixed >> np.uint64(31))
