"""Words put together to readable text again: spaces where people set them, as far as a rule can tell."""

from __future__ import annotations

from collections.abc import Iterable

_NO_SPACE_BEFORE = frozenset([",", ".", ";", ":", "!", "?", ")", "]", "}", "%", "…", "’", "”", "»", "...", "n't", "n’t"])
_NO_SPACE_AFTER = frozenset(["(", "[", "{", "$", "£", "€", "#", "“", "«", "¿", "¡"])
_CLITICS = frozenset(["s", "ll", "re", "ve", "d", "m", "t"])


class WordJoiner:
    """The text of words, one after the other: `add` gives each with the space that belongs before it.

    Marks stand close to the word before, brackets and straight quotation marks to what they hold, clitics (`n't`, `'s`) to
    their word. What the text had there is not known, so this is for reading and not exact.
    """

    def __init__(self) -> None:
        self._close = True  # nothing, or something that wants no space after it, stands before
        self._quoted = False

    def add(self, word: str) -> str:
        """The word with or without a space before it."""
        close = self._close or self._stands_close(word)
        self._close = word in _NO_SPACE_AFTER
        if word == '"':
            close = close or self._quoted
            self._quoted = not self._quoted
            self._close = self._quoted
        return word if close else f" {word}"

    def _stands_close(self, word: str) -> bool:
        if word in _NO_SPACE_BEFORE or (word and set(word) <= set("!?")):
            return True
        return word[:1] in ("'", "’") and word[1:].lower() in _CLITICS


def join_words(words: Iterable[str]) -> str:
    """The text of a sentence."""
    joiner = WordJoiner()
    return "".join(joiner.add(word) for word in words)
