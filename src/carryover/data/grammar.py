"""A small generated language, for tests that must see contextual pretraining pay within seconds.

Its function words are English and its content words are made up, so that no spelling gives a class away. A fifth of the
content words are homographs: verb or noun ("they bakol", "the bakol"), adjective or noun ("the dremi house", "the dremi
slept"). Only the words around them tell which. Two tasks are cut from it:

* tagging: the word class of each word, as in Universal Dependencies (DET NOUN VERB ADJ ADV PRON PROPN ADP AUX PART SCONJ
  CCONJ INTJ PUNCT). With few labelled sentences most content words were never seen labelled, but raw text shows where they
  stand;
* classification: the topic of a sentence. Every content word belongs to one of four topics, a homograph to a different one
  in each of its readings, and a sentence draws nearly all of its words from its own topic. Few labels show few of the words,
  but raw text shows which words go together.

A sentence comes from rules with random choices (a probabilistic context-free grammar). Everything is a pure function of the
seed and the sizes; raw and labelled sentences are drawn apart and no labelled sentence is among the raw ones.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from carryover.data.examples import Example, Labels, Source, Text

TOPICS = ("harbour", "kitchen", "market", "orchard")

_ONSETS = (*"bdfgklmnprstvz", "br", "dr", "gr", "kl", "pl", "st", "tr")
_SYLLABLES = [onset + vowel for onset in _ONSETS for vowel in "aeiou"]
_ENDINGS = ("", "", "n", "l", "r", "s", "m")
_DETERMINERS = ("the", "the", "the", "a", "this", "every", "some", "my", "their")
_SUBJECTS = ("they", "we", "you", "I")
_OBJECTS = ("them", "us", "you", "me")
_PREPOSITIONS = ("in", "near", "with", "from", "under", "beside")
_AUXILIARIES = ("will", "can", "must", "should")
_VERBS_OF_THOUGHT = ("say", "think", "know")
_IN_TOPIC = 0.95
"""Share of a sentence's content words that come from its topic."""
_HOMOGRAPH_EVERY = 2
"""One in this many verbs and adjectives is a noun as well."""

Tagged = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class GrammarSize:
    """How much of the language to make: sentences without and with labels, distinct words, and the seed of it all."""

    raw: int = 20_000
    labelled: int = 2_000
    words: int = 400
    seed: int = 0


@dataclass
class Lexicon:
    """The words of each class and topic, the most frequent first."""

    words: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    cumulative: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    homographs: set[str] = field(default_factory=set)

    @classmethod
    def make(cls, count: int, seed: int) -> Lexicon:
        """About `count` content words: two fifths nouns, the rest verbs, adjectives, names and adverbs."""
        draw = random.Random(f"lexicon {seed}")
        spellings = _spellings(draw, count)
        lexicon = cls()
        shares = {"NOUN": 0.40, "VERB": 0.28, "ADJ": 0.17, "PROPN": 0.10, "ADV": 0.05}
        for name, share in shares.items():
            for i in range(max(round(count * share), len(TOPICS))):
                lexicon._add(name, TOPICS[i % len(TOPICS)], next(spellings))
        for name in ("VERB", "ADJ"):
            for i, topic in enumerate(TOPICS):
                own = lexicon.words[name, topic]
                for word in own[::_HOMOGRAPH_EVERY]:
                    lexicon.homographs.add(word)
                    lexicon._add("NOUN", TOPICS[(i + 1) % len(TOPICS)], word)
        for key, words in lexicon.words.items():
            draw.shuffle(words)
            # Frequencies fall as 1 / rank (Zipf), flattened a little so that small samples meet most words.
            lexicon.cumulative[key] = list(accumulate(1 / (rank + 4) for rank in range(len(words))))
        return lexicon

    def _add(self, name: str, topic: str, word: str) -> None:
        self.words.setdefault((name, topic), []).append(word)

    def draw(self, name: str, topic: str, random_number: Callable[[], float]) -> str:
        """A word of a class, mostly of the given topic."""
        if random_number() > _IN_TOPIC:
            topic = TOPICS[int(random_number() * len(TOPICS))]
        cumulative = self.cumulative[name, topic]
        wanted = random_number() * cumulative[-1]
        low, high = 0, len(cumulative) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if cumulative[middle] < wanted else (low, middle)
        return self.words[name, topic][low]


class Grammar:
    """Draws sentences. `sentence(topic)` gives (word, tag) pairs."""

    def __init__(self, lexicon: Lexicon, seed: str) -> None:
        self._lexicon = lexicon
        self._random = random.Random(seed).random
        self._topic = TOPICS[0]

    def sentence(self) -> tuple[str, Tagged]:
        """A topic and a sentence about it: statement, question or order, ended by its mark."""
        self._topic = self._one_of(TOPICS)
        kind = self._random()
        if kind < 0.15:
            words = [("do", "AUX"), *self._subject(), *self._verb_phrase(0), ("?", "PUNCT")]
        elif kind < 0.25:
            words = [("please", "INTJ"), *self._verb_phrase(0), (".", "PUNCT")]
        else:
            words = [*self._clause(0), (".", "PUNCT")]
        return self._topic, words

    def _clause(self, depth: int) -> Tagged:
        words: Tagged = []
        if self._random() < 0.12:
            words += [*self._place(depth + 1), (",", "PUNCT")]
        words += [*self._subject(depth), *self._predicate(depth)]
        if depth == 0 and self._random() < 0.12:
            words += [(self._one_of(("and", "but")), "CCONJ"), *self._clause(depth + 1)]
        return words

    def _predicate(self, depth: int) -> Tagged:
        kind = self._random()
        if kind < 0.2:
            return [(self._one_of(_AUXILIARIES), "AUX"), *self._verb_phrase(depth)]
        if kind < 0.35:
            return [("were", "AUX"), *self._adjective()]
        if kind < 0.45 and depth < 1:
            return [(self._one_of(_VERBS_OF_THOUGHT), "VERB"), ("that", "SCONJ"), *self._clause(depth + 1)]
        if kind < 0.53:
            return [("want", "VERB"), ("to", "PART"), *self._verb_phrase(depth)]
        return self._verb_phrase(depth)

    def _verb_phrase(self, depth: int) -> Tagged:
        words: Tagged = []
        if self._random() < 0.1:
            words.append((self._word("ADV"), "ADV"))
        words.append((self._word("VERB"), "VERB"))
        kind = self._random()
        if kind < 0.15:
            words.append((self._one_of(_OBJECTS), "PRON"))
        elif kind < 0.7:
            words += self._noun_phrase(depth)
        if self._random() < 0.2:
            words += self._place(depth + 1)
        elif self._random() < 0.1:
            words.append((self._word("ADV"), "ADV"))
        return words

    def _subject(self, depth: int = 0) -> Tagged:
        if self._random() < 0.35:
            return [(self._one_of(_SUBJECTS), "PRON")]
        return self._noun_phrase(depth)

    def _noun_phrase(self, depth: int) -> Tagged:
        if self._random() < 0.15:
            return [(self._word("PROPN"), "PROPN")]
        words: Tagged = [(self._one_of(_DETERMINERS), "DET")]
        while len(words) < 3 and self._random() < 0.3:
            words += self._adjective()
        words.append((self._word("NOUN"), "NOUN"))
        if self._random() < 0.1 and depth < 2:
            words += self._place(depth + 1)
        return words

    def _place(self, depth: int) -> Tagged:
        return [(self._one_of(_PREPOSITIONS), "ADP"), *self._noun_phrase(depth + 1)]

    def _adjective(self) -> Tagged:
        return [(self._word("ADJ"), "ADJ")]

    def _word(self, name: str) -> str:
        return self._lexicon.draw(name, self._topic, self._random)

    def _one_of(self, choices: tuple[str, ...]) -> str:
        return choices[int(self._random() * len(choices))]


def labelled_sentences(size: GrammarSize) -> list[tuple[str, Tagged]]:
    """(topic, tagged sentence), all different."""
    grammar = Grammar(Lexicon.make(size.words, size.seed), f"labelled {size.seed}")
    seen: dict[tuple[str, ...], tuple[str, Tagged]] = {}
    while len(seen) < size.labelled:
        topic, words = grammar.sentence()
        seen.setdefault(tuple(word for word, _ in words), (topic, words))
    return list(seen.values())


def raw_sentences(size: GrammarSize) -> Iterator[str]:
    """Sentences without labels, words separated by blanks, none of them among the labelled ones."""
    grammar = Grammar(Lexicon.make(size.words, size.seed), f"raw {size.seed}")
    labelled = {" ".join(word for word, _ in words) for _, words in labelled_sentences(size)}
    made = 0
    while made < size.raw:
        sentence = " ".join(word for word, _ in grammar.sentence()[1])
        if sentence not in labelled:
            made += 1
            yield sentence


def classified_sentences(size: GrammarSize, path: str = "") -> list[Example[Text, Labels]]:
    """Sentences with their topic; `path` is what their source is called."""
    return [
        Example(Text(" ".join(word for word, _ in words)), (topic,), Source(path, line))
        for line, (topic, words) in enumerate(labelled_sentences(size), start=1)
    ]


def _spellings(draw: random.Random, count: int) -> Iterator[str]:
    """Different made-up words of two or three syllables."""
    taken: set[str] = set()
    while True:
        syllables = [_SYLLABLES[int(draw.random() * len(_SYLLABLES))] for _ in range(2 + (draw.random() < 0.4))]
        word = "".join(syllables) + _ENDINGS[int(draw.random() * len(_ENDINGS))]
        if word not in taken:
            taken.add(word)
            yield word
