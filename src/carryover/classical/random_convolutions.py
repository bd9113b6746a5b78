"""Features of series by convolutions that are not learned (MiniRocket, Dempster, Schmidt, Webb 2021, "MiniRocket: a very fast
(almost) deterministic transform for time series classification", after ROCKET, Dempster, Petitjean, Webb 2020).

There are 84 kernels of nine weights, six of −1 and three of 2, each at several dilations. A feature is the share of time at
which a convolution is above a threshold; the thresholds are quantiles of its output on training series. Half of the
convolutions reach over the ends, where the series is continued by zeros, half do not. Of several channels each convolution
reads the sum of a few drawn at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from carryover.classical.stored import Stored

WEIGHTS = 9
KERNELS: tuple[tuple[int, ...], ...] = tuple(combinations(range(WEIGHTS), 3))
"""Places of the weights of 2 in each kernel."""
MOST_DILATIONS = 32
FEATURES = 9996
"""84 kernels × 119 thresholds."""
_GOLDEN = (5**0.5 + 1) / 2
_AT_ONCE = 1 << 22  # numbers of a chunk of series

Floats = NDArray[np.float32]


class RandomConvolutions:
    """`fit` draws channels and thresholds, `transform` gives the features.

    Series are float32 [T, C] of any lengths, C the same for all; a series shorter than a kernel's reach has the share 0 where
    the kernel does not reach over the ends. The result for a series does not depend on the others.
    """

    def __init__(self, features: int = FEATURES) -> None:
        self.features_wanted = features

    def fit(self, series: Sequence[Floats], seed: int) -> RandomConvolutions:
        """Thresholds from training series drawn at random. The same arguments give the same features."""
        random = np.random.default_rng([seed, 5])
        self.channels = series[0].shape[1]
        longest = max(len(one) for one in series)
        self.dilations, counts = _dilations(longest, max(1, self.features_wanted // len(KERNELS)))
        total = len(KERNELS) * sum(counts)
        quantiles = (np.arange(1, total + 1) * _GOLDEN) % 1.0
        self.read: list[list[NDArray[np.int64]]] = []
        self.thresholds: list[list[Floats]] = []
        place = 0
        for dilation, count in zip(self.dilations, counts, strict=True):
            read, thresholds = [], []
            for kernel in KERNELS:
                chosen = _draw_channels(self.channels, random)
                # Of a very short training series nothing may be left inside: then its thresholds are 0.
                values, lengths = _padded([series[int(random.integers(len(series)))]])
                output = _convolve(_shifted(values, dilation), kernel, chosen)[0, : lengths[0]]
                own = quantiles[place : place + count]
                thresholds.append(np.quantile(output, own).astype(np.float32))
                read.append(chosen)
                place += count
            self.read.append(read)
            self.thresholds.append(thresholds)
        return self

    @property
    def count(self) -> int:
        """Number of features."""
        return sum(len(one) for thresholds in self.thresholds for one in thresholds)

    def feature_names(self) -> list[str]:
        """In the order of `transform`."""
        return [
            f"convolution {''.join(str(place) for place in kernel)} at dilation {dilation} above {threshold:.3g}"
            for dilation, own in zip(self.dilations, self.thresholds, strict=True)
            for kernel, some in zip(KERNELS, own, strict=True)
            for threshold in some
        ]

    def to_arrays(self) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
        """All that was drawn: dilations [D], channels of each kernel one after the other and how many, thresholds of all."""
        read = [own for several in self.read for own in several]
        return {
            "dilations": np.array(self.dilations, dtype=np.int64),
            "read": np.concatenate(read).astype(np.int64),
            "read_counts": np.array([len(own) for own in read], dtype=np.int64),
            "thresholds": np.concatenate([one for several in self.thresholds for one in several]),
            "threshold_counts": np.array([len(several[0]) for several in self.thresholds], dtype=np.int64),
        }

    @classmethod
    def from_stored(cls, stored: Stored, channels: int) -> RandomConvolutions:
        """Inverse of `to_arrays`. Raises KeyError, ValueError for what does not fit together."""
        found = cls()
        found.channels = channels
        dilations = stored.array("dilations", None, kind="i")
        many = len(dilations)
        counts = stored.array("threshold_counts", many, kind="i")
        thresholds = stored.array("thresholds", None).astype(np.float32)
        read_counts = stored.array("read_counts", many * len(KERNELS), kind="i")
        read = stored.array("read", None, kind="i")
        if not many or dilations.min() < 1 or counts.min() < 1 or read_counts.min() < 1:
            raise ValueError("a convolution has no dilation, no threshold or no channel")
        if read_counts.sum() != len(read) or read.min() < 0 or read.max() >= channels:
            raise ValueError(f"the convolutions read {len(read)} channels of {channels}, not as counted")
        if counts.sum() * len(KERNELS) != len(thresholds):
            raise ValueError(f"there are {len(thresholds)} thresholds, counted are {counts.sum() * len(KERNELS)}")
        found.dilations = dilations.tolist()
        rows = iter(np.split(read, np.cumsum(read_counts)[:-1]))
        found.read = [[next(rows) for _ in KERNELS] for _ in range(many)]
        parts = iter(np.split(thresholds, np.cumsum(np.repeat(counts, len(KERNELS)))[:-1]))
        found.thresholds = [[next(parts) for _ in KERNELS] for _ in range(many)]
        return found

    def transform(self, series: Sequence[Floats]) -> Floats:
        """[N, count], each from 0 to 1."""
        result = np.zeros((len(series), self.count), dtype=np.float32)
        size = max(1, _AT_ONCE // max(1, max((one.size for one in series), default=1) * WEIGHTS))
        for start in range(0, len(series), size):
            result[start : start + size] = self._transform(series[start : start + size])
        return result

    def _transform(self, series: Sequence[Floats]) -> Floats:
        values, lengths = _padded(series)
        steps = np.arange(values.shape[1])
        found: list[Floats] = []
        for number, dilation in enumerate(self.dilations):
            shifted = _shifted(values, dilation)
            reach = dilation * (WEIGHTS // 2)
            whole = steps < lengths[:, None]  # [N, T]
            inside = (steps >= reach) & (steps < lengths[:, None] - reach)
            for place, kernel in enumerate(KERNELS):
                output = _convolve(shifted, kernel, self.read[number][place])  # [N, T]
                counted = whole if (number + place) % 2 == 0 else inside
                above = output[:, :, None] > self.thresholds[number][place]  # [N, T, thresholds]
                above &= counted[:, :, None]
                share = above.sum(axis=1, dtype=np.int64) / np.maximum(counted.sum(axis=1), 1)[:, None]
                found.append(share.astype(np.float32))
        return np.concatenate(found, axis=1)


def _dilations(longest: int, wanted: int) -> tuple[list[int], list[int]]:
    """Dilations from 1 up to where a kernel spans the longest series, evenly in the logarithm, and thresholds for each:
    `wanted` together."""
    most = np.log2(max(1.0, (longest - 1) / (WEIGHTS - 1)))
    drawn = np.floor(np.logspace(0, most, min(wanted, MOST_DILATIONS), base=2.0)).astype(np.int64)
    dilations, times = np.unique(drawn, return_counts=True)
    counts = np.maximum(1, times * wanted // len(drawn))
    for place in range(max(0, wanted - int(counts.sum()))):  # what rounding has left
        counts[place % len(counts)] += 1
    return dilations.tolist(), counts.tolist()


def _draw_channels(channels: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Between one and all channels, few more often than many."""
    most = min(channels, WEIGHTS)
    count = int(2 ** random.uniform(0, np.log2(most + 1)))
    return np.sort(random.choice(channels, size=min(count, channels), replace=False))


def _padded(series: Sequence[Floats]) -> tuple[Floats, NDArray[np.int64]]:
    """[N, T, C] with zeros behind the end of each, and the lengths [N]."""
    lengths = np.array([len(one) for one in series], dtype=np.int64)
    values = np.zeros((len(series), int(lengths.max(initial=0)), series[0].shape[1]), dtype=np.float32)
    for row, one in zip(values, series, strict=True):
        row[: len(one)] = one
    return values, lengths


def _shifted(values: Floats, dilation: int) -> list[Floats]:
    """For each of the nine weights what it reads at each step, zeros beyond the ends: [N, T, C]."""
    steps = values.shape[1]
    shifted = []
    for weight in range(WEIGHTS):
        offset = (weight - WEIGHTS // 2) * dilation
        moved = np.zeros_like(values)
        if abs(offset) < steps:
            moved[:, max(0, -offset) : steps - max(0, offset)] = values[:, max(0, offset) : steps - max(0, -offset)]
        shifted.append(moved)
    return [*shifted, np.sum(shifted, axis=0)]


def _convolve(shifted: list[Floats], kernel: tuple[int, ...], channels: NDArray[np.int64]) -> Floats:
    """[N, T]: three times what the kernel's places read, less the sum over all nine, summed over the channels."""
    first, second, third = (shifted[place] for place in kernel)
    return (3 * (first[..., channels] + second[..., channels] + third[..., channels]) - shifted[-1][..., channels]).sum(
        axis=2
    )
