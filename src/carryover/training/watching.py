"""A run watched in the terminal: its curves so far as a small chart, drawn again at each measurement."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from carryover.progress import say

_WATCHED: ContextVar[bool] = ContextVar("watched", default=False)
_EIGHTHS = " ▁▂▃▄▅▆▇█"
ROWS = 6


@contextmanager
def watching(on: bool) -> Iterator[None]:
    """Draw the curves of runs inside the block, if `on`."""
    token = _WATCHED.set(on)
    try:
        yield
    finally:
        _WATCHED.reset(token)


def is_watched() -> bool:
    return _WATCHED.get()


class Watcher:
    """Collects what a run measures and draws it on standard error: a chart on a terminal, a plain line in a pipe."""

    def __init__(self, decides: str) -> None:
        self.decides = decides
        self.losses: list[float] = []
        self.figures: list[float] = []

    def trained(self, loss: float) -> None:
        self.losses.append(loss)

    def measured(self, step: int, figure: float) -> None:
        self.figures.append(figure)
        name = self.decides.replace("_", " ")
        if sys.stderr is None or not sys.stderr.isatty():
            loss = f", training loss {self.losses[-1]:.4g}" if self.losses else ""
            say(f"step {step:,}: held-out {name} {figure:.4g}{loss}")
            return
        width = max(20, min(100, shutil.get_terminal_size((80, 24)).columns) - 12)
        for title, values in (("training loss", self.losses), (f"held-out {name}", self.figures)):
            for line in chart(values, width, title):
                say(line)


def chart(values: Sequence[float], width: int, title: str) -> list[str]:
    """Columns of blocks, the oldest left, with the largest and the smallest value beside them; nothing for no value."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return []
    if len(finite) > width:
        finite = [finite[int(number * len(finite) / width)] for number in range(width - 1)] + [finite[-1]]
    low, high = min(finite), max(finite)
    heights = [1 + round((ROWS * 8 - 1) * ((value - low) / (high - low) if high > low else 0.5)) for value in finite]
    lines = [f"{title}, now {finite[-1]:.4g}"]
    for row in range(ROWS - 1, -1, -1):
        label = f"{high:9.4g}" if row == ROWS - 1 else f"{low:9.4g}" if row == 0 else " " * 9
        lines.append(f"{label} " + "".join(_EIGHTHS[max(0, min(8, height - 8 * row))] for height in heights).rstrip())
    return lines
