"""What can be read: inputs of every type, and the example, an input with its answer and the place where it was found.

No torch: readers, hand-made features and the service that answers over HTTP use the same types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Tokenize = Callable[[str], list[str]]
Labels = tuple[str, ...]
"""The labels of a text, or a tag for each word."""


@dataclass(frozen=True, slots=True)
class Text:
    """Running text."""

    text: str
    named: ClassVar[str] = "text"

    @property
    def content(self) -> str:
        """What a model that knows nothing of inputs is given."""
        return self.text

    @property
    def shown(self) -> str:
        """As people read it."""
        return self.text

    def words(self, tokenize: Tokenize) -> tuple[str, ...]:
        return tuple(tokenize(self.text))

    def sentences(self, tokenize: Tokenize) -> tuple[tuple[str, ...], ...]:
        """What an encoder reads apart: here the one text."""
        return (self.words(tokenize),)

    def to_json(self) -> dict[str, Any]:
        """All of it, under the name of its kind."""
        return {self.named: self.text}


@dataclass(frozen=True, slots=True)
class Words:
    """A sentence that was split into words before; nothing splits it again."""

    tokens: tuple[str, ...]

    @property
    def content(self) -> tuple[str, ...]:
        return self.tokens

    @property
    def shown(self) -> str:
        return " ".join(self.tokens)

    def words(self, tokenize: Tokenize) -> tuple[str, ...]:
        return self.tokens

    def sentences(self, tokenize: Tokenize) -> tuple[tuple[str, ...], ...]:
        return (self.tokens,)


@dataclass(frozen=True, slots=True)
class TextPair:
    """Two texts that are judged together. Raises TypeError where one is no text."""

    first: str
    second: str

    def __post_init__(self) -> None:
        for text in (self.first, self.second):
            if not isinstance(text, str):
                raise TypeError(f"a text of a pair is {text!r:.60}: give two strings")

    @property
    def content(self) -> TextPair:
        return self

    @property
    def shown(self) -> str:
        return f"{self.first}\t{self.second}"

    def words(self, tokenize: Tokenize) -> tuple[str, ...]:
        """Of both, one after the other."""
        return (*tokenize(self.first), *tokenize(self.second))

    def sentences(self, tokenize: Tokenize) -> tuple[tuple[str, ...], ...]:
        """Both: neither may depend on the other before they are compared."""
        return tuple(tokenize(self.first)), tuple(tokenize(self.second))


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Measurements in time, `values` [T, C]. Equal, and hashed, by content.

    Raises ValueError for another shape, TypeError for what are no numbers.
    """

    values: NDArray[Any]
    named: ClassVar[str] = "series"

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.dtype.kind not in "biuf":
            raise TypeError(f"a series is {self.values!r:.60}: give numbers, an array [T, C]")
        object.__setattr__(self, "values", values)
        if self.values.ndim != 2:
            raise ValueError(f"a series has shape [T, C], not {list(self.values.shape)}: give a column for each channel")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Series):
            return NotImplemented
        return self.values.dtype == other.values.dtype and bool(np.array_equal(self.values, other.values, equal_nan=True))

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Step by step, [C] each."""
        return iter(self.values)

    def __hash__(self) -> int:
        return hash((self.values.shape, (self.values + 0).tobytes()))  # −0 equals 0

    @property
    def shown(self) -> str:
        steps, channels = self.values.shape
        return f"{steps} steps of {channels} {'channel' if channels == 1 else 'channels'}"

    @property
    def content(self) -> Series:
        return self

    def words(self, tokenize: Tokenize) -> Series:
        """Itself: it is read step by step, as a sentence word by word, and nothing splits it."""
        return self

    def sentences(self, tokenize: Tokenize) -> tuple[Series]:
        return (self,)

    def to_json(self) -> dict[str, Any]:
        return {self.named: self.values.tolist()}


@dataclass(frozen=True, slots=True)
class Source:
    """Where an example was found: the file, and the line it begins in. Empty and 0 where it came from no file.

    Equality looks at the line alone, so that a copy of a file holds equal examples.
    """

    path: str = field(default="", compare=False)
    line: int = 0


I = TypeVar("I")  # noqa: E741
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Example(Generic[I, A]):
    """An input, the right answer where it is labelled (else None), and where both were found."""

    input: I
    gold: A | None = None
    source: Source = Source()
