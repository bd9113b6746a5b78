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
    """A decision that was wrong: the place of its word in the example (0 for a text), what was right, what was answered, and how
    probable the model held each."""

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
            chances = zip(*self._chances(prediction, gold, pairs), strict=True)
            wrong = tuple(
                Wrong(number // self.task.decisions_of_one, right, answer, float(of_answer), float(of_gold))
                for number, ((right, answer), (of_answer, of_gold)) in enumerate(zip(pairs, chances, strict=True))
                if right != answer
            )
            sureness = max((one.sureness for one in wrong), default=None)
            found.append(Mistake(example, gold, prediction, wrong, sureness, self.task.distance(gold, prediction.decoded)))
        return sorted(found, key=lambda one: (-(one.sureness or 0.0), -one.distance, one.example.source.line))

    @cached_property
    def reliability(self) -> Reliability | None:
        """Over all decisions, None where there is none."""
        rows = []
        for gold, prediction, pairs in zip(self.gold, self.predictions, self.decisions, strict=True):
            if pairs:
                of_answer, of_gold = self._chances(prediction, gold, pairs)
                right = np.array([own == given for own, given in pairs], dtype=float)
                squares = self.task.concentration(prediction.probabilities) - 2 * of_gold + 1
                rows.append(np.stack([of_answer, right, squares]))
        return Reliability.of(*np.concatenate(rows, axis=1)) if rows else None

    def _chances(self, prediction: Prediction, gold: Labels, pairs: ListOf[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Of every decision the probability of what was answered and of what is right."""
        if not pairs:
            return np.zeros(0), np.zeros(0)
        words, table = prediction.words, prediction.probabilities
        return self.task.chances(words, prediction.decoded, table), self.task.chances(words, gold, table)

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
