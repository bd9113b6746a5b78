"""What scikit-learn learns about estimators that read texts, and the language model that they learn of them."""

from __future__ import annotations

from collections.abc import Sequence as ListOf
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils import Tags

from carryover.encoders.encoder import Encoder
from carryover.interop.encoder_argument import learn_from


class TextInput(BaseEstimator):
    """An estimator of texts, which has the parameters `pretraining`, `seed`, `device` and `verbose`."""

    pretraining: dict[str, Any] | None
    seed: int
    device: str
    verbose: bool

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags

    def _pretrain(self, texts: ListOf[str]) -> Encoder:
        settings = {"seed": self.seed, **(self.pretraining or {})}
        return learn_from(texts, settings, device=self.device, quiet=not self.verbose)
