"""What tasks share whose answer is one string a word of a sentence."""

from __future__ import annotations

from collections.abc import Sequence as ListOf
from itertools import chain
from typing import Any, ClassVar

import numpy as np

from carryover.data.examples import Example, Labels, Source, Words
from carryover.tasks.task import Task, Tokenize


class TaskOfWords(Task):
    """Reads sentences of words and answers one string for each word."""

    reads: ClassVar[tuple[type, ...]] = (Words,)
    reading: ClassVar[str] = "tags"
    noun: ClassVar[str] = "sentence"
    activity: ClassVar[str] = "tagging"
    answers_words: ClassVar[bool] = True

    @classmethod
    def item(cls, line: str, tokenize: Tokenize, source: Source) -> Example[Words, Labels]:
        return Example(Words(tuple(tokenize(line))), None, source)

    @classmethod
    def row(cls, example: Example[Any, Labels]) -> dict[str, Any]:
        return {"tokens": list(example.input.tokens), "tags": list(cls.gold(example))}

    @classmethod
    def written_row(cls, content: Any, label: Any) -> dict[str, Any]:
        return {"tokens": list(content), "tags": list(label)}

    def encode_answers(self, answers: ListOf[Labels]) -> tuple[np.ndarray, list[str]]:
        """Places of the tags of all sentences, one after the other."""
        tags = sorted({tag for row in answers for tag in row})
        place = {tag: number for number, tag in enumerate(tags)}
        return np.array([place[tag] for row in answers for tag in row], dtype=np.int32), tags

    def decode_answers(self, numbers: np.ndarray, words: ListOf[str], inputs: ListOf[Any]) -> list[Labels]:
        flat, lengths = [words[number] for number in numbers], [len(one.tokens) for one in inputs]
        if len(flat) != sum(lengths):
            raise ValueError(f"{len(flat)} tags for {sum(lengths)} test tokens")
        ends = np.cumsum(lengths).tolist()
        return [tuple(flat[end - length : end]) for end, length in zip(ends, lengths, strict=True)]


def all_words(rows: ListOf[Labels]) -> list[str]:
    """The answers of all words of all sentences."""
    return list(chain.from_iterable(rows))
