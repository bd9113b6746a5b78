"""The rung that carries nothing over: word vectors, spelling and LSTM learned from the labelled examples alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carryover.compare.ladder.neural import NeuralRung
from carryover.compare.ladder.rung import Cost, Resources, Style

if TYPE_CHECKING:
    from carryover.compare.ladder.calibration import Calibration


class Scratch(NeuralRung):
    """The same task model as that of the rungs above, without anything carried over."""

    name = family = mode = "scratch"
    cost = Cost(beforehand=0, trained=2)
    style = Style(light="#b35900", dark="#f2a154", marker="^", line=(0, (1, 1.5)))
    sentence = "A neural encoder trained from scratch on the labelled examples only."
    usual = True
    baseline = 2

    def material(self, resources: Resources) -> dict[str, Any]:
        return {}

    def substitute(self, calibration: Calibration) -> dict[str, Any]:
        return {}
