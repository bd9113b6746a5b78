"""Small material for tests of training: a made-up language with labels, and a language model with weights at random."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from carryover.data.coding import TokenCoder
from carryover.data.vocabulary import Vocabulary
from carryover.encoders.bilm import BidirectionalEncoder
from carryover.models.bilm import BiLanguageModel
from carryover.objectives.bilm import lines_perplexity
from carryover.storage.artefact import save_artefact
from example_material import LabelledText, Tagged, labelled_text, tagged_words

NOUNS = {"sea": ["boat", "wave", "gull", "port"], "farm": ["cow", "barn", "field", "plough"]}
VERBS = ["sees", "likes", "finds", "hears"]
NAMES = {"sea": ["Ann Lee", "Bo"], "farm": ["Cy", "Dee Fox"]}


def tagged(count: int, seed: int = 0, *, spans: bool = False) -> list[Tagged]:
    """Sentences with word classes, or with names of persons as spans."""
    draw = random.Random(seed)
    found = []
    for line in range(1, count + 1):
        topic = draw.choice(sorted(NOUNS))
        parts: list[tuple[str, str]] = []
        for part in ("name" if draw.random() < 0.5 else "noun", "verb", "noun"):
            if part == "name":
                parts += [(w, "B-per" if i == 0 else "I-per") for i, w in enumerate(draw.choice(NAMES[topic]).split())]
            elif part == "noun":
                parts += [("the", "O" if spans else "DET"), (draw.choice(NOUNS[topic]), "O" if spans else "NOUN")]
            else:
                parts.append((draw.choice(VERBS), "O" if spans else "VERB"))
        tags = tuple(tag if spans else "NAME" if tag.endswith("per") else tag for _, tag in parts)
        found.append(tagged_words(tuple(word for word, _ in parts), tags, line))
    return found


def classified(count: int, seed: int = 0) -> list[LabelledText]:
    """Sentences with their topic."""
    found = []
    for sentence in tagged(count, seed):
        topic = next(t for t, nouns in NOUNS.items() if sentence.input.tokens[-1] in nouns)
        found.append(labelled_text(" ".join(sentence.input.tokens), (topic,), sentence.source.line))
    return found


def examples(kind: str, count: int, seed: int = 0) -> list[LabelledText] | list[Tagged]:
    return classified(count, seed) if kind == "classify" else tagged(count, seed)


def language_model(kind: str = "characters", seed: int = 0) -> BidirectionalEncoder:
    """A tiny language model that was never trained, with the held-out check an artefact would have."""
    lines = [" ".join(sentence.input.tokens) for sentence in tagged(20, seed=99)]
    coder = TokenCoder(kind, Vocabulary.count(word for line in lines for word in line.split()))
    torch.manual_seed(seed)
    config = BiLanguageModel.Config(
        input=kind,
        vocabulary_size=len(coder.vocabulary),
        character_size=4,
        filters=((1, 6), (2, 8)),
        cells=12,
        projection=8,
        dropout=0.1,
    )
    model = BiLanguageModel(config).eval()
    check = {"lines": len(lines), **lines_perplexity(model, coder, lines)}
    return BidirectionalEncoder(model, coder, {"heldout_check": check, "seed": seed}, lines)


def store_language_model(folder: Path, encoder: BidirectionalEncoder, record: dict[str, Any] | None = None) -> Path:
    """The folder, with the language model in it as an artefact, without its held-out lines."""
    save_artefact(
        folder,
        kind="bilm",
        config=encoder.model.config.to_json(),
        tensors=encoder.model.state_dict(),
        tokenizer=encoder.coder.to_json(),
        labels=None,
        record=encoder.record if record is None else record,
        card="# A model\n",
    )
    return folder


def word_vectors(size: int = 8) -> tuple[Vocabulary, np.ndarray]:
    """Vectors that tell the word classes apart, for all words of the language and for `yacht`, which never stands in it."""
    words = [(noun, 0, topic) for topic, nouns in sorted(NOUNS.items()) for noun in nouns]
    words += [(verb, 1, "") for verb in VERBS] + [("yacht", 0, "sea"), ("the", 2, "")]
    vocabulary = Vocabulary(word for word, _, _ in words)
    array = np.random.default_rng(0).normal(0, 0.1, (len(vocabulary), size)).astype(np.float32)
    array[:4] = 0
    for row, (_, word_class, topic) in enumerate(words, start=4):
        array[row, word_class] += 1
        array[row, 3] += {"sea": 1.0, "farm": -1.0, "": 0.0}[topic]
    return vocabulary, array
