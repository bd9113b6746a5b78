"""What the language models' objectives share: a corpus of text, read in lanes from chunk to chunk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Sequence as ListOf
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, cast

from carryover.data.batch_size import held_out_stream, lanes_for
from carryover.data.coding import TokenCoder
from carryover.data.held_out import RawText
from carryover.data.long_words import say_cut
from carryover.data.shards import build_shards, content_fingerprint, texts_fingerprint
from carryover.data.stream import LanguageModelStream
from carryover.data.text_corpus import (
    TextCorpus,
    TextReading,
    count_characters,
    divide_text,
    keeps_vocabulary,
    learn_coder,
    line_units,
    open_corpus,
    prepare_corpus,
    text_coder,
    vocabulary_length,
)
from carryover.data.vocabulary import Vocabulary
from carryover.errors import BadData, UsageError
from carryover.layers.base import State
from carryover.models.bilm import NO_SOFTMAX
from carryover.objectives.objective import Draft, Objective, Request, Source

SAMPLE_LINES = 2000
"""Lines of a text that a calibration trains on."""
SAMPLE_CHARACTERS = 10_000_000
"""Of a longer text, the beginning that pieces of words are learned from for a calibration."""
_WORDS = ("the", "of", "and")
"""The vocabulary of a model that has read nothing."""


class TextObjective(Objective[TextCorpus]):
    """An objective over running text.

    both_ways : whether the text is read backward too. exact : whether its lines are read exactly as they are, white space and
    blank lines included, and whole passages are held out; else words are read, and single lines are held out by their hash.
    """

    continues = True
    decides_format = ".2f"
    decides_least = 1.0
    both_ways: ClassVar[bool]
    exact: ClassVar[bool]

    def check(self, wanted: Request) -> None:
        if wanted.keep_spaces and (not self.exact or wanted.input == "characters"):
            raise UsageError(
                f"keep_spaces is for words or subwords of the objective lm, and this is {wanted.input} of {wanted.objective}",
                repair="leave it out" + (": characters keep all there is" if self.exact else ""),
            )

    def reading(self, wanted: Request) -> TextReading:
        """How the text of a run is read."""
        return TextReading(
            raw=wanted.raw,
            held_out=wanted.valid_files,
            held_out_share=wanted.held_out_share,
            column=wanted.raw_column,
            format=wanted.raw_format,
            exact=self.exact,
            input=wanted.input,
            vocabulary_size=wanted.vocabulary_size,
            minimum_count=wanted.minimum_count,
            keep_spaces=wanted.keep_spaces,
            new_vocabulary=wanted.new_vocabulary,
        )

    def predicts(self, config: Any) -> bool:
        return bool(config.softmax != NO_SOFTMAX)

    def fingerprints(self, wanted: Request) -> tuple[str, str]:
        raw = content_fingerprint(wanted.raw)
        return raw, texts_fingerprint(wanted.valid_files) if wanted.valid_files else raw

    def prepare(
        self, wanted: Request, folder: Path, fingerprints: tuple[str, str], *, quiet: bool, coder: TokenCoder | None
    ) -> TextCorpus:
        return prepare_corpus(self.reading(wanted), folder, *fingerprints, quiet, coder)

    def open(self, folder: Path, shared: dict[str, Any]) -> TextCorpus:
        return open_corpus(folder, shared)

    def stand_in(self, wanted: Request) -> tuple[Any, TokenCoder]:
        """Pieces are learned from text, so words take their place. Nearly every word is unknown, which changes no time."""
        input = "words" if wanted.input == "subwords" else wanted.input
        read = replace(cast(Any, wanted), input=input)
        coder = text_coder(self.reading(read))
        coder = TokenCoder(coder.kind, Vocabulary(_WORDS), tokenizer=coder.tokenizer)
        return self.config(read, len(coder.vocabulary)), coder

    def draft(self, wanted: Request, folder: Path, coder: TokenCoder | None) -> Draft:
        """The text is read for its length and for its vocabulary, which is counted until it is full."""
        reading = self.reading(wanted)
        lines, _ = divide_text(reading)
        sample = list(islice(((n, line) for n, line in lines if line.strip()), SAMPLE_LINES))
        if not sample:
            raise BadData("no text: there is no line with a word", path=wanted.raw, repair="give a file with lines of words")
        characters = sum(len(line) for _, line in lines)
        known = keeps_vocabulary(reading, coder)
        coder = coder or _coder_for_draft(reading, lines, characters)
        kept = coder.vocabulary if known else None
        shards = build_shards(
            sample,
            coder.kind,
            folder / "shards",
            tokenize=coder.units,
            vocabulary_size=wanted.vocabulary_size,
            vocabulary=kept,
        )
        tokens = round(shards.tokens * characters / max(1, sum(len(line) for _, line in sample)))
        lanes = wanted.batch_size or lanes_for(tokens, wanted.steps)
        stream = LanguageModelStream(
            shards,
            batch_size=lanes,
            steps=wanted.steps,
            block_tokens=wanted.block_tokens,
            both_ways=self.both_ways,
        )
        entries = len(kept) if kept is not None else vocabulary_length(reading, coder, lines)
        return Draft(stream, lanes, entries, tokens)

    def rows(self, wanted: Request, corpus: TextCorpus) -> int:
        return wanted.batch_size or lanes_for(corpus.train.tokens, wanted.steps)

    def batches(self, wanted: Request, corpus: TextCorpus, rows: int, part: range) -> LanguageModelStream:
        return LanguageModelStream(
            corpus.train,
            batch_size=rows,
            part=part,
            steps=wanted.steps,
            block_tokens=wanted.block_tokens,
            both_ways=self.both_ways,
        )

    def held_out(
        self, wanted: Request, corpus: TextCorpus, rows: int, part: Callable[[int], range] = range
    ) -> LanguageModelStream:
        return held_out_stream(
            corpus.valid,
            lanes=rows,
            part=part,
            steps=wanted.steps,
            block_tokens=wanted.block_tokens,
            both_ways=self.both_ways,
        )

    def initial_state(self, model: Any, rows: int, device: str) -> State:
        state: State = model.initial_state(rows, device=device)
        return state

    def measure(self, model: Any, coder: TokenCoder, files: ListOf[Source], **how: Any) -> dict[str, Any]:
        """Figures of a model over the lines of `files`, read one after another.

        `how` are `lanes` (at most so many), `steps`, `block_tokens`, `device`, and `raw_column` and `raw_format` where the files
        are no plain text. Returns the figures of `evaluate` and `text`, `lines`, `blank_lines` and `unknown_share`. The text is
        tokenised into a temporary folder: memory does not follow it. Raises InputMissing, BadData.
        """
        lines = RawText(tuple(files), self.exact, how.get("raw_column", "text"), how.get("raw_format"))
        with tempfile.TemporaryDirectory(prefix="carryover-") as folder:
            try:
                shards = build_shards(
                    lines,
                    coder.kind,
                    Path(folder) / "shards",
                    tokenize=line_units(coder, exact=lines.exact),
                    vocabulary=coder.vocabulary,
                    keep_blank=lines.exact,
                )
            except BadData as error:
                raise BadData(
                    error.message, path=error.path or str(files[0]), line=error.line, repair=error.repair
                ) from error
            say_cut(str(lines), shards.count_cut(), shards.tokens - 2 * shards.lines)
            counted = count_characters(lines) if lines.exact else 0
            corpus = TextCorpus(shards, shards, coder, [], shards.fingerprint, shards.fingerprint, counted)
            sizes = {name: how[name] for name in ("lanes", "steps", "block_tokens")}
            figures = self.evaluate(model, held_out_stream(shards, both_ways=self.both_ways, **sizes), corpus, how["device"])
        return {
            "text": ", ".join(str(file) for file in files),
            "lines": shards.lines,
            "blank_lines": shards.blank_lines,
            "unknown_share": shards.unknown_tokens / max(shards.tokens, 1),
            **figures,
        }

    def counted(self, figures: Mapping[str, Any]) -> str:
        return f"{figures['tokens']:,} targets in {figures['lines']:,} lines, {figures['unknown_share']:.2%} of the tokens unknown"


def check_samples(model: Mapping[str, Any], softmax: str) -> None:
    """Raise UsageError where fields of a configuration ask for samples that the softmax does not draw."""
    if "samples" in model and softmax != "sampled":
        raise UsageError(
            f"samples is {model['samples']} and the softmax is {softmax}, which draws none",
            repair="choose the softmax sampled, or leave samples out",
        )


def _coder_for_draft(reading: TextReading, lines: Iterable[tuple[int, str]], characters: int) -> TokenCoder:
    """The coder of the run; pieces are learned of the beginning of a long text where that fills their vocabulary, too."""
    if reading.input != "subwords" or characters <= SAMPLE_CHARACTERS:
        return learn_coder(reading, lines)
    coder = learn_coder(reading, _beginning(lines, SAMPLE_CHARACTERS))
    return coder if len(coder.vocabulary) >= reading.vocabulary_size else learn_coder(reading, lines)


def _beginning(lines: Iterable[tuple[int, str]], characters: int) -> Iterator[tuple[int, str]]:
    for number, line in lines:
        yield number, line
        characters -= len(line)
        if characters < 0:
            return
