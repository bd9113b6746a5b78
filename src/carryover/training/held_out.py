"""Lines set aside to measure a language model, where no held-out text is given.

A line is set aside by a hash of its text, so the choice needs no state, is the same in every session, and copies of a line
never stand on both sides.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from carryover.errors import BadData

CHECKED_LINES = 200
CHECKED_WORDS = 60
_FEWEST = 20


@dataclass(frozen=True)
class LinesByHash:
    """The lines of a corpus whose hash is below `border` (`below`), or all others. Can be read any number of times.

    Blank lines, the borders of documents, stay on both sides.
    """

    raw: str | Path
    border: int
    below: bool

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for number, line in raw_lines(self.raw):
            if not line.strip() or (line_hash(line) < self.border) == self.below:
                yield number, line


def hold_out(raw: str | Path, share: float) -> tuple[LinesByHash, LinesByHash]:
    """Training and held-out lines: about `share` of the lines, of a short text more (20 lines, but at most a tenth).

    At least one line is held out and never all. Raises BadData when there are fewer than two different lines.
    """
    smallest: list[int] = []  # a heap of negated hashes, the largest of the smallest first
    largest, lines = -1, 0
    for _, line in raw_lines(raw):
        if line.strip():
            number = line_hash(line)
            lines += 1
            largest = max(largest, number)
            heapq.heappush(smallest, -number)
            if len(smallest) > _FEWEST:
                heapq.heappop(smallest)
    order = sorted(-number for number in smallest)
    if not lines or order[0] == largest:
        raise BadData(
            f"{lines} lines and not two different ones: nothing can be held out" if lines else "there is no line of text",
            path=str(raw),
            repair="give more text, or held-out text of its own with --valid",
        )
    fewest = max(1, min(_FEWEST, lines // 10))
    border = min(max(int(share * 2**64), order[fewest - 1] + 1), largest)
    return LinesByHash(raw, border, below=False), LinesByHash(raw, border, below=True)


def sample_lines(lines: Iterable[tuple[int, str]]) -> list[str]:
    """At most 200 lines, spread over the text, each cut after 60 words: what the carry-over proof measures again."""
    texts = [line for line in (" ".join(text.split()[:CHECKED_WORDS]) for _, text in lines) if line]
    every = max(1, -(-len(texts) // CHECKED_LINES))
    return list(islice(texts, 0, None, every))


def line_hash(line: str) -> int:
    """64 bits of the line's text without its surrounding space."""
    return int.from_bytes(hashlib.blake2b(line.strip().encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def raw_lines(raw: str | Path) -> Iterator[tuple[int, str]]:
    """Lines of a file or of a built-in corpus by its name."""
    from carryover.data.reading import read_raw

    return iter(read_raw(raw))
