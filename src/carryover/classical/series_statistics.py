"""Figures that describe a series channel by channel: level, spread, shape, change, memory and spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

LAGS = (1, 2, 4, 8)
BANDS = 4
NAMES = (
    "mean", "standard deviation", "minimum", "lower quartile", "median", "upper quartile", "maximum", "skewness", "kurtosis",
    "first", "last", "slope", "mean absolute change", "deviation of changes", "crossings of the mean",
    *(f"autocorrelation at {lag}" for lag in LAGS),
    *(f"energy in band {band + 1} of {BANDS}" for band in range(BANDS)),
)  # fmt: skip
"""Of each channel; behind them all stands the logarithm of the length."""


def describe(series: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """[N, C · len(NAMES) + 1] of series [T, C]. Figures that are not defined (of one step, of a constant channel) are 0."""
    return np.stack([_row(np.asarray(one, dtype=np.float64)) for one in series])


def _row(values: NDArray[np.float64]) -> NDArray[np.float64]:
    steps = len(values)
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    centred = values - mean
    # Beside large values a constant has a deviation of rounding alone.
    constant = deviation <= 1e-12 * np.maximum(1.0, np.abs(mean))
    scaled = np.where(constant, 0.0, centred / np.where(constant, 1.0, deviation))
    change = np.diff(values, axis=0) if steps > 1 else np.zeros_like(values)
    time = np.arange(steps) - (steps - 1) / 2
    slope = (time[:, None] * centred).sum(axis=0) / max(1.0, float((time**2).sum()))
    above = centred > 0
    crossings = (above[1:] != above[:-1]).mean(axis=0) if steps > 1 else np.zeros_like(mean)
    memory = [(scaled[lag:] * scaled[:-lag]).sum(axis=0) / steps if steps > lag else np.zeros_like(mean) for lag in LAGS]
    figures = [
        mean, deviation, *np.quantile(values, (0, 0.25, 0.5, 0.75, 1), axis=0), (scaled**3).mean(axis=0),
        (scaled**4).mean(axis=0), values[0], values[-1], slope, np.abs(change).mean(axis=0), change.std(axis=0), crossings,
        *memory, *_energies(scaled),
    ]  # fmt: skip
    return np.append(np.stack(figures, axis=1).ravel(), np.log(steps))


def _energies(scaled: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The share of the energy in each band, from slow to fast; the bands are even in the logarithm of the frequency."""
    power = np.abs(np.fft.rfft(scaled, axis=0))[1:] ** 2  # [frequencies, C]
    total = np.maximum(power.sum(axis=0), 1e-12)
    ends = (
        np.unique(np.floor(np.geomspace(1, len(power) + 1, BANDS + 1)).astype(int)) - 1 if len(power) else np.zeros(1, int)
    )
    bands = [power[begin:end].sum(axis=0) / total for begin, end in pairwise(ends)]
    return bands + [np.zeros(scaled.shape[1])] * (BANDS - len(bands))
