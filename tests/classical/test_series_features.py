"""Statistics and random convolutions of series against plain loops, and the linear model over them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from carryover.classical.random_convolutions import KERNELS, WEIGHTS, RandomConvolutions
from carryover.classical.series_features import CANDIDATES, SeriesClassifier
from carryover.classical.series_statistics import BANDS, LAGS, NAMES, describe
from carryover.data.examples import Series
from carryover.data.formats.series.reading import read_series
from carryover.errors import NothingToLearn, UsageError

DATA = Path(os.environ.get("CARRYOVER_TEST_DATA", "/nowhere"))


def noise(lengths: list[int], channels: int, seed: int = 0) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    return [random.normal(size=(length, channels)).astype(np.float32) for length in lengths]


def waves(count: int, seed: int, channels: int = 1) -> tuple[list[Series], list[tuple[str, ...]]]:
    """Slow and fast waves in noise, of unequal length; the class is the speed."""
    random = np.random.default_rng(seed)
    series, labels = [], []
    for number in range(count):
        period = (6, 15)[number % 2]
        time = np.arange(int(random.integers(40, 70)))
        wave = np.sin(2 * np.pi * (time / period + random.uniform()))
        values = wave[:, None] + 0.3 * random.normal(size=(len(time), channels))
        series.append(Series(values))
        labels.append((("fast", "slow")[number % 2],))
    return series, labels


def plain_share(model: RandomConvolutions, series: NDArray[np.float32], number: int, place: int) -> NDArray[np.float64]:
    """The features of one dilation and kernel of a series, by three loops."""
    dilation, kernel = model.dilations[number], KERNELS[place]
    weights = [2.0 if weight in kernel else -1.0 for weight in range(WEIGHTS)]
    reach, steps = dilation * (WEIGHTS // 2), len(series)
    outputs = []
    for step in range(steps):
        if (number + place) % 2 and not reach <= step < steps - reach:
            continue
        total = 0.0
        for weight in range(WEIGHTS):
            read = step + (weight - WEIGHTS // 2) * dilation
            if 0 <= read < steps:
                total += weights[weight] * float(series[read, model.read[number][place]].sum())
        outputs.append(total)
    thresholds = model.thresholds[number][place]
    return np.array([np.mean([one > threshold for one in outputs]) if outputs else 0.0 for threshold in thresholds])


@pytest.mark.parametrize("channels", [1, 3])
def test_convolutions_are_what_plain_loops_compute(channels: int) -> None:
    series = noise([50, 31, 12], channels)
    model = RandomConvolutions(84 * 4).fit(series, seed=1)
    found = model.transform(series)
    assert found.shape == (3, model.count)
    places = np.cumsum([0] + [len(one) for thresholds in model.thresholds for one in thresholds])
    for number in range(len(model.dilations)):
        for place in (0, 41, 83):
            begin = places[number * len(KERNELS) + place]
            for row, one in zip(found, series, strict=True):
                expected = plain_share(model, one, number, place)
                # A threshold is an output of a training series: rounding may put that one output on either side.
                assert np.abs(row[begin : begin + len(expected)] - expected).max() <= 1.01 / len(one)


def test_convolutions_of_a_series_do_not_depend_on_the_others() -> None:
    series = noise([40, 90, 9, 3, 1], 2)
    model = RandomConvolutions(84 * 3).fit(series, seed=0)
    together = model.transform(series)
    for number, one in enumerate(series):
        assert np.array_equal(model.transform([one])[0], together[number])
    assert np.array_equal(RandomConvolutions(84 * 3).fit(series, seed=0).transform(series), together)
    assert not np.array_equal(RandomConvolutions(84 * 3).fit(series, seed=1).transform(series), together)
    assert 0 <= together.min() <= together.max() <= 1


def test_the_usual_number_of_convolutions_is_that_of_the_paper() -> None:
    assert RandomConvolutions().fit(noise([140, 140], 1), seed=0).count == 9996


def test_statistics_of_values_written_by_hand() -> None:
    row = dict(zip(NAMES, describe([np.array([[1.0], [3.0], [2.0], [6.0]])])[0], strict=False))
    assert row["mean"] == 3.0
    assert row["standard deviation"] == pytest.approx(3.5**0.5)
    assert (row["minimum"], row["median"], row["maximum"], row["first"], row["last"]) == (1.0, 2.5, 6.0, 1.0, 6.0)
    assert row["slope"] == pytest.approx(1.4)  # (−1.5·1 − 0.5·3 + 0.5·2 + 1.5·6) / 5
    assert row["mean absolute change"] == pytest.approx(7 / 3)
    assert row["crossings of the mean"] == pytest.approx(1 / 3)
    assert row["autocorrelation at 1"] == pytest.approx((-2 * 0 + 0 * -1 + -1 * 3) / (4 * 3.5))
    assert describe([np.ones((5, 2))]).shape == (1, 2 * len(NAMES) + 1)


def test_statistics_are_finite_for_one_step_and_for_constants() -> None:
    for values in (np.ones((1, 1)), np.full((30, 1), 1e9), np.zeros((2, 1))):
        assert np.isfinite(describe([values])).all()
    assert len(NAMES) == 15 + len(LAGS) + BANDS


def test_the_model_tells_waves_apart_on_series_it_has_not_seen() -> None:
    series, labels = waves(40, seed=0, channels=2)
    model = SeriesClassifier(convolutions=84 * 3).fit(series, labels, seed=0)
    unseen, gold = waves(40, seed=1, channels=2)
    predicted = model.predict(unseen)
    assert np.mean([one == right for one, right in zip(predicted, gold, strict=True)]) >= 0.95
    assert set(model.scores) == set(CANDIDATES)
    assert model.parameter_count() > 0
    assert model.foretold_mib(series, 2, 40) > 0
    for candidate in CANDIDATES:
        one = SeriesClassifier(convolutions=84, candidates=[candidate], class_weights="balanced").fit(series, labels, seed=0)
        chances = one.predict_proba(unseen)
        assert chances.shape == (40, 2)
        assert np.allclose(chances.sum(axis=1), 1)
        assert [one.labels[i] for i in chances.argmax(axis=1)] == [label for (label,) in one.predict(unseen)]


def test_nothing_to_learn_and_several_labels_are_refused() -> None:
    series, _ = waves(4, seed=0)
    with pytest.raises(NothingToLearn, match="only one class"):
        SeriesClassifier().fit(series, [("a",)] * 4)
    with pytest.raises(UsageError, match="a series has one label"):
        SeriesClassifier(multi_label=True)
    model = SeriesClassifier(convolutions=84).fit(series, [("a",), ("b",)] * 2)
    assert model.predict([]) == []
    assert model.predict_proba([]).shape == (0, 2)


@pytest.mark.skipif(not DATA.is_dir(), reason="CARRYOVER_TEST_DATA names no folder of real data")
def test_motions_of_the_archive_reach_what_is_published() -> None:
    """MiniRocket and ROCKET get all 40 right."""
    train, test = (
        read_series(DATA / "uea-basicmotions" / f"BasicMotions_{part}.ts.gz").examples for part in ("TRAIN", "TEST")
    )
    model = SeriesClassifier().fit([one.input for one in train], [one.gold or () for one in train], seed=0)
    assert model.predict([one.input for one in test]) == [one.gold for one in test]
