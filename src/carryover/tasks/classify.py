"""Classification of single texts: pool the states over time, then one linear layer.

Multi-class: exactly one label a text, softmax cross entropy. Multi-label: any number of labels, one binary cross entropy a
label. Pooling is a name or several joined by `+`: `mean+max`, or `ends+max+mean`, the concat pooling of Howard and Ruder
2018 ("Universal language model fine-tuning for text classification", section 3.3) for a bidirectional encoder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from collections.abc import Sequence as ListOf
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from carryover.data.examples import Example, Text
from carryover.data.metric_names import metric_of_labels
from carryover.errors import BadData, NothingToLearn, UsageError
from carryover.layers.pooling import build_pooling
from carryover.sequence import Sequence
from carryover.tasks.base import Labels, Task, argmax_labels, need_two_labels, softmax_loss
from carryover.tasks.metrics import ConfusionMatrix, accuracy, label_scores, macro_f1, micro_average


class Classify(Task):
    """One label for each text, or with `multi_label` the set of all labels whose probability reaches `threshold`."""

    kind: ClassVar[str] = "classify"
    class_weights: Tensor | None

    def __init__(
        self,
        labels: Iterable[str],
        in_size: int,
        *,
        multi_label: bool = False,
        pooling: str = "mean+max",
        dropout: float = 0.0,
        threshold: float = 0.5,
        metric: str | None = None,
    ) -> None:
        super().__init__(labels, in_size, dropout=dropout)
        if not multi_label:
            need_two_labels(self.labels, "classification")
        elif not self.labels:
            raise NothingToLearn("no text of the training data has a label", repair="add labelled texts")
        if not 0 < threshold <= 1:
            raise UsageError(f"threshold is {threshold}", repair="give a probability above 0, at most 1")
        self.multi_label = multi_label
        self.choose_main_score(metric, "macro_f1" if multi_label else "accuracy", ("accuracy", "macro_f1", "micro_f1"))
        self.register_buffer("class_weights", None, persistent=False)
        self.threshold = threshold
        self.pooling = pooling
        self.pool = build_pooling(pooling, in_size)
        self.output = nn.Linear(self.pool.out_size, len(self.labels))

    @staticmethod
    def gold(example: Example[Text, Labels]) -> Labels:
        return example.gold or ()

    @staticmethod
    def words(example: Example[Text, Labels], tokenize: Callable[[str], list[str]]) -> tuple[str, ...]:
        return example.input.words(tokenize)

    @classmethod
    def metric_of(cls, gold: Iterable[Labels], *, multi_label: bool = False) -> str | None:
        return metric_of_labels(gold, multi_label=multi_label)

    def balance(self, gold: Iterable[Labels]) -> None:
        """Weigh each label by n / (K · how often it occurs), as scikit-learn's "balanced" does; with several labels a text
        weigh having a label by how many texts lack it for each that has it."""
        rows = [set(labels) for labels in gold]
        counts = Counter(label for labels in rows for label in labels)
        occurring = max(1, sum(counts[label] > 0 for label in self.labels))
        weights = []
        for label in self.labels:
            count = counts[label]
            share = (len(rows) - count) / max(1, count) if self.multi_label else len(rows) / (occurring * max(1, count))
            weights.append(share if count and share else 1.0)
        self.class_weights = torch.tensor(weights)

    def encode(self, example: Example[Text, Labels]) -> Tensor:
        numbers = [self.number(label, example) for label in self.gold(example)]
        if self.multi_label:
            target = torch.zeros(len(self.labels))
            target[numbers] = 1
            return target
        if len(numbers) != 1:
            raise BadData(
                f"a text has {len(numbers)} labels {list(self.gold(example))} where exactly one is needed",
                line=example.source.line or None,
                repair="give each text one label, or ask for multi-label classification",
            )
        return torch.tensor(numbers[0])

    def stack(self, targets: ListOf[Tensor]) -> Tensor:
        return torch.stack(list(targets))

    def scores(self, hidden: Sequence) -> Tensor:
        """Logits [B, K]. A text of no words is pooled to zeros and gets what the bias says."""
        return self.output(nn.functional.dropout(self.pool(hidden), self.dropout, self.training))

    def loss(self, hidden: Sequence, targets: Tensor) -> Tensor:
        scores = self.scores(hidden)
        if self.multi_label:
            return nn.functional.binary_cross_entropy_with_logits(scores, targets, pos_weight=self.class_weights)
        return softmax_loss(scores, targets, self.class_weights)

    def weight(self, targets: Tensor) -> int:
        return len(targets)

    def probabilities(self, hidden: Sequence) -> list[Tensor]:
        scores = self.scores(hidden)
        return list(scores.sigmoid() if self.multi_label else scores.softmax(1))

    def decode(self, hidden: Sequence) -> list[Labels]:
        if not self.multi_label:
            return [(label,) for label in argmax_labels(self.labels, self.scores(hidden))]
        chosen = (torch.stack(self.probabilities(hidden)) >= self.threshold).tolist()
        return [tuple(label for label, yes in zip(self.labels, row, strict=True) if yes) for row in chosen]

    def score(self, gold: ListOf[Labels], predicted: ListOf[Labels]) -> dict[str, Any]:
        """Accuracy (of the whole set of labels when multi-label), macro and micro F1, each label, and the confusion."""
        each = label_scores(gold, predicted)
        figures: dict[str, Any] = {
            "accuracy": accuracy([set(labels) for labels in gold], [set(labels) for labels in predicted]),
            "macro_f1": macro_f1(each),
            "micro_f1": micro_average(each).f1,
            "per_label": {label: part.to_json() for label, part in each.items()},
        }
        if not self.multi_label:
            one = [labels[0] for labels in gold], [labels[0] for labels in predicted]
            figures["confusion"] = ConfusionMatrix.count(*one, labels=self.labels).to_json()
        return self._scored(figures, {"examples": len(gold)})

    def options(self) -> dict[str, Any]:
        return {
            "multi_label": self.multi_label,
            "pooling": self.pooling,
            "dropout": self.dropout,
            "threshold": self.threshold,
        }
