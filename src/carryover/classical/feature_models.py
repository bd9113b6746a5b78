"""Which model of hand-made features answers which input, and what artefacts call each: the only tables of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, cast

from carryover.classical.feature_model import FeatureModel
from carryover.classical.stored import Stored
from carryover.data.examples import Series, TextPair
from carryover.data.metric_names import CORRELATIONS

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
STORED_MODELS = {
    "text": "carryover.classical.text_features:FeatureClassifier",
    "words": "carryover.classical.tag_features:FeatureTagger",
    "series": "carryover.classical.series_features:SeriesClassifier",
    "text pair": "carryover.classical.pair_features:PairFeatures",
    "same answer": "carryover.classical.majority_models:SameAnswer",
    "tag of each word": "carryover.classical.majority_models:TagOfWord",
}
"""What artefacts call a model → its class, imported when it is needed."""


def feature_model(
    kind: type, *, multi_label: bool = False, metric: str = "accuracy", class_weights: str = "none"
) -> FeatureModel:
    """The model for inputs of a type, not fitted. Raises KeyError for a type that has none."""
    model: FeatureModel = FEATURE_MODELS[kind](multi_label=multi_label, metric=metric, class_weights=class_weights)
    return model


def majority_model(kind: type, **options: Any) -> FeatureModel:
    """What answers inputs of a type without looking, whatever the options; not fitted."""
    from carryover.classical.majority_models import SameAnswer, TagOfWord

    return TagOfWord() if kind is tuple else SameAnswer()


def stored_model(kind: str, stored: Stored, labels: Sequence[str]) -> FeatureModel:
    """A fitted model as an artefact has it. Raises KeyError, TypeError, ValueError for what does not fit together."""
    if kind not in STORED_MODELS:
        raise ValueError(f"the model is of kind {kind[:80]!r}, this version knows {', '.join(STORED_MODELS)}")
    module, _, name = STORED_MODELS[kind].partition(":")
    return cast(FeatureModel, getattr(import_module(module), name).from_stored(stored, labels))
