"""Learning curves as SVG that takes its colours from the page: readable in light and dark, the same bytes every time."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

from carryover.compare.analysis import Analysis
from carryover.compare.ladder import families, row_of, table_rank
from carryover.compare.verdict import points

# Every colour drawn by matplotlib is a stand-in that is replaced by a CSS variable of the page.
_FILLED = ("full", "none", "left", "top")
"""How the markers of rungs over several encoders are filled, encoder by encoder."""
_INK = {"ink": "#010101", "quiet": "#020202", "grid": "#030303"}


@dataclass(frozen=True)
class Frame:
    """Size of a figure in inches and of its letters in points."""

    name: str
    width: float
    height: float
    letters: float


WIDE = Frame("wide", 9.2, 4.7, 11)
NARROW = Frame("narrow", 4.3, 4.6, 11)


def learning_curves(analysis: Analysis, frame: Frame) -> str:
    """An `<svg>` element: score over labels with intervals, a line a rung, its name at the end of the line."""
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none", "svg.hashsalt": f"carryover-{frame.name}", "font.size": frame.letters,
        "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "axes.unicode_minus": True,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(frame.width, frame.height), layout=None)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        _place(axes, frame, max(map(len, analysis.rows)))
        _draw(axes, analysis, frame)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _to_page(buffer.getvalue(), frame, describe(analysis))


def _stand_in(rung: str) -> str:
    """The colour that is drawn for a family: its place among the families, which no other colour has."""
    place, *_ = table_rank(rung)
    return f"#{0x10 + place:02x}0101"


def describe(analysis: Analysis) -> str:
    """The figure in words, for those who cannot see it."""
    lines = []
    for rung in analysis.rows:
        curve = [analysis.points[rung, budget] for budget in analysis.budgets if (rung, budget) in analysis.points]
        lines.append(f"{rung}: " + ", ".join(f"{points(point.score)} with {point.labels:,} labels" for point in curve))
    return f"Learning curves, {analysis.metric.title} in points of 100. " + "; ".join(lines) + "."


def _place(axes: Any, frame: Frame, letters: int) -> None:
    """Room for `letters` of a name at the right ends of the lines."""
    left, right = (0.075, 0.105) if frame is WIDE else (0.135, 0.2)
    right = min(0.4, max(right, (letters * 0.62 * frame.letters / 72 + 0.1) / frame.width))
    bottom, top = (0.165, 0.035) if frame is WIDE else (0.17, 0.035)
    axes.set_position((left, bottom, 1 - left - right, 1 - bottom - top))


def _draw(axes: Any, analysis: Analysis, frame: Frame) -> None:
    import numpy as np

    labels = np.array([analysis.labels[budget] for budget in analysis.budgets], dtype=np.float64)
    position = np.log2(labels)
    span = max(position[-1] - position[0], 1.0)
    ends: list[tuple[float, str]] = []
    encoders = sorted({row_of(rung).encoder for rung in analysis.rows if row_of(rung).needs.encoder})
    for number, rung in enumerate(analysis.rows):
        row = row_of(rung)
        have = [i for i, budget in enumerate(analysis.budgets) if (rung, budget) in analysis.points]
        curve = [analysis.points[rung, analysis.budgets[i]] for i in have]
        shift = (number - (len(analysis.rows) - 1) / 2) * span * 0.0075  # side by side, so that intervals stay readable
        x = position[have] + shift
        y = np.array([100 * point.score for point in curve])
        low = np.array([100 * point.interval.low for point in curve])
        high = np.array([100 * point.interval.high for point in curve])
        colour = _stand_in(rung)
        axes.vlines(x, low, high, colors=colour, linewidth=1.6, alpha=0.55)
        filled = _FILLED[encoders.index(row.encoder) % len(_FILLED)] if row.needs.encoder else "full"
        axes.plot(
            x,
            y,
            color=colour,
            marker=row.style.marker,
            linestyle=row.style.line,
            linewidth=2,
            markersize=6,
            fillstyle=filled,
        )
        ends.append((float(y[-1]) if have[-1] == len(labels) - 1 else float("nan"), rung))
    _decorate(axes, analysis, position, span)
    _name_lines(axes, [(height, rung) for height, rung in ends if height == height], position[-1] + 0.05 * span, frame)


def _decorate(axes: Any, analysis: Analysis, position: Any, span: float) -> None:
    names = [f"all\n{analysis.labels[b]:,}" if b == "all" else f"{analysis.labels[b]:,}" for b in analysis.budgets]
    axes.set_xticks(position, names)
    axes.set_xlim(position[0] - 0.05 * span, position[-1] + 0.035 * span)
    axes.set_xlabel("labelled examples", color=_INK["quiet"])
    axes.set_ylabel(analysis.metric.title, color=_INK["quiet"])
    axes.grid(axis="y", color=_INK["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_INK["quiet"])
    axes.tick_params(axis="both", length=0, pad=6, colors=_INK["quiet"], labelcolor=_INK["quiet"])


def _name_lines(axes: Any, ends: list[tuple[float, str]], x: float, frame: Frame) -> None:
    """Names at the right ends, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    gap = (high - low) * 1.35 * frame.letters / (72 * frame.height * 0.84)
    ends = sorted(ends)
    heights = [height for height, _ in ends]
    for _ in range(200):
        moved = False
        for i in range(1, len(heights)):
            short = gap - (heights[i] - heights[i - 1])
            if short > 1e-9:
                heights[i] += short / 2
                heights[i - 1] -= short / 2
                moved = True
        if not moved:
            break
    for height, (_, rung) in zip(heights, ends, strict=True):
        axes.text(x, height, rung, color=_stand_in(rung), va="center", fontweight="bold", clip_on=False, parse_math=False)


def _to_page(svg: str, frame: Frame, words: str) -> str:
    """The element alone, its colours and letters those of the page, its size that of its place."""
    from markupsafe import escape

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    for name, colour in _INK.items():
        svg = svg.replace(colour, f"var(--{name})")
    for row in families():
        svg = svg.replace(_stand_in(row.name), f"var(--rung-{row.family})")
    # Two figures on one page must not share names, or one would draw with the other's pieces.
    svg = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{frame.name}-", svg)
    svg = svg.replace("'DejaVu Sans'", "system-ui").replace("DejaVu Sans", "system-ui")
    head, rest = svg.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return f'{head} class="{frame.name}" role="img" aria-label="{escape(words)}">{rest}'
