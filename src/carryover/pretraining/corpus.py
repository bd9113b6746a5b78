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
from carryover.data.long_words import say_cut
from carryover.data.shards import Shards, build_shards
from carryover.data.token import Tokenizer
from carryover.data.tokenizers import CharacterTokenizer, SpacedTokenizer, WhitespaceTokenizer
from carryover.data.vocabulary import Vocabulary
from carryover.data.words import WordTokenizer
from carryover.errors import BadData, InputMissing
from carryover.pretraining.held_out import RawText, hold_out, hold_out_passages, sample_lines
from carryover.pretraining.settings import PretrainSettings
from carryover.progress import Progress, say
from carryover.training.run_folder import RunFolder


@dataclass(frozen=True)
class Corpus:
    """The tokenised text of a run, and a sample of the held-out lines for the carry-over proof.

    `valid_characters` counts those of the held-out lines and one for the end of each, where the objective is lm.
    """

    train: Shards
    valid: Shards
    coder: TokenCoder
    sample: list[str]
    fingerprint: str
    valid_fingerprint: str
    valid_characters: int


def _writes(wanted: PretrainSettings) -> bool:
    """Whether the model is one that writes, and so reads text exactly as it is."""
    return wanted.objective == "lm"


def text_coder(wanted: PretrainSettings) -> TokenCoder:
    """What turns a line into what the model of these settings reads, but for pieces, which are learned from the text.

    The bidirectional model reads words, if need be by their characters; the one that generates reads single characters,
    white space too, so that what it writes is exact, or words, if asked for with the white space between them.
    """
    if _writes(wanted) and wanted.input == "characters":
        return TokenCoder("words", tokenizer=CharacterTokenizer())
    return TokenCoder(wanted.input, tokenizer=SpacedTokenizer(WordTokenizer()) if wanted.keep_spaces else None)


def raw_text(wanted: PretrainSettings, *files: str | Path) -> RawText:
    """The lines of files as the run reads them."""
    return RawText(files, _writes(wanted), wanted.raw_column, wanted.raw_format)


def prepare_corpus(
    wanted: PretrainSettings,
    folder: RunFolder,
    fingerprint: str,
    valid_fingerprint: str,
    quiet: bool,
    begun: TokenCoder | None = None,
) -> Corpus:
    """Tokenised training and held-out text: what an earlier session left, if it is sound, else made (again).

    `begun` is the coder of the model that the run begins with; its vocabulary is used unless a new one is wanted.
    Raises BadData naming file and line for text that cannot be read or holds no word.
    """
    shards = folder.run / "shards"
    storage.sweep(shards)
    writes = _writes(wanted)
    train_lines, valid_lines = divide_text(wanted)
    coder = begun or _coder(wanted, folder, train_lines)
    known = keeps_vocabulary(wanted, begun)
    train = _open_or_build(shards / "train", train_lines, wanted, coder, str(wanted.raw), quiet, known=known)
    say_cut(str(wanted.raw), train.count_cut(), train.tokens - 2 * train.lines)
    if not known:
        coder = TokenCoder(coder.kind, train.vocabulary, tokenizer=coder.tokenizer)
    source = str(wanted.raw if wanted.valid is None else wanted.valid_files[0])
    valid = _open_or_build(shards / "valid", valid_lines, wanted, coder, source, quiet, known=True, held_out=True)
    characters = count_characters(valid_lines) if writes else 0
    return Corpus(train, valid, coder, sample_lines(valid_lines), fingerprint, valid_fingerprint, characters)


def divide_text(wanted: PretrainSettings) -> tuple[Iterable[tuple[int, str]], Iterable[tuple[int, str]]]:
    """Lines to train on and held-out lines, each to be read any number of times."""
    raw = raw_text(wanted, wanted.raw)
    if wanted.valid is None:
        return (hold_out_passages if _writes(wanted) else hold_out)(raw, wanted.held_out_share)
    return raw, raw_text(wanted, *wanted.valid_files)


def keeps_vocabulary(wanted: PretrainSettings, begun: TokenCoder | None) -> bool:
    """Whether the vocabulary is that of the coder, instead of being counted in the text."""
    return wanted.input == "subwords" or (begun is not None and not wanted.new_vocabulary)


def vocabulary_length(wanted: PretrainSettings, coder: TokenCoder, lines: Iterable[tuple[int, str]]) -> int:
    """Entries of the vocabulary that is counted in these lines; they are read until it is full."""
    units = line_units(coder, exact=_writes(wanted))
    counts: Counter[str] = Counter(dict.fromkeys(Vocabulary.FIXED, wanted.minimum_count))  # have their places already
    size = len(Vocabulary.FIXED)
    for _, line in lines:
        for unit in units(line):
            counts[unit] += 1
            size += counts[unit] == wanted.minimum_count
        if size >= wanted.vocabulary_size:
            return wanted.vocabulary_size
    return size


def open_corpus(folder: RunFolder, facts: dict[str, Any]) -> Corpus:
    """The corpus that another process has prepared in `folder` and tells of (`corpus_facts`); its sample stays there."""
    shards = folder.run / "shards"
    return Corpus(
        Shards.open(shards / "train"),
        Shards.open(shards / "valid"),
        TokenCoder.from_json(facts["coder"]),
        [],
        facts["fingerprint"],
        facts["valid_fingerprint"],
        facts["valid_characters"],
    )


def corpus_facts(corpus: Corpus) -> dict[str, Any]:
    """What `open_corpus` must be told, as a JSON object."""
    return {
        "coder": corpus.coder.to_json(),
        "fingerprint": corpus.fingerprint,
        "valid_fingerprint": corpus.valid_fingerprint,
        "valid_characters": corpus.valid_characters,
    }


def count_characters(lines: Iterable[tuple[int, str]]) -> int:
    """Characters of a text, one for the end of each line."""
    return sum(len(line) + 1 for _, line in lines)


def line_units(coder: TokenCoder, *, exact: bool) -> Callable[[str], list[str]]:
    """What a language model reads of a line; nothing of a blank one, unless it reads lines as they are (`exact`)."""
    return coder.units if exact else lambda line: coder.units(line) if line.strip() else []


def _coder(wanted: PretrainSettings, folder: RunFolder, lines: Iterable[tuple[int, str]]) -> TokenCoder:
    """What finds the words; for subwords the pieces are learned first, once a run."""
    if wanted.input != "subwords":
        return text_coder(wanted)
    stored = folder.run / "subwords.json"
    if stored.exists():
        return TokenCoder.from_json(storage.read_json(stored))
    coder = learn_coder(wanted, lines)
    storage.atomic_write(stored, json.dumps(coder.to_json(), ensure_ascii=False))
    return coder


def learn_coder(wanted: PretrainSettings, lines: Iterable[tuple[int, str]]) -> TokenCoder:
    """`text_coder`, or pieces learned of the lines."""
    if wanted.input != "subwords":
        return text_coder(wanted)
    from carryover.data.subwords import SubwordTokenizer

    texts = (line for _, line in lines if line.strip() or wanted.keep_spaces)
    # What generates must give the text back, so its pieces are of what stands between spaces, not of words and marks.
    tokenizer: Tokenizer | None = WhitespaceTokenizer() if _writes(wanted) else None
    if wanted.keep_spaces:
        tokenizer = SpacedTokenizer(WordTokenizer())
    split = tokenizer if wanted.keep_spaces else None
    subwords = SubwordTokenizer.train(texts, kind="bpe", size=wanted.vocabulary_size, split=split)
    return TokenCoder("subwords", tokenizer=tokenizer, subwords=subwords)


def _open_or_build(
    place: Path,
    lines: Iterable[tuple[int, str]],
    wanted: PretrainSettings,
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
                tokenize=line_units(coder, exact=_writes(wanted)),
                vocabulary_size=wanted.vocabulary_size,
                minimum_count=wanted.minimum_count,
                vocabulary=coder.vocabulary if known else None,
                keep_blank=_writes(wanted),
                progress=progress,
            )
        except BadData as error:
            if error.path is None:
                raise BadData(error.message, path=source, line=error.line, repair=error.repair) from error
            raise
