"""Pairs of texts: which label the two have together, or how large a number says that they are related.

Whether a file asks for labels or for numbers, its labels tell: they are numbers where every one of them is a number and not all
are whole, or where the metric is a correlation. An answer that is a number is written with six digits, `("3.84213",)`, as files
have it. Labels are scored as those of single texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as ListOf
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np

from carryover.data.columns import Columns
from carryover.data.examples import Example, Labels, Source, TextPair
from carryover.data.formats.pairs import pair_of_line, read_pairs
from carryover.data.formats.text import ReadResult
from carryover.data.metric_names import CORRELATIONS, metric_of_labels
from carryover.data.numbers import are_numbers, as_number, written_number
from carryover.data.schemes import AUTO, Like, refuse_scheme, scheme_name
from carryover.errors import BadData, UsageError
from carryover.escaping import TableCell
from carryover.tasks.classify import Classify
from carryover.tasks.correlation import NumberScores
from carryover.tasks.counting import Counts, Numbers
from carryover.tasks.task import Task, Tokenize, need_two_labels

LABEL_METRICS = ("accuracy", "macro_f1", "micro_f1")


class Pair(Task):
    """One label, or with `numbers` one number, for each pair of texts; None: what the labels tell."""

    name: ClassVar[str] = "pair"
    reads: ClassVar[tuple[type, ...]] = (TextPair,)
    reading: ClassVar[str] = "texts"
    noun: ClassVar[str] = "pair"
    card: ClassVar[str] = "Compares two texts"
    activity: ClassVar[str] = "comparing texts"
    sentences_of_one: ClassVar[int] = 2
    input_columns: ClassVar[tuple[str, ...]] = ("text_column",)
    weighs_classes: ClassVar[bool] = True
    fit_defaults: ClassVar[Mapping[str, Any]] = {"learning_rate": 1e-3, "dropout": 0.2}
    """Chosen on the trial part of SICK with 500 pairs, over a frozen encoder."""
    options: ClassVar[tuple[str, ...]] = ("numbers", "metric")
    head: ClassVar[str] = "carryover.tasks.heads.pair:PairHead"
    head_options: ClassVar[tuple[str, ...]] = ("hidden", "dropout")

    def __init__(self, labels: Iterable[str], *, numbers: bool | None = None, metric: str | None = None) -> None:
        found = tuple(labels)
        self.numeric = (metric in CORRELATIONS or are_numbers(found)) if numbers is None else numbers
        super().__init__(() if self.numeric else found)
        self.scores: Classify | NumberScores
        if self.numeric:
            self.choose_main_score(metric, "pearson", CORRELATIONS)
            self.scores = NumberScores(self.main_score)
        else:
            need_two_labels(self.labels, "comparing texts")
            self.choose_main_score(metric, "accuracy", LABEL_METRICS)
            self.scores = Classify(self.labels, metric=metric)

    @classmethod
    def of(cls, labels: Iterable[str], options: Mapping[str, Any]) -> Self:
        """As every task's; compared by a correlation, labels are numbers whatever they look like."""
        asked = {"numbers": True} if options.get("figure") in CORRELATIONS else {}
        return super().of(labels, {**options, **asked})

    def described(self) -> dict[str, Any]:
        return {**super().described(), "numbers": self.numeric}

    # ------------------------------------------------------------------ examples

    @classmethod
    def read(
        cls, path: str | PathLike[str], columns: Columns, *, require_labels: bool = True, like: Like = None
    ) -> ReadResult[Example[TextPair, Labels]]:
        refuse_scheme(columns.scheme)
        for name, value in (("--multi-label", columns.multi_label), ("--coarse", columns.coarse)):
            if value is not None:
                raise UsageError(f"{name} is for single texts, and a pair has one label", repair="leave it out")
        return read_pairs(
            path,
            text_column=columns.text_column,
            label_column="label" if columns.label_column is None else columns.label_column,
            format=columns.format,
            on_error=columns.on_error,
            require_labels=require_labels,
        )

    @classmethod
    def item(cls, line: str, tokenize: Tokenize, source: Source) -> Example[TextPair, Labels]:
        """The line is both texts with a tab between them."""
        return pair_of_line(line, source.path, source.line)

    @classmethod
    def row(cls, example: Example[Any, Labels]) -> dict[str, Any]:
        return {"first": example.input.first, "second": example.input.second, "labels": list(cls.gold(example))}

    @classmethod
    def written_row(cls, content: Any, label: Any) -> dict[str, Any]:
        first, second = content
        return {"first": first, "second": second, "label": str(label)}

    @classmethod
    def labels_of(cls, examples: Iterable[Example[Any, Labels]]) -> Labels:
        """All that occur, sorted. Raises BadData, with file and line, where numbers that are not whole stand among words."""
        examples = list(examples)
        found = super().labels_of(examples)
        parts = {label for label in found if (number := as_number(label)) is not None and not number.is_integer()}
        words = {label for label in found if as_number(label) is None}
        if not parts or not words:
            return found
        rows = {True: [], False: []}  # type: dict[bool, list[tuple[Example[Any, Labels], str]]]
        for example in examples:
            for label in cls.gold(example):
                rows[label in words].append((example, label))
        are_words = len(rows[True]) <= len(rows[False])  # the fewer are at fault
        example, label = next((one, label) for one, label in rows[are_words] if label in (words if are_words else parts))
        raise BadData(
            f"label {label!r} is not a number, and other labels are: {min(parts)!r}"
            if are_words
            else f"label {label!r} is a number, and other labels are words: {min(words)!r}",
            path=example.source.path or None,
            line=example.source.line or None,
            repair="correct it, or name the right column with --label-column",
        )

    def check(self, examples: Iterable[Example[Any, Labels]], path: str | PathLike[str] | None = None) -> None:
        if not self.numeric:
            super().check(examples, path)
            return
        for example in examples:
            self.number_of(example, path)

    def number_of(self, example: Example[Any, Labels], path: str | PathLike[str] | None = None) -> float:
        """The number an example is labelled with. Raises BadData, with file and line, where that is none."""
        label = self.gold(example)[0] if self.gold(example) else ""
        number = as_number(label)
        if number is None:
            raise BadData(
                f"label {label!r} is not a number, and this model answers numbers",
                path=path or example.source.path or None,
                line=example.source.line or None,
                repair="correct the label, or name the right column with --label-column",
            )
        return number

    def is_known(self, label: str, known: Iterable[str]) -> bool:
        """Of numbers every number: none need have been seen."""
        return as_number(label) is not None if self.numeric else label in known

    @classmethod
    def metric_of(cls, gold: Iterable[Labels], *, multi_label: bool = False) -> str | None:
        rows = list(gold)
        return "pearson" if are_numbers({label for row in rows for label in row}) else metric_of_labels(rows)

    # ------------------------------------------------------------------ answers

    def write_in(self, scheme: str) -> None:
        if scheme_name(scheme) != AUTO:
            raise UsageError("--scheme is for a tagger, and this model compares texts", repair="leave it out")

    def decisions(self, gold: Labels, answer: Labels) -> list[tuple[str, str]]:
        return [] if self.numeric else super().decisions(gold, answer)

    def distance(self, gold: Labels, answer: Labels) -> float:
        return abs(float(gold[0]) - float(answer[0])) if self.numeric else 0.0

    def answer_row(
        self, example: Example[Any, Labels], words: tuple[str, ...], labels: Labels, probabilities: np.ndarray
    ) -> dict[str, Any]:
        """Both texts, and the label with its probability or the number."""
        row = {"first": example.input.first, "second": example.input.second}
        if self.numeric:
            return {**row, "number": float(labels[0])}
        return {
            **row,
            "labels": list(labels),
            "probabilities": [round(float(probabilities[self.numbers[label]]), 6) for label in labels],
        }

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
        if self.numeric:
            return {name: float(labels[0])}
        return super().answer_columns(labels, probabilities, name, every=every, separator=separator)

    @classmethod
    def answer_cells(cls, row: Mapping[str, Any], *, probabilities: bool = False) -> Iterator[tuple[TableCell, ...]]:
        """Label or number, where asked for the probability of the label, and both texts."""
        texts = (row["first"], row["second"])
        if "number" in row:
            yield (written_number(row["number"]), *texts)
            return
        chances = (tuple(f"{value:.6f}" for value in row["probabilities"]),) if probabilities else ()
        yield (tuple(row["labels"]), *chances, *texts)

    # ------------------------------------------------------------------ score

    @property
    def beside(self) -> tuple[str, ...]:  # type: ignore[override]
        return CORRELATIONS if self.numeric else self.scores.beside

    @property
    def majority(self) -> str:  # type: ignore[override]
        return "answering the mean" if self.numeric else super().majority

    @classmethod
    def most_frequent(cls, train: ListOf[Example[Any, Any]], test: ListOf[Example[Any, Any]]) -> list[Labels]:
        """The mean of numbers, which like every answer that is always the same correlates with nothing."""
        gold = [cls.gold(example)[0] for example in train]
        if not are_numbers(gold):
            return super().most_frequent(train, test)
        return [(written_number(float(np.mean([float(label) for label in gold]))),)] * len(test)

    @property
    def count_size(self) -> int:
        return self.scores.count_size

    def count(self, gold: Labels, predicted: Labels) -> Numbers:
        return self.scores.count(gold, predicted)

    def counts(self, gold: ListOf[Labels], predicted: ListOf[Labels]) -> Counts:
        """As every task's. Of numbers each row holds the ranks among all examples too, see `count_ranks`."""
        return self.scores.counts(gold, predicted)

    def figures(self, sums: Numbers) -> dict[str, Numbers]:
        """Of labels accuracy, macro and micro F1; of numbers Pearson's r and Spearman's ρ."""
        return self.scores.figures(sums)

    def limits(self, figure: str) -> tuple[float, float]:
        return self.scores.limits(figure)

    def guessing(self, figure: str, sums: Numbers, examples: int) -> Numbers | None:
        return self.scores.guessing(figure, sums, examples)

    @property
    def guess(self) -> str:  # type: ignore[override]
        return self.scores.guess

    def never_answered(self, figure: str, sums: Numbers) -> Labels:
        return self.scores.never_answered(figure, sums)

    def score(self, gold: ListOf[Labels], predicted: ListOf[Labels]) -> dict[str, Any]:
        """The figures, of labels each label and the confusion, of numbers the mean squared error."""
        return self.scores.score(gold, predicted)
