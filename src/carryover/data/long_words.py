"""Words of which a model that reads characters sees only the beginning: counted, and told by every command in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from carryover.progress import say

BYTES_READ = 48
"""Of a word in UTF-8, by the layout of the published ELMo."""


def count_cut(words: Iterable[str]) -> int:
    """How many of the words are longer than the 48 bytes that are read of a word."""
    return sum(map(_is_cut, words))


def count_cut_occurrences(counts: Mapping[str, int]) -> int:
    """As `count_cut`, of words that occur more than once."""
    return sum(count for word, count in counts.items() if _is_cut(word))


def _is_cut(word: str) -> bool:
    # A character takes up to four bytes, so most words need no look at theirs.
    return 4 * len(word) > BYTES_READ and len(word.encode("utf-8", "surrogatepass")) > BYTES_READ


def cut_sentence(cut: int, words: int, limit: str = f"{BYTES_READ} bytes") -> str:
    """`limit` is how much of a word is read, in bytes or characters."""
    number = limit.partition(" ")[0]
    share = f" of {words:,} ({cut / words:.2%})" if words else ""
    return f"words longer than {limit}, of which only the first {number} were read: {cut:,}{share}"


def say_cut(where: str, cut: int, words: int, limit: str = f"{BYTES_READ} bytes") -> None:
    """Tell how many of the words of a text were read only in part; nothing when all were read whole."""
    if cut:
        say(f"{where}: {cut_sentence(cut, words, limit)}; text written without spaces is cut into words first")
