"""A word in its contexts: where it occurs in a corpus, the vector it has there, and which other places are nearest.

A static vector is one a word; a contextual one is another at each occurrence, so that the neighbours of "play" in a theatre
are other plays and those on a field are games (Peters et al. 2018, table 4).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from collections.abc import Sequence as ListOf
from dataclasses import dataclass
from typing import Any

import numpy as np

from carryover.encoders.embed_lines import Item, check_choice, embed_lines
from carryover.encoders.encoder import Encoder
from carryover.errors import BadData, UsageError

MOST = 2000
"""Occurrences of a word that are looked at; more are sampled."""


@dataclass(frozen=True)
class Occurrence:
    """Word `position` of a sentence, which is line `line` of its source."""

    words: tuple[str, ...]
    position: int
    line: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"line": self.line, "sentence": " ".join(self.words), "position": self.position}

    def marked(self) -> str:
        """The sentence with the word in brackets."""
        words = list(self.words)
        words[self.position] = f"[{words[self.position]}]"
        return " ".join(words)


@dataclass(frozen=True)
class Occurrences:
    """`occurrences` in the order of the corpus: all `total` there are, or that many of them drawn at random.

    `spellings` are those of the word that were found, how often each: other than asked for only where it does not occur so.
    """

    occurrences: list[Occurrence]
    total: int
    spellings: dict[str, int]


def find_occurrences(
    items: Iterable[tuple[int, Item]],
    word: str,
    tokenize: Callable[[str], list[str]],
    *,
    most: int = MOST,
    seed: int = 0,
) -> Occurrences:
    """Where `word` occurs in numbered lines (running text, or words); the same sentence counts once.

    At most `most` are kept, each with the same chance (reservoir sampling); of the others only a hash is. Where the word
    does not stand as it is spelled, it is taken in any other case. Raises BadData when there is none of these either.
    """
    exact, folded = _Reservoir(most, seed), _Reservoir(most, seed)
    for line, item in items:
        if isinstance(item, str) and word.casefold() not in item.casefold():
            continue
        words = tuple(tokenize(item)) if isinstance(item, str) else tuple(item)
        for position, one in enumerate(words):
            if one == word:
                exact.add(Occurrence(words, position, line))
            elif not exact.total and one.casefold() == word.casefold():
                folded.add(Occurrence(words, position, line))
    drawn = exact if exact.total else folded
    if not drawn.total:
        raise BadData(
            f"the word {word!r} does not occur in the text, in upper or lower case",
            repair="check that the tokenizer keeps it as one word",
        )
    return Occurrences(sorted(drawn.kept, key=lambda one: (one.line, one.position)), drawn.total, dict(drawn.spellings))


class _Reservoir:
    """At most `most` of different occurrences, each with the same chance."""

    def __init__(self, most: int, seed: int) -> None:
        self.most, self.draw = most, random.Random(seed)
        self.kept: list[Occurrence] = []
        self.total = 0
        self.spellings: Counter[str] = Counter()
        self._seen: set[int] = set()

    def add(self, found: Occurrence) -> None:
        key = hash((found.words, found.position))
        if key in self._seen:
            return
        self._seen.add(key)
        self.total += 1
        self.spellings[found.words[found.position]] += 1
        if self.total <= self.most:
            self.kept.append(found)
        elif (place := int(self.draw.random() * self.total)) < self.most:
            self.kept[place] = found


def occurrence_vectors(encoder: Encoder, occurrences: ListOf[Occurrence], *, layers: str = "top") -> np.ndarray:
    """The contextual vector of the word at each occurrence, [N, D], each of length 1 (or 0).

    `layers` as in `embed_lines`, but for "all". Raises UsageError.
    """
    check_choice(encoder, layers, None)
    if layers == "all":
        raise UsageError("layers 'all' is not one vector a word", repair="use mix, top or a layer's number")
    lines = embed_lines(encoder, (one.words for one in occurrences), layers=layers)
    rows = [line.vectors[one.position].float().cpu().numpy() for one, line in zip(occurrences, lines, strict=True)]
    array = np.stack(rows) if rows else np.empty((0, encoder.out_size), np.float32)
    norms = np.linalg.norm(array, axis=1, keepdims=True)
    return np.asarray(array / np.where(norms == 0, 1, norms))


def diverse(vectors: np.ndarray, count: int) -> list[int]:
    """`count` rows that differ: the one nearest to the mean, then each time the one least like any chosen before."""
    chosen: list[int] = []
    closeness = -(vectors @ vectors.sum(0))  # the first is the largest mean cosine
    while len(chosen) < min(count, len(vectors)):
        row = int(np.argmin(closeness))
        nearest = vectors @ vectors[row]
        closeness = np.maximum(closeness, nearest) if chosen else nearest
        chosen.append(row)
        closeness[chosen] = np.inf
    return chosen


def neighbours_in_context(
    encoder: Encoder, found: Occurrences, *, contexts: int = 3, top: int = 10, layers: str = "top"
) -> list[dict[str, Any]]:
    """For each of a few diverse occurrences the `top` nearest others with their cosine, as JSON. Raises UsageError."""
    for name, value in (("contexts", contexts), ("top", top)):
        if value < 1:
            raise UsageError(f"{name} is {value}", repair="give a whole number of at least 1")
    vectors = occurrence_vectors(encoder, found.occurrences, layers=layers)
    answer = []
    for row in diverse(vectors, contexts):
        cosine = vectors @ vectors[row]
        cosine[row] = -np.inf
        best = np.argsort(-cosine, kind="stable")[: min(top, len(vectors) - 1)]
        near = [{**found.occurrences[other].to_json(), "cosine": float(cosine[other])} for other in best]
        answer.append({**found.occurrences[row].to_json(), "neighbours": near})
    return answer
