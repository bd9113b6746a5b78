"""The adding problem and the copy memory task: what they are made of, and what knowing nothing costs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from carryover.data.order import uniform, uniform_rows
from carryover.data.synthetic import adding_problem, copy_memory


def test_adding_marks_two_steps_whose_sum_is_asked() -> None:
    values, targets = adding_problem(range(200), 30, 5)
    assert values.shape == (200, 30, 2) and values.dtype == targets.dtype == np.float32
    assert values[..., 0].min() >= 0 and values[..., 0].max() < 1
    assert (np.isin(values[..., 1], (0, 1))).all() and (values[..., 1].sum(1) == 2).all()
    assert np.array_equal(targets, (values[..., 0] * values[..., 1]).sum(1))


def test_adding_draws_every_step_and_number_alike() -> None:
    values, targets = adding_problem(range(20_000), 8, 3)
    # Var(u + v) = 2/12: what always saying 1 costs. Standard error of the mean of (u + v − 1)²: √(Var)/√n ≈ 0.0014.
    assert abs(float(((targets - 1) ** 2).mean()) - 1 / 6) < 0.006
    assert abs(float(targets.mean()) - 1) < 0.015
    marked = values[..., 1].mean(0)
    assert np.abs(marked - 0.25).max() < 0.015  # each of 8 steps carries one of 2 marks
    together = np.einsum("bi,bj->ij", values[..., 1], values[..., 1]) / len(values)
    pairs = together[~np.eye(8, dtype=bool)]
    assert np.abs(pairs - 1 / 28).max() < 0.006  # each of 28 pairs alike
    assert np.abs(values[..., 0].mean(0) - 0.5).max() < 0.012


def test_copy_memory_is_laid_out_as_published() -> None:
    values, targets = copy_memory(range(50), 7, 1)
    assert values.shape == (50, 27, 1) and targets.shape == (50, 27)
    symbols = values[:, :10, 0]
    assert symbols.min() >= 1 and symbols.max() <= 8
    assert (values[:, 10:16] == 0).all() and (values[:, 16:] == 9).all()  # T − 1 zeros, then eleven 9
    assert (targets[:, :17] == 0).all() and np.array_equal(targets[:, 17:], symbols.astype(np.int64))


def test_copy_memory_costs_who_remembers_nothing_what_is_published() -> None:
    blank = 40
    values, targets = copy_memory(range(2000), blank, 1)
    # Zero with certainty, then each of the eight symbols with probability 1/8.
    said = np.zeros((blank + 20, 10))
    said[: blank + 10, 0] = 1
    said[blank + 10 :, 1:9] = 1 / 8
    cost = -np.log(np.take_along_axis(said[None].repeat(len(targets), 0), targets[..., None], 2)).mean()
    assert math.isclose(cost, 10 * math.log(8) / (blank + 20), rel_tol=1e-12)
    shares = np.bincount(values[:, :10, 0].astype(int).ravel(), minlength=9)[1:] / 20_000
    assert np.abs(shares - 1 / 8).max() < 0.01


@pytest.mark.parametrize("make", [adding_problem, copy_memory])
def test_a_row_is_a_function_of_its_number_and_the_seed(make) -> None:  # type: ignore[no-untyped-def]
    values, targets = make([4, 9, 4], 20, 2, 0)
    assert np.array_equal(values[0], values[2]) and not np.array_equal(values[0], values[1])
    alone = make([9], 20, 2, 0)
    assert np.array_equal(alone[0][0], values[1]) and np.array_equal(alone[1][0], targets[1])
    for other in ((2, 1), (3, 0)):
        assert not np.array_equal(make([9], 20, *other)[0], alone[0])


def test_lengths_that_make_no_task_are_refused() -> None:
    with pytest.raises(ValueError, match="the length is 1"):
        adding_problem([0], 1, 0)
    with pytest.raises(ValueError, match="the blank is 0"):
        copy_memory([0], 0, 0)


def test_rows_are_what_each_number_draws_alone() -> None:
    found = uniform_rows(5, [0, 7, 2**40], 3, 1)
    assert np.array_equal(found, np.stack([uniform(5, 3, 1, number) for number in (0, 7, 2**40)]))
    assert uniform_rows(5, [], 3).shape == (0, 5)
