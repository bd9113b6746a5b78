"""What answers without looking: the most frequent label of the training examples, or for each word its most frequent tag.

The reference below which no model is worth using. It is counted, not trained, and costs no measurable time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from carryover.data.examples import Example, Labels, Series, Text, Words


@dataclass(frozen=True)
class MajorityScore:
    """What the majority scores: `accuracy` over texts or words, `macro_f1` over the labels of texts (None for tags).

    `answer` is the label that every text is given (joined by "+" where it is a set), None where each word has its own.
    """

    answer: str | None
    accuracy: float
    macro_f1: float | None


class MostFrequentLabel:
    """Answers every text with the most frequent label, or where texts have several labels with the most frequent set."""

    def __init__(self, examples: Iterable[Example[Text, Labels]]) -> None:
        self.labels = _most_frequent(Counter(tuple(sorted(example.gold or ())) for example in examples), ())

    def answer(self, examples: Sequence[Example[Text, Labels]]) -> list[Labels]:
        return [self.labels] * len(examples)

    def score(self, examples: Sequence[Example[Text, Labels]]) -> MajorityScore:
        right = sum(set(example.gold or ()) == set(self.labels) for example in examples)
        gold = Counter(label for example in examples for label in set(example.gold or ()))
        f1 = sum(2 * gold[label] / (len(examples) + gold[label]) for label in self.labels)
        return MajorityScore("+".join(self.labels), right / len(examples), f1 / max(1, len({*gold, *self.labels})))


class MostFrequentTag:
    """Gives every word the tag it has most often, and a word that was never seen the most frequent tag of all."""

    def __init__(self, sentences: Iterable[Example[Words, Labels]]) -> None:
        of_words: dict[str, Counter[str]] = {}
        total: Counter[str] = Counter()
        for sentence in sentences:
            total.update(sentence.gold or ())
            for word, tag in zip(sentence.input.tokens, sentence.gold or (), strict=True):
                of_words.setdefault(word, Counter())[tag] += 1
        self.other: str = _most_frequent(total, "")
        # The most frequent tag of all settles ties, then the alphabet: the order of the sentences must not matter.
        self.tags = {
            word: max(sorted(counts), key=lambda tag: (counts[tag], total[tag])) for word, counts in of_words.items()
        }

    def answer(self, sentences: Sequence[Example[Words, Labels]]) -> list[Labels]:
        return [tuple(self.tags.get(word, self.other) for word in sentence.input.tokens) for sentence in sentences]

    def score(self, sentences: Sequence[Example[Words, Labels]]) -> MajorityScore:
        answers = zip(sentences, self.answer(sentences), strict=True)
        right = [tag == gold for sentence, tags in answers for gold, tag in zip(sentence.gold or (), tags, strict=True)]
        return MajorityScore(None, sum(right) / max(1, len(right)), None)


_KINDS: dict[type, type[MostFrequentLabel] | type[MostFrequentTag]] = {
    Text: MostFrequentLabel,
    Words: MostFrequentTag,
    Series: MostFrequentLabel,
}


def majority_answers(train: Sequence[Any], test: Sequence[Any]) -> list[Labels]:
    """Answers for `test` counted from `train`, examples of one kind. Raises ValueError when `train` is empty."""
    return _counted(train).answer(test)


def majority_score(train: Sequence[Any], test: Sequence[Any]) -> MajorityScore:
    """What answering `test` by the majority of `train` scores. Raises ValueError when one of them is empty."""
    if not test:
        raise ValueError("there is no example to score the majority on: give at least one")
    return _counted(train).score(test)


def _counted(train: Sequence[Any]) -> MostFrequentLabel | MostFrequentTag:
    if not train:
        raise ValueError("there is no example to count the majority in: give at least one")
    return _KINDS[type(train[0].input)](train)


def _most_frequent(counts: Counter[Any], nothing: Any) -> Any:
    """Of equally frequent ones the first in the alphabet."""
    return max(sorted(counts), key=lambda item: counts[item], default=nothing)
