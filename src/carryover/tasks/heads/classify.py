"""The head of classification: pool the states over time, then one linear layer.

Multi-class: softmax cross entropy. Multi-label: one binary cross entropy a label. Pooling is a name or several joined by `+`:
`mean+max`, or `ends+max+mean`, the concat pooling of Howard and Ruder 2018 ("Universal language model fine-tuning for text
classification", section 3.3) for a bidirectional encoder.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as ListOf
from typing import Any

import torch
from torch import Tensor, nn

from carryover.data.examples import Example, Labels
from carryover.errors import BadData, UsageError
from carryover.layers.pooling import build_pooling
from carryover.sequence import Sequence
from carryover.tasks.classify import Classify
from carryover.tasks.heads.head import Head, argmax_labels, balanced_weights, softmax_loss


class ClassifyHead(Head):
    """One label for each text, or where several are allowed all whose probability reaches `threshold`."""

    task: Classify
    class_weights: Tensor | None

    def __init__(
        self,
        task: Classify,
        in_size: int,
        *,
        pooling: str = "mean+max",
        dropout: float = 0.0,
        threshold: float = 0.5,
    ) -> None:
        super().__init__(task, in_size, dropout=dropout)
        if not 0 < threshold <= 1:
            raise UsageError(f"threshold is {threshold}", repair="give a probability above 0, at most 1")
        self.register_buffer("class_weights", None, persistent=False)
        self.threshold = threshold
        self.pooling = pooling
        self.pool = build_pooling(pooling, in_size)
        self.output = nn.Linear(self.pool.out_size, len(task.labels))

    def balance(self, gold: Iterable[Labels]) -> None:
        """Weigh each label as `balanced_weights` says."""
        self.class_weights = balanced_weights(self.task.labels, gold, multi_label=self.task.multi_label)

    def encode(self, example: Example[Any, Labels]) -> Tensor:
        numbers = [self.task.number(label, example) for label in self.task.gold(example)]
        if self.task.multi_label:
            target = torch.zeros(len(self.task.labels))
            target[numbers] = 1
            return target
        if len(numbers) != 1:
            raise BadData(
                f"a text has {len(numbers)} labels {list(self.task.gold(example))} where exactly one is needed",
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
        if self.task.multi_label:
            return nn.functional.binary_cross_entropy_with_logits(scores, targets, pos_weight=self.class_weights)
        return softmax_loss(scores, targets, self.class_weights)

    def weight(self, targets: Tensor) -> int:
        return len(targets)

    def probabilities(self, hidden: Sequence) -> list[Tensor]:
        scores = self.scores(hidden)
        return list(scores.sigmoid() if self.task.multi_label else scores.softmax(1))

    def decode(self, hidden: Sequence) -> list[Labels]:
        if not self.task.multi_label:
            return [(label,) for label in argmax_labels(self.task.labels, self.scores(hidden))]
        chosen = (torch.stack(self.probabilities(hidden)) >= self.threshold).tolist()
        return [tuple(label for label, yes in zip(self.task.labels, row, strict=True) if yes) for row in chosen]

    def options(self) -> dict[str, Any]:
        return {
            "multi_label": self.task.multi_label,
            "pooling": self.pooling,
            "dropout": self.dropout,
            "threshold": self.threshold,
        }
