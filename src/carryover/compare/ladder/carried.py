"""The rungs that carry a pretrained model over: left as it is, or tuned from the top down."""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from carryover.compare.ladder.neural import NeuralRung
from carryover.compare.ladder.rung import Cost, Needs, Resources, Style
from carryover.errors import UsageError

if TYPE_CHECKING:
    from carryover.compare.ladder.calibration import Calibration


class CarriedRung(NeuralRung):
    """A rung over a pretrained model, which is given or made from the raw text once for all cells."""

    needs = Needs(encoder=True)

    def over(self, encoder: str) -> Self:
        if not encoder:
            raise UsageError(f"rung {self.name}: names no encoder", repair=f"write {self.name}:NAME or {self.name}:FOLDER")
        found = copy.copy(self)
        found.name, found.encoder = f"{self.name}:{encoder}", encoder
        return found

    def material(self, resources: Resources) -> dict[str, Any]:
        return {"encoder": _load_encoder(str(resources.encoders[self.encoder]), resources.device)}

    def substitute(self, calibration: Calibration) -> dict[str, Any]:
        return {"encoder": calibration.encoder(self.encoder)}


class Frozen(CarriedRung):
    """ELMo: Peters et al. 2018, "Deep contextualized word representations"."""

    name = family = mode = "frozen"
    cost = Cost(beforehand=2, trained=1)
    style = Style(light="#007a5a", dark="#4fd0a5", marker="D", line="-")
    sentence = "The pretrained model is left as it is; a learned mix of its layers feeds a small model (ELMo)."
    usual = True


class LastLayer(CarriedRung):
    """Only the mixture and a linear layer are trained."""

    name = family = mode = "head"
    cost = Cost(beforehand=2, trained=2)
    style = Style(light="#7a4bc0", dark="#bd9bf5", marker="v", line=(0, (5, 2)))
    sentence = "The pretrained model is left as it is; only the last layer is trained on it."


class TopLayers(CarriedRung):
    """The uppermost `layers` layers are tuned; written `top-1`, `top-2`, …"""

    family, mode = "top", "top-k"
    style = Style(light="#b0307a", dark="#f08cc4", marker="P", line=(0, (1, 1.5)))
    sentence = "The uppermost layers of the pretrained model are tuned with the head."

    def __init__(self, layers: int = 1) -> None:
        self.layers = layers
        self.name = f"{self.family}-{layers}"
        self.cost = Cost(beforehand=2, trained=3, layers=layers)

    def named(self, text: str) -> TopLayers | None:
        family, _, layers = text.partition("-")
        return TopLayers(int(layers)) if family == self.family and layers.isdigit() and int(layers) > 0 else None

    @property
    def plan_options(self) -> dict[str, Any]:
        return {"top": self.layers}


class Full(CarriedRung):
    """The whole language model is tuned, its layers thawed from the top (Howard and Ruder 2018)."""

    name = family = mode = "full"
    cost = Cost(beforehand=2, trained=4)
    style = Style(light="#c0321f", dark="#ff8a78", marker="X", line=(0, (7, 2, 1, 2)))
    sentence = "The whole pretrained model is tuned."
    usual = True


@lru_cache(maxsize=4)  # cells over several encoders take turns
def _load_encoder(folder: str, device: str) -> Any:
    from carryover.encoders.loading import load_encoder

    return load_encoder(Path(folder), device=device)
