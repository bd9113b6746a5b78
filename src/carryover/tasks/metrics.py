"""What a document says beside the figures of a task: precision, recall and F1 of every label, and the confusion matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from carryover.tasks.counting import Numbers


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


def per_label(labels: Iterable[str], table: Numbers) -> dict[str, dict[str, float]]:
    """The scores of every label that occurs, sorted by label, from its counts `table` [C, 3]; see `counting.label_counts`."""
    rows = {label: LabelScore(*(int(value) for value in row)) for label, row in zip(labels, table, strict=True)}
    return {label: rows[label].to_json() for label in sorted(rows) if rows[label].predicted or rows[label].gold}


def _same_length(gold: Sequence[Any], predicted: Sequence[Any]) -> None:
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold items but {len(predicted)} predictions: every item must be scored exactly once")
