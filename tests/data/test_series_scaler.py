"""The scale of series: by hand, of the training part alone, stored and refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from carryover.data.examples import Series
from carryover.data.series_scaler import SeriesScaler
from carryover.errors import BadData, NothingToLearn


def test_values_by_hand_and_a_constant_channel() -> None:
    first, second = Series(np.array([[1.0, 7.0], [3.0, 7.0]])), Series(np.array([[5.0, 7.0], [7.0, 7.0]]))
    scaler = SeriesScaler.learn([first, second])
    assert scaler.mean == (4.0, 7.0)
    assert scaler.deviation == (5**0.5, 1.0)
    assert np.allclose(scaler.scale(first), [[-3 / 5**0.5, 0], [-1 / 5**0.5, 0]])
    assert scaler.scale(first).dtype == np.float32
    assert SeriesScaler.from_json(scaler.to_json()) == scaler
    large = SeriesScaler.learn([Series(np.full((9, 1), 1e9 + 0.1))])
    assert large.deviation == (1.0,)


def test_other_channels_are_refused() -> None:
    scaler = SeriesScaler.learn([Series(np.zeros((3, 2)))])
    with pytest.raises(BadData, match="the series has 1 channels and the model reads 2"):
        scaler.scale(Series(np.zeros((3, 1))))
    with pytest.raises(BadData, match="a series has 1 channels, the first has 2"):
        SeriesScaler.learn([Series(np.zeros((3, 2))), Series(np.zeros((3, 1)))])
    with pytest.raises(NothingToLearn):
        SeriesScaler.learn([])


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "other"},
        {"mean": [0.0]},
        {"mean": []},
        {"mean": [0.0, float("nan")]},
        {"deviation": [1.0, 0.0]},
        {"deviation": [1.0, "x"]},
        {"deviation": None},
    ],
)
def test_a_damaged_document_is_bad_data(change: dict[str, Any]) -> None:
    content = {**SeriesScaler((0.0, 0.0), (1.0, 1.0)).to_json(), **change}
    with pytest.raises(BadData):
        SeriesScaler.from_json(content)
