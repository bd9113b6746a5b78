"""What answers without looking, as a model that can be stored: the same to everything, or to each word its most frequent tag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from carryover.classical.feature_model import FeatureModel
from carryover.classical.stored import Stored
from carryover.data.examples import Example, Text, Words
from carryover.data.majority import MostFrequentLabel, MostFrequentTag
from carryover.data.numbers import are_numbers, written_number


class SameAnswer(FeatureModel):
    """The most frequent label, or set of labels, of the training examples; of numbers the mean. Its probability is its share."""

    kind: ClassVar[str] = "same answer"
    chosen = "the most frequent label"

    def fit(self, inputs: Sequence[Any], gold: Sequence[Any], seed: int = 0) -> Self:
        rows = [tuple(row) for row in gold]
        if are_numbers(label for row in rows for label in row):
            self.labels, self.answer = (), (written_number(float(np.mean([float(row[0]) for row in rows]))),)
            self.chosen, self.shares = "the mean", np.zeros(0)
            return self
        counts = Counter(label for row in rows for label in set(row))
        self.labels = tuple(sorted(counts))
        self.shares = np.array([counts[label] / len(rows) for label in self.labels])
        self.answer = MostFrequentLabel(Example(Text(""), row) for row in rows).labels
        return self

    def predict(self, inputs: Sequence[Any]) -> list[Any]:
        return [self.answer] * len(inputs)

    def predict_proba(self, inputs: Sequence[Any]) -> Sequence[np.ndarray]:
        return [self.shares] * len(inputs)

    def parameter_count(self) -> int:
        return 0

    def foretold_mib(self, sample: Sequence[Any], classes: int, examples: int) -> float:
        return 0.0

    def to_stored(self) -> Stored:
        return Stored({"answer": list(self.answer), "chosen": self.chosen}, {}, {"shares": self.shares})

    @classmethod
    def from_stored(cls, stored: Stored, labels: Sequence[str]) -> Self:
        model = cls()
        model.labels = tuple(labels)
        answer = stored.value("answer", list)
        if not all(isinstance(label, str) for label in answer) or (labels and not set(answer) <= set(labels)):
            raise ValueError(f"the answer {str(answer)[:60]} is not of labels.json")
        if not labels and not are_numbers(["0.5", *answer]):
            raise ValueError(f"the answer {str(answer)[:60]} is no number")
        model.answer, model.chosen = tuple(answer), stored.value("chosen", str)
        model.shares = stored.array("shares", len(labels))
        return model


class TagOfWord(FeatureModel):
    """For each word the tag it has most often, for others the most frequent one. A probability is a share of the word's tags."""

    kind: ClassVar[str] = "tag of each word"
    reads: ClassVar[type] = tuple
    reading: ClassVar[str] = "words"
    chosen = "the most frequent tag of each word"

    def fit(self, inputs: Sequence[Any], gold: Sequence[Any], seed: int = 0) -> Self:
        sentences = [Example(Words(tuple(words)), tuple(tags)) for words, tags in zip(inputs, gold, strict=True)]
        found = MostFrequentTag(sentences)
        self.labels = tuple(sorted({tag for tags in gold for tag in tags}))
        place = {tag: number for number, tag in enumerate(self.labels)}
        self.words = {word: number for number, word in enumerate(found.tags)}
        self.tags = np.array([place[found.tags[word]] for word in self.words], dtype=np.int64)  # [words]
        self.other = place[found.other]
        counts = Counter(
            (self.words[word], place[tag])
            for one in sentences
            for word, tag in zip(one.input.tokens, one.gold or (), strict=True)
        )
        self.pairs = np.array(sorted(counts), dtype=np.int64).reshape(-1, 2)  # word and tag
        self.counts = np.array([counts[pair] for pair in sorted(counts)], dtype=np.int64)
        return self

    def predict(self, inputs: Sequence[Any]) -> list[Any]:
        return [tuple(self.labels[self._tag(word)] for word in words) for words in inputs]

    def _tag(self, word: str) -> int:
        return int(self.tags[self.words[word]]) if word in self.words else self.other

    def predict_proba(self, inputs: Sequence[Any]) -> Sequence[np.ndarray]:
        starts = np.searchsorted(self.pairs[:, 0], np.arange(len(self.words) + 1))
        total = np.bincount(self.pairs[:, 1], weights=self.counts, minlength=len(self.labels))
        return [
            np.array([self._shares(word, starts, total) for word in words]).reshape(-1, len(self.labels)) for words in inputs
        ]

    def _shares(self, word: str, starts: np.ndarray, total: np.ndarray) -> np.ndarray:
        if word not in self.words:
            return np.asarray(total / total.sum())
        rows = slice(starts[self.words[word]], starts[self.words[word] + 1])
        row = np.bincount(self.pairs[rows, 1], weights=self.counts[rows], minlength=len(self.labels))
        return np.asarray(row / row.sum())

    def parameter_count(self) -> int:
        return len(self.counts)

    def foretold_mib(self, sample: Sequence[Any], classes: int, examples: int) -> float:
        return 0.0

    def to_stored(self) -> Stored:
        arrays = {"tags": self.tags, "pairs": self.pairs, "counts": self.counts}
        return Stored({"other": self.other}, {"words": list(self.words)}, arrays)

    @classmethod
    def from_stored(cls, stored: Stored, labels: Sequence[str]) -> Self:
        model = cls()
        model.labels, model.other = tuple(labels), stored.value("other", int)
        model.words = {word: number for number, word in enumerate(stored.listed("words"))}
        model.tags = stored.array("tags", len(model.words), kind="i")
        model.pairs = stored.array("pairs", None, 2, kind="i")
        model.counts = stored.array("counts", len(model.pairs), kind="i")
        known = range(len(labels))
        every = [model.other, *np.unique(model.tags).tolist(), *np.unique(model.pairs[:, 1]).tolist()]
        if not all(tag in known for tag in every):
            raise ValueError(f"a tag has a number that is not of the {len(labels)} labels")
        words = model.pairs[:, 0]
        if (
            len(np.unique(words)) != len(model.words)
            or (np.diff(words) < 0).any()
            or words.min() != 0
            or words.max() != len(model.words) - 1
        ):
            raise ValueError("the counts are not those of the words")
        if (model.counts < 1).any():
            raise ValueError("a count is not positive")
        return model
