"""Pieces of words learned from a text: byte-pair encoding, WordPiece and Unigram, on the `tokenizers` library."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

from carryover.data.token import Token, Tokenizer
from carryover.data.vocabulary import Vocabulary
from carryover.errors import BadData, CarryoverError, InputMissing, UsageError, check_schema

Result = TypeVar("Result")

KINDS = ("bpe", "wordpiece", "unigram")
LONGEST_WORD = 100  # code points; longer ones (encoded files, lines of dashes) teach nothing and cost much
LARGEST_FILE = 64 * 1024 * 1024  # bytes
_MOST_STEPS = 32
_LONGEST_MARK = 64  # characters that are put before, after or in the place of something
_LONGEST_MATCHED = 1000  # characters of a word of WordPiece, which takes the square of their number

# What a tokenizer from elsewhere may be made of. Left out on purpose: anything with a regular expression (it
# can be made to run for ever), compiled character maps, types added by later versions of tokenizers, and steps that make
# a text longer each time: forty of them in a row double it forty times.
_ALLOWED: dict[str, frozenset[str | None]] = {
    "normalizer": frozenset({
        "Sequence", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "StripAccents", "BertNormalizer", "Prepend",
        "Replace", "Nmt", "ByteLevel",
    }),
    "pre_tokenizer": frozenset({
        "Sequence", "BertPreTokenizer", "ByteLevel", "Whitespace", "WhitespaceSplit", "Metaspace", "Punctuation",
        "Digits", "CharDelimiterSplit", "UnicodeScripts", "Split",
    }),
    "model": frozenset({"BPE", "WordPiece", "Unigram", "WordLevel"}),
    "decoder": frozenset({
        "Sequence", "WordPiece", "ByteLevel", "Metaspace", "BPEDecoder", "ByteFallback", "Fuse", "Strip", "Replace",
    }),
}  # fmt: skip


_EXACT = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
"""The first step of a tokenizer that takes every text as it is."""


class Piece(NamedTuple):
    """A piece as the model names it (`##ing`, `▁the`, `Ġthe`), its id, and its place in the text in code points.

    A character that byte-pair encoding cuts into several bytes gives all its pieces the place of the whole character.
    """

    piece: str
    id: int
    start: int
    end: int


class SubwordTokenizer(Tokenizer):
    """Cuts text into learned pieces; places in the original text are kept.

    "bpe": byte-pair encoding over bytes (Sennrich et al. 2016; no text is unknown). "wordpiece": longest match first
    (Schuster & Nakajima 2012), `##` inside a word. "unigram": most probable cut (Kudo 2018), `▁` before a word.
    The ids 0 to 3 are the fixed entries of `Vocabulary` for every tokenizer trained here. The same text and settings
    give the same tokenizer on every run.

    `exact` is true of byte-pair encoding trained with `split`: pieces of what that finds, white space too, so that decoding
    gives the text back whatever it is.
    """

    kind: ClassVar[str] = "subwords"

    def __init__(self, description: dict[str, Any], *, path: str | PathLike[str] | None = None) -> None:
        """`description` is the content of a `tokenizer.json`. Raises BadData when it is none or holds foreign parts."""
        self.description = _checked(description, path)
        self._library = _load(self.description, path)
        reserved = (self._library.token_to_id(token) for token in (Vocabulary.PAD, Vocabulary.BEGIN, Vocabulary.END))
        self._reserved = frozenset(number for number in reserved if number is not None)
        self.exact = self.description.get("pre_tokenizer") == _EXACT
        if self.exact:
            self._reserved |= {Vocabulary.UNKNOWN_ID}

    @classmethod
    def train(
        cls, texts: Iterable[str], kind: str = "bpe", size: int = 8000, *, split: Tokenizer | None = None
    ) -> SubwordTokenizer:
        """Learn at most `size` pieces (the four fixed entries included) from texts.

        Pieces are learned of the text between white space, or with `split` of its tokens exactly as they are. Raises
        UsageError for an unknown kind, a size too small and a `split` that is not exact or goes with another kind than "bpe",
        BadData when the texts hold nothing to learn from.
        """
        if kind not in KINDS:
            raise UsageError(f"subword kind {kind!r} is unknown", repair=f"use one of {', '.join(KINDS)}")
        if split is not None and (kind != "bpe" or not split.exact):
            raise UsageError(
                f"{kind} pieces of {split.kind} do not give a text back", repair="use bpe with a SpacedTokenizer"
            )
        if size < 4 + 256:
            raise UsageError(f"{size} pieces are too few", repair="ask for at least 260 (4 fixed entries and 256 bytes)")
        description = _guard("the tokenizer could not be trained", lambda: _train(texts, kind, size, split))
        return cls(description)

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> SubwordTokenizer:
        """A `tokenizer.json` from elsewhere. Raises InputMissing or BadData."""
        path = Path(path)
        try:
            if path.stat().st_size > LARGEST_FILE:
                raise BadData(
                    f"the file is larger than {LARGEST_FILE >> 20} MiB", path=path, repair="this is not a tokenizer"
                )
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputMissing(f"cannot be read ({error.strerror})", path=path, repair="check the path") from error
        except UnicodeDecodeError as error:
            raise BadData("the file is not UTF-8", path=path, repair="give a tokenizer.json") from error
        try:
            return cls(json.loads(text), path=path)
        except (ValueError, RecursionError) as error:
            raise BadData(f"the file is not JSON ({error})", path=path, repair="give a tokenizer.json") from error

    def __len__(self) -> int:
        return int(self._library.get_vocab_size(with_added_tokens=True))

    def vocabulary(self) -> Vocabulary:
        """The pieces in the order of their ids. Raises UsageError when the fixed entries are not ids 0 to 3."""
        numbered = self._library.get_vocab(with_added_tokens=True)
        tokens = tuple(sorted(numbered, key=lambda piece: int(numbered[piece])))
        if tokens[:4] != Vocabulary.FIXED or [numbered[piece] for piece in tokens] != list(range(len(tokens))):
            raise UsageError(
                f"the pieces begin with {', '.join(tokens[:4])}, not with {', '.join(Vocabulary.FIXED)}",
                repair="use a tokenizer trained with SubwordTokenizer.train",
            )
        return Vocabulary(tokens)

    def pieces(self, text: str) -> list[Piece]:
        """All pieces of a running text; those of white space alone too, where the model has them."""
        one = _guard("the text cannot be cut", lambda: self._library.encode(_safe(text), add_special_tokens=False))
        ids = self._without_borders(one.ids)
        return [Piece(piece, number, *place) for piece, number, place in zip(one.tokens, ids, one.offsets, strict=True)]

    def tokenize(self, text: str) -> list[Token]:
        """Places of the pieces without white space around them; pieces of white space alone are left out."""
        tokens = []
        for _, _, start, end in self.pieces(text):
            while start < end and text[start].isspace():
                start += 1
            while end > start and text[end - 1].isspace():
                end -= 1
            if start < end:
                tokens.append(Token(text[start:end], start, end))
        return tokens

    def pieces_of_words(self, words: list[str]) -> list[list[int]]:
        """Ids of each word's pieces, every word cut separately, as if a space came before it; may be empty for a word.

        No word becomes padding or a border: what is spelled like one is `UNKNOWN_ID`. An exact tokenizer sets no space before
        and cuts what is spelled like a fixed entry into bytes.
        """
        safe = [_safe(word) for word in words]
        found = _guard("the words cannot be cut", lambda: self._library.encode_batch(safe, add_special_tokens=False))
        if self.exact:
            return [one.ids if self._reserved.isdisjoint(one.ids) else self._bytes(one) for one in found]
        return [self._without_borders(one.ids) for one in found]

    def _bytes(self, found: Any) -> list[int]:
        """The ids of an encoding with the bytes of those pieces that are spelled like a fixed entry."""
        ids: list[int] = []
        for number, piece in zip(found.ids, found.tokens, strict=True):
            ids += [self._library.token_to_id(byte) for byte in piece] if number in self._reserved else [number]
        return ids

    def _without_borders(self, ids: list[int]) -> list[int]:
        if self._reserved.isdisjoint(ids):
            return ids
        return [Vocabulary.UNKNOWN_ID if number in self._reserved else number for number in ids]

    def decode(self, ids: list[int]) -> str:
        """Text of pieces, as far as the model can restore it; fixed entries are left out."""
        kept = [number for number in ids if self._library.id_to_token(number) not in Vocabulary.FIXED]
        return str(_guard("the pieces cannot be joined", lambda: self._library.decode(kept)))

    def to_json(self) -> dict[str, Any]:
        return {"schema": "carryover.tokenizer/1", "kind": self.kind, "description": self.description}

    @classmethod
    def from_json(cls, value: Any) -> SubwordTokenizer:
        """Inverse of `to_json`. Raises BadData for anything else."""
        if not isinstance(value, dict) or value.get("kind") != cls.kind:
            raise BadData("this is not a subword tokenizer", repair="save it again with to_json")
        check_schema("the tokenizer", value.get("schema"), "carryover.tokenizer/1")
        return cls(value.get("description"))  # type: ignore[arg-type]  # checked there

    def __getstate__(self) -> dict[str, Any]:
        return {"description": self.description}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["description"])  # type: ignore[misc]


def _guard(what: str, call: Callable[[], Result]) -> Result:
    """Result of a call into tokenizers; its errors, of which PanicException is not an Exception, become BadData."""
    try:
        return call()
    except (CarryoverError, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise BadData(f"{what}: {error}", repair="check the text and the tokenizer") from error


def _safe(text: str) -> str:
    """The library takes valid Unicode only; a lone surrogate becomes one question mark, so that places stay right."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _checked(description: Any, path: str | PathLike[str] | None) -> dict[str, Any]:
    """A description whose parts are all allowed, without padding, truncation and added borders (ours to do)."""
    if not isinstance(description, dict) or not isinstance(description.get("model"), dict):
        raise BadData("this is not a tokenizer.json (no `model` in it)", path=path, repair="give the file of a tokenizer")
    for part, allowed in _ALLOWED.items():
        steps = list(_components(part, description.get(part)))
        if len(steps) > _MOST_STEPS or [kind for kind, _ in steps].count("ByteLevel") > 1:
            raise BadData(
                f"its {part} has {len(steps)} steps, or writes bytes as letters more than once",
                path=path,
                repair=f"at most {_MOST_STEPS} steps are allowed, one of them ByteLevel; train a new tokenizer",
            )
        for kind, settings in steps:
            if kind is None and part == "model":
                kind = "WordPiece" if "continuing_subword_prefix" in settings else "BPE"  # files of old versions
            if kind not in allowed:
                raise BadData(
                    f"its {part} is of type {str(kind)[:80]!r}, which is not allowed",
                    path=path,
                    repair=f"allowed: {sorted(map(str, allowed))}",
                )
            if fault := _boundless(kind, settings):
                raise BadData(f"its {part} {kind} {fault}", path=path, repair="train a new tokenizer")
    return {**description, "truncation": None, "padding": None, "post_processor": None}


def _boundless(kind: str | None, settings: dict[str, Any]) -> str | None:
    """Why a component may take time or memory out of all proportion to a text, or cut it another way each time."""
    if (pattern := settings.get("pattern")) is not None:
        wanted = pattern.get("String") if isinstance(pattern, dict) and len(pattern) == 1 else None
        if not isinstance(wanted, str):
            return "holds a regular expression, and only fixed strings are allowed"
        if not wanted:
            return "looks for an empty text"
        content = settings.get("content")
        if kind == "Replace" and not (isinstance(content, str) and len(content) <= len(wanted)):
            return f"replaces {wanted[:20]!r} by a longer text, which may be repeated"
    elif kind == "Replace":
        return "has no pattern"
    for name in ("prepend", "content", "prefix", "continuing_subword_prefix", "end_of_word_suffix", "unk_token"):
        if len(str(settings.get(name) or "")) > _LONGEST_MARK:
            return f"has a {name} of more than {_LONGEST_MARK} characters"
    if settings.get("dropout"):
        return "cuts words at random (dropout)"
    longest = settings.get("max_input_chars_per_word") or 0
    if type(longest) is not int or longest > _LONGEST_MATCHED:
        return f"matches words of up to {str(longest)[:20]} characters, more than {_LONGEST_MATCHED}"
    return None


def _components(part: str, value: Any, depth: int = 0) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """All components in a part, those inside sequences too, as (type, settings)."""
    if value is None:
        return
    if not isinstance(value, dict) or depth > 8:
        yield f"{type(value).__name__} {depth} levels deep", {}
        return
    yield value.get("type"), value
    for name in ("normalizers", "pretokenizers", "decoders"):
        inner = value.get(name)
        for one in inner if isinstance(inner, list) else []:
            yield from _components(part, one, depth + 1)


def _load(description: dict[str, Any], path: str | PathLike[str] | None) -> Any:
    from tokenizers import Tokenizer as LibraryTokenizer

    try:
        return _guard("the tokenizer is damaged", lambda: LibraryTokenizer.from_str(json.dumps(description)))
    except BadData as error:
        raise BadData(error.message, path=path, repair="train or fetch it again") from error


def _train(texts: Iterable[str], kind: str, size: int, split: Tokenizer | None) -> dict[str, Any]:
    """Description of a trained tokenizer.

    The library numbers characters and adds up probabilities in the order of a hash table that differs from run to run.
    Hence the alphabet is given to it in order, and the probabilities of Unigram are estimated again.
    """
    from tokenizers import Tokenizer as LibraryTokenizer
    from tokenizers import decoders, models, pre_tokenizers, trainers

    words = _count_words(texts, split)
    if not words:
        raise BadData("there is no text to learn pieces from", repair="give a file with words in it")
    fixed = list(Vocabulary.FIXED)
    alphabet: list[str] = []
    if kind != "bpe":
        words, alphabet = _limit_alphabet(words, size // 4)
    between = " " if split is None else "\0"
    running = (between.join([word] * count) for word, count in _in_portions(words))
    common: dict[str, Any] = {"vocab_size": size, "show_progress": False}
    if kind == "bpe":
        library = LibraryTokenizer(models.BPE())
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        if split is not None:
            whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
            library.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(between, "removed"), whole])
        library.decoder = decoders.ByteLevel()
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        library.train_from_iterator(running, trainers.BpeTrainer(special_tokens=fixed, initial_alphabet=letters, **common))
        if split is not None:  # what is cut later is a token of `split` already
            library.pre_tokenizer = whole
    elif kind == "wordpiece":
        library = LibraryTokenizer(models.WordPiece(unk_token=Vocabulary.UNKNOWN))
        library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        inside = ["##" + letter for letter in alphabet]
        library.train_from_iterator(
            running, trainers.WordPieceTrainer(special_tokens=[*fixed, *alphabet, *inside], **common)
        )
        pieces = library.get_vocab(with_added_tokens=False)
        library = LibraryTokenizer(models.WordPiece(pieces, unk_token=Vocabulary.UNKNOWN))
        library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        library.decoder = decoders.WordPiece()
    else:
        library = LibraryTokenizer(models.Unigram())
        library.pre_tokenizer = pre_tokenizers.Metaspace()
        library.train_from_iterator(
            running, trainers.UnigramTrainer(special_tokens=fixed, unk_token=Vocabulary.UNKNOWN, **common)
        )
        library = _with_probabilities(sorted({*library.get_vocab(), *alphabet, "▁"} - set(fixed)), words)
    # The fixed entries are numbers, not words: a text that holds "</s>" gets ordinary pieces for it. Only "<unk>", which
    # prepared corpora write for a word they left out, means what it says.
    # An exact tokenizer gives back what was written, that too.
    library.add_special_tokens([Vocabulary.UNKNOWN])
    description: dict[str, Any] = json.loads(library.to_str())
    kept = (Vocabulary.UNKNOWN,) if split is None else ()
    description["added_tokens"] = [one for one in description["added_tokens"] if one["content"] in kept]
    return description


def _count_words(texts: Iterable[str], split: Tokenizer | None) -> dict[str, int]:
    """How often each word, or token of `split`, occurs in the texts, in the order of code points."""
    counts: Counter[str] = Counter()
    for text in texts:
        safe = _safe(text).replace("\0", " ")
        counts.update(safe.split() if split is None else split.words(safe))
    return {word: counts[word] for word in sorted(counts) if len(word) <= LONGEST_WORD}


def _limit_alphabet(words: dict[str, int], room: int) -> tuple[dict[str, int], list[str]]:
    """The `room` most frequent characters in order, and the words made of them: other characters stay unknown."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for letter in word:
            counts[letter] += count
    alphabet = sorted(sorted(counts, key=lambda letter: (-counts[letter], letter))[:room])
    if len(alphabet) < len(counts):
        known = set(alphabet)
        words = {word: count for word, count in words.items() if known.issuperset(word)}
    return words, alphabet


def _in_portions(words: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Words with counts of at most 1,000, so that no line of repetitions becomes long."""
    for word, count in words.items():
        for start in range(0, count, 1000):
            yield word, min(1000, count - start)


def _with_probabilities(pieces: list[str], words: dict[str, int], rounds: int = 4) -> Any:
    """A Unigram tokenizer with log probabilities estimated from its own best cuts, beginning with the fewest pieces."""
    from tokenizers import Tokenizer as LibraryTokenizer
    from tokenizers import decoders, models, pre_tokenizers

    scores = dict.fromkeys(pieces, -10.0)
    for turn in range(rounds + 1):
        ordered = sorted(pieces, key=lambda piece: (-scores[piece], piece))
        listed = [(token, -1000.0) for token in Vocabulary.FIXED] + [(piece, scores[piece]) for piece in ordered]
        library = LibraryTokenizer(models.Unigram(listed, unk_id=Vocabulary.UNKNOWN_ID))
        library.pre_tokenizer = pre_tokenizers.Metaspace()
        if turn < rounds:
            counts: Counter[str] = Counter()
            for found, count in zip(library.encode_batch(list(words)), words.values(), strict=True):
                for piece in found.tokens:
                    counts[piece] += count
            total = math.log(sum(counts.values()) + len(pieces))
            scores = {piece: math.log(counts[piece] + 0.5) - total for piece in pieces}
    library.decoder = decoders.Metaspace()
    return library
