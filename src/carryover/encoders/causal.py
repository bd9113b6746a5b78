"""A causal language model as an encoder: a word's vectors are the states of the layers after its last id.

The ids of a text are its words, the pieces of its words, or its characters. Whatever they are, there is one position for each
word: where the model has read the word to its end. So a vector knows the word and the text before it, and nothing after.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence as ListOf
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from carryover.data.coding import TokenBatch, TokenCoder
from carryover.data.joining import WordJoiner
from carryover.encoders.artefact_parts import check_vocabulary, fill, parsed, read_heldout
from carryover.encoders.encoder import Choose, Encoder, LayerGroup, Words, every_layer
from carryover.models.language_model import LanguageModel, LayerStates
from carryover.objectives.next_token import lines_next_token
from carryover.sequence import Sequence
from carryover.storage.artefact import Artefact


@dataclass(frozen=True, eq=False)
class WordEnds:
    """A batch of texts: `index` are the ids [B, T] behind the sign for the beginning of a line, `ends` [B, W] the position at
    which each word has been read."""

    index: Sequence
    ends: Sequence

    def to(self, device: torch.device | str) -> WordEnds:
        return WordEnds(self.index.to(device), self.ends.to(device))


class CausalEncoder(Encoder, ABC):
    """A pretrained causal language model, ready to turn words into vectors.

    Words that come as a list are put together as people write them where the model reads characters or white space
    (`carryover.data.joining`); a space before a word is read as part of it.
    """

    kind = "lm"
    kind_in_task = "causal-language-model"
    proved_figures = ("perplexity",)
    model: LanguageModel

    @classmethod
    def from_artefact(cls, stored: Artefact, *, device: str = "cpu") -> Self:
        config = parsed(LanguageModel.Config.from_json, stored.config, stored.folder / "config.json")
        coder = parsed(TokenCoder.from_json, stored.tokenizer, stored.folder / "tokenizer.json")
        parsed(lambda coder: check_coder(coder, config), coder, stored.folder)
        model = fill(lambda: LanguageModel(config), stored.tensors, stored.folder)
        return cls(model.to(device), coder, stored.record, read_heldout(stored), stored.folder)

    @classmethod
    def build(cls, config: dict[str, Any], coder: TokenCoder) -> Self:
        known = LanguageModel.Config.from_json(config)
        check_coder(coder, known)
        return cls(LanguageModel(known), coder, {})

    @property
    def out_size(self) -> int:
        return self.model.out_size

    @property
    def layer_count(self) -> int:
        return self.model.mixed_layers

    def tokenize(self, text: str) -> list[str]:
        return self.coder.tokenizer.word_tokenizer().words(text)

    def length(self, sentence: Words) -> int:
        """Steps over the sentence: characters where each is an id, else about the words."""
        return sum(map(len, self._tokens(sentence)))

    def batch(self, sentences: ListOf[Words]) -> WordEnds:
        tokens = [self._tokens(sentence) for sentence in sentences]
        coded = self.coder.batch([[token for word in row for token in word] for row in tokens], borders=True)
        # Nobody asks for what follows the end of a line.
        index = Sequence(coded.index.values[:, :-1], coded.index.lengths - 1).zero_padding()
        ends = [
            np.concatenate([[0], positions])[np.cumsum([len(word) for word in row], dtype=np.int64)]
            for row, positions in zip(tokens, _token_ends(coded), strict=True)
        ]
        return WordEnds(index, Sequence.pad([torch.from_numpy(row) for row in ends]))

    def _tokens(self, sentence: Words) -> list[list[str]]:
        """What the coder reads of each word; where white space counts, with the space that belongs before it."""
        if not self.coder.tokenizer.exact:
            return [[word] for word in sentence]
        joiner = WordJoiner()
        return [self.coder.tokenizer.words_after(joiner.add(word)) for word in sentence]

    def states(self, batch: WordEnds) -> Sequence:
        vectors = self.model.representations(batch.index).values  # [B, T, L, D]
        chosen = batch.ends.values.view(*batch.ends.values.shape, 1, 1).expand(-1, -1, *vectors.shape[2:])
        return batch.ends.with_values(vectors.gather(1, chosen)).zero_padding()

    def initial_state(self, rows: int) -> LayerStates:
        weight = self.model.embedding.weight
        return self.model.initial_layer_states(rows, device=weight.device, dtype=weight.dtype)

    def advance(
        self, batch: WordEnds, state: LayerStates, *, steps: int | None = None, choose: Choose = every_layer
    ) -> tuple[list[Tensor], LayerStates]:
        """As every encoder's: a row reads on as if it were the next line of the text that it held before."""
        found: list[list[Tensor]] = [[] for _ in range(batch.index.batch_size)]
        ends = batch.ends.rows()
        size = max(1, batch.index.time if steps is None else steps)
        for start in range(0, max(1, batch.index.time), size):
            with torch.set_grad_enabled(torch.is_grad_enabled() and steps is None):
                vectors, state = self.model.continue_representations(batch.index.slice(start, start + size), state)
            for row, places in enumerate(ends):
                here = places[(places >= start) & (places < start + size)] - start
                found[row].append(choose(vectors.values[row, here]))
        return [torch.cat(parts) for parts in found], state

    def groups(self) -> list[LayerGroup]:
        stages = self.model.stages()
        groups = []
        for number in range(len(stages), 0, -1):
            layers = stages[number - 1]
            names = {f"{place}.{name}": p for place, layer in enumerate(layers) for name, p in layer.named_parameters()}
            groups.append(LayerGroup(f"layer {number}", len(stages) - number + 1, names))
        return [*groups, LayerGroup("tokens", len(stages) + 1, dict(self.model.embedding.named_parameters()))]

    def score(self, lines: ListOf[str]) -> dict[str, float]:
        return lines_next_token(self.model, self.coder, lines)

    def drop_output_layer(self) -> None:
        self.model.drop_output_layer()

    def knows(self, word: str) -> bool:
        return self.coder.unknown_share(self._tokens([word])) == 0


def _token_ends(coded: TokenBatch) -> list[np.ndarray]:
    """The position of the last id of every token of each row, the sign for the beginning at 0."""
    if coded.word_of_unit is None:
        return [np.arange(1, count + 1) for count in coded.word_lengths.tolist()]
    found = []
    for owners, count in zip(coded.word_of_unit.numpy(), coded.word_lengths.tolist(), strict=True):
        positions = np.flatnonzero(owners >= 0)
        ends = np.zeros(count, np.int64)
        ends[owners[positions]] = positions  # the last of a token's ids stays
        found.append(ends)
    return found


def check_coder(coder: TokenCoder, config: LanguageModel.Config) -> None:
    """Raise BadData where a tokenizer is not that of the language model with this configuration."""
    kind = "characters" if coder.tokenizer.kind == "characters" else coder.kind
    check_vocabulary(kind, len(coder.vocabulary), config)
