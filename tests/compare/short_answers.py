"""A task that only a test knows: the answer is a text, there are several right ones, and it is scored by words in common.

Two figures: `overlap`, the F1 of words over all answers, which is no mean over examples, and `exact`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import numpy as np

from carryover.data.examples import Text
from carryover.data.formats.text import ReadResult
from carryover.tasks.counting import Numbers, ratio
from carryover.tasks.task import Task


class ShortAnswer(Task):
    """`gold` is a tuple of right answers, a prediction one string."""

    name: ClassVar[str] = "answer"
    reads: ClassVar[tuple[type, ...]] = (Text,)
    reading: ClassVar[str] = "texts"
    card: ClassVar[str] = "Answers questions"
    activity: ClassVar[str] = "answering"
    options: ClassVar[tuple[str, ...]] = ()
    head: ClassVar[str] = ""
    head_options: ClassVar[tuple[str, ...]] = ()
    main_score = usual_score = "overlap"
    count_size = 4

    def count(self, gold: tuple[str, ...], predicted: str) -> Numbers:
        found = Counter(predicted.split())
        best = max(gold, key=lambda one: (found & Counter(one.split())).total() / len(one.split()))
        shared = (found & Counter(best.split())).total()
        return np.array([shared, found.total() + len(best.split()), predicted in gold, 1.0])

    def figures(self, sums: Numbers) -> dict[str, Numbers]:
        return {"overlap": ratio(2 * sums[..., 0], sums[..., 1]), "exact": ratio(sums[..., 2], sums[..., 3])}

    def to_json(self, answer: str) -> Any:
        return answer

    def from_json(self, value: Any) -> str:
        return str(value)

    def score(self, gold: Any, predicted: Any) -> dict[str, Any]:
        made = {name: float(value) for name, value in self.figures(self.counts(gold, predicted).sum(axis=0)).items()}
        return self._scored(made, {"examples": len(gold)})

    @classmethod
    def read(cls, path: Any, columns: Any, **how: Any) -> ReadResult[Any]:
        raise NotImplementedError

    @classmethod
    def item(cls, line: str, tokenize: Any, source: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def row(cls, example: Any) -> dict[str, Any]:
        return {"text": example.input.text, "answers": list(example.gold)}

    def write_in(self, scheme: str) -> None: ...

    def answer_row(self, *parts: Any) -> dict[str, Any]:
        raise NotImplementedError

    @classmethod
    def answer_cells(cls, row: Any, *, probabilities: bool = False) -> Any:
        raise NotImplementedError
