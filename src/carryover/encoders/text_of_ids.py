"""Ids as they are generated, turned into text: whole characters, spaces by the model's rules, cut before a text to stop at."""

from __future__ import annotations

from collections.abc import Sequence as ListOf
from typing import TYPE_CHECKING

from carryover.data.joining import WordJoiner
from carryover.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    from carryover.data.coding import TokenCoder

_LONGEST_CHARACTER = 4  # bytes of a code point in UTF-8


class TextUntilStop:
    """The text of one row, id by id, up to the first of the texts `stops`; what may yet become one of them is held back.

    Of the first `at_least` ids nothing is looked at.
    """

    def __init__(self, coder: TokenCoder, prompt: str, stops: ListOf[str] = (), *, at_least: int = 0) -> None:
        self.pieces, self.stops, self.at_least = IncrementalDecoder(coder, prompt), stops, at_least
        self.text = ""
        self.stopped = False
        self._held = ""

    def add(self, number: int) -> bool:
        """Read an id; whether a text to stop at is complete."""
        text = self.pieces.add(number)
        self.at_least -= 1
        self._take(text)
        return self.stopped

    def end(self) -> None:
        """No id comes after this: what was held back is text."""
        if not self.stopped:
            self._take(self.pieces.rest())
        if not self.stopped:
            self.text, self._held = self.text + self._held, ""

    def _take(self, text: str) -> None:
        stops = self.stops if self.at_least < 0 else ()
        self._held += text
        places = [place for stop in stops if (place := self._held.find(stop)) >= 0]
        self.stopped = bool(places)
        kept = max((_overlap(self._held, stop) for stop in stops), default=0)
        border = min(places) if places else len(self._held) - kept
        self.text, self._held = self.text + self._held[:border], self._held[border:]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` with which `stop` begins, short of all of it."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)


class IncrementalDecoder:
    """Ids to text, each as soon as its characters are whole."""

    def __init__(self, coder: TokenCoder, prompt: str) -> None:
        line = prompt.rpartition("\n")[2]
        self.coder = coder
        self.waiting: list[int] = []  # pieces that end within a character
        self.exact = coder.exact
        self.joiner = WordJoiner()
        if not self.exact and coder.subwords is None:
            for word in coder.tokenize(line):
                self.joiner.add(word)
        self._spaced = not line or line[-1].isspace()  # so a space before the next word would be one too many

    def add(self, number: int) -> str:
        """The text that is whole with this id; may be empty."""
        if number == Vocabulary.END_ID:
            text = self.rest() + "\n"
            self.joiner, self._spaced = WordJoiner(), True
            return text
        if self.coder.subwords is not None:
            self.waiting.append(number)
            broken = self.coder.subwords.decode(self.waiting).endswith("\ufffd")
            return "" if broken and len(self.waiting) < _LONGEST_CHARACTER else self.rest()
        token = self.coder.vocabulary.tokens[number]
        return token if self.exact else self._once_spaced(self.joiner.add(token))

    def rest(self) -> str:
        """What waits for more bytes of its last character."""
        if not self.waiting:
            return ""
        assert self.coder.subwords is not None
        text = self.coder.subwords.decode(self.waiting)
        self.waiting = []
        return text if self.exact else self._once_spaced(text)

    def _once_spaced(self, text: str) -> str:
        if self._spaced and text:
            text, self._spaced = text.removeprefix(" "), False
        return text
