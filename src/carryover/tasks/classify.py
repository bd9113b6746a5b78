"""Classification of single texts and series: exactly one label each, or of a text any number of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as ListOf
from os import PathLike
from typing import Any, ClassVar

import numpy as np

from carryover.data.columns import Columns
from carryover.data.examples import Example, Labels, Series, Source, Text
from carryover.data.formats.labelled import is_no_text, read_labelled
from carryover.data.formats.text import ReadResult
from carryover.data.metric_names import metric_of_labels
from carryover.data.schemes import AUTO, Like, refuse_scheme, scheme_name
from carryover.errors import NothingToLearn, UsageError
from carryover.escaping import TableCell
from carryover.tasks.counting import GOLD, Numbers, f1, guessed_macro_f1, label_counts, macro_f1, ratio, unanswered
from carryover.tasks.metrics import ConfusionMatrix, per_label
from carryover.tasks.task import Task, Tokenize, need_two_labels


class Classify(Task):
    """One label for each text, or with `multi_label` a set of labels."""

    name: ClassVar[str] = "classify"
    reads: ClassVar[tuple[type, ...]] = (Text, Series)
    reading: ClassVar[str] = "texts"
    card: ClassVar[str] = "Labels texts"
    activity: ClassVar[str] = "classification"
    input_columns: ClassVar[tuple[str, ...]] = ("text_column",)
    weighs_classes: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ("multi_label", "metric")
    head: ClassVar[str] = "carryover.tasks.heads.classify:ClassifyHead"
    head_options: ClassVar[tuple[str, ...]] = ("pooling", "dropout", "threshold")

    def __init__(self, labels: Iterable[str], *, multi_label: bool = False, metric: str | None = None) -> None:
        super().__init__(labels)
        if not multi_label:
            need_two_labels(self.labels, "classification")
        elif not self.labels:
            raise NothingToLearn("no text of the training data has a label", repair="add labelled texts")
        self.multi_label = multi_label
        self.choose_main_score(metric, "macro_f1" if multi_label else "accuracy", ("accuracy", "macro_f1", "micro_f1"))

    def described(self) -> dict[str, Any]:
        return {**super().described(), "multi_label": self.multi_label}

    # ------------------------------------------------------------------ examples

    @classmethod
    def read(
        cls, path: str | PathLike[str], columns: Columns, *, require_labels: bool = True, like: Like = None
    ) -> ReadResult[Example[Any, Labels]]:
        refuse_scheme(columns.scheme)
        return read_labelled(path, columns, require_labels=require_labels)

    @classmethod
    def holds_examples(cls, path: str | PathLike[str], columns: Columns) -> bool:
        return is_no_text(path, columns)

    @classmethod
    def item(cls, line: str, tokenize: Tokenize, source: Source) -> Example[Text, Labels]:
        return Example(Text(line), None, source)

    @classmethod
    def row(cls, example: Example[Any, Labels]) -> dict[str, Any]:
        return {**example.input.to_json(), "labels": list(cls.gold(example))}

    @classmethod
    def metric_of(cls, gold: Iterable[Labels], *, multi_label: bool = False) -> str | None:
        return metric_of_labels(gold, multi_label=multi_label)

    # ------------------------------------------------------------------ answers

    def write_in(self, scheme: str) -> None:
        if scheme_name(scheme) != AUTO:
            raise UsageError("--scheme is for a tagger, and this model labels texts", repair="leave it out")

    def decisions(self, gold: Labels, answer: Labels) -> list[tuple[str, str]]:
        return [] if self.multi_label else super().decisions(gold, answer)

    def answer_row(
        self, example: Example[Any, Labels], words: tuple[str, ...], labels: Labels, probabilities: np.ndarray
    ) -> dict[str, Any]:
        chances = [round(float(probabilities[self.numbers[label]]), 6) for label in labels]
        return {example.input.named: example.input.shown, "labels": list(labels), "probabilities": chances}

    @classmethod
    def answer_cells(cls, row: Mapping[str, Any], *, probabilities: bool = False) -> Iterator[tuple[TableCell, ...]]:
        """Labels, where asked for their probabilities, and the input, which stands first in the row."""
        labels, shown = tuple(row["labels"]), next(iter(row.values()))
        chances = tuple(f"{value:.6f}" for value in row["probabilities"])
        yield (labels, chances, shown) if probabilities else (labels, shown)

    # ------------------------------------------------------------------ score

    beside: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")

    @property
    def count_size(self) -> int:
        return 2 + 3 * len(self.labels)

    def count(self, gold: Labels, predicted: Labels) -> Numbers:
        """Right or not, 1, and for each label whether it was right, answered and gold."""
        wanted, answered = set(gold), set(predicted)
        each = label_counts(self.numbers, wanted & answered, answered, wanted)
        return np.concatenate([[float(wanted == answered), 1.0], each])

    def figures(self, sums: Numbers) -> dict[str, Numbers]:
        """Accuracy (of the whole set of labels when multi-label), macro and micro F1."""
        table = _table(sums)
        found = {
            "accuracy": ratio(sums[..., 0], sums[..., 1]),
            "macro_f1": macro_f1(table),
            "micro_f1": f1(table.sum(axis=-2)),
        }
        return {self.main_score: found[self.main_score], **found}

    def guessing(self, figure: str, sums: Numbers, examples: int) -> Numbers | None:
        """Macro-F1 gives every label its share of the score, and where a text may have several labels, micro-F1 rewards
        answering many of them.

        Macro-F1: label c is answered with probability q and is right with probability p, so its F1 is 2pq / (p + q) on
        average. Where an example has one label the mean over K labels is largest, 1 / K, for q = p: guessing in proportion.
        Where it may have several nothing keeps q from 1: answering all labels always. Micro-F1 with several labels is largest
        for always answering the k most frequent ones, of all k the best.
        """
        gold = _table(sums)[..., GOLD]  # [..., C]
        if figure == "macro_f1":
            return guessed_macro_f1(gold, examples, several=self.multi_label)
        if figure != "micro_f1" or not self.multi_label:
            return None
        right = np.sort(gold, axis=-1)[..., ::-1].cumsum(axis=-1)  # of the k most frequent labels
        answered = examples * np.arange(1, gold.shape[-1] + 1)
        best: Numbers = ratio(2 * right, answered + gold.sum(axis=-1, keepdims=True)).max(axis=-1)
        return best

    @property
    def guess(self) -> str:  # type: ignore[override]
        return "always answering the same labels" if self.multi_label else "guessing in proportion"

    def never_answered(self, figure: str, sums: Numbers) -> Labels:
        return unanswered(self.labels, _table(sums)) if figure == "macro_f1" else ()

    def encode_answers(self, answers: ListOf[Labels]) -> tuple[np.ndarray, list[str]]:
        """Places of the labels, or a table [N, K] of 0 and 1 where a text may have several."""
        labels = sorted({label for row in answers for label in row})
        place = {label: number for number, label in enumerate(labels)}
        if not self.multi_label:
            return np.array([place[label] for row in answers for label in row], dtype=np.int32), labels
        table = np.zeros((len(answers), len(labels)), dtype=np.uint8)
        for number, row in enumerate(answers):
            table[number, [place[label] for label in row]] = 1
        return table, labels

    def decode_answers(self, numbers: np.ndarray, words: ListOf[str], inputs: ListOf[Any]) -> list[Labels]:
        if not self.multi_label:
            return [(words[int(number)],) for number in numbers]
        return [tuple(words[number] for number in np.flatnonzero(row).tolist()) for row in numbers]

    def score(self, gold: ListOf[Labels], predicted: ListOf[Labels]) -> dict[str, Any]:
        """The figures, each label, and the confusion."""
        task = self.covering(gold, predicted)
        sums = np.asarray(task.counts(gold, predicted).sum(axis=0))
        made = task.figures(sums)
        figures: dict[str, Any] = {name: float(made[name]) for name in ("accuracy", "macro_f1", "micro_f1")}
        figures["per_label"] = per_label(task.labels, _table(sums))
        if not self.multi_label:
            one = [labels[0] for labels in gold], [labels[0] for labels in predicted]
            figures["confusion"] = ConfusionMatrix.count(*one, labels=self.labels).to_json()
        return self._scored(figures, {"examples": len(gold)})


def _table(sums: Numbers) -> Numbers:
    """[..., C, 3] of the counts of labels."""
    return sums[..., 2:].reshape(*sums.shape[:-1], -1, 3)
