"""Word sense in context: how often the nearest labelled context of the same word has the right sense.

Peters et al. 2018, section 5.3, do so with the senses of a dictionary. Here a sense is the tag that an ambiguous word has in
its sentence: "the bakol" a noun, "they bakol" a verb. A static vector is the same at every occurrence of a word and can do no
better than its most frequent sense: the level to beat.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from collections.abc import Sequence as ListOf
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from carryover.data.examples import Example, Labels, Words
from carryover.encoders.encoder import Encoder
from carryover.errors import BadData
from carryover.inspect.occurrences import Occurrence, occurrence_vectors


@dataclass(frozen=True)
class SenseOccurrence:
    """A word in a sentence, and its sense there."""

    occurrence: Occurrence
    sense: str

    @property
    def word(self) -> str:
        return self.occurrence.words[self.occurrence.position]


@dataclass(frozen=True, kw_only=True)
class SenseScore:
    """`accuracy` of the nearest labelled context and `static_level`, that of each word's most frequent labelled sense.

    Of `tested` occurrences; `unscored` others are of words whose labelled contexts show fewer than two senses. `words` counts
    the words tested, `labelled` the contexts that they were compared with.
    """

    accuracy: float
    static_level: float
    tested: int
    unscored: int
    words: int
    labelled: int

    def to_json(self) -> dict[str, Any]:
        return {"schema": "carryover.senses/1", **asdict(self)}


def sense_occurrences(sentences: Iterable[Example[Words, Labels]]) -> list[SenseOccurrence]:
    """Every occurrence of a word that has more than one tag in these sentences; the tag is its sense."""
    found = [
        SenseOccurrence(Occurrence(sentence.input.tokens, position, sentence.source.line), tag)
        for sentence in sentences
        for position, tag in enumerate(sentence.gold or ())
    ]
    senses = defaultdict(set)
    for one in found:
        senses[one.word].add(one.sense)
    return [one for one in found if len(senses[one.word]) > 1]


def sense_accuracy(
    encoder: Encoder, labelled: ListOf[SenseOccurrence], test: ListOf[SenseOccurrence], *, layers: str = "top"
) -> SenseScore:
    """Give each test occurrence the sense of the nearest labelled occurrence of the same word, by cosine.

    Raises BadData when no word of `test` has two senses among `labelled`, UsageError for wrong layers.
    """
    senses: dict[str, Counter[str]] = defaultdict(Counter)
    for one in labelled:
        senses[one.word][one.sense] += 1
    scored = [one for one in test if len(senses[one.word]) > 1]
    if not scored:
        raise BadData("no word to test has two senses among the labelled contexts", repair="give more labelled sentences")
    wanted = {one.word for one in scored}
    known = [one for one in labelled if one.word in wanted]
    rows: dict[str, list[int]] = defaultdict(list)
    for row, one in enumerate(known):
        rows[one.word].append(row)
    given = occurrence_vectors(encoder, [one.occurrence for one in known], layers=layers)
    asked = occurrence_vectors(encoder, [one.occurrence for one in scored], layers=layers)
    right = frequent = 0
    for one, vector in zip(scored, asked, strict=True):
        own = rows[one.word]
        right += known[own[int(np.argmax(given[own] @ vector))]].sense == one.sense
        frequent += min(senses[one.word], key=lambda sense: (-senses[one.word][sense], sense)) == one.sense
    return SenseScore(
        accuracy=right / len(scored),
        static_level=frequent / len(scored),
        tested=len(scored),
        unscored=len(test) - len(scored),
        words=len(wanted),
        labelled=len(known),
    )
