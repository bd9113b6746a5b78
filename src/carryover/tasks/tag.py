"""Tagging: one label for each word.

Where the labels are spans the score is the F1 of exact spans, otherwise accuracy over words. Labels of spans are IOB2 (`B-x`,
`I-x`, `O`), whatever scheme the training data had; answers are written in that scheme.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as ListOf
from dataclasses import replace
from itertools import chain
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

from carryover.data.columns import Columns
from carryover.data.examples import Example, Labels, Source, Words
from carryover.data.formats.reading import read_tagged
from carryover.data.formats.text import ReadResult
from carryover.data.schemes import LETTERS, PLAIN, Like, Scheme, scheme_name
from carryover.errors import UsageError
from carryover.escaping import TableCell
from carryover.tasks.metrics import ConfusionMatrix, accuracy, label_scores, macro_f1, micro_average
from carryover.tasks.spans import is_span_scheme, span_scores
from carryover.tasks.task import Task, Tokenize, need_two_labels

if TYPE_CHECKING:
    import numpy as np

    from carryover.tasks.heads.tag import TagHead

_LARGEST_CONFUSION = 60  # labels; a larger table tells nobody anything


class Tag(Task):
    """A tag for every word.

    `scheme` is the spelling of the span scheme of the training data (`Scheme.spelling`), "plain" when its tags are no spans, or
    None: spans if all labels are IOB2.
    """

    name: ClassVar[str] = "tag"
    reads: ClassVar[tuple[type, ...]] = (Words,)
    reading: ClassVar[str] = "tags"
    card: ClassVar[str] = "Tags every word of a sentence"
    activity: ClassVar[str] = "tagging"
    options: ClassVar[tuple[str, ...]] = ("scheme", "metric")
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

    @staticmethod
    def head_class() -> type[TagHead]:
        from carryover.tasks.heads.tag import TagHead

        return TagHead

    def build_head(self, in_size: int, options: Mapping[str, Any]) -> TagHead:
        return self.head_class()(self, in_size, **{name: options[name] for name in self.head_options if name in options})

    @classmethod
    def fewest_numbers(cls, labels: int, options: Mapping[str, Any]) -> int:
        """Of a random field one number for each pair of labels."""
        return labels if options.get("output") == "softmax" else labels**2

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

    @classmethod
    def item(cls, line: str, tokenize: Tokenize, source: Source) -> Example[Words, Labels]:
        return Example(Words(tuple(tokenize(line))), None, source)

    @classmethod
    def row(cls, example: Example[Any, Labels]) -> dict[str, Any]:
        return {"tokens": list(example.input.tokens), "tags": list(cls.gold(example))}

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

    @classmethod
    def answer_cells(cls, row: Mapping[str, Any], *, probabilities: bool = False) -> Iterator[tuple[TableCell, ...]]:
        """A row (word, tag) a word, with its probability where asked for, and an empty row after the sentence."""
        for word, tag, chance in zip(row["tokens"], row["tags"], row["probabilities"], strict=True):
            yield (word, tag, f"{chance:.6f}") if probabilities else (word, tag)
        yield ()

    # ------------------------------------------------------------------ score

    def score(self, gold: ListOf[Labels], predicted: ListOf[Labels]) -> dict[str, Any]:
        """Accuracy and F1 over words; for spans precision, recall and F1 of exact spans, together and for each type.

        Raises ValueError when a sentence has not as many predicted tags as gold ones.
        """
        spans = span_scores(gold, predicted) if self.spans else None
        for number, (one, other) in enumerate(zip(gold, predicted, strict=True)):
            if len(one) != len(other):
                raise ValueError(f"sentence {number} has {len(one)} gold tags but {len(other)} predicted: score every word")
        words = list(chain.from_iterable(gold)), list(chain.from_iterable(predicted))
        figures: dict[str, Any] = {"accuracy": accuracy(*words)}
        if spans is not None:
            together = micro_average(spans)
            figures |= {"span_precision": together.precision, "span_recall": together.recall, "span_f1": together.f1}
            each = spans
        else:
            each = label_scores([(tag,) for tag in words[0]], [(tag,) for tag in words[1]])
        figures |= {"macro_f1": macro_f1(each), "per_label": {label: part.to_json() for label, part in each.items()}}
        if len({*words[0], *words[1], *self.labels}) <= _LARGEST_CONFUSION:
            figures["confusion"] = ConfusionMatrix.count(*words, labels=self.labels).to_json()
        return self._scored(figures, {"sentences": len(gold), "words": len(words[0])})
