"""What a model of hand-made features is, whatever it reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np

from carryover.classical.stored import Stored


class FeatureModel(ABC):
    """A model that is fitted in seconds on a CPU, its choices made inside the labelled examples alone."""

    kind: ClassVar[str]
    """What artefacts call it."""
    reads: ClassVar[type | tuple[type, ...]] = object
    """The type of an input's content, of `carryover.data.examples`."""
    reading: ClassVar[str] = "anything"
    """The same in words."""
    labels: tuple[str, ...]
    """What it answers, in the order of `predict_proba`; none where it answers numbers."""
    chosen: Any
    """What was chosen; its text is shown to the user."""

    scores: Mapping[Any, float] = MappingProxyType({})
    """Of each candidate in cross-validation inside the examples, where there were several."""

    @abstractmethod
    def fit(self, inputs: Sequence[Any], gold: Sequence[Any], seed: int = 0) -> Self:
        """Choose and fit. Raises NothingToLearn when there is nothing to choose between."""

    @abstractmethod
    def predict(self, inputs: Sequence[Any]) -> list[Any]:
        """The labels of each input."""

    @abstractmethod
    def predict_proba(self, inputs: Sequence[Any]) -> Any:
        """For each input the probability of each label, [K], or of each label of each word, [W, K]: arrays, or one [N, K]."""

    @abstractmethod
    def parameter_count(self) -> int:
        """Number of fitted weights."""

    @abstractmethod
    def foretold_mib(self, sample: Sequence[Any], classes: int, examples: int) -> float:
        """Memory that `fit` needs for a number of examples like those of `sample`, beyond what the process holds already."""

    @abstractmethod
    def to_stored(self) -> Stored:
        """All that `predict` needs."""

    @classmethod
    @abstractmethod
    def from_stored(cls, stored: Stored, labels: Sequence[str]) -> Self:
        """Inverse of `to_stored`. Raises KeyError, TypeError, ValueError for what does not fit together."""

    def weights(self, count: int = 10) -> dict[str, list[tuple[str, float]]]:
        """For every label the features that speak most for it, with their weights; nothing where there are none."""
        return {}

    def contributions(self, content: Any) -> dict[str, list[tuple[str, float]]]:
        """For every label what each feature of one input adds to its score, strongest first; nothing where it cannot be said.

        With the entry `""`, what the label has beforehand, they add up to the score.
        """
        return {}

    def faults(self, content: Any) -> str | None:
        """What keeps the model from reading an input of the right type, None where nothing does."""
        return None


def strongest(names: Sequence[str], row: np.ndarray, count: int) -> list[tuple[str, float]]:
    """The names with the largest numbers of a row, each with its number, the largest first."""
    return [(names[i], float(row[i])) for i in np.argsort(-row, kind="stable")[:count]]
