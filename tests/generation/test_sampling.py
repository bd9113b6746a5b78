"""The distribution that is drawn from: exact cuts, exact order, and draws that follow it."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import chisquare

from carryover.errors import UsageError
from carryover.generation import Sampling
from carryover.generation.sampling import best_places, most_likely


def logs(*probabilities: float) -> torch.Tensor:
    return torch.tensor([math.log(p) if p else -math.inf for p in probabilities])


def test_temperature_is_the_power_of_the_distribution() -> None:
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    for temperature in (0.5, 1.0, 3.0):
        wanted = p ** (1 / temperature)
        found = Sampling(temperature=temperature).probabilities(p.log())
        torch.testing.assert_close(found, wanted / wanted.sum())
    assert Sampling(temperature=1e-200).probabilities(p.log()).tolist() == [1, 0, 0]


def test_exactly_k_are_kept_on_ties_and_the_lowest_ids_win() -> None:
    equal = torch.zeros(7)
    for k in range(1, 9):
        kept = Sampling(top_k=k).probabilities(equal)
        assert (kept > 0).tolist() == [number < k for number in range(7)]
    some = Sampling(top_k=3).probabilities(logs(0.1, 0.2, 0.1, 0.4, 0.1, 0.1))
    torch.testing.assert_close(some, torch.tensor([0.1, 0.2, 0, 0.4, 0, 0], dtype=torch.float64) / 0.7, atol=1e-7, rtol=0)


def test_the_nucleus_is_the_smallest_set_that_reaches_the_share() -> None:
    p = logs(0.1, 0.4, 0.2, 0.3)
    kept = {
        share: (Sampling(top_p=share).probabilities(p) > 0).nonzero().squeeze(1).tolist()
        for share in (0.01, 0.39, 0.41, 0.69, 0.71, 0.89, 0.91, 1.0)
    }
    assert kept == {
        0.01: [1],
        0.39: [1],
        0.41: [1, 3],
        0.69: [1, 3],
        0.71: [1, 2, 3],
        0.89: [1, 2, 3],
        0.91: [0, 1, 2, 3],
        1.0: [0, 1, 2, 3],
    }
    exact = p.double().exp() / p.double().exp().sum()  # in float64 the border itself is met
    assert (Sampling(top_p=float(exact[1])).probabilities(exact.log()) > 0).sum() == 1
    even = Sampling(top_p=0.5).probabilities(torch.zeros(4))
    assert even.tolist() == [0.5, 0.5, 0, 0]


def test_both_cuts_k_first_then_the_share_of_what_is_left() -> None:
    p = logs(0.4, 0.3, 0.2, 0.1)
    # of the two best, 0.4 is 4/7 = 0.571: it alone reaches 0.55 there, and not of the whole
    assert (Sampling(top_k=2, top_p=0.55).probabilities(p) > 0).tolist() == [True, False, False, False]
    assert (Sampling(top_p=0.55).probabilities(p) > 0).tolist() == [True, True, False, False]
    assert (Sampling(top_k=2, top_p=0.6).probabilities(p) > 0).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=0.7),
        Sampling(top_k=3),
        Sampling(top_p=0.8),
        Sampling(temperature=2, top_k=4, top_p=0.9),
    ],
    ids=str,
)
def test_draws_follow_the_distribution(sampling: Sampling) -> None:
    scores = logs(0.05, 0.35, 0.0, 0.15, 0.25, 0.2).expand(20_000, -1)
    numbers = torch.rand(20_000, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    counts = torch.bincount(sampling.draw(scores, numbers), minlength=6)
    wanted = sampling.probabilities(scores[0])
    assert counts[wanted == 0].sum() == 0
    possible = wanted > 0
    assert chisquare(counts[possible].numpy(), (20_000 * wanted[possible]).numpy()).pvalue > 0.001


def test_the_ends_of_the_unit_interval_draw_possible_tokens() -> None:
    scores = logs(0.0, 0.5, 0.0, 0.5, 0.0).expand(2, -1)
    drawn = Sampling().draw(scores, torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert drawn.tolist() == [1, 3]


def test_the_best_of_many_equals_a_stable_sort() -> None:
    scores = torch.randint(4, (50,), generator=torch.Generator().manual_seed(1)).double()
    order = torch.sort(scores, descending=True, stable=True).indices.tolist()
    for count in (1, 7, 49, 50, 80):
        assert best_places(scores, count) == order[:count]
        assert most_likely(scores, min(count, 50)).sum() == min(count, 50)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0.0}, "top_p is 0"),
        ({"top_p": 1.01}, "top_p is 1.01"),
        ({"top_p": math.nan}, "top_p is nan"),
    ],
)
def test_wrong_numbers_are_named(wrong: dict[str, float], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Sampling(**wrong)  # type: ignore[arg-type]
