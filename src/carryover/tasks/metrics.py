"""Scores of labelled predictions: accuracy, precision, recall and F1 per label and averaged, the confusion matrix.

Every function takes gold and predicted labels side by side and refuses lists of unequal length, so that nothing can go
unscored without a word. Conventions are those of scikit-learn: a ratio 0/0 counts as 0, macro averages run over the
labels that occur in gold or predictions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LabelScore:
    """Counts of one label (or of all labels together) and the ratios that follow from them."""

    correct: int
    predicted: int
    gold: int

    @property
    def precision(self) -> float:
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        total = self.predicted + self.gold
        return 2 * self.correct / total if total else 0.0

    def to_json(self) -> dict[str, float]:
        return {
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "gold": self.gold,
            "predicted": self.predicted,
        }


@dataclass(frozen=True)
class ConfusionMatrix:
    """How often each gold label (row) was given each predicted label (column)."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @classmethod
    def count(cls, gold: Sequence[str], predicted: Sequence[str], labels: Iterable[str] = ()) -> ConfusionMatrix:
        """Rows and columns: `labels` first, in their order, then any other label that occurs, sorted."""
        _same_length(gold, predicted)
        known = list(dict.fromkeys(labels))
        known += sorted({*gold, *predicted} - set(known))
        pairs = Counter(zip(gold, predicted, strict=True))
        return cls(tuple(known), tuple(tuple(pairs[row, column] for column in known) for row in known))

    def to_json(self) -> dict[str, Any]:
        return {"labels": list(self.labels), "rows_are_gold": [list(row) for row in self.counts]}


def accuracy(gold: Sequence[Any], predicted: Sequence[Any]) -> float:
    """Share of equal pairs; 0 when there are none."""
    _same_length(gold, predicted)
    return sum(g == p for g, p in zip(gold, predicted, strict=True)) / len(gold) if gold else 0.0


def label_scores(gold: Sequence[Iterable[str]], predicted: Sequence[Iterable[str]]) -> dict[str, LabelScore]:
    """Counts of every label that occurs, sorted by label. Each item is the set of labels of one example."""
    _same_length(gold, predicted)
    correct: Counter[str] = Counter()
    given: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for g, p in zip(gold, predicted, strict=True):
        gold_set, predicted_set = set(g), set(p)
        correct.update(gold_set & predicted_set)
        given.update(predicted_set)
        wanted.update(gold_set)
    return {label: LabelScore(correct[label], given[label], wanted[label]) for label in sorted({*given, *wanted})}


def macro_f1(scores: dict[str, LabelScore]) -> float:
    """Mean F1 over labels, each label counting once however rare; 0 when there are none."""
    return sum(score.f1 for score in scores.values()) / len(scores) if scores else 0.0


def micro_average(scores: dict[str, LabelScore]) -> LabelScore:
    """All labels counted together."""
    parts = list(scores.values())
    return LabelScore(sum(p.correct for p in parts), sum(p.predicted for p in parts), sum(p.gold for p in parts))


def _same_length(gold: Sequence[Any], predicted: Sequence[Any]) -> None:
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold items but {len(predicted)} predictions: every item must be scored exactly once")
