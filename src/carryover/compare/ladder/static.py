"""The rung of static word vectors: one vector a word, learned from the raw text and tuned with the labels."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carryover.compare.ladder.neural import NeuralRung
from carryover.compare.ladder.rung import Cost, Needs, Resources, Style

if TYPE_CHECKING:
    from carryover.compare.ladder.calibration import Calibration


class Static(NeuralRung):
    """Skip-gram vectors under the task model.

    They are tuned: on English parts of speech (two seeds) fixed ones scored about the same with 50 labelled sentences and
    less than no vectors at all with 400.
    """

    name = family = mode = "static"
    cost = Cost(beforehand=1, trained=2)
    needs = Needs(raw=True, vectors=True, words=True)
    style = Style(light="#1667b7", dark="#6db3f7", marker="s", line=(0, (5, 2)))
    sentence = (
        "Word vectors (skip-gram) learned from the raw text, one per word regardless of its context, tuned with the labels."
    )
    usual = True

    @property
    def plan_options(self) -> dict[str, Any]:
        return {"tune_vectors": True}

    def material(self, resources: Resources) -> dict[str, Any]:
        return {"vectors": _load_vectors(str(resources.vectors))}

    def substitute(self, calibration: Calibration) -> dict[str, Any]:
        return {"vectors": calibration.vectors()}


@lru_cache(maxsize=1)
def _load_vectors(folder: str) -> tuple[Any, Any]:
    from carryover.embeddings.vectors import WordVectors

    vectors = WordVectors.load(Path(folder))
    return vectors.vocabulary, vectors.array
