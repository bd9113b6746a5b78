"""A picture of how a task mixed a language model's layers: a bar for each place of a mixture, cut into the layers' shares."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

PALEST, DARKEST = 0.25, 0.9
"""Of the colour scale: the tokens and the top layer."""
_DARK = 0.55


def mixture_figure(mixtures: Mapping[str, Mapping[str, Any]], title: str) -> str:
    """An SVG document of mixtures as `record.json` holds them: place → shares [L+1] that sum to 1, and the scale γ.

    The same mixtures give the same bytes.
    """
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "carryover-mixture", "font.size": 10}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(7.2, 1.25 + 0.62 * len(mixtures)), layout="constrained")
        axes = figure.add_subplot()
        colours = matplotlib.colormaps["Blues"]
        layers = max(len(mixture["shares"]) for mixture in mixtures.values())
        for row, mixture in enumerate(mixtures.values()):
            left = 0.0
            for number, share in enumerate(mixture["shares"]):
                depth = PALEST + (DARKEST - PALEST) * number / max(layers - 1, 1)
                axes.barh(row, share, left=left, height=0.62, color=colours(depth), edgecolor="white")
                if share >= 0.06:  # narrower ones have no room for a number
                    ink = "white" if depth > _DARK else "black"
                    axes.text(left + share / 2, row, f"{share:.2f}", ha="center", va="center", color=ink)
                left += share
        axes.set_yticks(range(len(mixtures)), [f"{place}, × {mixture['scale']:.2f}" for place, mixture in mixtures.items()])
        axes.set_xlim(0, 1)
        axes.invert_yaxis()
        axes.set_xlabel("share of each layer")
        axes.set_title(title, loc="left", fontsize=10)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(axis="y", length=0)
        names = ["tokens", *(f"layer {number}" for number in range(1, layers))]
        swatches = [
            matplotlib.patches.Patch(color=colours(PALEST + (DARKEST - PALEST) * number / max(layers - 1, 1)), label=name)
            for number, name in enumerate(names)
        ]
        figure.legend(handles=swatches, loc="outside lower center", ncols=min(layers, 6), frameon=False, fontsize=9)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
