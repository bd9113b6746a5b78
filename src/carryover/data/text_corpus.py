"""The text of a pretraining run: read, tokenised, split, and kept in the run's folder for the sessions that follow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carryover import storage
from carryover.data.coding import TokenCoder
from carryover.data.held_out import RawText, hold_out, hold_out_passages, sample_lines
from carryover.data.long_words import say_cut
from carryover.data.shards import Shards, build_shards
from carryover.data.token import Tokenizer
from carryover.data.tokenizers import CharacterTokenizer, SpacedTokenizer, WhitespaceTokenizer
from carryover.data.vocabulary import Vocabulary
from carryover.data.words import WordTokenizer
from carryover.errors import BadData, InputMissing
from carryover.progress import Progress, say


@dataclass(frozen=True, kw_only=True)
class TextReading:
    """Which text a corpus is made of, and what becomes of its lines.

    raw, held_out : files, or built-in corpora by name; without `held_out`, `held_out_share` of the lines of `raw` are set aside.
    column, format : where the text is in files that are no plain text, see `read_raw`.
    exact : lines are read as they are, white space and blank lines included, for a model that writes; else words are read.
    input, vocabulary_size, minimum_count, keep_spaces, new_vocabulary : as in the settings of a pretraining run.
    """

    raw: str | Path
    held_out: tuple[str | Path, ...] = ()
    held_out_share: float = 0.02
    column: str | int = "text"
    format: str | None = None
    exact: bool = False
    input: str = "characters"
    vocabulary_size: int = 20_000
    minimum_count: int = 1
    keep_spaces: bool = False
    new_vocabulary: bool = False


@dataclass(frozen=True)
class TextCorpus:
    """The tokenised text of a run, and a sample of the held-out lines for the carry-over proof.

    `valid_characters` counts those of the held-out lines and one for the end of each, where lines are read exactly.
    """

    train: Shards
    valid: Shards
    coder: TokenCoder
    sample: list[str]
    fingerprint: str
    valid_fingerprint: str
    valid_characters: int

    @property
    def in_size(self) -> int:
        """Entries of the vocabulary."""
        return len(self.coder.vocabulary)

    @property
    def targets(self) -> int:
        """How many tokens are predicted in one pass over the training text."""
        return self.train.tokens - self.train.lines

    def training_facts(self) -> dict[str, Any]:
        """What a record says of the training text."""
        return {
            "tokens": self.train.tokens,
            "lines": self.train.lines,
            "blank_lines": self.train.blank_lines,
            "distinct_words": self.train.types,
            "unknown_share": self.train.unknown_tokens / max(self.train.tokens, 1),
        }

    def held_out_facts(self) -> dict[str, Any]:
        """What a record says of the held-out text."""
        return {"lines": self.valid.lines, "unknown_share": self.valid.unknown_tokens / max(self.valid.tokens, 1)}

    def tokenizer(self) -> dict[str, Any]:
        """What turns text into the model's input, as an artefact stores it."""
        return self.coder.to_json()

    def files(self) -> dict[str, bytes]:
        """Further files of the artefact: the sample of held-out lines."""
        return {"heldout.txt": "".join(f"{line}\n" for line in self.sample).encode()}

    def shared(self) -> dict[str, Any]:
        """What another process needs to open the same corpus with `open_corpus`, as a JSON object."""
        return {
            "coder": self.coder.to_json(),
            "fingerprint": self.fingerprint,
            "valid_fingerprint": self.valid_fingerprint,
            "valid_characters": self.valid_characters,
        }


def text_coder(reading: TextReading) -> TokenCoder:
    """What turns a line into what the model of this reading reads, but for pieces, which are learned from the text.

    The bidirectional model reads words, if need be by their characters; the one that generates reads single characters,
    white space too, so that what it writes is exact, or words, if asked for with the white space between them.
    """
    if reading.exact and reading.input == "characters":
        return TokenCoder("words", tokenizer=CharacterTokenizer())
    return TokenCoder(reading.input, tokenizer=SpacedTokenizer(WordTokenizer()) if reading.keep_spaces else None)


def raw_text(reading: TextReading, *files: str | Path) -> RawText:
    """The lines of files as the run reads them."""
    return RawText(files, reading.exact, reading.column, reading.format)


def prepare_corpus(
    reading: TextReading,
    folder: Path,
    fingerprint: str,
    valid_fingerprint: str,
    quiet: bool,
    begun: TokenCoder | None = None,
) -> TextCorpus:
    """Tokenised training and held-out text: what an earlier session left, if it is sound, else made (again).

    `begun` is the coder of the model that the run begins with; its vocabulary is used unless a new one is asked for.
    Raises BadData naming file and line for text that cannot be read or holds no word.
    """
    shards = folder / "shards"
    storage.sweep(shards)
    train_lines, valid_lines = divide_text(reading)
    coder = begun or _coder(reading, folder, train_lines)
    known = keeps_vocabulary(reading, begun)
    train = _open_or_build(shards / "train", train_lines, reading, coder, str(reading.raw), quiet, known=known)
    say_cut(str(reading.raw), train.count_cut(), train.tokens - 2 * train.lines)
    if not known:
        coder = TokenCoder(coder.kind, train.vocabulary, tokenizer=coder.tokenizer)
    source = str(reading.raw if not reading.held_out else reading.held_out[0])
    valid = _open_or_build(shards / "valid", valid_lines, reading, coder, source, quiet, known=True, held_out=True)
    characters = count_characters(valid_lines) if reading.exact else 0
    return TextCorpus(train, valid, coder, sample_lines(valid_lines), fingerprint, valid_fingerprint, characters)


def divide_text(reading: TextReading) -> tuple[Iterable[tuple[int, str]], Iterable[tuple[int, str]]]:
    """Lines to train on and held-out lines, each to be read any number of times."""
    raw = raw_text(reading, reading.raw)
    if not reading.held_out:
        return (hold_out_passages if reading.exact else hold_out)(raw, reading.held_out_share)
    return raw, raw_text(reading, *reading.held_out)


def keeps_vocabulary(reading: TextReading, begun: TokenCoder | None) -> bool:
    """Whether the vocabulary is that of the coder, instead of being counted in the text."""
    return reading.input == "subwords" or (begun is not None and not reading.new_vocabulary)


def vocabulary_length(reading: TextReading, coder: TokenCoder, lines: Iterable[tuple[int, str]]) -> int:
    """Entries of the vocabulary that is counted in these lines; they are read until it is full."""
    units = line_units(coder, exact=reading.exact)
    counts: Counter[str] = Counter(dict.fromkeys(Vocabulary.FIXED, reading.minimum_count))  # have their places already
    size = len(Vocabulary.FIXED)
    for _, line in lines:
        for unit in units(line):
            counts[unit] += 1
            size += counts[unit] == reading.minimum_count
        if size >= reading.vocabulary_size:
            return reading.vocabulary_size
    return size


def open_corpus(folder: Path, facts: dict[str, Any]) -> TextCorpus:
    """The corpus that another process has prepared in `folder` and describes (`shared`); its sample stays there."""
    shards = folder / "shards"
    return TextCorpus(
        Shards.open(shards / "train"),
        Shards.open(shards / "valid"),
        TokenCoder.from_json(facts["coder"]),
        [],
        facts["fingerprint"],
        facts["valid_fingerprint"],
        facts["valid_characters"],
    )


def count_characters(lines: Iterable[tuple[int, str]]) -> int:
    """Characters of a text, one for the end of each line."""
    return sum(len(line) + 1 for _, line in lines)


def line_units(coder: TokenCoder, *, exact: bool) -> Callable[[str], list[str]]:
    """What a language model reads of a line; nothing of a blank one, unless it reads lines as they are (`exact`)."""
    return coder.units if exact else lambda line: coder.units(line) if line.strip() else []


def _coder(reading: TextReading, folder: Path, lines: Iterable[tuple[int, str]]) -> TokenCoder:
    """What finds the words; for subwords the pieces are learned first, once a run."""
    if reading.input != "subwords":
        return text_coder(reading)
    stored = folder / "subwords.json"
    if stored.exists():
        return TokenCoder.from_json(storage.read_json(stored))
    coder = learn_coder(reading, lines)
    storage.atomic_write(stored, json.dumps(coder.to_json(), ensure_ascii=False))
    return coder


def learn_coder(reading: TextReading, lines: Iterable[tuple[int, str]]) -> TokenCoder:
    """`text_coder`, or pieces learned of the lines."""
    if reading.input != "subwords":
        return text_coder(reading)
    from carryover.data.subwords import SubwordTokenizer

    texts = (line for _, line in lines if line.strip() or reading.keep_spaces)
    # What generates must give the text back, so its pieces are of the text between spaces, not of words and marks.
    tokenizer: Tokenizer | None = WhitespaceTokenizer() if reading.exact else None
    if reading.keep_spaces:
        tokenizer = SpacedTokenizer(WordTokenizer())
    split = tokenizer if reading.keep_spaces else None
    subwords = SubwordTokenizer.train(texts, kind="bpe", size=reading.vocabulary_size, split=split)
    return TokenCoder("subwords", tokenizer=tokenizer, subwords=subwords)


def _open_or_build(
    place: Path,
    lines: Iterable[tuple[int, str]],
    reading: TextReading,
    coder: TokenCoder,
    source: str,
    quiet: bool,
    *,
    known: bool,
    held_out: bool = False,
) -> Shards:
    """The shards in `place`, made where they are not; `known` says that the coder's vocabulary is the one to use."""
    try:
        return Shards.open(place)
    except InputMissing:
        pass
    except BadData as error:
        say(f"the tokenised corpus of the earlier session is damaged ({error}); reading the text again")
    label = "reading held-out text" if held_out else "reading text"
    with Progress(label, None, quiet=quiet) as progress:
        try:
            return build_shards(
                lines,
                coder.kind,
                place,
                tokenize=line_units(coder, exact=reading.exact),
                vocabulary_size=reading.vocabulary_size,
                minimum_count=reading.minimum_count,
                vocabulary=coder.vocabulary if known else None,
                keep_blank=reading.exact,
                progress=progress,
            )
        except BadData as error:
            if error.path is None:
                raise BadData(error.message, path=source, line=error.line, repair=error.repair) from error
            raise
