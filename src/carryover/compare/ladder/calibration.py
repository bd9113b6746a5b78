"""What a rung may look at to foretell the cost of its cells: training examples, and stand-ins of what is made beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from carryover.compare.ladder.task import RungTask

_EXAMPLES = 64
_FEWEST = 16


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """`train` are all training examples, `smallest` the labels of the smallest budget, `test_examples` a number: no test
    example is looked at. `encoder` gives the pretrained model that a rung names, or an untrained one of the wanted size."""

    task: RungTask
    train: list[Any]
    test_examples: int
    smallest: int
    encoder: Callable[[str], Any]
    vector_size: int = 100
    fitting: Mapping[str, Any] = field(default_factory=dict)
    placement: str = "input"
    device: str = "cpu"

    def sample(self, count: int, most: int = _EXAMPLES) -> list[Any]:
        """At least 16 and at most `most` training examples, stratified."""
        from carryover.data.splits import stratified_order

        few = min(max(count, _FEWEST), most, len(self.train))
        return [self.train[i] for i in stratified_order(self.train, 0)[:few]]

    @cached_property
    def mean_words(self) -> float:
        """Words of a training example, on average."""
        return sum(len(self._words(example)) for example in self.train) / len(self.train)

    def vectors(self) -> tuple[Any, Any]:
        """A vocabulary and word vectors of zeros: their speed is that of real ones."""
        import numpy as np

        from carryover.data.vocabulary import Vocabulary

        vocabulary = Vocabulary.count(word for example in self.sample(self.smallest) for word in self._words(example))
        return vocabulary, np.zeros((len(vocabulary), self.vector_size), dtype=np.float32)

    def _words(self, example: Any) -> list[Any]:
        return list(example.input.words(str.split))
