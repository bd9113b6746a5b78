"""Annotation: several columns of a treebank for every word, such as upos, feats and lemma, from one model.

The answer of a word is its cells by name, `upos=NOUN`, a tab, `feats=Number=Sing`, a tab, `lemma=house`: see
`carryover.data.label_columns`. What is learned of each column `carryover.tasks.columns` says; the labels of this task are all values of
all parts of all columns, `feats`, a tab, `Number`, a tab, `Sing`.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as ListOf
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np

from carryover.data.columns import Columns
from carryover.data.examples import Example, Labels, Words
from carryover.data.formats.annotated import read_annotated
from carryover.data.formats.text import ReadResult
from carryover.data.label_columns import joined_cells, label_columns, split_cells
from carryover.data.schemes import AUTO, PLAIN, Like, find_scheme, scheme_name
from carryover.errors import BadData, UsageError
from carryover.escaping import TableCell
from carryover.tasks.columns import Column, column_class
from carryover.tasks.columns.column import concentration
from carryover.tasks.counting import Numbers, label_counts, ratio
from carryover.tasks.metrics import per_label
from carryover.tasks.of_words import TaskOfWords
from carryover.tasks.task import need_two_labels

USUAL_COLUMNS = "upos,feats,lemma"
_BETWEEN = "\t"  # the name of a column, the name of a part, a value


class Annotate(TaskOfWords):
    """A cell in every column for every word.

    Attributes
    ----------
    columns : by name, in the order of the labels.
    slices : for each column where the values of its parts are among the labels, a (start, end) for each part.
    """

    name: ClassVar[str] = "annotate"
    card: ClassVar[str] = "Annotates every word of a sentence"
    activity: ClassVar[str] = "annotation"
    options: ClassVar[tuple[str, ...]] = ("metric",)
    head: ClassVar[str] = "carryover.tasks.heads.annotate:AnnotateHead"
    head_options: ClassVar[tuple[str, ...]] = ("output", "dropout")
    by_features: ClassVar[bool] = False

    def __init__(self, labels: Iterable[str], *, metric: str | None = None) -> None:
        super().__init__(labels)
        need_two_labels(self.labels, "annotation")
        self.columns, self.slices = _columns_of(self.labels)
        self.units = [f"{column.name} {unit}" for column in self.columns.values() for unit in column.units()]
        self.choose_main_score(metric, "accuracy", ("accuracy",))

    @property
    def summary(self) -> str:
        return ", ".join(column.summary for column in self.columns.values())

    @property
    def decisions_of_one(self) -> int:
        return len(self.columns)

    # ------------------------------------------------------------------ examples

    @classmethod
    def read(
        cls, path: str | PathLike[str], columns: Columns, *, require_labels: bool = True, like: Like = None
    ) -> ReadResult[Example[Words, Labels]]:
        found = read_annotated(
            path,
            label_columns(USUAL_COLUMNS if columns.label_column is None else columns.label_column),
            format=columns.format,
            on_error=columns.on_error,
            require_labels=require_labels,
            spelling=lambda name, cell: column_class(name).canonical(cell),
        )
        if require_labels and like is None and scheme_name(columns.scheme) != PLAIN:
            _refuse_spans(found.examples, path)
        return found

    @classmethod
    def labels_of(cls, examples: Iterable[Example[Any, Labels]]) -> Labels:
        """All values of all parts of the columns. Raises BadData where words have different columns."""
        pairs: dict[str, Counter[tuple[str, str]]] = {}
        for (form, word), count in _counted(examples).items():
            for name, cell in split_cells(word).items():
                pairs.setdefault(name, Counter())[form, cell] += count
        totals = {name: counts.total() for name, counts in pairs.items()}
        if len(set(totals.values())) > 1:
            raise BadData(
                f"not every word has the columns {', '.join(pairs)}: {totals}",
                repair="give every word a cell in each column",
            )
        return tuple(
            _BETWEEN.join((name, part, value))
            for name, counts in pairs.items()
            for part, values in column_class(name).learn(counts).items()
            for value in values
        )

    def check(self, examples: Iterable[Example[Any, Labels]], path: str | PathLike[str] | None = None) -> None:
        """See `Task.check`. Features and lemmas that training had not are no fault of an example."""
        known: set[str] = set()
        for example in examples:
            for form, word in zip(example.input.tokens, self.gold(example), strict=True):
                if word in known:
                    continue
                known.add(word)
                cells = split_cells(word)
                fault = None
                if set(cells) != set(self.columns):
                    fault = f"the columns of {form!r} are {', '.join(cells)}; those of the model {', '.join(self.columns)}"
                elif strange := [name for name, column in self.columns.items() if not column.knows(cells[name])]:
                    fault = f"{strange[0]} {cells[strange[0]]!r} of {form!r} was not among those of the training data"
                if fault is not None:
                    raise BadData(
                        fault,
                        path=path,
                        line=example.source.line or None,
                        repair="correct it, or train on examples that have it",
                    )

    def write_in(self, scheme: str) -> None:
        if scheme_name(scheme) not in (AUTO, PLAIN):
            raise UsageError(
                f"the model's answers are no spans and cannot be written as {scheme}", repair="leave --scheme out"
            )

    # ------------------------------------------------------------------ answers

    def encode(self, form: str, word: str) -> list[int]:
        """The value of every part of every column, −1 where there is nothing to learn."""
        cells = split_cells(word)
        return [value for name, column in self.columns.items() for value in column.encode(form, cells[name])]

    def answer(self, forms: ListOf[str], scores: Numbers) -> Labels:
        """The most probable cells of each word, from scores or probabilities [W, K] in the order of `labels`."""
        cells = [column.decode(forms, self._parts(scores, name)) for name, column in self.columns.items()]
        return tuple(joined_cells(self.columns, word) for word in zip(*cells, strict=True))

    def _parts(self, table: Numbers, name: str) -> list[Numbers]:
        return [table[:, start:end] for start, end in self.slices[name]]

    def cells(self, labels: Labels) -> dict[str, list[str]]:
        """The answer of a sentence column by column."""
        rows = [split_cells(word) for word in labels]
        return {name: [row[name] for row in rows] for name in self.columns}

    def shown_words(self, labels: Labels) -> list[str]:
        return ["/".join(split_cells(word).values()) for word in labels]

    def columns_of(self, labels: Labels, label_column: str | int | None) -> dict[str | int | None, Labels]:
        found = self.cells(labels)
        asked = label_columns(USUAL_COLUMNS if label_column is None else label_column)
        named = {column.name: column.place for column in asked}
        if set(named) != set(found):  # numbers, where a treebank has names
            named = dict(zip(found, (column.place for column in asked), strict=True))
        return {named[name]: tuple(cells) for name, cells in found.items()}

    def chances(self, words: ListOf[str], labels: Labels, probabilities: np.ndarray) -> Numbers:
        """Of each cell, word by word."""
        found = self.cells(labels)
        rows = [
            column.chances(words, found[name], self._parts(probabilities, name)) for name, column in self.columns.items()
        ]
        return np.stack(rows, axis=1).reshape(-1)

    def concentration(self, probabilities: np.ndarray) -> Numbers:
        rows = [concentration(self._parts(probabilities, name)) for name in self.columns]
        return np.stack(rows, axis=1).reshape(-1)

    def answer_row(
        self, example: Example[Any, Labels], words: tuple[str, ...], labels: Labels, probabilities: np.ndarray
    ) -> dict[str, Any]:
        chances = self.chances(words, labels, probabilities).reshape(len(words), -1).T
        sure = {name: [round(float(p), 6) for p in row] for name, row in zip(self.columns, chances, strict=True)}
        return {"tokens": list(words), **self.cells(labels), "probabilities": sure}

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
        """A list for each column of the answer, and with `every` one with the probability of each cell."""
        found: dict[str, Any] = {f"{name}_{column}": cells for column, cells in self.cells(labels).items()}
        if every:
            sure = self.answer_row(Example(Words(())), tuple(words), labels, probabilities)["probabilities"]
            found |= {f"probability_{column}": row for column, row in sure.items()}
        return found

    @classmethod
    def answer_cells(cls, row: Mapping[str, Any], *, probabilities: bool = False) -> Iterator[tuple[TableCell, ...]]:
        """A row (word, a cell a column) a word, the probability of each cell behind them, and an empty row after the sentence."""
        names = list(row["probabilities"])
        for place, word in enumerate(row["tokens"]):
            sure = [f"{row['probabilities'][name][place]:.6f}" for name in names] if probabilities else []
            yield (word, *(row[name][place] for name in names), *sure)
        yield ()

    def decisions(self, gold: Labels, answer: Labels) -> list[tuple[str, str]]:
        """The cells of each word, the name of the column before each."""
        pairs = zip(map(split_cells, gold), map(split_cells, answer), strict=True)
        return [(f"{name} {own.get(name)}", f"{name} {given[name]}") for own, given in pairs for name in self.columns]

    # ------------------------------------------------------------------ score

    def is_known(self, label: str, known: Iterable[str]) -> bool:
        """Whether who learned the values `known` can answer a word: all of its tags, for features and lemmas are made anew."""
        parts = set(known)
        tags = ((name, cell) for name, cell in split_cells(label).items() if not column_class(name).makes_cells)
        return all(_BETWEEN.join((name, "", cell)) in parts for name, cell in tags)

    @property
    def count_size(self) -> int:
        return 2 + len(self.columns) + 3 * len(self.units)

    def count(self, gold: Labels, predicted: Labels) -> Numbers:
        """Words, words with every cell right, for each column cells that are right, and for each unit how often it was right, answered
        and gold."""
        if len(gold) != len(predicted):
            raise ValueError(f"has {len(gold)} gold words but {len(predicted)} predicted: answer every word once")
        right = np.zeros(2 + len(self.columns))
        hits, answers, wanted = [], [], []
        for own, given in zip(map(split_cells, gold), map(split_cells, predicted), strict=True):
            same = [own.get(name) == given.get(name) for name in self.columns]
            right += [1, all(same), *same]
            for name, column in self.columns.items():
                real, found = column.items(own.get(name, "_")), column.items(given.get(name, "_"))
                wanted += [f"{name} {unit}" for unit in real]
                answers += [f"{name} {unit}" for unit in found]
                hits += [f"{name} {unit}" for unit, value in real.items() if found.get(unit) == value]
        places = {unit: number for number, unit in enumerate(self.units)}
        return np.concatenate([right, label_counts(places, hits, answers, wanted)])

    def figures(self, sums: Numbers) -> dict[str, Numbers]:
        """The accuracy of each column over words, their mean, which is the main score, and the share of words with every cell right."""
        words = sums[..., 0]
        each = {f"{name}_accuracy": ratio(sums[..., 2 + number], words) for number, name in enumerate(self.columns)}
        mean = np.mean(list(each.values()), axis=0)
        if len(each) == 1:
            return {"accuracy": mean}
        return {"accuracy": mean, **each, "every_column_right": ratio(sums[..., 1], words)}

    def covering(self, *answers: ListOf[Labels]) -> Self:
        """This task, or where answers have tags or attributes that it does not know, a copy that counts those, too."""
        words = {word for rows in answers for row in rows for word in row}
        found = {
            f"{name} {unit}"
            for cells in map(split_cells, words)
            for name, column in self.columns.items()
            for unit in column.items(cells.get(name, "_"))
        }
        unknown = found - set(self.units)
        if not unknown:
            return self
        wider = copy.copy(self)
        wider.units = [*self.units, *sorted(unknown)]
        return wider

    def score(self, gold: ListOf[Labels], predicted: ListOf[Labels]) -> dict[str, Any]:
        """The figures, and precision, recall and F1 of every tag and every attribute. Raises ValueError when a sentence has not as
        many predicted words as gold."""
        task = self.covering(gold, predicted)
        sums = np.asarray(task.counts(gold, predicted).sum(axis=0))
        figures: dict[str, Any] = {name: float(value) for name, value in task.figures(sums).items()}
        table = sums[2 + len(task.columns) :].reshape(-1, 3)
        figures["per_label"] = per_label(task.units, table)
        return self._scored(figures, {"sentences": len(gold), "words": int(sums[0])})

    majority: ClassVar[str] = "giving each word its most frequent annotation"

    @classmethod
    def most_frequent(cls, train: ListOf[Example[Any, Any]], test: ListOf[Example[Any, Any]]) -> list[Labels]:
        """Of each word; of a word that was never seen what is most frequent part by part, its lemma by the most frequent rule."""
        task = cls(cls.labels_of(train))
        of_words: dict[str, Counter[str]] = {}
        totals = np.zeros(len(task.labels))
        for (form, word), count in sorted(_counted(train).items()):
            of_words.setdefault(form, Counter())[word] += count
            values = iter(task.encode(form, word))
            for start, _ in (place for places in task.slices.values() for place in places):
                if (value := next(values)) >= 0:
                    totals[start + value] += count
        known = {form: counts.most_common(1)[0][0] for form, counts in of_words.items()}
        strange = sorted({form for example in test for form in example.input.tokens} - set(known))
        known |= dict(zip(strange, task.answer(strange, np.tile(totals, (len(strange), 1))), strict=True))
        return [tuple(known[form] for form in example.input.tokens) for example in test]


def _columns_of(labels: Labels) -> tuple[dict[str, Column], dict[str, list[tuple[int, int]]]]:
    """Columns from the values of their parts, and where those are. Raises ValueError for labels that are not in this form."""
    parts: dict[str, dict[str, list[str]]] = {}
    slices: dict[str, dict[str, tuple[int, int]]] = {}
    for number, label in enumerate(labels):
        name, part, value = label.split(_BETWEEN, 2)
        places = slices.setdefault(name, {})
        start, end = places.get(part, (number, number))
        if end != number:
            raise ValueError(f"the values of {name} {part} are not side by side")
        places[part] = (start, number + 1)
        parts.setdefault(name, {}).setdefault(part, []).append(value)
    columns = {name: column_class(name)(name, own) for name, own in parts.items()}
    return columns, {name: list(own.values()) for name, own in slices.items()}


def _counted(examples: Iterable[Example[Any, Labels]]) -> Counter[tuple[str, str]]:
    """How often each word has each annotation."""
    return Counter(pair for example in examples for pair in zip(example.input.tokens, example.gold or (), strict=True))


def _refuse_spans(examples: ListOf[Example[Words, Labels]], path: str | PathLike[str]) -> None:
    """Raise UsageError for a column of span tags: they need a model that answers whole spans."""
    rows = [[split_cells(word) for word in example.gold or ()] for example in examples]
    names = rows[0][0] if rows else {}
    for name in (one for one in names if not column_class(one).makes_cells):
        scheme = find_scheme([[row[name] for row in sentence] for sentence in rows], None, None)
        if scheme is not None:
            raise UsageError(
                f"column {name} holds spans ({scheme})",
                path=path,
                repair="train a model for it alone, or give --scheme plain to learn its tags word by word",
            )
