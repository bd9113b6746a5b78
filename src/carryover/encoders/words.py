"""Words by number and by spelling as an encoder: word vectors alone (static), or with what was learned from labels alone.

One vector a word, L = 1. Word vectors without spelling and without LSTM are static: a word has the same vector wherever it
stands. With an LSTM over them the whole sentence decides, so nothing can be carried on from the line before.
"""

from __future__ import annotations

from collections.abc import Sequence as ListOf
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import torch
from torch import Tensor, nn

from carryover.data.coding import TokenBatch, TokenCoder
from carryover.data.vocabulary import Vocabulary
from carryover.encoders.artefact_parts import fill, parsed
from carryover.encoders.encoder import Choose, Encoder, LayerGroup, Words, every_layer
from carryover.errors import BadData
from carryover.layers.base import State
from carryover.models.tagger_encoder import WordEncoder
from carryover.sequence import Sequence
from carryover.storage.artefact import Artefact


@dataclass(frozen=True, eq=False)
class WordsAndSpellings:
    """The same sentences as numbers of words and as rows of characters."""

    words: TokenBatch
    spelling: TokenBatch

    def to(self, device: torch.device | str) -> WordsAndSpellings:
        return WordsAndSpellings(self.words.to(device), self.spelling.to(device))


@final
class WordsEncoder(Encoder):
    """Word vectors, spelling or both, and perhaps a bidirectional LSTM over them: see `carryover.models.WordEncoder`."""

    kind = "words"
    description = "an encoder of words and their spelling"
    kind_in_task = "word-encoder"
    carries_state = False
    model: WordEncoder

    def __init__(
        self,
        model: nn.Module,
        coder: TokenCoder,
        record: dict[str, Any],
        heldout: ListOf[str] = (),
        folder: Path | None = None,
    ) -> None:
        super().__init__(model, coder, record, heldout, folder)
        self.spelling = TokenCoder("characters", tokenizer=coder.tokenizer)

    @classmethod
    def of_vectors(cls, vocabulary: Vocabulary, vectors: np.ndarray) -> WordsEncoder:
        """Static word vectors [words, D], a row for each entry of the vocabulary; a copy of them."""
        words, size = vectors.shape
        config = WordEncoder.Config(vocabulary_size=words, word_size=size, filters=(), layers=0, dropout=0.0)
        table = torch.from_numpy(np.array(vectors, dtype=np.float32))
        return cls(WordEncoder(config, table), TokenCoder("words", vocabulary), {})

    @classmethod
    def from_artefact(cls, stored: Artefact, *, device: str = "cpu") -> WordsEncoder:
        config = parsed(WordEncoder.Config.from_json, stored.config, stored.folder / "config.json")
        coder = parsed(TokenCoder.from_json, stored.tokenizer, stored.folder / "tokenizer.json")
        parsed(lambda coder: check_coder(coder, config), coder, stored.folder)
        model = fill(lambda: WordEncoder(config), stored.tensors, stored.folder)
        return cls(model.to(device), coder, stored.record, folder=stored.folder)

    @classmethod
    def build(cls, config: dict[str, Any], coder: TokenCoder) -> Self:
        known = WordEncoder.Config.from_json(config)
        check_coder(coder, known)
        return cls(WordEncoder(known), coder, {})

    @property
    def out_size(self) -> int:
        return self.model.out_size

    @property
    def layer_count(self) -> int:
        return 1

    def batch(self, sentences: ListOf[Words]) -> WordsAndSpellings:
        return WordsAndSpellings(self.coder.batch(sentences, borders=False), self.spelling.batch(sentences, borders=False))

    def states(self, batch: WordsAndSpellings) -> Sequence:
        vectors = self.model(batch.words, batch.spelling)
        return vectors.with_values(vectors.values.unsqueeze(2))  # [B, W, D] → [B, W, 1, D]

    def initial_state(self, rows: int) -> State:
        return ()

    def advance(
        self, batch: WordsAndSpellings, state: State, *, steps: int | None = None, choose: Choose = every_layer
    ) -> tuple[list[Tensor], State]:
        """Vectors of every row from its beginning; it has no state, and reads a sentence whole however long it is."""
        return [choose(row) for row in self.states(batch).rows()], state

    def groups(self) -> list[LayerGroup]:
        model, top = self.model, len(self.model.layers)
        groups = [
            LayerGroup(f"layer {number}", top - number + 1, dict(model.layers[number - 1].named_parameters()))
            for number in range(top, 0, -1)
        ]
        parts = {"words": model.words, "spelling": model.spelling}
        tokens = {
            f"{part}.{name}": parameter
            for part, module in parts.items()
            if module is not None
            for name, parameter in module.named_parameters()
        }
        return [*groups, LayerGroup("tokens", top + 1, tokens)]

    def score(self, lines: ListOf[str]) -> dict[str, float]:
        """Nothing: it predicts no words."""
        return {}

    def drop_output_layer(self) -> None:
        """There is none."""

    def knows(self, word: str) -> bool:
        return self.model.spelling is not None or word in self.coder.vocabulary


def check_coder(coder: TokenCoder, config: WordEncoder.Config) -> None:
    """Raise BadData where a tokenizer has another number of words than there are vectors."""
    if config.vocabulary_size not in (0, len(coder.vocabulary)):
        raise BadData(
            f"the encoder has vectors of {config.vocabulary_size} words, its tokenizer {len(coder.vocabulary)}",
            repair="restore the folder from a copy",
        )
