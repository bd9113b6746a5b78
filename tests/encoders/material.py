"""One small encoder of every kind, with weights at random: what the laws of encoders are held against."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from carryover.data.coding import TokenCoder
from carryover.data.subwords import SubwordTokenizer
from carryover.data.token import Tokenizer
from carryover.data.tokenizers import CharacterTokenizer, SpacedTokenizer
from carryover.data.vocabulary import Vocabulary
from carryover.data.words import WordTokenizer
from carryover.encoders.encoder import Encoder
from carryover.encoders.text_generator import TextGenerator
from carryover.encoders.words import WordsEncoder
from carryover.models.language_model import STACKS, LanguageModel
from carryover.models.tagger_encoder import WordEncoder
from carryover.objectives.next_token import lines_next_token
from carryover.storage.artefact import save_artefact
from task_material import language_model, tagged, word_vectors

LINES = [" ".join(sentence.input.tokens) for sentence in tagged(20, seed=99)]
SENTENCES: list[list[str]] = [
    *(line.split() for line in LINES[:5]),
    ["the"],
    [],
    ["Zoë", "(", "unheard-of", ")", ",", "is", "n't", "here", "!"],
    LINES[6].split() * 6,
]


def causal(stack: str, reads: str, seed: int = 0) -> TextGenerator:
    """A causal language model over words, words with their spaces, pieces or characters."""
    config = {"stack": stack, "size": 16, "cells": 24, "layers": 2, "heads": 2, "horizon": 6}
    words: Tokenizer | None = None
    if reads == "subwords":
        coder = TokenCoder("subwords", subwords=SubwordTokenizer.train(LINES, "bpe", 290))
    else:
        words = {"words": None, "spaced": SpacedTokenizer(WordTokenizer()), "characters": CharacterTokenizer()}[reads]
        cut = (words or WordTokenizer()).words
        coder = TokenCoder("words", Vocabulary.count(token for line in LINES for token in cut(line)), tokenizer=words)
    torch.manual_seed(seed)
    kind = reads.replace("spaced", "words")
    model = LanguageModel(LanguageModel.Config(vocabulary_size=len(coder.vocabulary), input=kind, **config)).eval()
    check = {"lines": len(LINES), **lines_next_token(model, coder, LINES)}
    return TextGenerator(model, coder, {"heldout_check": check, "seed": seed}, LINES)


ENCODERS: dict[str, Callable[[int], Encoder]] = {
    **{f"bilm-{kind}": lambda seed, kind=kind: language_model(kind, seed) for kind in ("characters", "words")},  # type: ignore[misc]
    **{f"{stack}-characters": lambda seed, stack=stack: causal(stack, "characters", seed) for stack in STACKS},  # type: ignore[misc]
    **{f"lstm-{reads}": lambda seed, reads=reads: causal("lstm", reads, seed) for reads in ("words", "spaced", "subwords")},  # type: ignore[misc]
    "transformer-subwords": lambda seed: causal("transformer", "subwords", seed),
}
CAUSAL = [name for name in ENCODERS if not name.startswith("bilm")]


def words_and_spelling(seed: int) -> WordsEncoder:
    """As it is learned from labels alone."""
    torch.manual_seed(seed)
    vocabulary = Vocabulary.count(word for line in LINES for word in line.split())
    config = WordEncoder.Config(vocabulary_size=len(vocabulary), word_size=6, filters=((1, 4), (2, 6)), cells=5)
    return WordsEncoder(WordEncoder(config), TokenCoder("words", vocabulary), {})


def stored(folder: Path, encoder: Encoder, **record: Any) -> Path:
    """The folder, with the encoder in it as an artefact."""
    save_artefact(
        folder,
        kind=encoder.kind,
        config=encoder.model.config.to_json(),
        tensors=encoder.model.state_dict(),
        tokenizer=encoder.coder.to_json(),
        labels=None,
        record={**encoder.record, **record},
        card="# A model\n",
        files={"heldout.txt": "\n".join(encoder.heldout).encode()},
    )
    return folder


def static(seed: int) -> WordsEncoder:
    """Word vectors alone."""
    vocabulary, array = word_vectors()
    return WordsEncoder.of_vectors(vocabulary, np.random.default_rng(seed).normal(size=array.shape).astype(np.float32))


ENCODERS |= {"words-and-spelling": words_and_spelling, "static": static}
