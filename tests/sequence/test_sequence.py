"""The one value: padding, slicing, reversing, packing and joining, each row within its own length."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import carryover
from carryover.sequence import Sequence

rows_of_numbers = st.lists(st.lists(st.integers(-99, 99), max_size=6), min_size=1, max_size=5)
quick = settings(max_examples=60, deadline=None, derandomize=True)


def build(rows: list[list[int]], extra: int = 0) -> Sequence:
    """Rows of scalars with NaN in the padding, padded `extra` steps further than needed."""
    time = max(map(len, rows)) + extra
    values = torch.full((len(rows), time), torch.nan)
    for b, row in enumerate(rows):
        values[b, : len(row)] = torch.tensor(row)
    return Sequence.of(values, [len(row) for row in rows])


def contents(x: Sequence) -> list[list[float]]:
    return [row.tolist() for row in x.rows()]


@pytest.fixture
def three() -> Sequence:
    """Lengths 4, 2, 0 with 2 features; NaN in the padding."""
    values = torch.arange(24.0).view(3, 4, 2)
    values[1, 2:] = values[2] = torch.nan
    return Sequence.of(values, [4, 2, 0])


def test_is_the_public_one() -> None:
    assert carryover.Sequence is Sequence


def test_without_lengths_every_row_is_full() -> None:
    x = Sequence.of(torch.zeros(2, 3, 5))
    assert x.lengths.tolist() == [3, 3]
    assert (x.batch_size, x.time) == (2, 3)
    assert x.full


def test_full_is_known_of_what_has_the_same_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    ragged, full = Sequence.of(torch.zeros(2, 3, 5), [3, 2]), Sequence.of(torch.zeros(2, 3, 5), [3, 3])
    assert full.full and not ragged.full
    assert not full.with_values(torch.zeros(2, 4)).full  # a step more that no row has
    assert not ragged.slice(0, 3).full and ragged.slice(0, 2).full
    longer, other = full.with_values(torch.zeros(2, 3, 7)), ragged.with_values(torch.zeros(2, 3))
    monkeypatch.setattr(Tensor, "all", lambda *_: pytest.fail("read the lengths again"))
    assert longer.full and full.full and not other.full


@pytest.mark.parametrize(
    ("values", "lengths", "message"),
    [
        (torch.zeros(3), torch.tensor([1, 1, 1]), r"values must be \[batch, time, ...\], got shape \(3,\)"),
        (torch.zeros(3, 2), torch.tensor([1, 1]), r"lengths has shape \(2,\) for a batch of 3"),
        (torch.zeros(3, 2), torch.tensor([[1], [1], [1]]), r"lengths has shape \(3, 1\)"),
        (torch.zeros(1, 2), torch.tensor([1], dtype=torch.int32), "lengths must be int64, got torch.int32"),
        (torch.zeros(1, 2), torch.tensor([1.0]), "lengths must be int64, got torch.float32"),
    ],
)
def test_refuses_shapes_that_disagree(values: Tensor, lengths: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sequence(values, lengths)


@pytest.mark.parametrize(
    ("lengths", "message"), [([1, -1], "a length is -1"), ([3, 0], "a length is 3 but values has only 2 steps")]
)
def test_refuses_lengths_out_of_range(lengths: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sequence.of(torch.zeros(2, 2), lengths)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 1, 5)])
def test_nan_is_noticed_where_data_enters(shape: tuple[int, ...]) -> None:
    values = torch.zeros(shape)
    values[1, 2] = torch.nan
    assert Sequence.of(values, [3, 2]).lengths.tolist() == [3, 2], "padding may hold anything"
    with pytest.raises(ValueError, match=r"values has NaN at row 1, step 2, which is real \(length 3\): fill in"):
        Sequence.of(values, [3, 3])


@pytest.mark.parametrize("lengths", [[2.5, 1.0], torch.tensor([2.0, 1.0]), torch.ones(2, 3, dtype=torch.bool)])
def test_lengths_are_integers(lengths: list[int] | Tensor) -> None:
    with pytest.raises(TypeError, match=r"lengths are torch\.(float32|bool): they count steps, give integers"):
        Sequence.of(torch.zeros(2, 3), lengths)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_of_asks_for_batch_and_time(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="add the missing axis"):
        Sequence.of(torch.zeros(shape))


def test_cannot_be_changed() -> None:
    x = Sequence.of(torch.zeros(1, 2))
    with pytest.raises(AttributeError):
        x.values = torch.ones(1, 2)  # type: ignore[misc]


def test_mask_marks_the_real_steps(three: Sequence) -> None:
    assert three.mask.tolist() == [[True] * 4, [True, True, False, False], [False] * 4]
    assert three.expand_mask().shape == (3, 4, 1)
    assert Sequence.of(torch.zeros(2, 0, 3)).mask.shape == (2, 0)


def test_zero_padding_removes_nan_from_values_and_gradients(three: Sequence) -> None:
    values = three.values.clone().requires_grad_()
    clean = three.with_values(values).zero_padding()
    assert clean.values.isfinite().all()
    assert (clean.values[1, 2:] == 0).all() and (clean.values[2] == 0).all()
    clean.values.square().sum().backward()
    assert values.grad is not None and values.grad.isfinite().all()
    assert (values.grad[1, 2:] == 0).all()


def test_map_shows_the_function_zeros_and_returns_zeros(three: Sequence) -> None:
    seen = []

    def function(values: Tensor) -> Tensor:
        seen.append(values)
        return values + 1

    y = three.map(function)
    assert seen[0].isfinite().all()
    assert torch.equal(y.rows()[1], three.rows()[1] + 1)
    assert (y.values[~y.mask] == 0).all()
    assert y.lengths is three.lengths


def test_to_casts_values_and_keeps_lengths(three: Sequence) -> None:
    y = three.to(torch.float64)
    assert y.values.dtype == torch.float64
    assert y.lengths.dtype == torch.int64


def test_detach_cuts_the_history() -> None:
    x = Sequence.of(torch.zeros(1, 2, requires_grad=True) * 2)
    assert x.values.requires_grad and not x.detach().values.requires_grad


@quick
@given(rows_of_numbers, st.integers(0, 3))
def test_rows_and_pad_are_inverse(rows: list[list[int]], extra: int) -> None:
    x = build(rows, extra)
    assert contents(x) == rows
    padded = Sequence.pad(x.rows(), value=-1)
    assert contents(padded) == rows
    assert padded.time == max(map(len, rows))
    assert (padded.values[~padded.mask] == -1).all()


def test_pad_refuses_nothing() -> None:
    with pytest.raises(ValueError, match="empty list of rows"):
        Sequence.pad([])


@quick
@given(rows_of_numbers, st.integers(0, 7), st.integers(0, 7))
def test_slice_takes_what_each_row_has(rows: list[list[int]], start: int, more: int) -> None:
    part = build(rows, 1).slice(start, start + more)
    assert contents(part) == [row[start : start + more] for row in rows]
    assert part.time <= more


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1)])
def test_slice_refuses_a_backward_range(three: Sequence, start: int, stop: int) -> None:
    with pytest.raises(ValueError, match=f"cannot slice from {start} to {stop}"):
        three.slice(start, stop)


@quick
@given(rows_of_numbers, st.integers(0, 3))
def test_reverse_turns_each_row_within_its_own_length(rows: list[list[int]], extra: int) -> None:
    x = build(rows, extra)
    assert contents(x.reverse()) == [row[::-1] for row in rows]
    assert contents(x.reverse().reverse()) == rows
    assert x.reverse().values.isnan().equal(x.values.isnan())  # the padding stays where it is


def test_reverse_carries_features_and_gradients(three: Sequence) -> None:
    values = three.values.clone().requires_grad_()
    turned = three.with_values(values).reverse()
    assert torch.equal(turned.values[1, 0], values[1, 1])
    turned.values[1, 0].sum().backward()
    assert values.grad is not None and values.grad.nonzero()[:, :2].unique(dim=0).tolist() == [[1, 1]]


def test_last_is_the_last_real_step_or_zero(three: Sequence) -> None:
    assert three.last().tolist() == [[6.0, 7.0], [10.0, 11.0], [0.0, 0.0]]
    assert Sequence.of(torch.zeros(2, 0, 3)).last().tolist() == [[0.0] * 3] * 2


def test_gradient_of_last_is_finite_beside_nan_padding(three: Sequence) -> None:
    values = three.values.clone().requires_grad_()
    three.with_values(values).last().square().sum().backward()
    assert values.grad is not None and values.grad.isfinite().all()


@quick
@given(rows_of_numbers)
def test_flatten_and_unflatten_are_inverse(rows: list[list[int]]) -> None:
    x = build(rows, 2)
    flat = x.flatten()
    assert flat.tolist() == [number for row in rows for number in row]
    back = x.unflatten(flat)
    assert contents(back) == rows
    assert (back.values[~back.mask] == 0).all()


def test_unflatten_takes_other_features_and_refuses_another_count(three: Sequence) -> None:
    assert three.unflatten(torch.ones(6, 5)).values.shape == (3, 4, 5)
    with pytest.raises(ValueError, match="got 5 steps for lengths that sum to 6"):
        three.unflatten(torch.ones(5))


@quick
@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(st.lists(st.integers(), max_size=3), min_size=n, max_size=n), min_size=1, max_size=3)
    )
)
def test_concatenate_joins_rows_without_a_gap(parts: list[list[list[int]]]) -> None:
    small = [[[number % 100 for number in row] for row in part] for part in parts]
    joined = Sequence.concatenate([build(part, 1) for part in small])
    assert contents(joined) == [sum(rows, []) for rows in zip(*small, strict=True)]  # noqa: RUF017


def test_concatenate_refuses_nothing_and_other_batch_sizes(three: Sequence) -> None:
    with pytest.raises(ValueError, match="cannot concatenate nothing"):
        Sequence.concatenate([])
    with pytest.raises(ValueError):
        Sequence.concatenate([three, Sequence.of(torch.zeros(2, 1, 2))])


def test_slices_concatenate_to_the_whole(three: Sequence) -> None:
    joined = Sequence.concatenate([three.slice(0, 1), three.slice(1, 3), three.slice(3, 9)])
    assert [row.tolist() for row in joined.rows()] == [row.tolist() for row in three.rows()]


def test_pack_and_unpack_are_inverse() -> None:
    x = build([[1, 2], [3], [4, 5, 6]], 2)
    packed = x.pack()
    assert packed.data.isfinite().all()
    back = Sequence.unpack(packed, time=x.time)
    assert contents(back) == contents(x)
    assert back.time == 5 and (back.values[~back.mask] == 0).all()


def test_pack_names_an_empty_row(three: Sequence) -> None:
    with pytest.raises(ValueError, match="row 2 has length 0 and cannot be packed"):
        three.pack()
