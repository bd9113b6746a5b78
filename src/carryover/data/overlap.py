"""Does one text occur in another? Runs of words, compared by 64-bit fingerprints in one pass over a stream."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np

from carryover.data.words import WordTokenizer, combining_marks

RUN = 8  # words; a shared run this long is a copy and no coincidence

_AT_ONCE = 1 << 16  # words of a line that are compared together
_TOKENIZER = WordTokenizer(hyphens="split")
_LETTER = re.compile(r"[^\W_]")
_NO_PART = re.compile(rf"[^\w{combining_marks()}]|_")  # of a word, where only what is read counts
_MIXER = np.uint64(0x9E3779B97F4A7C15)


class RawScan:
    """Finds which of some groups of texts occur in raw text that is shown line by line.

    A text of at least 8 words is found by any run of 8 of its words, so also inside a paragraph or in part; a shorter one
    of at least 3 words only as a whole line. Case, punctuation and the spacing of clitics do not matter; duplicate lines differ
    in case and white space alone. Memory: the words and runs of the groups, and sixteen bytes for each raw line.
    """

    def __init__(self, groups: dict[str, list[str]]) -> None:
        self._numbers: dict[str, int] = {}
        self._line_prints = array("Q")
        self._line_numbers = array("q")
        self._owners: dict[str, list[np.ndarray]] = {}
        for name, texts in groups.items():
            self._owners[name] = [self._fingerprints(self._learn(text)) for text in texts]
        every = [one for owned in self._owners.values() for one in owned]
        self._wanted = np.unique(np.concatenate(every)) if every else np.zeros(0, dtype=np.uint64)
        self._met = np.zeros(len(self._wanted), dtype=np.int64)  # the number of the line that has it first, 0 for none

    def add(self, line: str, number: int | None = None) -> None:
        """Show one line of the raw text; `number` is its place in the file, without it the lines are counted."""
        number = len(self._line_prints) + 1 if number is None else number
        self._line_numbers.append(number)
        tokens = _tokens(line)
        print_, before = 0, np.zeros(0, dtype=np.uint64)
        for part, chunk in enumerate(iter(lambda: tuple(islice(tokens, _AT_ONCE)), ())):
            print_ = hash((print_, chunk)) if part else hash(chunk)
            if len(self._wanted):
                before = self._look_for(np.concatenate([before, self._numbers_of(chunk)]), number, whole=not part)
        self._line_prints.append(print_ & 0xFFFFFFFFFFFFFFFF)

    def _numbers_of(self, tokens: tuple[str, ...]) -> np.ndarray:
        """Of the words of a text; 0 is a word of none of the wanted texts."""
        get, words = self._numbers.get, _words(tokens)
        return np.fromiter((get(word, 0) for word in words), dtype=np.uint64, count=len(words))

    def _look_for(self, numbers: np.ndarray, line: int, *, whole: bool) -> np.ndarray:
        """Mark the wanted runs as met in `line` (or, of a `whole` line that is shorter, the line); what the next run may begin
        with."""
        if numbers.any() and (whole or len(numbers) >= RUN):
            prints = self._fingerprints(numbers)
            places = np.searchsorted(self._wanted, prints).clip(max=len(self._wanted) - 1)
            found = places[self._wanted[places] == prints]
            self._met[found[self._met[found] == 0]] = line
        return numbers[1 - RUN :]

    def found(self) -> dict[str, int]:
        """For each group, how many of its texts were met."""
        return {name: len(texts) for name, texts in self.matches().items()}

    def matches(self) -> dict[str, list[tuple[int, int]]]:
        """For each group the places of its texts that were met, each with the number of a line that has a run of it."""
        matches: dict[str, list[tuple[int, int]]] = {}
        for name, owned in self._owners.items():
            lines = (self._met[np.searchsorted(self._wanted, prints)] for prints in owned)
            matches[name] = [(place, int(met[met > 0][0])) for place, met in enumerate(lines) if (met > 0).any()]
        return matches

    def duplicate_lines(self) -> int:
        """How many lines repeat an earlier one."""
        return len(self.duplicates())

    def duplicates(self) -> list[tuple[int, int]]:
        """The numbers of the lines that repeat an earlier one, each with that of the first like it."""
        prints = np.frombuffer(self._line_prints, dtype=np.uint64)
        numbers = np.frombuffer(self._line_numbers, dtype=np.int64)
        _, first, group = np.unique(prints, return_index=True, return_inverse=True)
        again = np.flatnonzero(first[group] != np.arange(len(prints)))
        return list(zip(numbers[again].tolist(), numbers[first[group[again]]].tolist(), strict=True))

    def _learn(self, text: str) -> np.ndarray:
        numbers = self._numbers
        return np.array([numbers.setdefault(word, len(numbers) + 1) for word in words_of(text)], dtype=np.uint64)

    def _fingerprints(self, numbers: np.ndarray) -> np.ndarray:
        """Fingerprints of all runs; of the whole, of 3 words at least, when it is shorter than a run."""
        mixed = (numbers + np.uint64(1)) * _MIXER
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        count = len(numbers)
        if count < RUN:
            return _combine(mixed[None, :]) if count >= 3 else np.zeros(0, dtype=np.uint64)
        return _combine(np.lib.stride_tricks.sliding_window_view(mixed, RUN))


def _combine(runs: np.ndarray) -> np.ndarray:
    """One fingerprint for each row of word fingerprints [n, length]; order counts."""
    total = np.full(len(runs), runs.shape[1], dtype=np.uint64)
    for column in range(runs.shape[1]):
        total = (total ^ runs[:, column]) * _MIXER
        total ^= total >> np.uint64(32)
    return total


def words_of(text: str) -> list[str]:
    """The tokenizer's words in lower case and without punctuation; `do n't` and `don't` are the same two."""
    return _words(_tokens(text))


def _tokens(text: str) -> Iterator[str]:
    return map(_LOWERED.__getitem__, _TOKENIZER.stream(text))


def _words(tokens: Iterable[str]) -> list[str]:
    return list(filter(None, map(_BARE.__getitem__, tokens)))


class _Table(dict[str, str]):
    """A function of words that keeps its answers, of a bounded number of words."""

    LIMIT = 400_000

    def __init__(self, function: Callable[[str], str]) -> None:
        super().__init__()
        self.function = function

    def __missing__(self, word: str) -> str:
        if len(self) >= self.LIMIT:
            self.clear()
        self[word] = answer = self.function(word)
        return answer


def _lowered(token: str) -> str:
    return token.lower().replace("’", "'")


def _bare(token: str) -> str:
    """Letters, digits and their marks; nothing for a token without a letter or digit."""
    return token if token.isalnum() else _NO_PART.sub("", token) if _LETTER.search(token) else ""


_LOWERED, _BARE = _Table(_lowered), _Table(_bare)
