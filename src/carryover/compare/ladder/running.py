"""One rung from labelled examples to predictions for the test examples."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from carryover.compare.cells import NOT_LEARNED, CellOutcome
from carryover.compare.ladder import rung_of
from carryover.compare.ladder.rung import Answers, Resources
from carryover.compare.ladder.task import RungTask
from carryover.errors import NothingToLearn


def run_rung(
    rung: str, task: RungTask, train: Sequence[Any], test: Sequence[Any], seed: int, resources: Resources
) -> CellOutcome:
    """Fit the rung of this name on `train` and predict `test`. Deterministic: the same arguments give the same predictions.

    Where `train` holds nothing to learn from (one label only, no span, no word) the rung answers the most frequent label, as
    any model would that was fitted on it, and notes why. Raises TrainingFailed when training diverges.
    """
    try:
        fitted = rung_of(rung).fit(task, train, seed, resources)
        predictions, milliseconds = _timed(fitted.predict, [example.input.content for example in test])
    except NothingToLearn as reason:
        from carryover.tasks import TASKS  # NumPy: not for who only asks for help

        predictions, milliseconds = _timed(lambda examples: TASKS[task.kind].most_frequent(train, examples), list(test))
        return CellOutcome(predictions, 0.0, milliseconds, 0, 0, notes={NOT_LEARNED: reason.message})
    return CellOutcome(predictions, fitted.seconds, milliseconds, fitted.parameters, fitted.trainable, notes=fitted.notes)


def _timed(predict: Callable[[list[Any]], Any], inputs: list[Any]) -> tuple[Answers, float]:
    """Predictions for all inputs and the milliseconds each took."""
    started = time.perf_counter()
    predictions = [tuple(row) for row in predict(inputs)]
    return predictions, 1000 * (time.perf_counter() - started) / max(1, len(inputs))
