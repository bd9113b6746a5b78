"""Classification of single texts: exactly one label a text, or any number of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as ListOf
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

from carryover.data.columns import Columns
from carryover.data.examples import Example, Labels, Source, Text
from carryover.data.formats.reading import read_texts
from carryover.data.formats.text import ReadResult
from carryover.data.metric_names import metric_of_labels
from carryover.data.schemes import AUTO, Like, refuse_scheme, scheme_name
from carryover.errors import NothingToLearn, UsageError
from carryover.escaping import TableCell
from carryover.tasks.metrics import ConfusionMatrix, accuracy, label_scores, macro_f1, micro_average
from carryover.tasks.task import Task, Tokenize, need_two_labels

if TYPE_CHECKING:
    import numpy as np

    from carryover.tasks.heads.classify import ClassifyHead


class Classify(Task):
    """One label for each text, or with `multi_label` a set of labels."""

    name: ClassVar[str] = "classify"
    reads: ClassVar[tuple[type, ...]] = (Text,)
    reading: ClassVar[str] = "texts"
    card: ClassVar[str] = "Labels texts"
    activity: ClassVar[str] = "classification"
    options: ClassVar[tuple[str, ...]] = ("multi_label", "metric")
    head_options: ClassVar[tuple[str, ...]] = ("pooling", "dropout", "threshold")

    def __init__(self, labels: Iterable[str], *, multi_label: bool = False, metric: str | None = None) -> None:
        super().__init__(labels)
        if not multi_label:
            need_two_labels(self.labels, "classification")
        elif not self.labels:
            raise NothingToLearn("no text of the training data has a label", repair="add labelled texts")
        self.multi_label = multi_label
        self.choose_main_score(metric, "macro_f1" if multi_label else "accuracy", ("accuracy", "macro_f1", "micro_f1"))

    @staticmethod
    def head_class() -> type[ClassifyHead]:
        from carryover.tasks.heads.classify import ClassifyHead

        return ClassifyHead

    def build_head(self, in_size: int, options: Mapping[str, Any]) -> ClassifyHead:
        return self.head_class()(self, in_size, **{name: options[name] for name in self.head_options if name in options})

    # ------------------------------------------------------------------ examples

    @classmethod
    def read(
        cls, path: str | PathLike[str], columns: Columns, *, require_labels: bool = True, like: Like = None
    ) -> ReadResult[Example[Text, Labels]]:
        refuse_scheme(columns.scheme)
        return read_texts(
            path,
            text_column=columns.text_column,
            label_column="label" if columns.label_column is None else columns.label_column,
            format=columns.format,
            on_error=columns.on_error,
            multi_label=columns.multi_label,
            coarse=columns.coarse,
            require_labels=require_labels,
        )

    @classmethod
    def item(cls, line: str, tokenize: Tokenize, source: Source) -> Example[Text, Labels]:
        return Example(Text(line), None, source)

    @classmethod
    def row(cls, example: Example[Any, Labels]) -> dict[str, Any]:
        return {"text": example.input.text, "labels": list(cls.gold(example))}

    @classmethod
    def metric_of(cls, gold: Iterable[Labels], *, multi_label: bool = False) -> str | None:
        return metric_of_labels(gold, multi_label=multi_label)

    # ------------------------------------------------------------------ answers

    def write_in(self, scheme: str) -> None:
        if scheme_name(scheme) != AUTO:
            raise UsageError("--scheme is for a tagger, and this model labels texts", repair="leave it out")

    def answer_row(
        self, example: Example[Any, Labels], words: tuple[str, ...], labels: Labels, probabilities: np.ndarray
    ) -> dict[str, Any]:
        chances = [round(float(probabilities[self.numbers[label]]), 6) for label in labels]
        return {"text": example.input.text, "labels": list(labels), "probabilities": chances}

    @classmethod
    def answer_cells(cls, row: Mapping[str, Any], *, probabilities: bool = False) -> Iterator[tuple[TableCell, ...]]:
        """Labels, where asked for their probabilities, and the text."""
        labels = tuple(row["labels"])
        chances = tuple(f"{value:.6f}" for value in row["probabilities"])
        yield (labels, chances, row["text"]) if probabilities else (labels, row["text"])

    # ------------------------------------------------------------------ score

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
