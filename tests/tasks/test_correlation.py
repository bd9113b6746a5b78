from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from carryover.tasks.correlation import count_moments, count_ranks, mean_squared_error, pearson, ranks

RANDOM = np.random.default_rng(0)


def drawn(count: int, *, ties: bool = False, offset: float = 0.0) -> tuple[list[float], list[float]]:
    gold = RANDOM.normal(size=count)
    predicted = 0.6 * gold + RANDOM.normal(size=count)
    if ties:
        gold, predicted = gold.round(), predicted.round()
    return (gold + offset).tolist(), (predicted + offset).tolist()


@pytest.mark.parametrize("count", [2, 3, 10, 500])
@pytest.mark.parametrize("ties", [False, True])
def test_equals_scipy(count: int, ties: bool) -> None:
    gold, predicted = drawn(count, ties=ties)
    if len(set(gold)) == 1 or len(set(predicted)) == 1:
        gold[0], predicted[0] = 9.0, 9.0
    sums = count_moments(gold, predicted).sum(axis=0)
    assert pearson(sums) == pytest.approx(stats.pearsonr(gold, predicted)[0], abs=1e-9)
    assert mean_squared_error(sums) == pytest.approx(np.mean(np.subtract(gold, predicted) ** 2), abs=1e-12)
    spearman = pearson(count_ranks(gold, predicted).sum(axis=0))
    assert spearman == pytest.approx(stats.spearmanr(gold, predicted)[0], abs=1e-9)
    np.testing.assert_allclose(ranks(gold), stats.rankdata(gold) - 1)


def test_large_numbers_of_small_spread_keep_their_digits() -> None:
    gold, predicted = drawn(200, offset=1e6)
    assert pearson(count_moments(gold, predicted).sum(axis=0)) == pytest.approx(stats.pearsonr(gold, predicted)[0], abs=1e-6)


def test_thousands_of_sums_at_once_are_what_each_gives_alone() -> None:
    counts = count_moments(*drawn(60))
    picks = RANDOM.integers(60, size=(40, 60))
    sums = counts[picks].sum(axis=1)  # [40, 6]
    assert pearson(sums).shape == (40,)
    for pick, found in zip(picks, pearson(sums), strict=True):
        again = counts[pick]
        assert found == pytest.approx(np.corrcoef(again[:, 0], again[:, 1])[0, 1], abs=1e-9)


def test_an_answer_that_is_always_the_same_is_worth_nothing() -> None:
    gold, _ = drawn(30)
    same = count_moments(gold, [sum(gold) / 30] * 30)
    assert pearson(same.sum(axis=0)) == 0
    assert pearson(count_moments([0.1] * 7, list(range(7))).sum(axis=0)) == 0
    assert pearson(count_ranks([3.3] * 7, list(range(7))).sum(axis=0)) == 0
    assert pearson(count_moments([], []).sum(axis=0)) == 0 == mean_squared_error(np.zeros(6))


def test_every_number_is_scored_once() -> None:
    with pytest.raises(ValueError, match="3 gold numbers but 2 predictions"):
        count_moments([1, 2, 3], [1, 2])
