"""The head of pairs of texts: ESIM's comparison of both, then a perceptron with one hidden layer.

Chen et al. 2017, "Enhanced LSTM for natural language inference". Labels: softmax cross entropy. Numbers: the squared error, in
standard deviations of the training numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as ListOf
from typing import Any

import torch
from torch import Tensor, nn

from carryover.data.examples import Example, Labels
from carryover.data.numbers import as_number, written_number
from carryover.errors import BadData, UsageError
from carryover.layers.dropout import drop
from carryover.models.esim import ESIM
from carryover.sequence import Sequence
from carryover.tasks.heads.head import Head, argmax_labels, balanced_weights, softmax_loss
from carryover.tasks.pair import Pair


class PairHead(Head):
    """A label or a number for each pair. `hidden` is the number of LSTM cells a direction and of units of the perceptron.

    States [2 B, W, in_size] hold the first and the second text of an example one after the other.
    """

    task: Pair
    class_weights: Tensor | None
    center: Tensor
    spread: Tensor

    def __init__(self, task: Pair, in_size: int, *, hidden: int = 128, dropout: float = 0.0) -> None:
        super().__init__(task, in_size, dropout=dropout)
        self.hidden = hidden
        self.compare = ESIM(ESIM.Config(in_size=in_size, cell_size=hidden, dropout=dropout))
        self.inner = nn.Linear(self.compare.out_size, hidden)
        self.output = nn.Linear(hidden, 1 if task.numeric else len(task.labels))
        self.register_buffer("class_weights", None, persistent=False)
        self.register_buffer("center", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))

    def begin(self, gold: ListOf[Labels]) -> None:
        """Of numbers mean and standard deviation."""
        if self.task.numeric:
            known = [number for labels in gold if (number := as_number(labels[0])) is not None]  # `encode` names the others
            numbers = torch.tensor(known or [0.0], dtype=torch.float64)
            self.center.fill_(float(numbers.mean()))
            self.spread.fill_(max(float(numbers.std(correction=0)), 1e-6))

    def balance(self, gold: Iterable[Labels]) -> None:
        """Weigh each label as `balanced_weights` says. Raises UsageError for numbers."""
        if self.task.numeric:
            raise UsageError("class weights are for labels, and these are numbers", repair="leave the class weights out")
        self.class_weights = balanced_weights(self.task.labels, gold)

    def encode(self, example: Example[Any, Labels]) -> Tensor:
        if self.task.numeric:
            return torch.tensor(self.task.number_of(example))
        labels = self.task.gold(example)
        if len(labels) != 1:
            raise BadData(
                f"a pair has {len(labels)} labels where exactly one is needed",
                line=example.source.line or None,
                repair="give each pair one label",
            )
        return torch.tensor(self.task.number(labels[0], example))

    def stack(self, targets: ListOf[Tensor]) -> Tensor:
        return torch.stack(list(targets))

    def scores(self, hidden: Sequence) -> Tensor:
        """Logits [B, K], or of numbers [B, 1] in standard deviations from the mean."""
        first, second = (Sequence(hidden.values[side::2], hidden.lengths[side::2]) for side in (0, 1))
        compared = drop(self.compare(first, second), self.dropout, self.training)
        return self.output(drop(self.inner(compared).tanh(), self.dropout, self.training))

    def loss(self, hidden: Sequence, targets: Tensor) -> Tensor:
        scores = self.scores(hidden)
        if self.task.numeric:
            return nn.functional.mse_loss(scores.squeeze(1), (targets - self.center) / self.spread)
        return softmax_loss(scores, targets, self.class_weights)

    def weight(self, targets: Tensor) -> int:
        return len(targets)

    def probabilities(self, hidden: Sequence) -> list[Tensor]:
        """[K] for each pair; of numbers, which have none, [0]."""
        if self.task.numeric:
            return [hidden.values.new_empty(0)] * (hidden.batch_size // 2)
        return list(self.scores(hidden).softmax(1))

    def decode(self, hidden: Sequence) -> list[Labels]:
        scores = self.scores(hidden)
        if not self.task.numeric:
            return [(label,) for label in argmax_labels(self.task.labels, scores)]
        return [(written_number(number),) for number in (self.center + self.spread * scores.squeeze(1)).tolist()]

    def options(self) -> dict[str, Any]:
        return {"numbers": self.task.numeric, "hidden": self.hidden, "dropout": self.dropout}
