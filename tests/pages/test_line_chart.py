"""Charts of pages: what is drawn is what was given."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from carryover.pages.line_chart import Line, Mark, line_chart, short_number
from carryover.pages.reliability_chart import reliability_chart


def points(svg: str) -> list[list[tuple[float, float]]]:
    return [
        [tuple(map(float, pair.split(","))) for pair in found.split()]  # type: ignore[misc]
        for found in re.findall(r'<polyline points="([^"]*)"', svg)
    ]


def test_points_lie_where_their_numbers_say() -> None:
    svg = line_chart([Line("loss", [0, 50, 100], [4.0, 2.0, 1.0])], x_title="step", y_title="loss", marks=[Mark("kept", 50)])
    ElementTree.fromstring(svg)
    [[first, middle, last]] = points(svg)
    assert middle[0] - first[0] == pytest.approx(last[0] - middle[0], abs=0.2)
    assert (middle[1] - first[1]) / (last[1] - middle[1]) == pytest.approx(2, abs=0.02), "down is larger in SVG"
    assert svg.count("kept</text>") == 1 and "var(--accent)" in svg
    assert 'aria-label="loss over step: loss from 4 to 1"' in svg


def test_powers_of_ten_are_even_steps_on_a_logarithmic_scale() -> None:
    [[one, ten, hundred]] = points(
        line_chart([Line("x", [1, 2, 3], [1, 10, 100])], x_title="", y_title="", logarithmic=True)
    )
    assert one[1] - ten[1] == pytest.approx(ten[1] - hundred[1], abs=0.2)


def test_what_is_not_finite_is_left_out_and_long_lines_are_thinned() -> None:
    svg = line_chart([Line("x", [0, 1, 2], [1.0, math.nan, math.inf])], x_title="", y_title="")
    assert [len(line) for line in points(svg)] == [1] and "<circle" in svg
    assert line_chart([Line("x", [0], [math.nan])], x_title="", y_title="") == ""
    many = points(line_chart([Line("x", list(range(5000)), list(range(5000)))], x_title="", y_title=""))
    assert 500 < len(many[0]) <= 601 and many[0][-1][0] == pytest.approx(626, abs=1)


def test_names_are_escaped_and_lines_differ_without_colour() -> None:
    svg = line_chart([Line("<b>", [0, 1], [0, 1]), Line("b", [0, 1], [1, 0])], x_title="&", y_title="y")
    ElementTree.fromstring(svg)
    assert "<b>" not in svg and "stroke-dasharray" in svg


@pytest.mark.parametrize(
    ("value", "text"), [(0.002, "0.002"), (1500, "1.5k"), (2e6, "2M"), (0, "0"), (3.3e-5, "3.3e-5"), (12.3456, "12.35")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert short_number(value) == text


def test_bars_of_a_reliability_diagram() -> None:
    svg = reliability_chart([(0.0, 0.5, 0, 0.0, 0.0), (0.5, 1.0, 8, 0.9, 0.5)])
    ElementTree.fromstring(svg)
    assert "probability 0.5 to 1.0: 8 answers, 50.0 % right, 0.900 on average" in svg and svg.count("<title>") == 1
