"""Who learns from labels alone of which input: the only table of them, and what else follows from the input of a task."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as ListOf
from typing import Any

from carryover.data.examples import Example, Series
from carryover.encoders.encoder import Encoder
from carryover.errors import UsageError
from carryover.tasks import TASKS
from carryover.transfer.from_labels import FromLabels, WordsFromLabels
from carryover.transfer.plan import CarryPlan
from carryover.transfer.series_from_labels import SeriesFromLabels
from carryover.transfer.trainable_encoders import TaskEncoder

LEARNERS: dict[type, FromLabels] = {tuple: WordsFromLabels(), Series: SeriesFromLabels()}
"""By the type of what an encoder reads of an example."""


def learner_of(sentence: Any) -> FromLabels:
    """What learns from examples like this one, as an encoder reads it."""
    return LEARNERS[type(sentence)]


def check_input(encoder: Encoder | TaskEncoder, examples: ListOf[Example[Any, Any]]) -> None:
    """Raise UsageError for the first example that the encoder does not read."""
    for example in examples:
        if not isinstance(example.input, encoder.reads):
            wanted = " or ".join(kind.__name__.lower() for kind in encoder.reads)
            raise UsageError(
                f"the model reads {wanted}, and the example of line {example.source.line} is "
                f"{type(example.input).__name__.lower()}",
                path=example.source.path or None,
                repair="give examples that it reads, or another model",
            )


def usual_settings(
    task: str, plan: CarryPlan, encoder: Encoder | None, examples: ListOf[Example[Any, Any]]
) -> Mapping[str, Any]:
    """Settings in place of those of the plan's mode, for examples like these; where a task has its own, they count."""
    reader = encoder if encoder is not None and plan.uses_encoder else learner_of(examples[0].input.words(str.split))
    return {**reader.fit_defaults, **TASKS[task].fit_defaults}
