"""Bringing the channels of series to mean 0 and deviation 1, by figures of the training part alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryover.data.examples import Series
from carryover.errors import BadData, NothingToLearn, check_schema

_SCHEMA = "carryover.series-scaler/1"


@dataclass(frozen=True)
class SeriesScaler:
    """What turns a series into a model's input: x ↦ (x − mean) / deviation, channel by channel.

    `deviation` is 1 for a channel that is constant in the training part.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def learn(cls, series: Sequence[Series]) -> SeriesScaler:
        """From all steps of the training series. Raises NothingToLearn without one, BadData where channels differ in number."""
        if not series:
            raise NothingToLearn("there is no series to learn a scale from", repair="give at least one")
        channels = series[0].values.shape[1]
        for one in series:
            if one.values.shape[1] != channels:
                raise BadData(
                    f"a series has {one.values.shape[1]} channels, the first has {channels}",
                    repair="give all series the same channels",
                )
        every = np.concatenate([one.values for one in series]).astype(np.float64)
        mean, deviation = every.mean(axis=0), every.std(axis=0)
        # Beside large values a constant has a deviation of rounding alone.
        constant = deviation <= 1e-12 * np.maximum(1.0, np.abs(mean))
        return cls(tuple(mean.tolist()), tuple(np.where(constant, 1.0, deviation).tolist()))

    @property
    def channels(self) -> int:
        """Number of channels that it knows."""
        return len(self.mean)

    def scale(self, series: Series) -> NDArray[np.float32]:
        """[T, C] in the units of the model. Raises BadData where the series has other channels, no step, or a value that is
        missing or too large for the model's numbers."""
        if series.values.shape[1] != self.channels:
            raise BadData(
                f"the series has {series.values.shape[1]} channels and the model reads {self.channels}",
                repair="give series with the channels of the training data",
            )
        if not len(series):
            raise BadData("a series has no step", repair="give at least one")
        scaled = (series.values - np.array(self.mean)) / np.array(self.deviation)
        with np.errstate(over="ignore"):
            found = np.asarray(scaled, dtype=np.float32)
        if not np.isfinite(found).all():
            step, channel = np.argwhere(~np.isfinite(found))[0]
            raise BadData(
                f"step {step + 1} of channel {channel + 1} of a series is {series.values[step, channel]:g}, which the model cannot "
                "read",
                repair="give finite numbers of a usual size, and fill what is missing",
            )
        return found

    def to_json(self) -> dict[str, Any]:
        return {"schema": _SCHEMA, "mean": list(self.mean), "deviation": list(self.deviation)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SeriesScaler:
        """Inverse of `to_json`. Raises BadData for what is no such document."""
        check_schema("the scale of series", content.get("schema"), _SCHEMA)
        mean, deviation = _numbers(content.get("mean")), _numbers(content.get("deviation"))
        if len(mean) != len(deviation) or not mean or min(deviation) <= 0:
            raise BadData(
                "mean and deviation must be lists of finite numbers of equal length, the deviations positive",
                repair="restore the folder from a copy",
            )
        return cls(mean, deviation)


def _numbers(found: object) -> tuple[float, ...]:
    """The finite numbers of a list from JSON; none where it is no such list."""
    if not isinstance(found, list) or not all(type(value) in (int, float) and math.isfinite(value) for value in found):
        return ()
    return tuple(map(float, found))
