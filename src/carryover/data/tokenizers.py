"""Tokenizers of characters and white space, one that keeps the spaces of another, and all of them back from JSON."""

from __future__ import annotations

from typing import Any, ClassVar

from carryover.data.token import Token, Tokenizer
from carryover.errors import BadData, check_schema


class CharacterTokenizer(Tokenizer):
    """Every code point a token; white space too, so that nothing of the text is lost."""

    kind: ClassVar[str] = "characters"
    exact = True

    def tokenize(self, text: str) -> list[Token]:
        return [Token(character, place, place + 1) for place, character in enumerate(text)]

    def words(self, text: str) -> list[str]:
        return list(text)

    def word_tokenizer(self) -> Tokenizer:
        from carryover.data.words import WordTokenizer

        return WordTokenizer()

    def to_json(self) -> dict[str, Any]:
        return {"schema": "carryover.tokenizer/1", "kind": self.kind}

    @classmethod
    def from_json(cls, value: Any) -> CharacterTokenizer:
        return cls()


class WhitespaceTokenizer(Tokenizer):
    """For text that is tokenised already: words are what white space separates."""

    kind: ClassVar[str] = "whitespace"

    def tokenize(self, text: str) -> list[Token]:
        tokens, end = [], 0
        for word in text.split():
            start = text.index(word, end)
            end = start + len(word)
            tokens.append(Token(word, start, end))
        return tokens

    def words(self, text: str) -> list[str]:
        return text.split()

    def to_json(self) -> dict[str, Any]:
        return {"schema": "carryover.tokenizer/1", "kind": self.kind}

    @classmethod
    def from_json(cls, value: Any) -> WhitespaceTokenizer:
        return cls()


class SpacedTokenizer(Tokenizer):
    """The tokens of another tokenizer with all white space kept, for text in which it means something: code, LaTeX, verse.

    A single space belongs to the token after it (` x`); any other white space between two tokens, and all at the beginning and
    the end of the text, is a separate token (an indentation is one). So every character is in exactly one token.
    """

    kind: ClassVar[str] = "spaced"
    exact = True

    def __init__(self, inner: Tokenizer) -> None:
        self.inner = inner

    def tokenize(self, text: str) -> list[Token]:
        tokens, end = [], 0
        for token in self.inner.tokenize(text):
            start = token.start
            if end and text[end:start] == " ":
                start = end
            elif end < start:
                tokens.append(Token(text[end:start], end, start))
            tokens.append(Token(text[start : token.end], start, token.end))
            end = token.end
        if end < len(text):
            tokens.append(Token(text[end:], end, len(text)))
        return tokens

    def words_after(self, text: str) -> list[str]:
        found = self.words(text.removeprefix(" "))
        if not text.startswith(" "):
            return found
        # a single space belongs to the token after it
        return [f" {found[0]}", *found[1:]] if found and not found[0][0].isspace() else self.words(text)

    def word_tokenizer(self) -> Tokenizer:
        return self.inner.word_tokenizer()

    def to_json(self) -> dict[str, Any]:
        return {"schema": "carryover.tokenizer/1", "kind": self.kind, "inner": self.inner.to_json()}

    @classmethod
    def from_json(cls, value: Any) -> SpacedTokenizer:
        """Inverse of `to_json`. Raises BadData for anything else."""
        inner = value.get("inner") if isinstance(value, dict) else None
        if isinstance(inner, dict) and inner.get("kind") == cls.kind:
            raise BadData("a spaced tokenizer is nested in another one", repair="save it again with to_json")
        return cls(tokenizer_from_json(inner))


def tokenizer_from_json(value: Any) -> Tokenizer:
    """The tokenizer that wrote this with `to_json`. Raises BadData naming what it is instead."""
    from carryover.data.subwords import SubwordTokenizer
    from carryover.data.words import WordTokenizer

    kinds: dict[str, type[Tokenizer]] = {
        one.kind: one for one in (WordTokenizer, CharacterTokenizer, WhitespaceTokenizer, SpacedTokenizer, SubwordTokenizer)
    }
    check_schema("the tokenizer", value.get("schema") if isinstance(value, dict) else None, "carryover.tokenizer/1")
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise BadData(
            f"a tokenizer of kind {str(kind)[:80]!r} is unknown", repair=f"the kinds are {', '.join(sorted(kinds))}"
        )
    return kinds[kind].from_json(value)
