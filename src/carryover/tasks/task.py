"""What every task is: the data side, without torch, so that hand-made features or a service can use it.

A task knows how a file of its kind is read, which labels there are, what an example is worth in splits, how answers are scored
and written. What is trained is its head (`carryover.tasks.heads`). Gold labels and predictions have one form, a tuple of
strings for each example: the labels of a text, or one tag for each word of a sentence.
"""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Sequence as ListOf
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np

from carryover.data.columns import Columns
from carryover.data.examples import Example, Labels, Source
from carryover.data.formats.text import ReadResult
from carryover.data.majority import MostFrequentLabel
from carryover.data.schemes import Like, Scheme
from carryover.errors import BadData, NothingToLearn, UsageError
from carryover.escaping import TableCell
from carryover.tasks.counting import Counts, Numbers, stack_counts

Tokenize = Callable[[str], list[str]]


class Task(ABC):
    """A question with its possible answers `labels`.

    Attributes
    ----------
    name : what it is called in artefacts and on the command line.
    reads : the types of input that its examples may have.
    card, activity : "Labels texts" and "classification": what it does, as the head of a card and inside a sentence.
    options, head_options : names of the keyword arguments of the constructor and of the head.
    labels : everything it can answer, in the order of probabilities.
    main_score : key of `score` that stands for the whole: `accuracy`, `macro_f1`, `micro_f1` or `span_f1`.
    scheme : how the training data wrote spans as tags, None where labels are no spans.
    """

    name: ClassVar[str]
    reads: ClassVar[tuple[type, ...]]
    reading: ClassVar[str]
    """What a format must hold to be read for it, one of those of `carryover.data.formats.choosing`."""
    noun: ClassVar[str] = "example"
    """What one example is called in errors."""
    card: ClassVar[str]
    activity: ClassVar[str]
    sentences_of_one: ClassVar[int] = 1
    """How many sentences an example has, which the encoder reads apart; the head finds them one after the other."""
    options: ClassVar[tuple[str, ...]]
    head: ClassVar[str]
    """Module and class of its head, `module:Class`: imported when one is built, for it needs torch."""
    head_options: ClassVar[tuple[str, ...]]
    input_columns: ClassVar[tuple[str, ...]] = ()
    """The settings of `Columns` that say where the input is in a file."""
    fit_defaults: ClassVar[Mapping[str, Any]] = {}
    """Of `FitSettings`, in place of those of the mode of carrying over."""
    weighs_classes: ClassVar[bool] = False
    """Whether the loss can give every class the same weight."""
    by_features: ClassVar[bool] = True
    """Whether models of hand-made features can answer it."""
    main_score: str
    usual_score: str
    scheme: Scheme | None = None

    def __init__(self, labels: Iterable[str]) -> None:
        self.labels: Labels = tuple(labels)
        self.numbers = {label: number for number, label in enumerate(self.labels)}
        if len(self.numbers) != len(self.labels):
            repeated = next(label for label in self.labels if self.labels.count(label) > 1)
            raise UsageError(f"label {repeated!r} is listed twice", repair="list every label once")

    @classmethod
    def for_columns(cls, columns: Columns) -> type[Task]:
        """The task that this one is where labels are in these columns of a file."""
        return cls

    @classmethod
    def of(cls, labels: Iterable[str], options: Mapping[str, Any]) -> Self:
        """The task with those of `options` that concern it. `figure`, which it need not have, is what answers are compared by."""
        return cls(labels, **{name: options[name] for name in cls.options if name in options})

    def described(self) -> dict[str, Any]:
        """The options it was made with, for `of`: what an artefact needs beside the labels."""
        return {"metric": self.main_score}

    @classmethod
    def fewest_numbers(cls, labels: int, options: Mapping[str, Any]) -> int:
        """The least count of numbers in the weights of a head for `labels` labels, with the options as stored."""
        return labels

    @property
    def summary(self) -> str:
        """What it can answer, in a line."""
        return _first(self.labels, 20)

    # ------------------------------------------------------------------ examples

    @classmethod
    @abstractmethod
    def read(
        cls, path: str | PathLike[str], columns: Columns, *, require_labels: bool = True, like: Like = None
    ) -> ReadResult[Any]:
        """The examples of a file. `like` is the span scheme of the training data. Raises InputMissing, BadData, UsageError."""

    @classmethod
    def holds_examples(cls, path: str | PathLike[str], columns: Columns) -> bool:
        """Whether a file that no format was given for is read as one of examples, whatever its name says."""
        return False

    @classmethod
    @abstractmethod
    def item(cls, line: str, tokenize: Tokenize, source: Source) -> Example[Any, Labels]:
        """A line of running text as an example to predict for."""

    @classmethod
    def gold(cls, example: Example[Any, Labels]) -> Labels:
        """The labels an example carries, none where it is not labelled."""
        return example.gold or ()

    @classmethod
    def words(cls, example: Example[Any, Labels], tokenize: Tokenize) -> Any:
        """The words an encoder reads of an example, or the series whose steps it reads."""
        return example.input.words(tokenize)

    @classmethod
    def sentences(cls, example: Example[Any, Labels], tokenize: Tokenize) -> tuple[Any, ...]:
        """The same in the sentences that an encoder reads apart, `sentences_of_one` of them."""
        found: tuple[Any, ...] = example.input.sentences(tokenize)
        return found

    @classmethod
    @abstractmethod
    def row(cls, example: Example[Any, Labels]) -> dict[str, Any]:
        """Input and answer of an example as JSON, in this order: what fingerprints of examples are made of."""

    @classmethod
    def written_row(cls, content: Any, label: Any) -> dict[str, Any]:
        """An input and its label, as people give them in Python, as a row of JSON that `read` understands."""
        return {"text": content, "label": str(label)}

    @classmethod
    def labels_of(cls, examples: Iterable[Example[Any, Labels]]) -> Labels:
        """All labels that occur, sorted, so that the order of the examples does not matter."""
        return tuple(sorted({label for example in examples for label in cls.gold(example)}))

    def check(self, examples: Iterable[Example[Any, Labels]], path: str | PathLike[str] | None = None) -> None:
        """Raise BadData, with the example's line, at the first label that this task does not know.

        For files at the moment they enter: `score` itself counts an unknown gold label as one that was missed.
        """
        for example in examples:
            for label in self.gold(example):
                if label not in self.numbers:
                    raise BadData(
                        f"label {label!r} was not among the {len(self.labels)} labels of the training data "
                        f"({_first(self.labels)})",
                        path=path,
                        line=example.source.line or None,
                        repair="correct the label, or train on examples that have it",
                    )

    def number(self, label: str, example: Example[Any, Labels]) -> int:
        """Position of a label. Raises BadData with the example's line when it is unknown."""
        if label not in self.numbers:
            self.check([example])
        return self.numbers[label]

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

    # ------------------------------------------------------------------ answers

    def written(self, labels: Labels) -> Labels:
        """An answer as the training data would have it."""
        return labels

    def understood(self, answer: Labels) -> Labels:
        """Inverse of `written`."""
        return answer

    @abstractmethod
    def write_in(self, scheme: str) -> None:
        """Write answers in a span scheme from now on. Raises UsageError for a task whose answers are no tags."""

    @property
    def answers(self) -> Labels:
        """Every label that can be written."""
        return self.labels

    @abstractmethod
    def answer_row(
        self, example: Example[Any, Labels], words: tuple[str, ...], labels: Labels, probabilities: np.ndarray
    ) -> dict[str, Any]:
        """An answer as `written`, with the probability of each label in it, as JSON."""

    @classmethod
    @abstractmethod
    def answer_cells(cls, row: Mapping[str, Any], *, probabilities: bool = False) -> Iterator[tuple[TableCell, ...]]:
        """The rows of cells that show what `answer_row` gave."""

    def decisions(self, gold: Labels, answer: Labels) -> list[tuple[str, str]]:
        """What was decided in an answer, each thing as (gold label, answered label), in the order of the rows of probabilities.

        Nothing where an example has several labels, or a number.
        """
        return [(gold[0], answer[0])] if len(gold) == len(answer) == 1 else []

    @property
    def decisions_of_one(self) -> int:
        """How many decisions there are for each word, or for each text."""
        return 1

    def chances(self, words: ListOf[str], labels: Labels, probabilities: np.ndarray) -> Numbers:
        """How probable each decision for `labels` is, [D]: 0 for a label that the task does not know."""
        rows = probabilities.reshape(len(labels), -1)
        numbers = [self.numbers.get(label) for label in labels]
        return np.array([0.0 if n is None else float(row[n]) for row, n in zip(rows, numbers, strict=True)])

    def concentration(self, probabilities: np.ndarray) -> Numbers:
        """Σ p² over all that could be answered in each decision, [D]."""
        return np.square(probabilities, dtype=np.float64).sum(axis=-1).reshape(-1)

    def distance(self, gold: Labels, answer: Labels) -> float:
        """How far a wrong answer is off, where that can be said."""
        return 0.0

    answers_words: ClassVar[bool] = False
    """Whether an answer has a part for each word."""

    @classmethod
    def shown_columns(cls, example: Example[Any, Labels], number: int) -> dict[str, Any]:
        """An example in columns of a table where the file has no rows; `number` counts from 1."""
        return {"example": number, "input": example.input.shown}

    def shown_words(self, labels: Labels) -> list[str]:
        """An answer as it is scored, word by word as people read it."""
        return list(self.written(labels))

    def columns_of(self, labels: Labels, label_column: str | int | None) -> dict[str | int | None, Labels]:
        """An answer as `written`, by the columns of a file that its parts belong in; `label_column` as the file was read."""
        return {label_column: labels}

    def answer_columns(
        self,
        labels: Labels,
        probabilities: np.ndarray,
        name: str,
        *,
        every: bool = False,
        separator: str = ",",
        words: ListOf[str] = (),
    ) -> dict[str, Any]:
        """An answer as `written` in columns of a table: `name`, several labels with `separator` between them, and with `every`
        the probability of each label there is. `words` are those that were read."""
        found: dict[str, Any] = {name: separator.join(labels)}
        if every:
            found |= {
                f"probability_{label}": round(float(p), 6) for label, p in zip(self.labels, probabilities, strict=True)
            }
        return found

    # ------------------------------------------------------------------ score

    beside: ClassVar[tuple[str, ...]] = ()
    """The figures that a comparison shows beside the main one."""
    strata: ClassVar[str | None] = None
    """What budgets are stratified by where that is not the label itself."""

    def fitting_score(self, figure: str) -> str:
        """The score that decides in early stopping where a comparison is by `figure`."""
        return figure

    def is_known(self, label: str, known: Iterable[str]) -> bool:
        """Whether who learned from the labels `known` can answer a label."""
        return label in known

    @abstractmethod
    def count(self, gold: Any, predicted: Any) -> Numbers:
        """What one example counts, [K]: numbers that add up over examples. Raises ValueError for what goes unscored."""

    @abstractmethod
    def figures(self, sums: Numbers) -> dict[str, Numbers]:
        """Figures [...] from added-up counts [..., K], of one sum or of thousands of resampled ones at once.

        A figure need not be additive, its counts must be: an F1, the BLEU of a corpus, the error of a scaled series.
        """

    def counts(self, gold: ListOf[Any], predicted: ListOf[Any]) -> Counts:
        """`count` of every example, [N, K]. Raises ValueError when an example would go unscored."""
        if len(gold) != len(predicted):
            raise ValueError(f"{len(gold)} gold examples but {len(predicted)} predictions: every example is scored once")
        rows = (self._count_of(number, *pair) for number, pair in enumerate(zip(gold, predicted, strict=True)))
        return stack_counts(rows, self.count_size)

    def _count_of(self, number: int, gold: Any, predicted: Any) -> Numbers:
        try:
            return self.count(gold, predicted)
        except ValueError as error:
            raise ValueError(f"{self.noun} {number} {error}") from None

    @property
    @abstractmethod
    def count_size(self) -> int:
        """K, the number of counts of an example."""

    def limits(self, figure: str) -> tuple[float, float]:
        """The least and the most that a figure can be."""
        return 0, 1

    def guessing(self, figure: str, sums: Numbers, examples: int) -> Numbers | None:
        """What the best blind guessing can be expected to score, [...], where a figure rewards it; else None."""
        return None

    guess: str = ""
    """What the blind guessing is that scores most."""

    def never_answered(self, figure: str, sums: Numbers) -> Labels:
        """Labels that some example has and no answer among `sums` [K] is, for the figures that make much of it."""
        return ()

    # ------------------------------------------------------------------ storage of answers

    def to_json(self, answer: Any) -> Any:
        """An answer as JSON."""
        return list(answer)

    def from_json(self, value: Any) -> Any:
        """Inverse of `to_json`."""
        return tuple(value)

    def encode_answers(self, answers: ListOf[Any]) -> tuple[np.ndarray, list[str]]:
        """Answers as an array of whole numbers and the words that they stand for."""
        words = [json.dumps(self.to_json(answer), ensure_ascii=False, sort_keys=True) for answer in answers]
        known = sorted(set(words))
        place = {word: number for number, word in enumerate(known)}
        return np.array([place[word] for word in words], dtype=np.int32), known

    def decode_answers(self, numbers: np.ndarray, words: ListOf[str], inputs: ListOf[Any]) -> list[Any]:
        """Inverse of `encode_answers`; `inputs` are those that were answered. Raises ValueError, IndexError."""
        known = [self.from_json(json.loads(word)) for word in words]
        return [known[number] for number in numbers]

    # ------------------------------------------------------------------ the least that counts

    majority: ClassVar[str] = "answering the most frequent label"
    """What `most_frequent` does, inside a sentence."""

    @classmethod
    def most_frequent(cls, train: ListOf[Example[Any, Any]], test: ListOf[Example[Any, Any]]) -> list[Any]:
        """The answers of who never looks: what is most frequent in `train`, of equally frequent ones the first in order."""
        return MostFrequentLabel(train).answer(test)

    @abstractmethod
    def score(self, gold: ListOf[Labels], predicted: ListOf[Labels]) -> dict[str, Any]:
        """Scores as JSON: `main` (the value), `main_name`, the scores themselves, counts, and `unscored`, always 0."""

    def covering(self, *answers: ListOf[Labels]) -> Self:
        """This task, or where answers hold labels that it does not know, a copy that counts those, too."""
        unknown = {label for rows in answers for row in rows for label in row} - set(self.labels)
        if not unknown:
            return self
        wider = copy.copy(self)
        wider.labels = (*self.labels, *sorted(unknown))
        wider.numbers = {label: number for number, label in enumerate(wider.labels)}
        return wider

    def _scored(self, figures: dict[str, Any], counts: dict[str, int]) -> dict[str, Any]:
        return {"main": figures[self.main_score], "main_name": self.main_score, **figures, **counts, "unscored": 0}


def need_two_labels(labels: Labels, what: str) -> None:
    """Raise NothingToLearn when there is nothing to choose between."""
    if len(labels) < 2:
        found = f"only the label {labels[0]!r}" if labels else "no label at all"
        raise NothingToLearn(
            f"the training data holds {found}: {what} needs at least two", repair="add examples of another label"
        )


def _first(labels: Labels, count: int = 8) -> str:
    return ", ".join(labels[:count]) + (", …" if len(labels) > count else "")
