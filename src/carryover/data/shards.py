"""A corpus tokenised once: numbers on disk that training reads at random, whatever the size of the text.

A folder of shards holds, all little-endian and without headers,

==================== =============== ==========================================================================
`ids.int32`          [tokens]        word types in text order, every non-empty line as `<s>` … `</s>`
`line_offsets.int64` [lines + 1]     where each line's `<s>` stands in `ids`; the last entry is the number of tokens
`counts.int64`       [types]         how often each type stands in the corpus
`characters.uint16`  [types, 50]     character ids of each type's spelling (kind "characters" only)
`types.json`         list            spelling of each type
`shards.json`        object          the sizes above, the vocabulary, the fingerprint
`manifest.json`      object          SHA-256 of each file
==================== =============== ==========================================================================

Types are numbered so that the softmax id of type t is t itself when t < len(vocabulary), and `<unk>` otherwise: first the
vocabulary, then every other word of the corpus, the most frequent first. Only the kind "characters" keeps types beyond the
vocabulary, for only a character encoder can tell them apart.

Writing takes two passes. The first reads and tokenises the text and writes the number each word got when it was first
met; the second, over those numbers only, gives the words their rank. Memory holds the table of distinct words and a buffer.
"""

from __future__ import annotations

import hashlib
import json
import os
import weakref
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carryover.data.vocabulary import Vocabulary
from carryover.errors import BadData, InputMissing, UsageError
from carryover.storage import atomic_folder, fingerprint, read_json, verify_manifest

if TYPE_CHECKING:
    from carryover.progress import Progress

SCHEMA = "carryover.shards/1"
KINDS = ("characters", "words", "subwords")
CHARACTERS_PER_WORD = 50
_BUFFER = 1 << 20
"""Numbers held in memory while writing and rewriting."""
_WORDS_AT_ONCE = 8192


class Shards:
    """An opened folder of shards. Cheap to open, safe to share between processes, nothing of the corpus in memory.

    Attributes: `kind`, `tokens` (with line borders), `lines`, `types`, `vocabulary`, `blank_lines` (lines without a word,
    left out), `unknown_tokens` (tokens whose softmax id is `<unk>`), `fingerprint` (of the content: equal for equal text,
    tokeniser and vocabulary, wherever it was read from).
    """

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self.folder = folder
        self.kind: str = header["kind"]
        self.tokens: int = header["tokens"]
        self.lines: int = header["lines"]
        self.types: int = header["types"]
        self.blank_lines: int = header["blank_lines"]
        self.unknown_tokens: int = header["unknown_tokens"]
        self.fingerprint: str = header["fingerprint"]
        self.vocabulary = Vocabulary.from_json(header["vocabulary"])
        # The file stays open: whoever replaces the folder meanwhile does not change what this object reads.
        self._ids_file = os.open(folder / "ids.int32", os.O_RDONLY)
        weakref.finalize(self, os.close, self._ids_file)

    @classmethod
    def open(cls, folder: Path | str, *, verify: bool = True) -> Shards:
        """The shards in a folder. Raises InputMissing when there are none, BadData when a byte of them has changed.

        `verify=False` leaves out the reading of every byte and checks the sizes only.
        """
        folder = Path(folder)
        if not (folder / "shards.json").is_file():
            raise InputMissing("no tokenised corpus here", path=folder, repair="build it with build_shards")
        if verify:
            verify_manifest(folder)
        header = read_json(folder / "shards.json")
        if not isinstance(header, dict) or header.get("schema") != SCHEMA:
            found = header.get("schema") if isinstance(header, dict) else type(header).__name__
            raise BadData(f"schema is {found!r}, expected {SCHEMA!r}", path=folder, repair="build the shards again")
        sizes = {"ids.int32": 4 * header["tokens"], "line_offsets.int64": 8 * (header["lines"] + 1)}
        if header["kind"] == "characters":
            sizes["characters.uint16"] = 2 * CHARACTERS_PER_WORD * header["types"]
        for name, size in sizes.items():
            found = (folder / name).stat().st_size if (folder / name).is_file() else 0
            if found != size:
                raise BadData(f"{name} has {found} bytes instead of {size}", path=folder, repair="build the shards again")
        return cls(folder, header)

    def read(self, start: int, stop: int) -> NDArray[np.int32]:
        """The types at positions start … stop−1, [stop − start].

        Reads from the file rather than from a mapping, so that a pass over the corpus leaves nothing behind in the
        memory of the process.
        """
        data = os.pread(self._ids_file, 4 * (stop - start), 4 * start)
        return np.frombuffer(data, dtype="<i4")

    @cached_property
    def ids(self) -> NDArray[np.int32]:
        """All types in text order, [tokens], memory-mapped."""
        return np.memmap(self.folder / "ids.int32", dtype="<i4", mode="r")

    @cached_property
    def line_offsets(self) -> NDArray[np.int64]:
        """Where each line's `<s>` stands, then the number of tokens, [lines + 1], memory-mapped."""
        return np.memmap(self.folder / "line_offsets.int64", dtype="<i8", mode="r")

    def line_end_chunks(self) -> Iterator[NDArray[np.int64]]:
        """Where the lines end (one past each `</s>`), a bounded number of lines at a time."""
        for offsets in _chunks_of(self.folder / "line_offsets.int64", "<i8", overlap=1):
            yield offsets[1:]

    @cached_property
    def characters(self) -> NDArray[np.uint16]:
        """Character ids of every type, [types, 50], memory-mapped. Raises UsageError for shards of another kind."""
        if self.kind != "characters":
            raise UsageError(
                f"these shards hold {self.kind}, not characters", path=self.folder, repair="build them for characters"
            )
        return np.memmap(self.folder / "characters.uint16", dtype="<u2", mode="r").reshape(self.types, CHARACTERS_PER_WORD)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How often each type stands in the corpus, [types]."""
        return np.fromfile(self.folder / "counts.int64", dtype="<i8")

    @cached_property
    def spellings(self) -> list[str]:
        """The word of each type."""
        return list(json.loads((self.folder / "types.json").read_bytes()))

    def softmax_ids(self, types: NDArray[Any]) -> NDArray[np.int64]:
        """Ids of the vocabulary for types of any shape."""
        types = types.astype(np.int64)
        return np.where(types < len(self.vocabulary), types, Vocabulary.UNKNOWN_ID)

    def sentences(self) -> Iterator[list[str]]:
        """The words of each line, without its borders, in order."""
        spellings = self.spellings
        for offsets in _chunks_of(self.folder / "line_offsets.int64", "<i8", overlap=1):
            for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
                yield [spellings[number] for number in self.read(start + 1, stop - 1).tolist()]

    def __repr__(self) -> str:
        return f"Shards of {self.tokens:,} tokens in {self.lines:,} lines, {len(self.vocabulary):,} words in the vocabulary"


def build_shards(
    raw: Iterable[tuple[int, str]] | Path | str,
    kind: str,
    folder: Path | str,
    *,
    tokenize: Callable[[str], list[str]],
    vocabulary_size: int | None = None,
    minimum_count: int = 1,
    vocabulary: Vocabulary | None = None,
    progress: Progress | None = None,
) -> Shards:
    """Tokenise a corpus into `folder`, whole or not at all, and open it.

    Parameters
    ----------
    raw : a file of text lines (also .gz and .xz, also a built-in corpus by name), or (line number, line) pairs.
    kind : "characters", "words" or "subwords": what the encoder will read.
    tokenize : the words (for subwords: the pieces) of one line.
    vocabulary_size : most entries of the vocabulary counted here, its four fixed ones included.
    minimum_count : a word seen less often stays outside the vocabulary.
    vocabulary : use this one (held-out text, or pieces) instead of counting.
    progress : told the number of tokens after every buffer.

    A word spelled like `<pad>`, `<s>` or `</s>` counts as `<unk>`, for these mark places. Raises BadData when no line
    holds a word, UsageError for an unknown kind or subwords without their vocabulary.
    """
    _check_kind(kind, vocabulary)
    source = str(raw) if isinstance(raw, (str, Path)) else None
    lines = _raw_lines(raw) if isinstance(raw, (str, Path)) else raw
    with atomic_folder(Path(folder)) as temporary:
        seen = _write_first_met(lines, tokenize, temporary, progress)
        if not seen.lines:
            raise BadData(
                f"no text: all {seen.blank_lines} lines are blank" if seen.blank_lines else "no text: there is no line",
                path=source,
                repair="give a file with one or more lines of words",
            )
        if vocabulary is None:
            vocabulary = Vocabulary.from_counts(Counter(seen.counted()), vocabulary_size, minimum_count)
        spellings, rank = _ranked(seen, vocabulary, beyond=kind == "characters")
        digest, unknown = _rewrite(temporary, rank, len(vocabulary))
        counts = np.bincount(rank, weights=seen.counts, minlength=len(spellings)).astype("<i8")
        counts.tofile(temporary / "counts.int64")
        if kind == "characters":
            _write_characters(spellings, temporary / "characters.uint16")
        _write_json(temporary / "types.json", spellings)
        header = {
            "schema": SCHEMA,
            "kind": kind,
            "tokens": seen.tokens,
            "lines": seen.lines,
            "types": len(spellings),
            "blank_lines": seen.blank_lines,
            "unknown_tokens": unknown,
            "fingerprint": fingerprint(kind, digest, json.dumps(spellings)),
            "vocabulary": vocabulary.to_json(),
        }
        _write_json(temporary / "shards.json", header)
    return Shards.open(folder, verify=False)


def open_or_build(
    raw: Path | str,
    kind: str,
    cache: Path | str,
    *,
    tokenize: Callable[[str], list[str]],
    tokenizer: str,
    vocabulary_size: int | None = None,
    minimum_count: int = 1,
    vocabulary: Vocabulary | None = None,
    progress: Progress | None = None,
) -> Shards:
    """The shards of a file from a folder of caches, built only when the same were not built before or are damaged.

    `tokenizer` tells tokenisers apart (their JSON form); the rest is as in `build_shards`. The key covers the bytes of
    the file, the tokeniser and the vocabulary. Several processes may ask at once: each builds its own and the last one
    stays, all of them valid.
    """
    _check_kind(kind, vocabulary)
    words = "" if vocabulary is None else fingerprint(json.dumps(vocabulary.tokens))
    key = fingerprint(SCHEMA, content_fingerprint(raw), kind, tokenizer, repr((vocabulary_size, minimum_count)), words)
    folder = Path(cache) / f"shards-{key[:20]}"
    try:
        return Shards.open(folder)
    except (InputMissing, BadData):
        return build_shards(
            raw,
            kind,
            folder,
            tokenize=tokenize,
            vocabulary_size=vocabulary_size,
            minimum_count=minimum_count,
            vocabulary=vocabulary,
            progress=progress,
        )


def content_fingerprint(raw: Path | str) -> str:
    """SHA-256 of a file's bytes, or of a built-in corpus's content. Raises InputMissing when there is no such file."""
    if str(raw).startswith("builtin:"):
        from carryover.data.builtin import builtin_fingerprint

        return builtin_fingerprint(str(raw))
    try:
        with Path(raw).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputMissing(f"cannot read: {error.strerror}", path=raw, repair="check the path") from error


def _check_kind(kind: str, vocabulary: Vocabulary | None) -> None:
    if kind not in KINDS:
        raise UsageError(f"unknown kind of input {kind!r}", repair=f"use one of {', '.join(KINDS)}")
    if kind == "subwords" and vocabulary is None:
        raise UsageError("subwords need the vocabulary of their tokeniser", repair="pass vocabulary=")


def _raw_lines(raw: Path | str) -> Iterator[tuple[int, str]]:
    from carryover.data.reading import read_raw

    return read_raw(raw)


class _Seen:
    """What the first pass learns: distinct words in the order they were met, how often, and sizes."""

    def __init__(self) -> None:
        self.numbers: defaultdict[str, int] = defaultdict()
        self.numbers.default_factory = self.numbers.__len__
        # Line borders take fixed numbers, and words that look like borders share the number of the unknown word.
        self.numbers.update({Vocabulary.BEGIN: 0, Vocabulary.END: 1, Vocabulary.UNKNOWN: 2})
        self.reserved = {Vocabulary.PAD, Vocabulary.BEGIN, Vocabulary.END}
        self.counts: NDArray[np.int64] = np.zeros(3, dtype=np.int64)
        self.tokens = 0
        self.lines = 0
        self.blank_lines = 0

    def add(self, numbers: NDArray[np.int32]) -> None:
        counts = np.bincount(numbers, minlength=len(self.numbers))
        counts[: len(self.counts)] += self.counts
        self.counts = counts
        self.tokens += len(numbers)

    def counted(self) -> dict[str, int]:
        return dict(zip(self.numbers, self.counts.tolist(), strict=True))


def _write_first_met(
    lines: Iterable[tuple[int, str]],
    tokenize: Callable[[str], list[str]],
    folder: Path,
    progress: Progress | None,
) -> _Seen:
    """First pass: `first_met.int32` and `line_offsets.int64`."""
    seen = _Seen()
    numbers, reserved = seen.numbers, seen.reserved
    buffer, offsets, position = array("i"), array("q"), 0
    with (folder / "first_met.int32").open("wb") as ids_file, (folder / "line_offsets.int64").open("wb") as offsets_file:

        def flush() -> None:
            flushed = np.frombuffer(buffer, dtype=np.intc).astype("<i4")
            seen.add(flushed)
            ids_file.write(flushed.tobytes())
            offsets_file.write(np.frombuffer(offsets, dtype=np.int64).astype("<i8").tobytes())
            if progress is not None:
                progress.advance(len(flushed))

        for _, line in lines:
            words = tokenize(line)
            if not words:
                seen.blank_lines += 1
                continue
            if not reserved.isdisjoint(words):
                words = [Vocabulary.UNKNOWN if word in reserved else word for word in words]
            seen.lines += 1
            offsets.append(position)
            buffer.append(0)
            buffer.extend([numbers[word] for word in words])
            buffer.append(1)
            position += len(words) + 2
            if len(buffer) >= _BUFFER:
                flush()
                buffer, offsets = array("i"), array("q")
        offsets.append(position)
        flush()
    return seen


def _ranked(seen: _Seen, vocabulary: Vocabulary, *, beyond: bool) -> tuple[list[str], NDArray[np.int32]]:
    """Spellings in the order of their types, and the type of every first-met number, [distinct words]."""
    others = []
    if beyond:
        counted = seen.counted()
        others = [word for word in counted if word not in vocabulary]
        others.sort(key=lambda word: (-counted[word], word))
    later = {word: number for number, word in enumerate(others, start=len(vocabulary))}
    rank = np.array([later.get(word, vocabulary.id(word)) for word in seen.numbers], dtype=np.int32)
    return [*vocabulary.tokens, *others], rank


def _rewrite(folder: Path, rank: NDArray[np.int32], softmax_size: int) -> tuple[str, int]:
    """Second pass: `ids.int32` from `first_met.int32`. Returns the SHA-256 of the ids and the number of unknown tokens."""
    digest, unknown = hashlib.sha256(), 0
    first_met = folder / "first_met.int32"
    with (folder / "ids.int32").open("wb") as file:
        for numbers in _chunks_of(first_met, "<i4"):
            types = rank[numbers].astype("<i4")
            unknown += int(((types >= softmax_size) | (types == Vocabulary.UNKNOWN_ID)).sum())
            digest.update(types.tobytes())
            file.write(types.tobytes())
    first_met.unlink()
    return digest.hexdigest(), unknown


def _write_characters(spellings: list[str], path: Path) -> None:
    from carryover.data.coding import character_rows

    with path.open("wb") as file:
        for start in range(0, len(spellings), _WORDS_AT_ONCE):
            rows = character_rows(spellings[start : start + _WORDS_AT_ONCE]).astype("<u2")
            if start == 0:
                rows[Vocabulary.PAD_ID] = 0  # no word at all: masked everywhere
            file.write(rows.tobytes())


def _chunks_of(path: Path, kind: str, overlap: int = 0) -> Iterator[NDArray[Any]]:
    """A file of numbers piece by piece; each piece begins with the last `overlap` numbers of the one before."""
    with path.open("rb") as file:
        kept = np.zeros(0, dtype=kind)
        while len(chunk := np.fromfile(file, dtype=kind, count=_BUFFER)):
            chunk = np.concatenate([kept, chunk])
            yield chunk
            kept = chunk[len(chunk) - overlap :]


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="ascii")  # flushed to disk with the whole folder
