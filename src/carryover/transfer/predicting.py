"""What every trained model of a task is to those who use it, whatever answers inside: the one face of `predict` and `evaluate`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from collections.abc import Sequence as ListOf
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from carryover.data.examples import Example, Source
from carryover.data.examples import Words as WordsInput
from carryover.errors import UsageError, as_words, refuse_string
from carryover.tasks import Labels, Task

Item = str | WordsInput | Example[Any, Any] | Any
"""What can be predicted for: a running text, a sentence as words, an input that the task reads, or an example (its labels are
not looked at)."""


@dataclass(frozen=True)
class Prediction:
    """The answer for one item: labels of the text, or one tag a word; and the probability of every possible label.

    `probabilities` is [K] for a text and [W, K] for a sentence, columns in the order of `Predictor.labels`: IOB2 tags for
    spans, whatever scheme `labels` are written in.
    """

    words: tuple[str, ...]
    labels: Labels
    probabilities: np.ndarray
    decoded: Labels = ()
    """`labels` as the task scores them: spans as IOB2."""


class Predictor(ABC):
    """A trained model of a task, ready for use: texts, sentences, pairs or series in, labels out.

    `record` says how it came about, `folder` where it was loaded from. Every method keeps the order of what it is given.
    """

    description: ClassVar[str] = "a task model"
    record: dict[str, Any]
    folder: Path | None = None

    @property
    @abstractmethod
    def task(self) -> Task:
        """The data side: how examples are read, scored and written."""

    @property
    def labels(self) -> Labels:
        """Everything it can answer, in the order of probabilities."""
        return self.task.labels

    @abstractmethod
    def tokenize(self, text: str) -> list[str]:
        """The words of running text, as those of the training examples were found."""

    @abstractmethod
    def _decoded(self, examples: ListOf[Example[Any, Any]]) -> list[Labels]:
        """The answers, spans in IOB2."""

    @abstractmethod
    def _probabilities(self, examples: ListOf[Example[Any, Any]]) -> list[np.ndarray]:
        """See `predict_proba`."""

    def _check(self, example: Example[Any, Any]) -> None:  # noqa: B027 (a choice of who needs it)
        """Raise BadData for an input that the model cannot read."""

    def say_cut(self, path: str | Path, examples: Iterable[Example[Any, Any]]) -> None:  # noqa: B027
        """Say on standard error what of the examples of a file the model does not see."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write an artefact that needs nothing beside itself. Raises CannotWrite, DiskFault."""

    def words(self, item: Item) -> Any:
        """The words of an item; running text is split as the training data was."""
        return self.task.words(self.example(item), self.tokenize)

    def example(self, item: Item) -> Example[Any, Any]:
        """An item as an example of the task. Raises TypeError for what is none, BadData for an input of another kind."""
        if isinstance(item, Example):
            self._check(item)
            return item
        if isinstance(item, self.task.reads):
            return self.example(Example(item))
        if isinstance(item, str):
            return self.task.item(item, self.tokenize, Source())
        if self.task.sentences_of_one > 1:
            wanted = " or ".join(kind.__name__ for kind in self.task.reads)
            raise TypeError(f"an item is {item!r:.60}: give {wanted}, see carryover.data.examples")
        return Example(WordsInput(as_words(item)))

    def _given(self, items: ListOf[Item]) -> list[Example[Any, Any]]:
        refuse_string("items", items)
        return [self.example(item) for item in items]

    def predict(self, items: ListOf[Item]) -> list[Labels]:
        """The labels of every item: those of a text, or one tag a word, in the scheme of the training data."""
        return [self.task.written(labels) for labels in self._decoded(self._given(items))]

    def predict_proba(self, items: ListOf[Item]) -> list[np.ndarray]:
        """The probability of every label: [K] a text, [W, K] a sentence; columns in the order of `labels`."""
        return self._probabilities(self._given(items))

    def predictions(self, items: ListOf[Item]) -> list[Prediction]:
        """Words, labels and probabilities of every item."""
        examples = self._given(items)
        answers = zip(examples, self._decoded(examples), self._probabilities(examples), strict=True)
        return [
            Prediction(tuple(self.words(example)), self.task.written(labels), table, labels)
            for example, labels, table in answers
        ]

    def score(self, examples: ListOf[Any], path: Path | str | None = None, *, unseen_labels: str = "stop") -> dict[str, Any]:
        """Scores against the labels of `examples`; see `Task.score`.

        A label that the training data did not have can never be answered. With "stop" the first one raises BadData naming
        `path` and line; with "miss" each counts as one that was missed.
        """
        if unseen_labels not in ("stop", "miss"):
            raise UsageError(f"unseen_labels is {unseen_labels!r}", repair='use "stop" or "miss"')
        if unseen_labels == "stop":
            self.task.check(examples, path)
        return self.task.score([self.task.gold(example) for example in examples], self._decoded(self._given(examples)))
