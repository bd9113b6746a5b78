"""Scores as sums of per-example counts, so that resampling test examples costs one matrix product.

Every metric here is a function of counts added up over examples: an accuracy is correct / total, an F1 is
2·correct / (predicted + gold). `Metric.count` gives the counts of each test example, `Metric.score` the score of their
sums, for one sum or for thousands of resampled ones at once. Conventions are those of `carryover.tasks.metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carryover.errors import UsageError

Labels = Sequence[str]
Counts = NDArray[np.float64]

METRICS = ("accuracy", "macro_f1", "micro_f1", "span_f1")
_NAMES = {"accuracy": "accuracy", "macro_f1": "macro F1", "micro_f1": "micro F1", "span_f1": "span F1"}


@dataclass(frozen=True)
class Metric:
    """One way of scoring: `name` out of METRICS, and for F1 over labels the `labels` that count.

    For classification an example's labels are its classes, for tagging one tag a token.
    """

    name: str
    labels: tuple[str, ...] = ()
    tagging: bool = False

    def __post_init__(self) -> None:
        if self.name not in METRICS:
            raise UsageError(f"metric {self.name!r} is unknown", repair="use one of " + ", ".join(METRICS))
        if self.name == "span_f1" and not self.tagging:
            raise UsageError("span_f1 scores tagged sentences, not texts", repair="use accuracy, macro_f1 or micro_f1")

    @property
    def title(self) -> str:
        return _NAMES[self.name]

    def count(self, gold: Sequence[Labels], predicted: Sequence[Labels]) -> Counts:
        """Counts of every example, [N, K]. Raises ValueError when an example would go unscored."""
        if len(gold) != len(predicted):
            raise ValueError(f"{len(gold)} gold examples but {len(predicted)} predictions: every example is scored once")
        if self.tagging:
            for number, (g, p) in enumerate(zip(gold, predicted, strict=True)):
                if len(g) != len(p):
                    raise ValueError(
                        f"sentence {number} has {len(g)} gold tags but {len(p)} predicted: tag every token once"
                    )
        if self.name == "accuracy":
            return self._count_correct(gold, predicted)
        if self.name == "span_f1":
            return _count_spans(gold, predicted)
        counts = self._count_labels(gold, predicted)  # [N, C, 3]
        if self.name == "micro_f1":
            return counts.sum(axis=1)
        return counts.reshape(len(gold), -1)

    def score(self, sums: Counts) -> NDArray[np.float64]:
        """Scores in 0 … 1, [...], of added-up counts [..., K]."""
        if self.name == "accuracy":
            return _ratio(sums[..., 0], sums[..., 1])
        if self.name in ("span_f1", "micro_f1"):
            return _ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])
        table = sums.reshape(*sums.shape[:-1], -1, 3)  # [..., C, 3]
        occurs = (table[..., 1] + table[..., 2]) > 0
        each = _ratio(2 * table[..., 0], table[..., 1] + table[..., 2])
        return _ratio(each.sum(axis=-1), occurs.sum(axis=-1).astype(np.float64))

    def _count_correct(self, gold: Sequence[Labels], predicted: Sequence[Labels]) -> Counts:
        if self.tagging:
            rows = [(sum(a == b for a, b in zip(g, p, strict=True)), len(g)) for g, p in zip(gold, predicted, strict=True)]
        else:
            rows = [(int(set(g) == set(p)), 1) for g, p in zip(gold, predicted, strict=True)]
        return np.array(rows, dtype=np.float64).reshape(len(gold), 2)

    def _count_labels(self, gold: Sequence[Labels], predicted: Sequence[Labels]) -> Counts:
        place = {label: i for i, label in enumerate(self.labels)}
        counts = np.zeros((len(gold), len(self.labels), 3))
        for row, (g, p) in enumerate(zip(gold, predicted, strict=True)):
            if self.tagging:
                for a, b in zip(g, p, strict=True):
                    counts[row, place[a], 0] += a == b
                    counts[row, place[b], 1] += 1
                    counts[row, place[a], 2] += 1
                continue
            for label in set(g) & set(p):
                counts[row, place[label], 0] += 1
            for label in set(p):
                counts[row, place[label], 1] += 1
            for label in set(g):
                counts[row, place[label], 2] += 1
        return counts


def choose_metric(wanted: str, labels: tuple[str, ...], *, tagging: bool, multi_label: bool) -> Metric:
    """The metric for `wanted`, or for "auto" the customary one: span F1 for IOB2 tags, accuracy for other tags and for
    classes, macro F1 for several labels a text."""
    if wanted == "auto":
        from carryover.tasks.spans import is_span_scheme

        wanted = "span_f1" if tagging and is_span_scheme(labels) else "macro_f1" if multi_label else "accuracy"
    return Metric(wanted, labels, tagging)


def _count_spans(gold: Sequence[Labels], predicted: Sequence[Labels]) -> Counts:
    from carryover.tasks.spans import extract_spans

    counts = np.zeros((len(gold), 3))
    for row, (g, p) in enumerate(zip(gold, predicted, strict=True)):
        gold_spans, predicted_spans = set(extract_spans(g)), set(extract_spans(p))
        counts[row] = len(gold_spans & predicted_spans), len(predicted_spans), len(gold_spans)
    return counts


def _ratio(above: Counts, below: Counts) -> NDArray[np.float64]:
    """above / below, and 0 where there is nothing to divide by."""
    return np.divide(above, below, out=np.zeros(np.broadcast_shapes(above.shape, below.shape)), where=below > 0)
