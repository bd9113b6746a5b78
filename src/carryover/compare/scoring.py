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

from carryover.data.metric_names import METRICS, metric_of_labels, metric_title
from carryover.errors import UsageError

Labels = Sequence[str]
Counts = NDArray[np.float64]
"""Of macro-F1 a sparse table of the same shape: three counts a label, nearly all of them 0."""


@dataclass(frozen=True)
class Metric:
    """One way of scoring: `name` out of METRICS, and for F1 over labels the `labels` that count.

    For classification an example's labels are its classes, for tagging one tag a token.
    """

    name: str
    labels: tuple[str, ...] = ()
    tagging: bool = False
    multi_label: bool = False

    def __post_init__(self) -> None:
        if self.name not in METRICS:
            raise UsageError(f"metric {self.name!r} is unknown", repair="use one of " + ", ".join(METRICS))
        if self.name == "span_f1" and not self.tagging:
            raise UsageError("span_f1 scores tagged sentences, not texts", repair="use accuracy, macro_f1 or micro_f1")

    @property
    def title(self) -> str:
        return metric_title(self.name)

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
        counts = self._count_labels(gold, predicted)  # [N, 3 · C]
        if self.name == "micro_f1" and not self.multi_label:
            return np.stack([np.asarray(counts[:, part::3].sum(axis=1)).ravel() for part in range(3)], axis=1)
        return counts

    def score(self, sums: Counts) -> NDArray[np.float64]:
        """Scores in 0 … 1, [...], of added-up counts [..., K]."""
        if self.name == "accuracy":
            return _ratio(sums[..., 0], sums[..., 1])
        if self.name == "micro_f1":
            sums = sums.reshape(*sums.shape[:-1], -1, 3).sum(axis=-2)  # of all labels
        if self.name in ("span_f1", "micro_f1"):
            return _ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])
        table = sums.reshape(*sums.shape[:-1], -1, 3)  # [..., C, 3]
        occurs = (table[..., 1] + table[..., 2]) > 0
        each = _ratio(2 * table[..., 0], table[..., 1] + table[..., 2])
        return _ratio(each.sum(axis=-1), occurs.sum(axis=-1).astype(np.float64))

    @property
    def rewards_guessing(self) -> bool:
        """Whether blind guessing can score above the majority: macro-F1 gives every label its share of the score, and where a
        text may have several labels, micro-F1 rewards answering many of them."""
        return self.name == "macro_f1" or (self.name == "micro_f1" and self.multi_label)

    @property
    def guess(self) -> str:
        """What the blind guessing is that scores most."""
        return "always answering the same labels" if self.multi_label else "guessing in proportion"

    def by_guessing(self, sums: Counts, examples: int) -> NDArray[np.float64]:
        """What can be expected of the best blind guessing, [...], where that is rewarded.

        Macro-F1: label c is answered with probability q and is right with probability p, so its F1 is 2pq / (p + q) on
        average. Where an example has one label the mean over K labels is largest, 1 / K, for q = p: guessing in proportion.
        Where it may have several nothing keeps q from 1: answering all labels always. Micro-F1 with several labels is largest
        for always answering the k most frequent ones, of all k the best.
        """
        gold = sums.reshape(*sums.shape[:-1], -1, 3)[..., 2]  # [..., C]
        if self.name == "micro_f1":
            right = np.sort(gold, axis=-1)[..., ::-1].cumsum(axis=-1)  # of the k most frequent labels
            answered = examples * np.arange(1, gold.shape[-1] + 1)
            return _ratio(2 * right, answered + gold.sum(axis=-1, keepdims=True)).max(axis=-1)
        occurring = (gold > 0).sum(axis=-1).astype(np.float64)
        each = 2 * gold / (examples + gold) if self.multi_label else (gold > 0) / np.maximum(occurring[..., None], 1)
        return _ratio(each.sum(axis=-1), occurring)

    def never_answered(self, counts: Sequence[Counts]) -> tuple[str, ...]:
        """Labels that some example has and no answer of these cells is. Of macro-F1 only; of others nothing."""
        if self.name != "macro_f1" or not counts:
            return ()
        sums = np.sum([np.asarray(rows.sum(axis=0)).ravel() for rows in counts], axis=0).reshape(-1, 3)
        return tuple(label for label, row in zip(self.labels, sums, strict=True) if row[2] > 0 and row[1] == 0)

    def _count_correct(self, gold: Sequence[Labels], predicted: Sequence[Labels]) -> Counts:
        if self.tagging:
            rows = [(sum(a == b for a, b in zip(g, p, strict=True)), len(g)) for g, p in zip(gold, predicted, strict=True)]
        else:
            rows = [(int(set(g) == set(p)), 1) for g, p in zip(gold, predicted, strict=True)]
        return np.array(rows, dtype=np.float64).reshape(len(gold), 2)

    def _count_labels(self, gold: Sequence[Labels], predicted: Sequence[Labels]) -> Counts:
        """Right, answered and gold of every label, a sparse table [N, 3 · C]."""
        from scipy.sparse import coo_array

        place = {label: 3 * i for i, label in enumerate(self.labels)}
        rows: list[int] = []
        columns: list[int] = []
        for row, (g, p) in enumerate(zip(gold, predicted, strict=True)):
            right = [a for a, b in zip(g, p, strict=True) if a == b] if self.tagging else sorted(set(g) & set(p))
            answered, wanted = (p, g) if self.tagging else (set(p), set(g))
            found = [place[label] + part for part, labels in enumerate((right, answered, wanted)) for label in labels]
            rows += [row] * len(found)
            columns += found
        shape = (len(gold), 3 * len(self.labels))
        counts: Counts = coo_array((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()
        return counts


def choose_metric(
    wanted: str,
    labels: tuple[str, ...],
    *,
    tagging: bool,
    multi_label: bool,
    gold: Sequence[tuple[str, ...]] = (),
) -> Metric:
    """The metric for `wanted`, or for "auto" the one that hides nothing: span F1 for IOB2 tags, accuracy for other tags,
    and for classes what `metric_of_labels` says of `gold`, the labels of the test examples."""
    if wanted == "auto" and tagging:
        from carryover.tasks.spans import is_span_scheme

        wanted = "span_f1" if is_span_scheme(labels) else "accuracy"
    elif wanted == "auto":
        wanted = metric_of_labels(gold, multi_label=multi_label)
    return Metric(wanted, labels, tagging, multi_label)


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
