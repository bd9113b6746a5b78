"""One look at a test file: what was answered, what was wrong and how sure the model was of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence as ListOf
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from carryover.data.examples import Example, Labels
from carryover.tasks import Task
from carryover.transfer.evaluation.reliability import Reliability
from carryover.transfer.predicting import Prediction, Predictor


@dataclass(frozen=True)
class Wrong:
    """A decision that was wrong: its place in the example (0 for a text), what was right, what was answered, and how probable the
    model held each."""

    place: int
    gold: str
    answer: str
    sureness: float
    of_gold: float


@dataclass(frozen=True)
class Mistake:
    """An example with something wrong in it. `sureness` is the probability of the surest wrong answer; None for numbers and where
    an example has several labels."""

    example: Example[Any, Labels]
    gold: Labels
    prediction: Prediction
    wrong: tuple[Wrong, ...]
    sureness: float | None
    distance: float = 0.0


@dataclass(frozen=True)
class Examination:
    """Examples with their predictions, and what follows. `scores` is `Task.score`."""

    task: Task
    examples: ListOf[Example[Any, Labels]]
    predictions: ListOf[Prediction]
    scores: dict[str, Any]

    @cached_property
    def gold(self) -> list[Labels]:
        return [self.task.gold(example) for example in self.examples]

    @cached_property
    def per_label(self) -> dict[str, dict[str, float]]:
        """Precision, recall, F1, how often a label is gold and how often answered, the most frequent label first."""
        rows = self.scores.get("per_label", {})
        return {label: rows[label] for label in sorted(rows, key=lambda label: (-rows[label]["gold"], label))}

    @cached_property
    def never_answered(self) -> list[str]:
        """Labels that examples have and that the model never answered, the most frequent first."""
        return [label for label, row in self.per_label.items() if row["gold"] and not row["predicted"]]

    @cached_property
    def decisions(self) -> list[list[tuple[str, str]]]:
        """What was decided in each example, as (gold, answered)."""
        pairs = zip(self.gold, self.predictions, strict=True)
        return [self.task.decisions(gold, prediction.decoded) for gold, prediction in pairs]

    @cached_property
    def confusions(self) -> Counter[tuple[str, str]]:
        """How often each gold label was answered by each label."""
        return Counter(pair for pairs in self.decisions for pair in pairs)

    def confused(self) -> list[tuple[str, str, int]]:
        """Gold label, wrong answer and how often, the most frequent first."""
        wrong = [(gold, answer, count) for (gold, answer), count in self.confusions.items() if gold != answer]
        return sorted(wrong, key=lambda row: (-row[2], row[0], row[1]))

    @cached_property
    def labels(self) -> list[str]:
        """Gold and answered labels of decisions, the most frequent gold label first."""
        counts = Counter(gold for gold, _ in self.confusions.elements())
        known = {label for pair in self.confusions for label in pair}
        return sorted(known, key=lambda label: (-counts[label], label))

    @cached_property
    def mistakes(self) -> list[Mistake]:
        """Every example with something wrong, the surest mistakes first; numbers by how far they are off."""
        found = []
        for example, gold, prediction, pairs in zip(self.examples, self.gold, self.predictions, self.decisions, strict=True):
            same = gold == prediction.decoded if pairs else sorted(gold) == sorted(prediction.decoded)
            if same:
                continue
            rows = self._rows(prediction, pairs)
            wrong = tuple(
                Wrong(place, right, answer, self._chance(rows[place], answer), self._chance(rows[place], right))
                for place, (right, answer) in enumerate(pairs)
                if right != answer
            )
            sureness = max((one.sureness for one in wrong), default=None)
            found.append(Mistake(example, gold, prediction, wrong, sureness, self.task.distance(gold, prediction.decoded)))
        return sorted(found, key=lambda one: (-(one.sureness or 0.0), -one.distance, one.example.source.line))

    @cached_property
    def reliability(self) -> Reliability | None:
        """Over all decisions, None where there is none."""
        answered, right, squares = [], [], []
        for prediction, pairs in zip(self.predictions, self.decisions, strict=True):
            for row, (gold, answer) in zip(self._rows(prediction, pairs), pairs, strict=True):
                own = self._chance(row, gold)
                answered.append(self._chance(row, answer))
                right.append(gold == answer)
                squares.append(float(np.square(row, dtype=np.float64).sum()) - 2 * own + 1)
        if not answered:
            return None
        return Reliability.of(np.array(answered), np.array(right, dtype=float), np.array(squares))

    def _rows(self, prediction: Prediction, pairs: ListOf[Any]) -> np.ndarray:
        """[decisions, K]"""
        return prediction.probabilities.reshape(len(pairs), -1) if pairs else np.zeros((0, len(self.task.labels)))

    def _chance(self, row: np.ndarray, label: str) -> float:
        """Of a label that the model does not know, 0."""
        number = self.task.numbers.get(label)
        return 0.0 if number is None else float(row[number])

    def to_json(self) -> dict[str, Any]:
        """What a document has beside the scores."""
        return {
            "mistakes": len(self.mistakes),
            "never_answered": self.never_answered,
            "calibration": None if self.reliability is None else self.reliability.to_json(),
        }


def examine(predictor: Predictor, examples: ListOf[Example[Any, Labels]]) -> Examination:
    """Predict for labelled examples and compare; a label that the model does not know counts as missed."""
    predictions = predictor.predictions(examples)
    gold = [predictor.task.gold(example) for example in examples]
    scores = predictor.task.score(gold, [prediction.decoded for prediction in predictions])
    return Examination(predictor.task, examples, predictions, scores)
