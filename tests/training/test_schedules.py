"""Learning rates against their formulas."""

from __future__ import annotations

import math

import pytest

from carryover.errors import UsageError
from carryover.training.schedules import KINDS, Annealing, Schedule


def rates(**arguments: object) -> list[float]:
    schedule = Schedule(**{"peak": 2.0, "total": 100, **arguments})
    return [schedule.rate(step) for step in range(schedule.total)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_peak_is_the_peak_and_every_rate_is_positive(kind: str) -> None:
    found = rates(kind=kind, warm_up=10)
    assert max(found) == pytest.approx(2.0, rel=0.02) and min(found) >= 0
    assert all(math.isfinite(rate) for rate in found)


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine", "inverse-square-root"])
def test_the_warm_up_is_linear(kind: str) -> None:
    assert rates(kind=kind, warm_up=10)[:10] == pytest.approx([0.2 * step for step in range(1, 11)])


def test_linear_goes_down_to_its_floor() -> None:
    found = rates(kind="linear", warm_up=0, floor=0.1, total=10)
    assert found == pytest.approx([2.0 * (0.1 + 0.9 * (1 - step / 10)) for step in range(10)])


def test_cosine_is_half_way_in_the_middle() -> None:
    schedule = Schedule(kind="cosine", peak=1.0, total=200, warm_up=100)
    assert schedule.rate(100) == 1.0 and schedule.rate(150) == pytest.approx(0.5)
    assert schedule.rate(175) == pytest.approx(0.5 * (1 + math.cos(0.75 * math.pi)))


def test_slanted_triangular_is_equation_3() -> None:
    total, cut_frac, ratio, peak = 1000, 0.1, 32, 0.01
    cut = math.floor(total * cut_frac)
    schedule = Schedule(kind="slanted-triangular", peak=peak, total=total)
    for step in (0, 1, 57, 99, 100, 101, 500, 999):
        p = step / cut if step < cut else 1 - (step - cut) / (cut * (1 / cut_frac - 1))
        assert schedule.rate(step) == pytest.approx(peak * (1 + p * (ratio - 1)) / ratio), step


def test_inverse_square_root_halves_at_four_times_the_warm_up() -> None:
    schedule = Schedule(kind="inverse-square-root", peak=1.0, total=10, warm_up=25)
    assert (
        schedule.rate(24) == 1.0 and schedule.rate(99) == pytest.approx(0.5) and schedule.rate(9999) == pytest.approx(0.05)
    )


def test_a_staircase_is_a_tenth_lower_in_each_part() -> None:
    assert rates(kind="staircase", total=20) == pytest.approx([2.0] * 10 + [0.2] * 10)
    assert rates(kind="staircase", total=7, stairs=3) == pytest.approx([2.0] * 3 + [0.2] * 2 + [0.02] * 2)


def test_annealing_divides_after_what_is_worse_than_all_of_the_window() -> None:
    annealing = Annealing(divisor=10.0, window=3)
    figures = [5.0, 4.0, 4.5, 4.2, 4.6, 4.6, 4.3, 4.7]
    # Worse than all of up to three before it: the third (4.5 > 4.0? not 5.0) is not; 4.6 > max(4.0, 4.5, 4.2); 4.7 > 4.6.
    scales = [annealing.scale(figures[: number + 1]) for number in range(len(figures))]
    assert scales == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01])
    assert Annealing(divisor=10.0, window=3, after=7).scale(figures) == pytest.approx(0.1)
    assert Annealing(divisor=2.0, window=1, after=8).scale(figures) == 1.0 == annealing.scale([])


@pytest.mark.parametrize("arguments", [{"divisor": 1.0}, {"window": 0}, {"after": -1}])
def test_annealing_by_nonsense_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Annealing(**{"divisor": 10.0, "window": 3, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "inverse-square-root"])
def test_beyond_the_end_it_stays_where_it_was(kind: str) -> None:
    schedule = Schedule(kind=kind, peak=1.0, total=10, warm_up=2)
    assert schedule.rate(50) == schedule.rate(9)


@pytest.mark.parametrize(
    "arguments",
    [
        {"kind": "cosin"}, {"peak": 0.0}, {"peak": math.nan}, {"total": 0}, {"warm_up": -1}, {"cut": 1.0}, {"ratio": 0.5},
        {"floor": 2.0}, {"stairs": 0},
    ],
)  # fmt: skip
def test_nonsense_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        rates(**arguments)
