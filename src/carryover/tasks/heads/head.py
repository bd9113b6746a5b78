"""What every head is: the layers over the states of an encoder that answer a task, with their loss and their decoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from collections.abc import Sequence as ListOf
from typing import Any

import torch
from torch import Tensor, nn

from carryover.data.examples import Example, Labels
from carryover.errors import UsageError
from carryover.layers.dropout import check_probability
from carryover.sequence import Sequence
from carryover.tasks.task import Task


class Head(nn.Module, ABC):
    """Answers `task` from states [B, W, D] of size `in_size` = D. It learns from labels and states alone.

    Of a task whose examples have several sentences the states have a row for each of them, those of an example side by side.
    """

    def __init__(self, task: Task, in_size: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.task = task
        if in_size < 1:
            raise UsageError(f"in_size is {in_size}", repair="give the size of the encoder's states, at least 1")
        self.in_size = in_size
        self.dropout = check_probability(dropout)

    @abstractmethod
    def encode(self, example: Example[Any, Labels]) -> Tensor:
        """Labels of one example as numbers. Raises BadData for labels it cannot learn from."""

    @abstractmethod
    def stack(self, targets: ListOf[Tensor]) -> Tensor:
        """Targets of a batch from those of its examples."""

    def targets(self, examples: Iterable[Example[Any, Labels]]) -> Tensor:
        """Targets of a batch of examples."""
        return self.stack([self.encode(example) for example in examples])

    def balance(self, gold: Iterable[Labels]) -> None:
        """Weigh every label in the loss by the inverse of how often `gold` has it. Raises UsageError where that cannot be."""
        raise UsageError(
            f"class weights are for classification, not for the task {self.task.name}", repair="leave the class weights out"
        )

    def begin(self, gold: ListOf[Labels]) -> None:
        """Take from the training examples what is no weight, such as the scale of numbers; called once before the first update."""

    @abstractmethod
    def loss(self, hidden: Sequence, targets: Tensor) -> Tensor:
        """Mean loss in nats, a scalar; 0 for a batch without anything to learn from."""

    @abstractmethod
    def weight(self, targets: Tensor) -> int:
        """How many answers `loss` is the mean over."""

    @abstractmethod
    def probabilities(self, hidden: Sequence) -> list[Tensor]:
        """For each example the probability of every label: [K] for a text, [W, K] for a sentence of W words."""

    @abstractmethod
    def decode(self, hidden: Sequence) -> list[Labels]:
        """The answer for each example."""

    def answers(self, hidden: Sequence, sentences: ListOf[Any]) -> list[Labels]:
        """The answer for each example, by the words of the `sentences` that were read, too, where a head needs them."""
        return self.decode(hidden)

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """The options of task and head as artefacts store them, but for the metric."""

    def to_json(self) -> dict[str, Any]:
        """Task and head, for `carryover.tasks.heads.head_from_json`."""
        task = self.task
        chosen = {} if task.main_score == task.usual_score else {"metric": task.main_score}
        return {"kind": task.name, "in_size": self.in_size, "labels": list(task.labels), **self.options(), **chosen}


def softmax_loss(scores: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross entropy in nats of `scores` [N, K]; targets of −1 do not count. 0 when none counts.

    `weights` [K] multiply the terms of each label.
    """
    total = nn.functional.cross_entropy(scores, targets, weights, ignore_index=-1, reduction="sum")
    return total / (targets >= 0).sum().clamp(min=1)


def balanced_weights(labels: Labels, gold: Iterable[Labels], *, multi_label: bool = False) -> Tensor:
    """[K]: a weight for each of `labels` in the loss, as scikit-learn's "balanced" has it: n / (K · how often it occurs).

    With several labels a text it is for having a label, how many texts lack it for each that has it.
    """
    rows = [set(found) for found in gold]
    counts = Counter(label for found in rows for label in found)
    occurring = max(1, sum(counts[label] > 0 for label in labels))
    weights = []
    for label in labels:
        count = counts[label]
        share = (len(rows) - count) / max(1, count) if multi_label else len(rows) / (occurring * max(1, count))
        weights.append(share if count and share else 1.0)
    return torch.tensor(weights)


def argmax_labels(labels: Labels, scores: Tensor) -> Labels:
    """The best label of every row of `scores` [N, K]; of equal ones the first."""
    return tuple(labels[number] for number in torch.argmax(scores, dim=-1).tolist())
