"""Intervals: they cover what they promise, pair what is paired, and say nothing where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest

from carryover.compare.statistics import Resampling, equivalent_labels, error_reduction, widening
from example_material import figure

ACCURACY = figure("accuracy")


def of(correct: np.ndarray) -> np.ndarray:
    return np.stack([correct, np.ones_like(correct)], axis=1)


def experiment(random: np.random.Generator, seeds: int, examples: int, of_seeds: float, of_examples: float) -> dict:
    """Correctness whose logit is the sum of luck of the seed and ease of the example."""
    ease, luck = random.normal(0, of_examples, examples), random.normal(0, of_seeds, seeds)
    chance = 1 / (1 + np.exp(-(0.8 + ease + luck[:, None])))
    return {s: of((random.random(examples) < chance[s]).astype(float)) for s in range(seeds)}


@pytest.mark.parametrize(("of_seeds", "of_examples"), [(0.5, 1.0), (0.1, 1.0)])
def test_five_seeds_cover_95_percent(of_seeds: float, of_examples: float) -> None:
    """A plain percentile interval covers 84 % in the first case: this test is red without the widening."""
    random = np.random.default_rng(1)
    draws = random.standard_normal(400_000) * np.hypot(of_seeds, of_examples)
    truth = float(np.mean(1 / (1 + np.exp(-(0.8 + draws)))))
    hits = 0
    for trial in range(300):
        found = Resampling(experiment(random, 5, 300, of_seeds, of_examples), ACCURACY, replicates=250, seed=trial)
        hits += found.interval(found.replicates(list(range(5)))).contains(truth)
    assert 0.92 <= hits / 300 <= 0.995


def test_widening_is_students_t() -> None:
    assert widening(5, 0.95) == pytest.approx(np.sqrt(5 / 4) * 2.776445 / 1.959964, rel=1e-5)
    assert widening(200, 0.95) == pytest.approx(1, abs=0.02)


def test_same_cells_same_numbers() -> None:
    cells = experiment(np.random.default_rng(0), 3, 100, 0.3, 1.0)
    one, two = (Resampling(cells, ACCURACY, replicates=300).replicates([0, 1, 2]) for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, Resampling(cells, ACCURACY, replicates=300, seed=9).replicates([0, 1, 2]))


def test_differences_are_paired() -> None:
    """Two systems that err on the same examples differ by a little, surely; unpaired the interval would contain 0."""
    random = np.random.default_rng(3)
    cells = experiment(random, 5, 500, 0.4, 2.0)
    for s in range(5):
        better = cells[s][:, 0].copy()
        wrong = np.flatnonzero(better == 0)
        better[random.choice(wrong, 10, replace=False)] = 1
        cells["better", s] = of(better)
    found = Resampling(cells, ACCURACY, replicates=1000)
    better, plain = found.replicates([("better", s) for s in range(5)]), found.replicates(list(range(5)))
    paired = found.interval(better - plain)
    assert paired.low > 0.01
    assert paired.high < 0.03
    shuffled = found.interval(better - np.random.default_rng(0).permutation(plain))
    assert shuffled.contains(0)


def test_equal_predictions_differ_by_nothing() -> None:
    cells = experiment(np.random.default_rng(0), 5, 80, 0.3, 1.0)
    cells |= {("twin", s): cells[s] for s in range(5)}
    found = Resampling(cells, ACCURACY, replicates=200)
    interval = found.interval(found.replicates([("twin", s) for s in range(5)]) - found.replicates(list(range(5))))
    assert (interval.low, interval.high) == (0, 0)
    assert interval.contains(0)


def test_one_seed_knows_only_the_test_examples() -> None:
    cells = {0: of((np.arange(400) % 4 > 0).astype(float))}
    found = Resampling(cells, ACCURACY, replicates=2000)
    interval = found.interval(found.replicates([0]))
    spread = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert interval.low == pytest.approx(0.75 - spread, abs=0.01)
    assert interval.high == pytest.approx(0.75 + spread, abs=0.01)


def test_cells_must_share_the_test_split() -> None:
    with pytest.raises(ValueError, match="3 test examples and 1 has 4"):
        Resampling({0: of(np.ones(3)), 1: of(np.ones(4))}, ACCURACY)


def test_label_equivalents_are_read_off_the_curve() -> None:
    labels = np.array([50.0, 100.0, 200.0, 400.0])
    curve = np.array([[0.5, 0.6, 0.7, 0.8]])

    def read(target: float, values: np.ndarray = curve) -> float:
        return float(equivalent_labels(np.array([target]), values, labels)[0])

    assert read(0.7) == pytest.approx(200)
    assert read(0.65) == pytest.approx(np.sqrt(100 * 200))  # half way on a logarithmic scale
    assert read(0.4) == 50
    assert read(0.81) == np.inf
    dip = np.array([[0.5, 0.66, 0.64, 0.8]])
    assert read(0.65, dip) == pytest.approx(100 * (100 / 50) ** (-1 / 16), rel=1e-6)
    assert read(0.73, dip) == pytest.approx(np.sqrt(200 * 400))


def test_limits_are_replicates_even_when_some_are_infinite() -> None:
    found = Resampling({0: of(np.ones(2))}, ACCURACY, replicates=100)
    interval = found.interval(np.array([100.0] * 90 + [np.inf] * 10))
    assert (interval.low, interval.high) == (100, np.inf)


def test_error_reduction_is_the_share_of_the_errors() -> None:
    def of_scores(base: list[float], score: list[float]) -> list[float]:
        return error_reduction(np.array(base), np.array(score)).tolist()

    assert of_scores([0.8, 0.8, 0.5], [0.9, 0.7, 0.5]) == pytest.approx([0.5, -0.5, 0.0])
    assert of_scores([1.0, 1.0, 1.02], [1.0, 0.9, 1.1]) == [0.0, -np.inf, 0.0]  # nothing is left to take away
    assert of_scores([-0.1], [0.5]) == [0.5]  # a widened replicate below 0 has no more errors than all


def test_its_interval_covers_what_it_promises() -> None:
    """The share of errors gone is a quotient of two random numbers: its interval must hold the truth 95 times in 100."""
    random, hits = np.random.default_rng(5), 0
    for trial in range(200):
        base = experiment(random, 5, 300, 0.3, 1.0)
        better = {("better", s): of(np.maximum(rows[:, 0], random.random(300) < 0.25)) for s, rows in base.items()}
        found = Resampling({**base, **better}, ACCURACY, replicates=250, seed=trial)
        shares = error_reduction(found.replicates(list(base)), found.replicates(list(better)))
        hits += found.interval(shares).contains(0.25)
    assert 0.92 <= hits / 200 <= 1.0
