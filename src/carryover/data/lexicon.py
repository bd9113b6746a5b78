"""Words for an encoder that came with tables: of characters, and perhaps of whole words.

The published ELMo reads the bytes of a word; the models of ELMoForManyLangs (Che et al. 2018, "Towards better UD parsing",
CoNLL shared task) read its characters by a table of those in their training text, and beside them the word as a whole by a
table of the frequent ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from carryover.data.vocabulary import Vocabulary
from carryover.errors import BadData

BEGIN, END, FIRST, LAST, OTHER, PAD = "<bos>", "<eos>", "<bow>", "<eow>", "<oov>", "<pad>"
_BORDERS = {Vocabulary.BEGIN: BEGIN, Vocabulary.END: END}


class Lexicon:
    """Tables from characters, and from words, to numbers; a word is read by its first `places` − 2 characters.

    `characters` must hold the six signs above, `words` (None: words are not looked up as a whole) `<oov>`. Raises BadData
    for a table without its signs, or with a number that is none.
    """

    def __init__(self, characters: Mapping[str, int], words: Mapping[str, int] | None, places: int) -> None:
        self.characters, self.words, self.places = dict(characters), None if words is None else dict(words), places
        needed = {"characters": (BEGIN, END, FIRST, LAST, OTHER, PAD), "words": (OTHER,)}
        for name, table in (("characters", self.characters), ("words", self.words)):
            if table is None:
                continue
            for sign in needed[name]:
                if sign not in table:
                    raise BadData(f"the table of {name} has no {sign}", repair="restore it from its source")
            for token, number in table.items():
                if type(number) is not int or not 0 <= number < 1 << 31:
                    raise BadData(f"the table of {name} gives {token[:20]!r} the number {number!r}", repair="restore it")
        if not 3 <= places <= 1000:
            raise BadData(f"a word has {places} places, expected 3 to 1000", repair="restore it from its source")

    @property
    def width(self) -> int:
        """Numbers a word: its places, and one for the word as a whole."""
        return self.places + (self.words is not None)

    def rows(self, words: Iterable[str]) -> np.ndarray:
        """Numbers of words, int32 [n, width]: one more than in the table of characters, 0 being no word at all; at the end
        the word's own number in the table of words.

        The programs of ELMoForManyLangs put the sign `<eow>` before a word and `<bow>` behind it, in training too, so that
        is what their weights know.
        """
        words = list(words)
        rows = np.full((len(words), self.width), self.characters[PAD] + 1, dtype=np.int32)
        get, other = self.characters.get, self.characters[OTHER]
        for row, word in zip(rows, words, strict=True):
            border = _BORDERS.get(word)
            cut = word[: self.places - 2]
            spelled = [self.characters[border]] if border else [get(character, other) for character in cut]
            row[: len(spelled) + 2] = np.array([self.characters[LAST], *spelled, self.characters[FIRST]]) + 1
            if self.words is not None:
                row[-1] = self.words.get(border or cut, self.words[OTHER])
        return rows

    def count_cut(self, words: Iterable[str]) -> int:
        """How many of the words have more characters than are read."""
        return sum(len(word) > self.places - 2 for word in words)

    def to_json(self) -> dict[str, Any]:
        return {"characters": self.characters, "words": self.words, "places": self.places}

    @classmethod
    def from_json(cls, value: Any) -> Lexicon:
        """Inverse of `to_json`. Raises BadData when the value is anything else."""
        tables = (value.get("characters"), value.get("words")) if isinstance(value, dict) else (None, None)
        if not isinstance(tables[0], dict) or not isinstance(tables[1], dict | None) or type(value.get("places")) is not int:
            raise BadData(
                "this is not a lexicon: it must have characters, words and places", repair="restore it from a copy"
            )
        return cls(tables[0], tables[1], value["places"])
