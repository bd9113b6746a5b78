"""Learning rates as pure functions of the step: nothing to store, nothing to go wrong on resume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from carryover.errors import UsageError, check_choice

KINDS = ("constant", "linear", "cosine", "slanted-triangular", "inverse-square-root", "staircase")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate of every step of a run.

    Attributes
    ----------
    kind : one of `KINDS`
        constant
            the peak, after the warm-up
        linear
            up to the peak in `warm_up` steps, then down to `floor · peak` at step `total`
        cosine
            up as in linear, then half a cosine down to `floor · peak` (Loshchilov and Hutter 2017, "SGDR", eq. 5,
            without restarts)
        slanted-triangular
            Howard and Ruder 2018 (ULMFiT), eq. 3, with `cut` = cut_frac and `ratio`; its rise is its own warm-up
        inverse-square-root
            up to the peak in `warm_up` steps, then peak · √(warm_up / step) (Vaswani et al. 2017, eq. 3, scaled so that
            its maximum is the peak)
        staircase
            the peak in the first of `stairs` equal parts of the run, a tenth of it in the second, and so on
    peak : the largest learning rate.
    total : number of steps of the whole run.
    warm_up : number of steps of the linear rise; 0 begins at the peak.

    Raises UsageError for an unknown kind or numbers out of range.
    """

    kind: str = "constant"
    peak: float
    total: int
    warm_up: int = 0
    floor: float = 0.0
    cut: float = 0.1
    ratio: float = 32.0
    stairs: int = 2

    def __post_init__(self) -> None:
        check_choice("schedule", self.kind, KINDS)
        if not (self.peak > 0 and math.isfinite(self.peak)):
            raise UsageError(f"the learning rate is {self.peak}", repair="give a positive number")
        if self.total < 1 or self.warm_up < 0 or self.stairs < 1:
            raise UsageError(
                f"a schedule of {self.total} steps with {self.warm_up} steps of warm-up, {self.stairs} stairs",
                repair="give at least 1 step, 0 steps of warm-up and 1 stair",
            )
        if not 0 <= self.floor <= 1 or not 0 < self.cut < 1 or self.ratio < 1:
            raise UsageError(
                f"floor {self.floor}, cut {self.cut}, ratio {self.ratio}",
                repair="give a floor from 0 to 1, a cut between 0 and 1, and a ratio of at least 1",
            )

    def rate(self, step: int) -> float:
        """Learning rate of step `step`, counted from 0. Beyond `total` it stays where it ended."""
        step = min(step, self.total - 1) if self.kind != "inverse-square-root" else step
        if self.kind == "slanted-triangular":
            return self._slanted_triangular(step)
        if step < self.warm_up:
            return self.peak * (step + 1) / self.warm_up
        if self.kind == "constant":
            return self.peak
        if self.kind == "staircase":
            return self.peak / 10.0 ** (step * self.stairs // self.total)
        if self.kind == "inverse-square-root":
            return self.peak * math.sqrt(max(self.warm_up, 1) / max(step + 1, 1))
        share = (step - self.warm_up) / max(self.total - self.warm_up, 1)  # of the way down, 0 … 1
        left = 1 - share if self.kind == "linear" else 0.5 * (1 + math.cos(math.pi * share))
        return self.peak * (self.floor + (1 - self.floor) * left)

    def _slanted_triangular(self, step: int) -> float:
        turn = max(math.floor(self.total * self.cut), 1)
        # The paper divides by cut·(1/cut_frac − 1), which is total − cut where nothing is rounded.
        share = step / turn if step < turn else 1 - (step - turn) / max(self.total - turn, 1)
        return self.peak * (1 + share * (self.ratio - 1)) / self.ratio


@dataclass(frozen=True, kw_only=True)
class Annealing:
    """Divide the learning rate by `divisor` after every evaluation that is worse than each of the `window` before it.

    The first `after` evaluations never divide. Bai, Kolter, Koltun 2018 train their models of music and text so. A
    function of the figures so far, lower is better, hence as exact on resume as they are. Raises UsageError for numbers
    out of range.
    """

    divisor: float
    window: int
    after: int = 0

    def __post_init__(self) -> None:
        if not self.divisor > 1 or self.window < 1 or self.after < 0:
            raise UsageError(
                f"annealing by {self.divisor} over {self.window} evaluations after {self.after}",
                repair="give a divisor above 1, a window of at least 1 and a count of at least 0",
            )

    def scale(self, figures: Sequence[float]) -> float:
        """What the rate is multiplied by after these evaluations, the first one first."""
        divisions = 0
        for number in range(max(self.after, 1), len(figures)):
            divisions += figures[number] > max(figures[max(0, number - self.window) : number])
        return self.divisor**-divisions
