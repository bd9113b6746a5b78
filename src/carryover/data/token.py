"""The contract of tokenizers: from text to tokens with their places in the text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple


class Token(NamedTuple):
    """A stretch of a text: `text` equals original[start:end], counted in code points."""

    text: str
    start: int
    end: int


class Tokenizer(ABC):
    """Splits text into tokens that lie in order and, taken from the original, are exactly what they say.

    `exact` says that the tokens one after the other are the text, white space too.
    """

    kind: ClassVar[str]
    exact: bool = False

    @abstractmethod
    def tokenize(self, text: str) -> list[Token]:
        """Tokens with their places."""

    def words(self, text: str) -> list[str]:
        """The tokens' texts alone; faster where the places are not needed."""
        return [token.text for token in self.tokenize(text)]

    def words_after(self, text: str) -> list[str]:
        """The tokens' texts of what follows other text, of which nothing is known but that it is there."""
        return self.words(text)

    def word_tokenizer(self) -> Tokenizer:
        """The tokenizer that finds the words where this one also gives white space, or cuts words into characters."""
        return self

    @abstractmethod
    def to_json(self) -> dict[str, Any]: ...

    @classmethod
    @abstractmethod
    def from_json(cls, value: Any) -> Tokenizer: ...
