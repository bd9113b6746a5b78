"""The encoder of models trained on labels alone: word vectors and spelling into a bidirectional LSTM.

G. Lample et al., "Neural architectures for named entity recognition", NAACL 2016, with the character convolution of
X. Ma and E. Hovy, "End-to-end sequence labeling via bi-directional LSTM-CNNs-CRF", ACL 2016:

    x_k = dropout([E[w_k]; CNN(characters of w_k)]),   y_k = dropout([→LSTM(x)_k ; ←LSTM(x)_k])

It serves the rungs `scratch` (all weights new) and `static` (E taken from word vectors, fixed or tuned).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from carryover.data.coding import TokenBatch
from carryover.errors import UsageError
from carryover.layers import LSTM, Bidirectional, CharacterCNN, Dropout, Embedding
from carryover.models.configuration import ModelConfig
from carryover.sequence import Sequence


class WordEncoder(nn.Module):
    """Words by number, by spelling, or both → [B, W, out_size], one vector a word."""

    @dataclass(frozen=True, kw_only=True)
    class Config(ModelConfig):
        """Raises UsageError naming the field that is wrong.

        `vocabulary_size` 0 leaves the word vectors out, no `filters` leaves the spelling out, `layers` 0 the LSTM.
        `tune_vectors` says whether word vectors are trained. `cells` is the size of one direction.
        """

        vocabulary_size: int = 0
        word_size: int = 100
        tune_vectors: bool = True
        character_size: int = 16
        filters: tuple[tuple[int, int], ...] = ((2, 25), (3, 25), (4, 25))
        highway_layers: int = 0
        cells: int = 128
        layers: int = 1
        dropout: float = 0.5

        def __post_init__(self) -> None:
            object.__setattr__(self, "filters", tuple((int(width), int(count)) for width, count in self.filters))
            if not self.vocabulary_size and not self.filters:
                raise UsageError(
                    "a word encoder has neither word vectors (vocabulary_size is 0) nor spelling (filters is empty)",
                    repair="give at least one of them",
                )
            self.check_positive("word_size", "character_size", "cells")
            self.check_probability("dropout")
            for name in ("vocabulary_size", "highway_layers", "layers"):
                if getattr(self, name) < 0:
                    raise UsageError(f"{name} is {getattr(self, name)}", repair="give 0 or more")

    def __init__(self, config: Config, vectors: Tensor | None = None) -> None:
        """`vectors` [vocabulary_size, word_size]: ready-made word vectors to begin with, copied.

        Raises ValueError when their shape is not that of the configuration.
        """
        super().__init__()
        self.config = config
        in_size = 0
        self.words: Embedding | None = None
        self.spelling: CharacterCNN | None = None
        if config.vocabulary_size:
            shape = (config.vocabulary_size, config.word_size)
            if vectors is not None and tuple(vectors.shape) != shape:
                raise ValueError(
                    f"the word vectors have shape {tuple(vectors.shape)} and the configuration says {shape}: set "
                    "vocabulary_size and word_size to the vectors' own"
                )
            self.words = Embedding(*shape)
            if vectors is not None:
                with torch.no_grad():
                    self.words.weight.copy_(vectors)
            self.words.weight.requires_grad_(config.tune_vectors)
            in_size += config.word_size
        elif vectors is not None:
            raise ValueError("word vectors were given but vocabulary_size is 0: set it to their number")
        if config.filters:
            self.spelling = CharacterCNN(
                config.filters, character_size=config.character_size, highway_layers=config.highway_layers
            )
            in_size += self.spelling.out_size
        self.in_dropout = Dropout(in_size, config.dropout)
        self.layers = nn.ModuleList()
        self.out_size = in_size
        for _ in range(config.layers):
            self.layers.append(Bidirectional(LSTM(self.out_size, config.cells), LSTM(self.out_size, config.cells)))
            self.out_size = 2 * config.cells
        self.out_dropout = Dropout(self.out_size, config.dropout)

    def forward(self, words: TokenBatch | None = None, characters: TokenBatch | None = None) -> Sequence:
        """One vector a word, [B, W, out_size].

        `words` comes from a coder of kind "words", `characters` from one of kind "characters", both without borders and
        of the same sentences; only what the configuration reads is needed. Raises ValueError for a missing or wrong one.
        """
        parts: list[Sequence] = []
        if self.words is not None:
            batch = _need(words, "words")
            if batch.characters is not None or batch.word_of_unit is not None:
                raise ValueError("`words` was not coded as words: make it with a coder of kind 'words'")
            parts.append(self.words(batch.index))
        if self.spelling is not None:
            batch = _need(characters, "characters")
            if batch.characters is None:
                raise ValueError("`characters` holds no characters: make it with a coder of kind 'characters'")
            index = batch.index.zero_padding()
            types = self.spelling.encode_types(batch.characters)
            parts.append(index.with_values(nn.functional.embedding(index.values, types)).zero_padding())
        for part in parts:
            if not torch.equal(part.lengths, parts[0].lengths):
                raise ValueError(
                    f"the words have lengths {parts[0].lengths.tolist()} and the characters {part.lengths.tolist()}: code "
                    "the same sentences in the same order for both"
                )
        x = parts[0].with_values(torch.cat([part.values for part in parts], dim=-1))
        x = self.in_dropout(x)
        for layer in self.layers:
            x = layer(x)
        return self.out_dropout(x) if len(self.layers) else x


def _need(batch: TokenBatch | None, name: str) -> TokenBatch:
    if batch is None:
        raise ValueError(f"the word encoder reads {name} and was given none: pass `{name}`")
    return batch
