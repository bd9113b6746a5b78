"""Tagging: one label for each word.

Where the labels are spans the score is the F1 of exact spans, otherwise accuracy over words. Labels of spans are IOB2 (`B-x`,
`I-x`, `O`), whatever scheme the training data had; answers are written in that scheme.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as ListOf
from dataclasses import replace
from os import PathLike
from typing import Any, ClassVar

import numpy as np

from carryover.data.columns import Columns
from carryover.data.examples import Example, Labels, Words
from carryover.data.formats.reading import read_tagged
from carryover.data.formats.text import ReadResult
from carryover.data.label_columns import label_columns
from carryover.data.majority import MostFrequentTag
from carryover.data.schemes import LETTERS, PLAIN, Like, Scheme, scheme_name
from carryover.errors import UsageError
from carryover.escaping import TableCell
from carryover.tasks.annotate import Annotate
from carryover.tasks.columns import column_class
from carryover.tasks.counting import (
    ANSWERED,
    GOLD,
    RIGHT,
    Numbers,
    f1,
    guessed_macro_f1,
    label_counts,
    macro_f1,
    ratio,
    unanswered,
)
from carryover.tasks.metrics import ConfusionMatrix, per_label
from carryover.tasks.of_words import TaskOfWords, all_words
from carryover.tasks.spans import extract_spans, is_span_scheme, span_types
from carryover.tasks.task import Task, need_two_labels

_LARGEST_CONFUSION = 60  # labels; a larger table tells nobody anything


class Tag(TaskOfWords):
    """A tag for every word.

    `scheme` is the spelling of the span scheme of the training data (`Scheme.spelling`), "plain" when its tags are no spans, or
    None: spans if all labels are IOB2.
    """

    name: ClassVar[str] = "tag"
    card: ClassVar[str] = "Tags every word of a sentence"
    options: ClassVar[tuple[str, ...]] = ("scheme", "metric")
    head: ClassVar[str] = "carryover.tasks.heads.tag:TagHead"
    head_options: ClassVar[tuple[str, ...]] = ("output", "dropout")

    def __init__(self, labels: Iterable[str], *, metric: str | None = None, scheme: str | None = None) -> None:
        super().__init__(labels)
        need_two_labels(self.labels, "tagging")
        if scheme is None:
            scheme = Scheme().spelling if is_span_scheme(self.labels) else PLAIN
        self.scheme = None if scheme == PLAIN else Scheme.from_spelling(scheme)
        self.spans = self.scheme is not None
        usual = "span_f1" if self.spans else "accuracy"
        self.choose_main_score(metric, usual, tuple(dict.fromkeys((usual, "accuracy", "macro_f1"))))

    @classmethod
    def for_columns(cls, columns: Columns) -> type[Task]:
        """Annotation, where there are several columns, or one that is more than a tag."""
        asked = label_columns(columns.label_column)
        several = len(asked) > 1 or any(one.name != str(one.place) for one in asked)
        return Annotate if several or any(column_class(one.name).makes_cells for one in asked) else cls

    @classmethod
    def fewest_numbers(cls, labels: int, options: Mapping[str, Any]) -> int:
        """Of a random field one number for each pair of labels."""
        return labels if options.get("output") == "softmax" else labels**2

    def described(self) -> dict[str, Any]:
        return {**super().described(), "scheme": PLAIN if self.scheme is None else self.scheme.spelling}

    # ------------------------------------------------------------------ examples

    @classmethod
    def read(
        cls, path: str | PathLike[str], columns: Columns, *, require_labels: bool = True, like: Like = None
    ) -> ReadResult[Example[Words, Labels]]:
        return read_tagged(
            path,
            label_column=columns.label_column,
            format=columns.format,
            on_error=columns.on_error,
            require_labels=require_labels,
            scheme=columns.scheme,
            like=like,
        )

    def check(self, examples: Iterable[Example[Any, Labels]], path: str | PathLike[str] | None = None) -> None:
        """See `Task.check`. A tag of a span is known when its type is: training data without long spans has no `I-x`."""
        if self.spans:
            types = {label[2:] for label in self.labels}
            examples = [
                replace(
                    one, gold=tuple(tag for tag in self.gold(one) if tag[:2] not in ("B-", "I-") or tag[2:] not in types)
                )
                for one in examples
            ]
        super().check(examples, path)

    # ------------------------------------------------------------------ answers

    def written(self, labels: Labels) -> Labels:
        return labels if self.scheme is None else self.scheme.from_iob2(labels)

    def understood(self, answer: Labels) -> Labels:
        return answer if self.scheme is None else self.scheme.to_iob2(answer)

    @property
    def answers(self) -> Labels:
        if self.scheme is None or self.scheme == Scheme():
            return self.labels
        return tuple(self.scheme.tags({label[2:] for label in self.labels if label[1:2] == "-"}))

    def write_in(self, scheme: str) -> None:
        """Write answers in another span scheme from now on. Raises UsageError where tags are no spans."""
        name = scheme_name(scheme)
        if self.scheme is None and name in LETTERS:
            raise UsageError(f"the model's tags are no spans and cannot be written as {name}", repair="leave --scheme out")
        if self.scheme is not None and name == PLAIN:
            raise UsageError("the model's tags are spans", repair="leave --scheme out, or name a span scheme")
        if self.scheme is not None and name in LETTERS:
            self.scheme = replace(self.scheme, name=name)

    def answer_row(
        self, example: Example[Any, Labels], words: tuple[str, ...], labels: Labels, probabilities: np.ndarray
    ) -> dict[str, Any]:
        known = self.understood(labels)
        chances = [round(float(row[self.numbers[tag]]), 6) for row, tag in zip(probabilities, known, strict=True)]
        return {"tokens": list(words), "tags": list(labels), "probabilities": chances}

    def decisions(self, gold: Labels, answer: Labels) -> list[tuple[str, str]]:
        return list(zip(gold, answer, strict=True))

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
        """The tags of the sentence as a list, and with `every` the probability of each of them."""
        if not every:
            return {name: list(labels)}
        row = self.answer_row(Example(Words(())), (), labels, probabilities)
        return {name: list(labels), "probabilities": row["probabilities"]}

    @classmethod
    def answer_cells(cls, row: Mapping[str, Any], *, probabilities: bool = False) -> Iterator[tuple[TableCell, ...]]:
        """A row (word, tag) a word, with its probability where asked for, and an empty row after the sentence."""
        for word, tag, chance in zip(row["tokens"], row["tags"], row["probabilities"], strict=True):
            yield (word, tag, f"{chance:.6f}") if probabilities else (word, tag)
        yield ()

    # ------------------------------------------------------------------ score

    strata: ClassVar[str | None] = "span types"

    def fitting_score(self, figure: str) -> str:
        """Where every word has one tag, micro-F1 is accuracy."""
        return "accuracy" if figure == "micro_f1" else figure

    def is_known(self, label: str, known: Iterable[str]) -> bool:
        """An `I-x` is known when `B-x` is: spans of that type were seen."""
        return label in known or (self.spans and label[1:2] == "-" and label[2:] in span_types(known))

    @property
    def units(self) -> Labels:
        """What F1 is counted of: types of spans, or tags."""
        return span_types(self.labels) if self.spans else self.labels

    @property
    def count_size(self) -> int:
        return 2 + 3 * len(self.units)

    def count(self, gold: Labels, predicted: Labels) -> Numbers:
        """Words that are right, words, and for each unit how many were right, answered and gold; of spans exact ones."""
        if len(gold) != len(predicted):
            raise ValueError(f"has {len(gold)} gold tags but {len(predicted)} predicted: tag every token once")
        hits = [a for a, b in zip(gold, predicted, strict=True) if a == b]
        right, answered, wanted = hits, list(predicted), list(gold)
        if self.spans:
            found, real = set(extract_spans(predicted)), set(extract_spans(gold))
            right, answered, wanted = ([span.label for span in spans] for spans in (found & real, found, real))
        places = {unit: number for number, unit in enumerate(self.units)}
        each = label_counts(places, right, answered, wanted)
        return np.concatenate([[float(len(hits)), float(len(gold))], each])

    def figures(self, sums: Numbers) -> dict[str, Numbers]:
        """Accuracy and F1 over words; for spans precision, recall and F1 of exact spans, together and for each type.

        Micro-F1 over words with one tag each is their accuracy.
        """
        table = _table(sums)
        found = {"accuracy": ratio(sums[..., 0], sums[..., 1])}
        if self.spans:
            together = table.sum(axis=-2)
            found["span_precision"] = ratio(together[..., RIGHT], together[..., ANSWERED])
            found["span_recall"] = ratio(together[..., RIGHT], together[..., GOLD])
            found["span_f1"] = f1(together)
        found |= {"macro_f1": macro_f1(table), "micro_f1": found["accuracy"]}
        return {self.main_score: found[self.main_score], **found}

    def guessing(self, figure: str, sums: Numbers, examples: int) -> Numbers | None:
        """Macro-F1 over tags is rewarded as that over classes; spans are not found by guessing."""
        rewarded = figure == "macro_f1" and not self.spans
        return guessed_macro_f1(_table(sums)[..., GOLD], examples, several=False) if rewarded else None

    guess = "guessing in proportion"

    def never_answered(self, figure: str, sums: Numbers) -> Labels:
        return unanswered(self.units, _table(sums)) if figure == "macro_f1" else ()

    majority: ClassVar[str] = "giving each word its most frequent tag"

    @classmethod
    def most_frequent(cls, train: ListOf[Example[Any, Any]], test: ListOf[Example[Any, Any]]) -> list[Labels]:
        """Of each word; of a word that was never seen the most frequent tag of all."""
        return MostFrequentTag(train).answer(test)

    def score(self, gold: ListOf[Labels], predicted: ListOf[Labels]) -> dict[str, Any]:
        """The figures, each unit, and the confusion. Raises ValueError when a sentence has not as many predicted tags as gold."""
        task = self.covering(gold, predicted)
        sums = np.asarray(task.counts(gold, predicted).sum(axis=0))
        made = task.figures(sums)
        names = ("accuracy", "span_precision", "span_recall", "span_f1", "macro_f1")
        figures: dict[str, Any] = {name: float(made[name]) for name in names if name in made}
        figures["per_label"] = per_label(task.units, _table(sums))
        words = all_words(gold), all_words(predicted)
        if len({*words[0], *words[1], *self.labels}) <= _LARGEST_CONFUSION:
            figures["confusion"] = ConfusionMatrix.count(*words, labels=self.labels).to_json()
        return self._scored(figures, {"sentences": len(gold), "words": len(words[0])})


def _table(sums: Numbers) -> Numbers:
    """[..., units, 3] of the counts of units."""
    return sums[..., 2:].reshape(*sums.shape[:-1], -1, 3)
