"""What every task is: a head with its loss, its decoder and its score over the states of an encoder.

A task never sees words, only labels and the states [B, W, D] the encoder made of an example. Gold labels and predictions
have one form, a tuple of strings for each example: the labels of a text, or one tag for each word of a sentence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as ListOf
from os import PathLike
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from carryover.data.examples import Labels
from carryover.data.schemes import AUTO, Scheme, scheme_name
from carryover.errors import BadData, NothingToLearn, UsageError
from carryover.layers.dropout import check_probability
from carryover.sequence import Sequence


class Task(nn.Module, ABC):
    """A head over states of size `in_size` that chooses among `labels`.

    Attributes
    ----------
    kind : name of the task in artefacts and on the command line.
    labels : everything it can answer, in the order of its probabilities.
    main_score : key of `score` that stands for the whole: `accuracy`, `macro_f1`, `micro_f1` or `span_f1`.
    scheme : how the training data wrote spans as tags, None where labels are no spans.
    """

    kind: ClassVar[str]
    main_score: str
    usual_score: str
    scheme: Scheme | None = None

    def __init__(self, labels: Iterable[str], in_size: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.labels: Labels = tuple(labels)
        if in_size < 1:
            raise UsageError(f"in_size is {in_size}", repair="give the size of the encoder's states, at least 1")
        self.in_size = in_size
        self.dropout = check_probability(dropout)
        self._numbers = {label: number for number, label in enumerate(self.labels)}
        if len(self._numbers) != len(self.labels):
            repeated = next(label for label in self.labels if self.labels.count(label) > 1)
            raise UsageError(f"label {repeated!r} is listed twice", repair="list every label once")

    # ------------------------------------------------------------------ examples

    @staticmethod
    @abstractmethod
    def gold(example: Any) -> Labels:
        """The labels an example carries."""

    @staticmethod
    @abstractmethod
    def words(example: Any, tokenize: Callable[[str], list[str]]) -> tuple[str, ...]:
        """The words an encoder reads of an example."""

    @classmethod
    def labels_of(cls, examples: Iterable[Any]) -> Labels:
        """All labels that occur, sorted, so that the order of the examples does not matter."""
        return tuple(sorted({label for example in examples for label in cls.gold(example)}))

    def check(self, examples: Iterable[Any], path: str | PathLike[str] | None = None) -> None:
        """Raise BadData, with the example's line, at the first label that this task does not know.

        For files at the moment they enter: `score` itself counts an unknown gold label as one that was missed.
        """
        for example in examples:
            for label in self.gold(example):
                if label not in self._numbers:
                    raise BadData(
                        f"label {label!r} was not among the {len(self.labels)} labels of the training data "
                        f"({_first(self.labels)})",
                        path=path,
                        line=example.source.line or None,
                        repair="correct the label, or train on examples that have it",
                    )

    @classmethod
    def fewest_numbers(cls, labels: int, options: Mapping[str, Any]) -> int:
        """The least count of numbers in the weights of a head for `labels` labels, with the options of `to_json`."""
        return labels

    @abstractmethod
    def encode(self, example: Any) -> Tensor:
        """Labels of one example as numbers. Raises BadData for labels it cannot learn from."""

    @abstractmethod
    def stack(self, targets: ListOf[Tensor]) -> Tensor:
        """Targets of a batch from those of its examples."""

    def targets(self, examples: Iterable[Any]) -> Tensor:
        """Targets of a batch of examples."""
        return self.stack([self.encode(example) for example in examples])

    def number(self, label: str, example: Any) -> int:
        """Position of a label. Raises BadData with the example's line when it is unknown."""
        if label not in self._numbers:
            self.check([example])
        return self._numbers[label]

    @classmethod
    def metric_of(cls, gold: Iterable[Labels], *, multi_label: bool = False) -> str | None:
        """The main score for examples with these labels, None for the usual one of the task."""
        return None

    def choose_main_score(self, metric: str | None, usual: str, offered: ListOf[str]) -> None:
        """Set `main_score`: `metric`, or where it is None the usual one. Raises UsageError for one that is not offered."""
        if metric is not None and metric not in offered:
            raise UsageError(
                f"metric {metric!r} does not score these labels", repair=f"use {' or '.join(offered)}, or leave it out"
            )
        self.main_score, self.usual_score = metric or usual, usual

    def balance(self, gold: Iterable[Labels]) -> None:
        """Weigh every label in the loss by the inverse of how often `gold` has it. Raises UsageError where that cannot be."""
        raise UsageError(
            f"class weights are for classification, not for the task {self.kind}", repair="leave the class weights out"
        )

    # ------------------------------------------------------------------ model

    @abstractmethod
    def loss(self, hidden: Sequence, targets: Tensor) -> Tensor:
        """Mean loss in nats, a scalar; 0 for a batch without anything to learn from."""

    @abstractmethod
    def weight(self, targets: Tensor) -> int:
        """How many answers `loss` is the mean over."""

    @abstractmethod
    def probabilities(self, hidden: Sequence) -> list[Tensor]:
        """For each row the probability of every label: [K] for a text, [W, K] for a sentence of W words."""

    @abstractmethod
    def decode(self, hidden: Sequence) -> list[Labels]:
        """The answer for each row."""

    def written(self, labels: Labels) -> Labels:
        """An answer as the training data would have it."""
        return labels

    def understood(self, answer: Labels) -> Labels:
        """Inverse of `written`."""
        return answer

    def write_in(self, scheme: str) -> None:
        """Write answers in a span scheme from now on. Raises UsageError for a task whose answers are no tags."""
        if scheme_name(scheme) != AUTO:
            raise UsageError("--scheme is for a tagger, and this model labels texts", repair="leave it out")

    @property
    def answers(self) -> Labels:
        """Every label that can be written."""
        return self.labels

    # ------------------------------------------------------------------ score and storage

    @abstractmethod
    def score(self, gold: ListOf[Labels], predicted: ListOf[Labels]) -> dict[str, Any]:
        """Scores as JSON: `main` (the value), `main_name`, the scores themselves, counts, and `unscored`, always 0."""

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Keyword arguments of the constructor beyond `labels` and `in_size`."""

    def to_json(self) -> dict[str, Any]:
        chosen = {} if self.main_score == self.usual_score else {"metric": self.main_score}
        return {"kind": self.kind, "in_size": self.in_size, "labels": list(self.labels), **self.options(), **chosen}

    def _scored(self, figures: dict[str, Any], counts: dict[str, int]) -> dict[str, Any]:
        return {"main": figures[self.main_score], "main_name": self.main_score, **figures, **counts, "unscored": 0}


def softmax_loss(scores: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross entropy in nats of `scores` [N, K]; targets of −1 do not count. 0 when none counts.

    `weights` [K] multiply the terms of each label.
    """
    total = nn.functional.cross_entropy(scores, targets, weights, ignore_index=-1, reduction="sum")
    return total / (targets >= 0).sum().clamp(min=1)


def need_two_labels(labels: Labels, what: str) -> None:
    """Raise NothingToLearn when there is nothing to choose between."""
    if len(labels) < 2:
        found = f"only the label {labels[0]!r}" if labels else "no label at all"
        raise NothingToLearn(
            f"the training data holds {found}: {what} needs at least two", repair="add examples of another label"
        )


def argmax_labels(labels: Labels, scores: Tensor) -> Labels:
    """The best label of every row of `scores` [N, K]; of equal ones the first."""
    return tuple(labels[number] for number in torch.argmax(scores, dim=-1).tolist())


def _first(labels: Labels, count: int = 8) -> str:
    return ", ".join(labels[:count]) + (", …" if len(labels) > count else "")
