"""The two passes over a corpus that make its shards (see `shards`), each with bounded memory.

First pass: text → `first_met.int32`, the words as numbers in the order in which they were first met, and
`line_offsets.int64`. Second pass: those numbers → `ids.int32`, the words by rank. Between them only the table of distinct
words is held.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carryover.data.vocabulary import Vocabulary
from carryover.storage import OutputFile

if TYPE_CHECKING:
    from carryover.progress import Progress

BUFFER = 1 << 20
"""Numbers held in memory while writing and rewriting."""
_WORDS_AT_ONCE = 8192


class Seen:
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


def write_first_met(
    lines: Iterable[tuple[int, str]],
    tokenize: Callable[[str], list[str]],
    folder: Path,
    progress: Progress | None,
    keep_blank: bool = False,
) -> Seen:
    """First pass: `first_met.int32` and `line_offsets.int64`. A line without a word is left out, or kept as an empty one."""
    seen = Seen()
    numbers, reserved = seen.numbers, seen.reserved
    buffer, offsets, position = array("i"), array("q"), 0
    with OutputFile(folder / "first_met.int32") as ids_file, OutputFile(folder / "line_offsets.int64") as offsets_file:

        def flush() -> None:
            for start in range(0, len(buffer), BUFFER):  # more than one only behind a very long line
                flushed = np.frombuffer(buffer[start : start + BUFFER], dtype=np.intc).astype("<i4")
                seen.add(flushed)
                ids_file.write(flushed.tobytes())
            offsets_file.write(np.frombuffer(offsets, dtype=np.int64).astype("<i8").tobytes())
            if progress is not None:
                progress.advance(len(buffer))

        for _, line in lines:
            words = tokenize(line)
            if not words:
                seen.blank_lines += 1
                if not keep_blank:
                    continue
            if not reserved.isdisjoint(words):
                words = [Vocabulary.UNKNOWN if word in reserved else word for word in words]
            seen.lines += 1
            offsets.append(position)
            buffer.append(0)
            buffer.extend(map(numbers.__getitem__, words))
            buffer.append(1)
            position += len(words) + 2
            if len(buffer) >= BUFFER:
                flush()
                buffer, offsets = array("i"), array("q")
        offsets.append(position)
        flush()
    return seen


def ranked(seen: Seen, vocabulary: Vocabulary, *, beyond: bool) -> tuple[list[str], NDArray[np.int32]]:
    """Spellings in the order of their types, and the type of every first-met number, [distinct words]."""
    others = []
    if beyond:
        counted = seen.counted()
        others = [word for word in counted if word not in vocabulary]
        others.sort(key=lambda word: (-counted[word], word))
    later = {word: number for number, word in enumerate(others, start=len(vocabulary))}
    rank = np.array([later.get(word, vocabulary.id(word)) for word in seen.numbers], dtype=np.int32)
    return [*vocabulary.tokens, *others], rank


def rewrite(folder: Path, rank: NDArray[np.int32], softmax_size: int) -> tuple[str, int]:
    """Second pass: `ids.int32` from `first_met.int32`. Returns the SHA-256 of the ids and the number of unknown tokens."""
    digest, unknown = hashlib.sha256(), 0
    first_met = folder / "first_met.int32"
    with OutputFile(folder / "ids.int32") as file:
        for numbers in chunks_of(first_met, "<i4"):
            types = rank[numbers].astype("<i4")
            unknown += int(((types >= softmax_size) | (types == Vocabulary.UNKNOWN_ID)).sum())
            digest.update(types.tobytes())
            file.write(types.tobytes())
    first_met.unlink()
    return digest.hexdigest(), unknown


def write_characters(spellings: list[str], path: Path) -> None:
    """Character ids of every spelling, uint16 [types, 50], one below the other."""
    from carryover.data.coding import character_rows

    with OutputFile(path) as file:
        for start in range(0, len(spellings), _WORDS_AT_ONCE):
            rows = character_rows(spellings[start : start + _WORDS_AT_ONCE]).astype("<u2")
            if start == 0:
                rows[Vocabulary.PAD_ID] = 0  # no word at all: masked everywhere
            file.write(rows.tobytes())


def chunks_of(path: Path, kind: str, overlap: int = 0) -> Iterator[NDArray[Any]]:
    """A file of numbers piece by piece; each piece begins with the last `overlap` numbers of the one before."""
    with path.open("rb") as file:
        kept = np.zeros(0, dtype=kind)
        while len(chunk := np.fromfile(file, dtype=kind, count=BUFFER)):
            chunk = np.concatenate([kept, chunk])
            yield chunk
            kept = chunk[len(chunk) - overlap :]
