"""The table between words and numbers: four fixed entries, then the words, the most frequent first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import numpy as np

from carryover.errors import BadData, UsageError, check_schema


class Vocabulary:
    """Distinct tokens numbered from 0. The ids 0, 1, 2, 3 are always padding, unknown, begin and end of a sentence.

    Immutable. `tokens` may be given with or without the four fixed entries in front. Raises UsageError when a token
    occurs twice, or when a fixed entry is not in its place.
    """

    PAD: ClassVar[str] = "<pad>"
    UNKNOWN: ClassVar[str] = "<unk>"
    BEGIN: ClassVar[str] = "<s>"
    END: ClassVar[str] = "</s>"
    FIXED: ClassVar[tuple[str, str, str, str]] = ("<pad>", "<unk>", "<s>", "</s>")
    PAD_ID: ClassVar[int] = 0
    UNKNOWN_ID: ClassVar[int] = 1
    BEGIN_ID: ClassVar[int] = 2
    END_ID: ClassVar[int] = 3

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        tokens = tuple(tokens)
        if tokens[:4] != self.FIXED:
            tokens = self.FIXED + tokens
        self.tokens: tuple[str, ...] = tokens
        self._ids = {token: number for number, token in enumerate(tokens)}
        if len(self._ids) != len(tokens):
            token, count = Counter(tokens).most_common(1)[0]
            raise UsageError(
                f"the vocabulary holds {token!r} {count} times",
                repair=f"give every token once; {', '.join(self.FIXED)} are always there as ids 0 to 3",
            )

    @classmethod
    def count(cls, tokens: Iterable[str], max_size: int | None = None, minimum: int = 1) -> Vocabulary:
        """The vocabulary of a stream of tokens."""
        return cls.from_counts(Counter(tokens), max_size, minimum)

    @classmethod
    def from_counts(cls, counts: Counter[str], max_size: int | None = None, minimum: int = 1) -> Vocabulary:
        """The tokens seen at least `minimum` times, most frequent first, equal counts in the order of their code points.

        `max_size` bounds len(vocabulary), the four fixed entries included. Fixed entries met in the text keep their own
        ids. The same text gives the same vocabulary on every machine. Raises UsageError for a `max_size` below 4.
        """
        if max_size is not None and max_size < len(cls.FIXED):
            raise UsageError(f"a vocabulary of {max_size} has no room for its 4 fixed entries", repair="allow at least 5")
        kept = [(-number, token) for token, number in counts.items() if number >= minimum and token not in cls.FIXED]
        kept.sort()
        room = None if max_size is None else max_size - len(cls.FIXED)
        return cls(token for _, token in kept[:room])

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return hash(self.tokens)

    def __repr__(self) -> str:
        return f"Vocabulary of {len(self)} tokens"

    def id(self, token: str) -> int:
        """Number of a token; `UNKNOWN_ID` when it is not listed."""
        return self._ids.get(token, self.UNKNOWN_ID)

    def token(self, number: int) -> str:
        return self.tokens[number]

    def ids(self, tokens: Iterable[str]) -> np.ndarray:
        """Numbers of many tokens, int64 [n]."""
        get = self._ids.get
        return np.array([get(token, 1) for token in tokens], dtype=np.int64)

    def to_json(self) -> dict[str, Any]:
        return {"schema": "carryover.vocabulary/1", "tokens": list(self.tokens)}

    @classmethod
    def from_json(cls, value: Any) -> Vocabulary:
        """Inverse of `to_json`. Raises BadData when the value is anything else."""
        tokens = value.get("tokens") if isinstance(value, dict) else None
        check_schema("the vocabulary", value.get("schema") if isinstance(value, dict) else None, "carryover.vocabulary/1")
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise BadData("the vocabulary's tokens are not a list of strings", repair="save it again with to_json")
        if tuple(tokens[:4]) != cls.FIXED:
            raise BadData(f"the vocabulary begins with {tokens[:4]}, not with {list(cls.FIXED)}", repair="save it again")
        try:
            return cls(tokens)
        except UsageError as error:
            raise BadData(error.message, repair=error.repair) from error
