"""A unit drawn along a text: as a page, and in colours of a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from carryover.encoders.encoder import Reading
from carryover.escaping import printable
from carryover.inspect.neuron import Unit, unit_values
from carryover.pages import page

MOST_SHOWN = 5000
"""Pieces that are drawn; a browser grows slow with more."""


def neuron_page(
    reading: Reading, layer: int, number: int, *, model: str, units: Sequence[Unit] = (), property: str = ""
) -> str:
    """One HTML file: every piece on a ground from blue (negative) over nothing to red (positive)."""
    from markupsafe import Markup, escape

    values = unit_values(reading, layer, number)[:MOST_SHOWN]
    parts = []
    for place, (piece, value) in enumerate(zip(reading.pieces, values.tolist(), strict=False)):
        if not piece:
            continue
        shown = escape(printable(piece) if piece != "\n" else "↵\n")
        style = (
            f"background:color-mix(in srgb,{'#d43c2b' if value > 0 else '#2b6cd4'} {round(80 * abs(value))}%,transparent)"
        )
        if not reading.following:
            parts.append(f'<span style="{style}" title="{value:+.2f}">{shown}</span>')
            continue
        told = "".join(f"<i>{escape(_short(text))}</i>" for text, _ in reading.following[place])
        broken = "\n" if piece == "\n" else ""
        own = shown if not broken else escape("↵")
        parts.append(f'<span class="piece" style="{style}" title="{value:+.2f}">{own}{told}</span>{broken}')
    content = {
        "unit": f"{layer}:{number}",
        "layer": layer,
        "number": number,
        "layers": reading.vectors.shape[1] - 1,
        "size": reading.vectors.shape[2],
        "model": model,
        "pieces": f"{min(len(values), len(reading.pieces)):,}",
        "units": list(units),
        "property": property,
        "told": bool(reading.following),
        "drawn": Markup("".join(parts)),
    }
    return page.render("carryover.inspect", "neuron.html.jinja", content)


def _short(text: str) -> str:
    shown = {"\n": "↵", " ": "␣", "": "·"}.get(text, printable(text))
    return shown if len(shown) <= 8 else shown[:7] + "…"


def coloured(reading: Reading, layer: int, number: int) -> str:
    """The text for a terminal of 24-bit colour."""
    parts = []
    for piece, value in zip(reading.pieces, unit_values(reading, layer, number).tolist(), strict=True):
        weak = round(255 * (1 - 0.8 * abs(value)))
        ground = f"255;{weak};{weak}" if value > 0 else f"{weak};{weak};255"
        shown = "\n" if piece == "\n" else printable(piece)
        parts.append(shown if piece in ("", "\n") else f"\x1b[48;2;{ground}m\x1b[38;2;0;0;0m{shown}\x1b[0m")
    return "".join(parts) + "\n"
