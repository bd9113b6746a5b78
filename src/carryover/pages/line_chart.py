"""A line chart as SVG that takes its colours from the page: readable in light and dark, in print and without colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import escape

WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 12, 64
_MOST_POINTS = 600
_DASHES = ("", "6 4", "2 3", "8 3 2 3")
_COLOURS = ("--accent", "--line-2", "--line-3", "--line-4")
_CLEARLY_POSITIVE = 1e-12


@dataclass(frozen=True)
class Line:
    """Points of one line, `x` rising; `marked` draws a dot at each. A point whose `y` is not finite is left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    marked: bool = False


@dataclass(frozen=True)
class Mark:
    """A vertical line with its name, such as the step whose weights were kept."""

    name: str
    x: float


def line_chart(
    lines: Sequence[Line], *, x_title: str, y_title: str, marks: Sequence[Mark] = (), logarithmic: bool = False
) -> str:
    """An `<svg>` element, empty text where no line has a point. Lines differ by dash as well as by colour."""
    kept = [_finite(line, logarithmic) for line in lines]
    kept = [line for line in kept if line.x]
    if not kept:
        return ""
    x_low, x_high = min(min(line.x) for line in kept), max(max(line.x) for line in kept)
    values = [value for line in kept for value in line.y]
    low, high = min(values), max(values)
    ticks = _powers(low, high) if logarithmic else _steps(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    if logarithmic:
        low, high = math.log10(low), math.log10(high)

    def across(x: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * ((x - x_low) / (x_high - x_low) if x_high > x_low else 0.5)

    def up(y: float) -> float:
        y = math.log10(y) if logarithmic else y
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - ((y - low) / (high - low) if high > low else 0.5))

    base = HEIGHT - _BOTTOM
    parts = []
    for tick in ticks:
        parts.append(
            f'<line x1="{_LEFT}" y1="{up(tick):.1f}" x2="{WIDTH - _RIGHT}" y2="{up(tick):.1f}" style="stroke:var(--grid)"/>'
        )
        parts.append(f'<text x="{_LEFT - 8}" y="{up(tick) + 4:.1f}" text-anchor="end">{short_number(tick)}</text>')
    for tick in _steps(x_low, x_high, 6):
        if x_low <= tick <= x_high:
            parts.append(f'<text x="{across(tick):.1f}" y="{base + 17}" text-anchor="middle">{short_number(tick)}</text>')
    for mark in marks:
        if x_low <= mark.x <= x_high:
            parts.append(
                f'<line x1="{across(mark.x):.1f}" y1="{_TOP}" x2="{across(mark.x):.1f}" y2="{base}" style="stroke:var(--quiet);stroke-dasharray:3 3"/>'
            )
            end = across(mark.x) > WIDTH * 0.6
            parts.append(
                f'<text x="{across(mark.x) + (-5 if end else 5):.1f}" y="{_TOP + 10}" text-anchor="{"end" if end else "start"}">{escape(mark.name)}</text>'
            )
    place = float(_LEFT)
    for number, line in enumerate(kept):
        colour, dash = _COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)]
        style = f"fill:none;stroke:var({colour});stroke-width:1.8" + (f";stroke-dasharray:{dash}" if dash else "")
        points = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in zip(line.x, line.y, strict=True))
        parts.append(f'<polyline points="{points}" style="{style}"/>')
        if line.marked or len(line.x) == 1:
            parts += [
                f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="2.6" style="fill:var({colour})"/>'
                for x, y in zip(line.x, line.y, strict=True)
            ]
        parts.append(f'<line x1="{place:.0f}" y1="{HEIGHT - 12}" x2="{place + 26:.0f}" y2="{HEIGHT - 12}" style="{style}"/>')
        parts.append(f'<text x="{place + 32:.0f}" y="{HEIGHT - 8}">{escape(line.name)}</text>')
        place += 48 + 6.6 * len(line.name)
    parts.append(
        f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2:.0f}" y="{base + 34}" text-anchor="middle">{escape(x_title)}</text>'
    )
    parts.append(
        f'<text transform="translate(13 {(_TOP + base) / 2:.0f}) rotate(-90)" text-anchor="middle">{escape(y_title)}</text>'
    )
    told = "; ".join(f"{line.name} from {short_number(line.y[0])} to {short_number(line.y[-1])}" for line in kept)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y_title)} over {escape(x_title)}: {escape(told)}" '
        f'style="min-width:32rem;font-size:12px;fill:var(--quiet)">{"".join(parts)}</svg>'
    )


def short_number(value: float) -> str:
    """`0.002`, `1.5k`, `2M`: four significant digits at most."""
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e9):
        return f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e")
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def _finite(line: Line, positive: bool) -> Line:
    points = [
        (x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y) and (not positive or y > _CLEARLY_POSITIVE)
    ]
    if len(points) > _MOST_POINTS:
        every = len(points) / _MOST_POINTS
        points = [points[int(number * every)] for number in range(_MOST_POINTS)] + points[-1:]
    return Line(line.name, [x for x, _ in points], [y for _, y in points], line.marked)


def _steps(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from at most `low` to at least `high`."""
    if high <= low:
        return [low]
    size = 10 ** math.floor(math.log10((high - low) / most))
    step = next((size * times for times in (1, 2, 5, 10) if (high - low) / (size * times) <= most), size * 10)
    first = math.floor(low / step)
    return [round(step * number, 12) for number in range(first, math.ceil(high / step - 1e-9) + 1)]


def _powers(low: float, high: float) -> list[float]:
    return [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
