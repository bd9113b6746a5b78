"""A reliability diagram: what probabilities say against what is right, and how many answers have each."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH, HEIGHT, EDGE = 340, 340, 44


def reliability_chart(bins: Sequence[tuple[float, float, int, float, float]]) -> str:
    """An `<svg>` element from bins (low, high, count, mean probability, share that is right).

    Bars are the share that is right, dots the mean probability of the bin, the diagonal where both are equal; the strip
    below shows the number of answers. Colours are variables of the page.
    """
    most = max((count for _, _, count, _, _ in bins), default=1) or 1
    size = WIDTH - EDGE - 10
    top = 10

    def x(value: float) -> float:
        return EDGE + size * value

    def y(value: float) -> float:
        return top + size * (1 - value)

    parts = []
    for low, high, count, probability, right in bins:
        if not count:
            continue
        title = f"probability {low:.1f} to {high:.1f}: {count:,} answers, {100 * right:.1f} % right, {probability:.3f} on average"
        parts.append(
            f'<g><title>{title}</title><rect x="{x(low) + 1:.1f}" y="{y(right):.1f}" width="{x(high) - x(low) - 2:.1f}" '
            f'height="{max(0.5, y(0) - y(right)):.1f}" style="fill:var(--accent);fill-opacity:.35"/>'
            f'<circle cx="{x((low + high) / 2):.1f}" cy="{y(probability):.1f}" r="3.5" style="fill:var(--ink)"/>'
            f'<rect x="{x(low) + 1:.1f}" y="{y(0) + 30 + 24 * (1 - count / most):.1f}" width="{x(high) - x(low) - 2:.1f}" '
            f'height="{24 * count / most:.1f}" style="fill:var(--quiet)"/></g>'
        )
    ticks = "".join(
        f'<line x1="{x(0):.1f}" y1="{y(value):.1f}" x2="{x(1):.1f}" y2="{y(value):.1f}" style="stroke:var(--grid)"/>'
        f'<text x="{EDGE - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{100 * value:.0f}</text>'
        f'<text x="{x(value):.1f}" y="{y(0) + 17:.1f}" text-anchor="middle">{value:.1f}</text>'
        for value in (0, 0.2, 0.4, 0.6, 0.8, 1)
    )
    bottom = y(0) + 30 + 24 + 22
    return (
        f'<svg viewBox="0 0 {WIDTH} {bottom + 6:.0f}" role="img" aria-label="Reliability diagram" '
        'style="max-width:26rem;font-size:11px;fill:var(--quiet)">'
        f'{ticks}<line x1="{x(0):.1f}" y1="{y(0):.1f}" x2="{x(1):.1f}" y2="{y(1):.1f}" '
        'style="stroke:var(--quiet);stroke-dasharray:4 3"/>'
        f'{"".join(parts)}<text x="{x(0.5):.1f}" y="{bottom:.1f}" text-anchor="middle">probability of the answer; below: number of answers</text>'
        f'<text transform="translate(12 {y(0.5):.1f}) rotate(-90)" text-anchor="middle">right, %</text></svg>'
    )
