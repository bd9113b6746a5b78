"""How words become what an encoder reads: rows of characters, numbers of words, or numbers of pieces of words."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from collections.abc import Sequence as Words
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from carryover.data.lexicon import Lexicon
from carryover.data.long_words import BYTES_READ, count_cut, say_cut
from carryover.data.token import Tokenizer
from carryover.data.tokenizers import tokenizer_from_json
from carryover.data.vocabulary import Vocabulary
from carryover.data.words import WordTokenizer
from carryover.errors import BadData, UsageError, check_schema
from carryover.forking import renew_after_fork
from carryover.sequence import Sequence

if TYPE_CHECKING:
    from carryover.data.subwords import SubwordTokenizer

CHARACTERS_PER_WORD = 50
CHARACTER_IDS = 262  # 256 bytes, 5 signs, and 0 for nothing

# The published layout before its shift by one: bytes 0…255, then these.
_SENTENCE_BEGIN, _SENTENCE_END, _WORD_BEGIN, _WORD_END, _PADDING = 256, 257, 258, 259, 260
_SCHEMAS = ("carryover.coder/1", "carryover.coder/2")  # the second has a lexicon
_RESERVED = frozenset((Vocabulary.PAD, Vocabulary.BEGIN, Vocabulary.END))
_BORDERS = {Vocabulary.BEGIN: _SENTENCE_BEGIN, Vocabulary.END: _SENTENCE_END}


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """A padded batch of sentences as numbers.

    `index` [B, T] int64: row of `characters` when that is given, else the id of a word or of a piece; 0 in the padding.
    `characters` [U, 50] int64: character ids of the batch's distinct words in the order of their first occurrence; row 0
    is the padding word and all zero, every other row is a word that occurs. By a `Lexicon` the rows have its width.
    `word_of_unit` [B, T] int64, pieces only: the word each piece belongs to, −1 for borders and padding.
    `word_lengths` [B] int64: number of words, borders not counted.
    """

    index: Sequence
    characters: Tensor | None
    word_of_unit: Tensor | None
    word_lengths: Tensor

    def to(self, device: torch.device | str) -> TokenBatch:
        return TokenBatch(
            Sequence(self.index.values.to(device), self.index.lengths.to(device)),
            None if self.characters is None else self.characters.to(device),
            None if self.word_of_unit is None else self.word_of_unit.to(device),
            self.word_lengths.to(device),
        )


def character_rows(words: Iterable[str]) -> np.ndarray:
    """Character ids of words in the published ELMo layout, uint16 [n, 50] (Peters et al. 2018, `bilm-tf`).

    A word is its UTF-8 bytes cut at 48, between the signs 258 (begin) and 259 (end), filled up with 260; everything plus
    one, so that 0 is free for "no word here". `<s>` and `</s>` are the sentence borders: the signs 256 and 257 as words.
    """
    words = list(words)
    rows = np.full((len(words), CHARACTERS_PER_WORD), _PADDING + 1, dtype=np.uint16)
    if not words:
        return rows
    encoded = [word.encode("utf-8", "surrogatepass")[: CHARACTERS_PER_WORD - 2] for word in words]
    lengths = np.array([len(one) for one in encoded])
    flat = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    row = np.repeat(np.arange(len(words)), lengths)
    column = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    rows[:, 0] = _WORD_BEGIN + 1
    rows[row, column + 1] = flat.astype(np.uint16) + 1
    rows[np.arange(len(words)), lengths + 1] = _WORD_END + 1
    for number, word in enumerate(words):
        if word in _BORDERS:
            rows[number] = _PADDING + 1
            rows[number, :3] = (_WORD_BEGIN + 1, _BORDERS[word] + 1, _WORD_END + 1)
    return rows


class _RowCache(dict[str, int]):
    """Word → its row in a growing table of character ids; unseen words are collected and encoded together."""

    LIMIT = 400_000  # words; about 40 MB of character ids

    def __init__(self, lexicon: Lexicon | None) -> None:
        super().__init__()
        self.encode = character_rows if lexicon is None else lexicon.rows
        self.empty = np.zeros((0, CHARACTERS_PER_WORD), np.uint16) if lexicon is None else lexicon.rows([])
        self._forget()

    def _forget(self) -> None:
        self.clear()
        self.waiting: list[str] = []
        # a new one: others may still read the old
        self.table = np.zeros((1024, self.empty.shape[1]), dtype=self.empty.dtype)

    def __missing__(self, word: str) -> int:
        self.waiting.append(word)
        self[word] = number = len(self) + 1  # row 0 is the padding word
        return number

    def numbers(self, words: list[str]) -> np.ndarray:
        """Rows of the words, int64 [n]; afterwards `table` holds them all."""
        if len(self) > self.LIMIT:
            self._forget()
        try:
            numbers = np.fromiter(map(self.__getitem__, words), dtype=np.int64, count=len(words))
            if self.waiting:
                self._fill()
        except BaseException:  # words half entered would be wrong for ever after
            self._forget()
            raise
        return numbers

    def _fill(self) -> None:
        total = len(self) + 1
        if total > len(self.table):
            grown = np.zeros((max(total, 2 * len(self.table)), self.table.shape[1]), dtype=self.table.dtype)
            grown[: len(self.table)] = self.table
            self.table = grown
        self.table[total - len(self.waiting) : total] = self.encode(self.waiting)
        self.waiting.clear()


class TokenCoder:
    """Turns sentences (sequences of words) into the numbers of one kind of encoder input.

    kind "characters": every distinct word of a batch is one row of character ids; no word is unknown to the input.
    kind "words": ids of `vocabulary`.
    kind "subwords": ids of pieces; `vocabulary` is the pieces' vocabulary and `subwords` cuts the words.
    `vocabulary` also numbers what the language model's softmax predicts. `tokenizer` finds the words in running text.
    A word of the text that is spelled like a border or like the padding is read as `<unk>`. `lexicon` (characters only)
    holds the tables of an encoder that has its own; without it characters are bytes.

    Raises UsageError for an unknown kind, for subwords without a subword tokenizer or with foreign fixed entries, and for a
    lexicon where no characters are read.
    """

    KINDS: ClassVar[tuple[str, ...]] = ("characters", "words", "subwords")

    def __init__(
        self,
        kind: str,
        vocabulary: Vocabulary | None = None,
        *,
        tokenizer: Tokenizer | None = None,
        subwords: SubwordTokenizer | None = None,
        lexicon: Lexicon | None = None,
    ) -> None:
        if kind not in self.KINDS:
            raise UsageError(f"input kind {kind!r} is unknown", repair=f"use one of {', '.join(self.KINDS)}")
        if (kind == "subwords") != (subwords is not None):
            raise UsageError(
                f"input kind {kind!r} {'needs' if kind == 'subwords' else 'takes no'} subword tokenizer",
                repair='give `subwords` if and only if kind is "subwords"',
            )
        if lexicon is not None and kind != "characters":
            raise UsageError(f"input kind {kind!r} takes no lexicon", repair='give it with kind "characters" only')
        if subwords is not None:
            vocabulary = subwords.vocabulary()
        self.kind, self.lexicon = kind, lexicon
        self.vocabulary = Vocabulary() if vocabulary is None else vocabulary
        self.tokenizer = WordTokenizer() if tokenizer is None else tokenizer
        self.subwords = subwords
        self.renew()

    def renew(self) -> None:
        """Forget what is kept for speed, with a new lock: see `carryover.forking`."""
        self._rows = _RowCache(self.lexicon)
        self._pieces: dict[str, list[int]] = {}
        self._ids = {token: number for number, token in enumerate(self.vocabulary.tokens)}
        self._lock = threading.Lock()
        renew_after_fork(self)

    def tokenize(self, text: str) -> list[str]:
        """The words of a running text."""
        return self.tokenizer.words(text)

    @property
    def exact(self) -> bool:
        """Whether the units of a text, one after the other, are the text, as far as none is unknown."""
        return self.tokenizer.exact and (self.subwords is None or self.subwords.exact)

    def units(self, text: str) -> list[str]:
        """What the language model reads of a running text: its words, or the pieces of its words."""
        words = self.tokenize(text)
        if self.subwords is None:
            return words
        return [self.vocabulary.tokens[number] for pieces in self._cut(words) for number in pieces]

    def batch(self, sentences: Words[Words[str]], borders: bool) -> TokenBatch:
        """Sentences side by side; `borders` puts `<s>` before and `</s>` after each, an empty one too."""
        word_lengths = torch.tensor([len(sentence) for sentence in sentences], dtype=torch.int64)
        if self.subwords is not None:
            return self._batch_of_pieces(sentences, borders, word_lengths)
        flat, lengths = _flatten(sentences, borders)
        if self.kind == "words":
            numbers = self._word_ids(flat)
            return TokenBatch(_side_by_side(numbers, lengths), None, None, word_lengths)
        with self._lock:
            rows = self._rows.numbers(flat)
            table = self._rows.table
        # In the order of first occurrence, so that the rows depend on the batch alone and not on what came before it.
        distinct, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(1, len(order) + 1)
        characters = np.zeros((len(distinct) + 1, table.shape[1]), dtype=np.int64)
        characters[1:] = table[distinct[order]]
        return TokenBatch(_side_by_side(rank[inverse], lengths), torch.from_numpy(characters), None, word_lengths)

    def softmax_ids(self, sentences: Words[Words[str]], borders: bool) -> Sequence:
        """Ids of what the language model predicts, [B, T] int64, place for place beside `batch(...).index`."""
        if self.subwords is not None:
            return self.batch(sentences, borders).index
        flat, lengths = _flatten(sentences, borders)
        return _side_by_side(self._word_ids(flat), lengths)

    def unknown_share(self, sentences: Iterable[Words[str]]) -> float:
        """Share of words (for subwords: of pieces) that the vocabulary does not list; 0.0 when there are none."""
        words, _ = _flatten(list(sentences), borders=False)
        if self.subwords is None:
            numbers = self._word_ids(words)
        else:
            numbers = np.array(list(chain.from_iterable(self._cut(words))), dtype=np.int64)
        return float(np.mean(numbers == Vocabulary.UNKNOWN_ID)) if len(numbers) else 0.0

    def count_cut(self, words: Words[str]) -> int:
        """How many of the words are longer than what is read of one; 0 where whole words are looked up."""
        if self.kind != "characters":
            return 0
        return count_cut(words) if self.lexicon is None else self.lexicon.count_cut(words)

    def say_cut(self, where: str, sentences: Iterable[Words[str]]) -> None:
        """Tell how many words of a text are longer than what is read of one; nothing when all are read whole."""
        cut = count = 0
        for words in sentences:
            cut, count = cut + self.count_cut(words), count + len(words)
        say_cut(where, cut, count, self.word_limit)

    @property
    def word_limit(self) -> str:
        """How much is read of a word where characters are read."""
        return f"{BYTES_READ} bytes" if self.lexicon is None else f"{self.lexicon.places - 2} characters"

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": _SCHEMAS[self.lexicon is not None],
            "kind": self.kind,
            "vocabulary": None if self.subwords is not None else self.vocabulary.to_json(),
            "tokenizer": self.tokenizer.to_json(),
            "subwords": None if self.subwords is None else self.subwords.to_json(),
            **({} if self.lexicon is None else {"lexicon": self.lexicon.to_json()}),
        }

    @classmethod
    def from_json(cls, value: Any) -> TokenCoder:
        """Inverse of `to_json`. Raises BadData when the value is anything else."""
        check_schema("the token coder", value.get("schema") if isinstance(value, dict) else None, *_SCHEMAS)
        if value.get("kind") not in cls.KINDS:
            raise BadData(
                f"a token coder of kind {str(value.get('kind'))[:80]!r} is unknown",
                repair=f"the kinds are {', '.join(cls.KINDS)}",
            )
        tokenizer = tokenizer_from_json(value.get("tokenizer"))
        if value["schema"] == _SCHEMAS[True]:
            lexicon = Lexicon.from_json(value.get("lexicon"))
            return cls(value["kind"], Vocabulary.from_json(value.get("vocabulary")), tokenizer=tokenizer, lexicon=lexicon)
        if value["kind"] != "subwords":
            return cls(value["kind"], Vocabulary.from_json(value.get("vocabulary")), tokenizer=tokenizer)
        from carryover.data.subwords import SubwordTokenizer

        return cls("subwords", tokenizer=tokenizer, subwords=SubwordTokenizer.from_json(value.get("subwords")))

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("kind", "vocabulary", "tokenizer", "subwords", "lexicon")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.renew()

    def _word_ids(self, words: list[str]) -> np.ndarray:
        get = self._ids.get
        return np.fromiter((get(word, 1) for word in words), dtype=np.int64, count=len(words))

    def _cut(self, words: Iterable[str]) -> list[list[int]]:
        """Piece ids of each word, at least one a word."""
        assert self.subwords is not None
        words = list(words)
        with self._lock:
            if len(self._pieces) > _RowCache.LIMIT:
                self._pieces.clear()
            unseen = [word for word in dict.fromkeys(words) if word not in self._pieces]
            for word, pieces in zip(unseen, self.subwords.pieces_of_words(unseen), strict=True):
                self._pieces[word] = pieces or [Vocabulary.UNKNOWN_ID]
            return [self._pieces[word] for word in words]

    def _batch_of_pieces(self, sentences: Words[Words[str]], borders: bool, word_lengths: Tensor) -> TokenBatch:
        cut = iter(self._cut(chain.from_iterable(sentences)))
        flat: list[int] = []
        owner: list[int] = []
        lengths: list[int] = []
        for sentence in sentences:
            before = len(flat)
            if borders:
                flat.append(Vocabulary.BEGIN_ID)
                owner.append(-1)
            for number, _ in enumerate(sentence):
                pieces = next(cut)
                flat.extend(pieces)
                owner.extend([number] * len(pieces))
            if borders:
                flat.append(Vocabulary.END_ID)
                owner.append(-1)
            lengths.append(len(flat) - before)
        index = _side_by_side(np.array(flat, dtype=np.int64), lengths)
        word_of_unit = _side_by_side(np.array(owner, dtype=np.int64), lengths, padding=-1).values
        return TokenBatch(index, None, word_of_unit, word_lengths)


def _flatten(sentences: Words[Words[str]], borders: bool) -> tuple[list[str], list[int]]:
    """All words in one list, and how many belong to each sentence."""
    flat: list[str] = []
    for sentence in sentences:
        if borders:
            flat.append(Vocabulary.BEGIN)
        if _RESERVED.isdisjoint(sentence):
            flat.extend(sentence)
        else:
            flat.extend(Vocabulary.UNKNOWN if word in _RESERVED else word for word in sentence)
        if borders:
            flat.append(Vocabulary.END)
    return flat, [len(sentence) + 2 * borders for sentence in sentences]


def _side_by_side(numbers: np.ndarray, lengths: list[int], padding: int = 0) -> Sequence:
    """Numbers of all rows in one array → [B, T] padded."""
    size = np.array(lengths, dtype=np.int64)
    values = np.full((len(lengths), max(lengths, default=0)), padding, dtype=np.int64)
    values[np.arange(values.shape[1]) < size[:, None]] = numbers  # row by row, in order
    return Sequence(torch.from_numpy(values), torch.from_numpy(size))
