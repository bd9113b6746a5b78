"""Text set aside to measure a language model, where no held-out text is given.

For vectors single lines are set aside, by a hash of their text: copies of a line never stand on both sides. A model that writes
reads on from line to line, and lines such as a closing brace belong to both sides: for it whole passages are set aside. Either
choice needs no state and is the same in every session.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from carryover.errors import BadData

CHECKED_LINES = 200
CHECKED_WORDS = 60
_FEWEST = 20
_PASSAGES = 10
_AT_ONCE = 1 << 20  # characters of a long line
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class RawText:
    """All lines of texts, one after another, any number of times; `exact` keeps the white space around them.

    `column` and `format` say where the text is in files that are no plain text, see `read_raw`.
    """

    texts: tuple[str | Path, ...]
    exact: bool = False
    column: str | int = "text"
    format: str | None = None

    def __iter__(self) -> Iterator[tuple[int, str]]:
        from carryover.data.formats.reading import read_raw

        for text in self.texts:
            yield from read_raw(text, exact=self.exact, column=self.column, format=self.format)

    def __str__(self) -> str:
        return ", ".join(str(text) for text in self.texts)


@dataclass(frozen=True)
class LinesByHash:
    """The lines of a corpus whose hash is below `border` (`below`), or all others. Can be read any number of times.

    Blank lines, the borders of documents, stay on both sides.
    """

    raw: RawText
    border: int
    below: bool

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for number, line in self.raw:
            if not line.strip() or (line_hash(line) < self.border) == self.below:
                yield number, line


def hold_out(raw: RawText, share: float) -> tuple[LinesByHash, LinesByHash]:
    """Training and held-out lines: about `share` of the lines, of a short text more (20 lines, but at most a tenth).

    At least one line is held out and never all. Raises BadData when there are fewer than two different lines.
    """
    smallest: list[int] = []  # a heap of negated hashes, the largest of the smallest first
    largest, lines = -1, 0
    for _, line in raw:
        if line.strip():
            number = line_hash(line)
            lines += 1
            largest = max(largest, number)
            heapq.heappush(smallest, -number)
            if len(smallest) > _FEWEST:
                heapq.heappop(smallest)
    order = sorted(-number for number in smallest)
    if not lines or order[0] == largest:
        raise _nothing_to_hold_out(raw, lines)
    fewest = max(1, min(_FEWEST, lines // 10))
    border = min(max(int(share * 2**64), order[fewest - 1] + 1), largest)
    return LinesByHash(raw, border, below=False), LinesByHash(raw, border, below=True)


@dataclass(frozen=True)
class Passages:
    """The lines of a corpus inside its passages from `starts` to `stops`, or all others (`inside`), exactly as they are.

    Starts and stops count the lines with text; blank ones belong to the line before them. Can be read any number of times.
    """

    raw: RawText
    starts: tuple[int, ...]
    stops: tuple[int, ...]
    inside: bool

    def __iter__(self) -> Iterator[tuple[int, str]]:
        texts = 0
        for number, line in self.raw:
            texts += bool(line.strip())
            passage = bisect_right(self.starts, texts - 1) - 1
            if (passage >= 0 and texts - 1 < self.stops[passage]) == self.inside:
                yield number, line


def hold_out_passages(raw: RawText, share: float) -> tuple[Passages, Passages]:
    """Training and held-out text: about `share` of the lines (as many as by `hold_out`), from up to ten places.

    The text is cut into equal parts and the end of each is held out. Raises BadData when there are fewer than two lines.
    """
    lines = sum(bool(line.strip()) for _, line in raw)
    if lines < 2:
        raise _nothing_to_hold_out(raw, lines)
    wanted = max(1, min(_FEWEST, lines // 10), min(round(share * lines), lines - 1))
    parts = max(1, min(_PASSAGES, wanted // _FEWEST))
    stops = [lines * part // parts for part in range(1, parts + 1)]
    sizes = [wanted * (part + 1) // parts - wanted * part // parts for part in range(parts)]
    starts = [stop - size for stop, size in zip(stops, sizes, strict=True)]
    return (
        Passages(raw, tuple(starts), tuple(stops), inside=False),
        Passages(raw, tuple(starts), tuple(stops), inside=True),
    )


def _nothing_to_hold_out(raw: RawText, lines: int) -> BadData:
    return BadData(
        f"{lines} lines, no two of them different: nothing can be held out" if lines else "there is no line of text",
        path=str(raw),
        repair="give more text, or separate held-out text with --valid",
    )


def sample_lines(lines: Iterable[tuple[int, str]]) -> list[str]:
    """At most 200 lines, spread over the text, each cut after 60 words: what the carry-over proof measures again."""
    begins = (" ".join(word[0] for word in islice(_WORD.finditer(text), CHECKED_WORDS)) for _, text in lines)
    texts = [line for line in begins if line]
    every = max(1, -(-len(texts) // CHECKED_LINES))
    return list(islice(texts, 0, None, every))


def line_hash(line: str) -> int:
    """64 bits of the line's text without its surrounding space."""
    text, digest = line.strip(), hashlib.blake2b(digest_size=8)
    for start in range(0, len(text), _AT_ONCE):
        digest.update(text[start : start + _AT_ONCE].encode("utf-8", "surrogatepass"))
    return int.from_bytes(digest.digest(), "big")
