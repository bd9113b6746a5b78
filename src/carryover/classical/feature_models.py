"""Which model of hand-made features answers which input: the only table of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from carryover.data.examples import Series, TextPair
from carryover.data.metric_names import CORRELATIONS


class FeatureModel(Protocol):
    """A model that is fitted in seconds on a CPU, its choices made inside the labelled examples alone."""

    chosen: Any
    """What was chosen; its text is shown to the user."""

    def fit(self, inputs: Sequence[Any], gold: Sequence[Any], seed: int) -> Any:
        """Choose and fit. Raises NothingToLearn when there is nothing to choose between."""

    def predict(self, inputs: Sequence[Any]) -> Any:
        """The labels of each input."""

    def parameter_count(self) -> int:
        """Number of fitted weights."""

    def foretold_mib(self, sample: Sequence[Any], classes: int, examples: int) -> float:
        """Memory that `fit` needs for a number of examples like those of `sample`, beyond what the process holds already."""


Builder = Callable[..., Any]


def _texts(**options: Any) -> Any:
    from carryover.classical.text_features import FeatureClassifier

    return FeatureClassifier(**options)


def _words(**options: Any) -> Any:
    """A tagger chooses its passes by accuracy, whatever the metric."""
    from carryover.classical.tag_features import FeatureTagger

    return FeatureTagger()


def _series(**options: Any) -> Any:
    from carryover.classical.series_features import SeriesClassifier

    return SeriesClassifier(**options)


def _pairs(*, metric: str, class_weights: str, **_: Any) -> Any:
    from carryover.classical.pair_features import LabelAnswering, NumberAnswering, PairFeatures

    return PairFeatures(NumberAnswering() if metric in CORRELATIONS else LabelAnswering(metric, class_weights))


FEATURE_MODELS: dict[type, Builder] = {str: _texts, tuple: _words, Series: _series, TextPair: _pairs}
"""By the type of an input: n-grams of the words and characters of a text, windows over the words of a sentence, statistics and
random convolutions of a series, how the texts of a pair overlap."""


def feature_model(
    kind: type, *, multi_label: bool = False, metric: str = "accuracy", class_weights: str = "none"
) -> FeatureModel:
    """The model for inputs of a type, not fitted. Raises KeyError for a type that has none."""
    model: FeatureModel = FEATURE_MODELS[kind](multi_label=multi_label, metric=metric, class_weights=class_weights)
    return model
