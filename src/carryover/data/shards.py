"""A corpus tokenised once: numbers on disk that training reads at random, whatever the size of the text.

A folder of shards holds, all little-endian and without headers,

==================== =============== ==========================================================================
`ids.int32`          [tokens]        word types in text order, every non-empty line as `<s>` … `</s>`
`line_offsets.int64` [lines + 1]     where each line's `<s>` is in `ids`; the last entry is the number of tokens
`counts.int64`       [types]         how often each type occurs in the corpus
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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carryover.data.formats.folders import text_files
from carryover.data.formats.opening import open_file
from carryover.data.long_words import count_cut_occurrences
from carryover.data.shard_passes import chunks_of, ranked, rewrite, write_characters, write_first_met
from carryover.data.vocabulary import Vocabulary
from carryover.errors import BadData, InputMissing, UsageError
from carryover.forking import computed_once
from carryover.storage import atomic_folder, fingerprint, read_json, verify_manifest, write_file

if TYPE_CHECKING:
    from carryover.progress import Progress

SCHEMA = "carryover.shards/1"
KINDS = ("characters", "words", "subwords")
CHARACTERS_PER_WORD = 50


class Shards:
    """An opened folder of shards. Cheap to open, safe to share between processes, nothing of the corpus in memory.

    Attributes: `kind`, `tokens` (with line borders), `lines`, `types`, `vocabulary`, `blank_lines` (lines without a word,
    left out unless it was built to keep them), `unknown_tokens` (tokens whose softmax id is `<unk>`), `fingerprint` (of the content: equal for equal text,
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
        memory of the process. Raises BadData when the file ends before.
        """
        data = os.pread(self._ids_file, 4 * (stop - start), 4 * start)
        if len(data) != 4 * (stop - start):
            raise BadData(
                f"tokens {start} to {stop} of {self.tokens} cannot be read",
                path=self.folder,
                repair="build the shards again",
            )
        return np.frombuffer(data, dtype="<i4")

    @computed_once
    def ids(self) -> NDArray[np.int32]:
        """All types in text order, [tokens], memory-mapped."""
        return np.memmap(self.folder / "ids.int32", dtype="<i4", mode="r")

    @computed_once
    def line_offsets(self) -> NDArray[np.int64]:
        """Place of each line's `<s>`, then the number of tokens, [lines + 1], memory-mapped."""
        return np.memmap(self.folder / "line_offsets.int64", dtype="<i8", mode="r")

    def line_end_chunks(self) -> Iterator[NDArray[np.int64]]:
        """Where the lines end (one past each `</s>`), a bounded number of lines at a time."""
        for offsets in chunks_of(self.folder / "line_offsets.int64", "<i8", overlap=1):
            yield offsets[1:]

    @computed_once
    def characters(self) -> NDArray[np.uint16]:
        """Character ids of every type, [types, 50], memory-mapped. Raises UsageError for shards of another kind."""
        if self.kind != "characters":
            raise UsageError(
                f"these shards hold {self.kind}, not characters", path=self.folder, repair="build them for characters"
            )
        return np.memmap(self.folder / "characters.uint16", dtype="<u2", mode="r").reshape(self.types, CHARACTERS_PER_WORD)

    @computed_once
    def counts(self) -> NDArray[np.int64]:
        """How often each type occurs in the corpus, [types]."""
        return np.fromfile(self.folder / "counts.int64", dtype="<i8")

    @computed_once
    def spellings(self) -> list[str]:
        """The word of each type."""
        return list(json.loads((self.folder / "types.json").read_bytes()))

    def count_cut(self) -> int:
        """How many words of the corpus are longer than what is read of one."""
        if self.kind != "characters":
            return 0
        return count_cut_occurrences(dict(zip(self.spellings, self.counts.tolist(), strict=True)))

    def softmax_ids(self, types: NDArray[Any]) -> NDArray[np.int64]:
        """Ids of the vocabulary for types of any shape."""
        types = types.astype(np.int64)
        return np.where(types < len(self.vocabulary), types, Vocabulary.UNKNOWN_ID)

    def sentences(self) -> Iterator[list[str]]:
        """The words of each line, without its borders, in order."""
        spellings = self.spellings
        for offsets in chunks_of(self.folder / "line_offsets.int64", "<i8", overlap=1):
            for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
                yield [spellings[number] for number in self.read(start + 1, stop - 1).tolist()]

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.folder,)  # in another process: open the folder there

    def __repr__(self) -> str:
        return f"Shards of {self.tokens:,} tokens in {self.lines:,} lines, {len(self.vocabulary):,} words in the vocabulary"


def _reopen(folder: Path) -> Shards:
    return Shards.open(folder, verify=False)


def build_shards(
    raw: Iterable[tuple[int, str]] | Path | str,
    kind: str,
    folder: Path | str,
    *,
    tokenize: Callable[[str], list[str]],
    vocabulary_size: int | None = None,
    minimum_count: int = 1,
    vocabulary: Vocabulary | None = None,
    keep_blank: bool = False,
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
    keep_blank : a line without a word is an empty line of the corpus, instead of being left out and counted.
    progress : told the number of tokens after every buffer.

    A word spelled like `<pad>`, `<s>` or `</s>` counts as `<unk>`, for these mark places. Raises BadData when no line
    holds a word, UsageError for an unknown kind or subwords without their vocabulary.
    """
    _check_kind(kind, vocabulary)
    source = str(raw) if isinstance(raw, (str, Path)) else None
    lines = _raw_lines(raw) if isinstance(raw, (str, Path)) else raw
    with atomic_folder(Path(folder)) as temporary:
        seen = write_first_met(lines, tokenize, temporary, progress, keep_blank)
        if seen.tokens == 2 * seen.lines:  # nothing but borders
            raise BadData(
                f"no text: all {seen.blank_lines} lines are blank" if seen.blank_lines else "no text: there is no line",
                path=source,
                repair="give a file with one or more lines of words",
            )
        if vocabulary is None:
            vocabulary = Vocabulary.from_counts(Counter(seen.counted()), vocabulary_size, minimum_count)
        spellings, rank = ranked(seen, vocabulary, beyond=kind == "characters")
        digest, unknown = rewrite(temporary, rank, len(vocabulary))
        counts = np.bincount(rank, weights=seen.counts, minlength=len(spellings)).astype("<i8")
        write_file(temporary / "counts.int64", [counts.tobytes()])
        if kind == "characters":
            write_characters(spellings, temporary / "characters.uint16")
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


def content_fingerprint(raw: Path | str) -> str:
    """SHA-256 of a file's bytes, or of a built-in corpus's content; of a folder or pattern one that covers its files in order.

    Raises InputMissing when there is no such file.
    """
    if str(raw).startswith("builtin:"):
        from carryover.data.builtin import builtin_fingerprint

        return builtin_fingerprint(str(raw))
    files = text_files(raw)
    found = [_file_fingerprint(file) for file in files]
    return found[0] if files == [Path(raw)] else fingerprint(*found)


def _file_fingerprint(file: Path) -> str:
    try:
        with open_file(file) as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()  # type: ignore[arg-type]
    except OSError as error:
        raise InputMissing(f"cannot read: {error.strerror}", path=file, repair="check the path") from error


def texts_fingerprint(files: Iterable[Path | str]) -> str:
    """`content_fingerprint` of a single text; of several, one that covers them in their order."""
    found = [content_fingerprint(file) for file in files]
    return found[0] if len(found) == 1 else fingerprint(*found)


def _check_kind(kind: str, vocabulary: Vocabulary | None) -> None:
    if kind not in KINDS:
        raise UsageError(f"unknown kind of input {kind!r}", repair=f"use one of {', '.join(KINDS)}")
    if kind == "subwords" and vocabulary is None:
        raise UsageError("subwords need the vocabulary of their tokeniser", repair="pass vocabulary=")


def _raw_lines(raw: Path | str) -> Iterator[tuple[int, str]]:
    from carryover.data.formats.reading import read_raw

    return read_raw(raw)


def _write_json(path: Path, value: Any) -> None:
    write_file(path, [json.dumps(value).encode("ascii")])
