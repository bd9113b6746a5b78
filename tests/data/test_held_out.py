"""Held-out lines: chosen by their text alone, never in training too."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from carryover.data.held_out import RawText, hold_out, hold_out_passages, sample_lines
from carryover.errors import BadData


def sides(path: Path, share: float) -> tuple[list[str], list[str]]:
    train, valid = hold_out(RawText((path,)), share)
    assert list(train) == list(train), "can be read again"
    return [line for _, line in train if line.strip()], [line for _, line in valid if line.strip()]


@pytest.mark.parametrize(
    ("lines", "low", "high"), [(2, 1, 1), (5, 1, 1), (50, 5, 5), (150, 15, 15), (400, 20, 20), (5000, 70, 130)]
)
def test_about_the_share_but_enough_to_measure(tmp_path: Path, lines: int, low: int, high: int) -> None:
    (tmp_path / "text").write_text("".join(f"line number {number}\n" for number in range(lines)))
    train, valid = sides(tmp_path / "text", 0.02)
    assert low <= len(valid) <= high and len(train) + len(valid) == lines
    assert not set(train) & set(valid)


def test_copies_stand_on_one_side_and_the_choice_ignores_the_order(tmp_path: Path) -> None:
    lines = [f"line number {number}" for number in range(300)]
    (tmp_path / "one").write_text("\n".join(lines + lines[:100]))
    (tmp_path / "two").write_text("\n\n".join("  " + line for line in reversed(lines)))
    train, valid = sides(tmp_path / "one", 0.1)
    assert not set(train) & set(valid)
    _, other = sides(tmp_path / "two", 0.1)
    assert {line.strip() for line in other} == set(valid)


def test_blank_lines_stay_as_borders(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("one\n\ntwo\n\nthree\n")
    train, valid = hold_out(RawText((tmp_path / "text",)), 0.02)
    assert sum(not line for _, line in train) == sum(not line for _, line in valid) == 2


def test_nothing_to_hold_out_is_said(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("same\nsame\nsame\n")
    with pytest.raises(BadData, match="3 lines, no two of them different"):
        hold_out(RawText((tmp_path / "text",)), 0.5)


def test_the_sample_is_spread_and_bounded() -> None:
    lines = [(number, " ".join([f"w{number}"] * (number % 90))) for number in range(1000)]
    sample = sample_lines(lines)
    assert 100 <= len(sample) <= 200 and max(len(line.split()) for line in sample) == 60
    numbers = [int(line.split()[0][1:]) for line in sample]
    assert numbers == sorted(numbers) and numbers[-1] > 950
    assert sample_lines([]) == []


@pytest.mark.parametrize(
    ("lines", "held", "passages"),
    [(2, 1, 1), (5, 1, 1), (50, 5, 1), (150, 15, 1), (400, 20, 1), (5000, 100, 5), (50000, 1000, 10)],
)
def test_passages_are_held_out_as_they_stand(tmp_path: Path, lines: int, held: int, passages: int) -> None:
    text = [f"{' ' * (number % 5)}line {number}" for number in range(lines)]
    (tmp_path / "text").write_text("\n" + "\n\n".join(text))
    train, valid = hold_out_passages(RawText((tmp_path / "text",), exact=True), 0.02)
    assert list(train) == list(train), "can be read again"
    some, others = [line for _, line in valid], [line for _, line in train]
    assert len(some) + len(others) == 2 * lines and sum(not line for line in some) in (held, held - 1)
    assert sorted(line for line in [*some, *others] if line) == sorted(text)
    places = [text.index(line) for line in some if line]
    assert len(places) == held and places[-1] == lines - 1
    assert sum(after > before + 1 for before, after in itertools.pairwise(places)) == passages - 1


def test_no_passage_of_a_single_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("\none\n\n")
    with pytest.raises(BadData, match="1 lines, no two of them different"):
        hold_out_passages(RawText((tmp_path / "text",), exact=True), 0.5)
