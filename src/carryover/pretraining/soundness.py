"""Figures of a language model that do not fit together, said in sentences: for the end of a run, its record and its card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_RETRAIN = "pretrain with another --seed"
_MEASURE = f"measure the text with `carryover evaluate`; if that confirms it, {_RETRAIN}"

LARGEST_RATIO = 4 / 3
"""Of two perplexities of one model that should be alike. Forward and backward differ by less than a tenth as a rule."""

LARGEST_CLIPPED_SHARE = 0.01
"""Of states at their clip. Sound models had 0.02 % (`benchmarks/stuck_state.py`), and one lane of 16 that is stuck for a block of
2,048 tokens in a held-out text of 100,000 makes 2 %."""

FEWEST_TARGETS = 1000
"""Of a text whose perplexities are compared: of fewer words, chance alone can make such a difference."""


def doubts_of_figures(figures: Mapping[str, Any], repair: str = _RETRAIN) -> list[str]:
    """Why the figures of a text (those of `Family.evaluate`) should not be believed, with what to do; nothing where they fit together."""
    found = []
    sides = [(name, float(figures[f"{name}_perplexity"])) for name in _sides(figures)]
    if len(sides) == 2 and figures["tokens"] >= FEWEST_TARGETS:
        (better, low), (worse, high) = sorted(sides, key=lambda side: side[1])
        if high > LARGEST_RATIO * low:
            found.append(
                f"the perplexity is {high:.2f} {worse} and {low:.2f} {better}: the {worse} model may be stuck; {repair}"
            )
    return found + (clip_notes(figures) if found else [])


def clip_notes(figures: Mapping[str, Any]) -> list[str]:
    """What to know of states at their clip, a sentence a direction where it has more of them than usual.

    Alone it is no reason for doubt: a small model may have many early in training and predict well all the same.
    """
    shares = {name: float(figures.get(f"{name}_clipped_share", 0.0)) for name in _sides(figures)}
    return [
        f"{share:.1%} of the states of the {name} model are at their clip (usual: below {LARGEST_CLIPPED_SHARE:.0%}), which is "
        "harmless as long as the forward and the backward perplexity are similar"
        for name, share in shares.items()
        if share > LARGEST_CLIPPED_SHARE
    ]


def doubts_of_record(record: Mapping[str, Any]) -> list[str]:
    """`doubts_of_figures` of the held-out text, and whether its lines, read one by one, say the same as the whole.

    A model that reads on from line to line may be better for it, and should not be worse.
    """
    whole, lines = record.get("held_out") or {}, record.get("heldout_check") or {}
    found = doubts_of_figures(whole, _MEASURE)
    if min(whole.get("tokens", 0), lines.get("tokens", 0)) >= FEWEST_TARGETS:
        running, alone = float(whole["perplexity"]), float(lines["perplexity"])
        if running > LARGEST_RATIO * alone or (_sides(whole) and alone > LARGEST_RATIO * running):
            found.append(
                f"the held-out perplexity is {running:.2f} for the whole text and {alone:.2f} for a sample of its lines read "
                f"one by one: the figure that chose the best model may be wrong; {_MEASURE}"
            )
    return found


def warnings_and_notes(record: Mapping[str, Any], quiet: bool) -> list[str]:
    """What the end of a run says of its record: its doubts aloud, else what to know of clipped states."""
    doubts = [f"carryover: warning: {doubt}" for doubt in record.get("doubts", ())]
    return doubts if doubts or quiet else [f"note: {note}" for note in clip_notes(record.get("held_out") or {})]


def _sides(figures: Mapping[str, Any]) -> list[str]:
    return [name for name in ("forward", "backward") if f"{name}_perplexity" in figures]
