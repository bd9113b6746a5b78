"""A pretrained bidirectional language model as an encoder: the L+1 vectors [x; x] and [f_j; b_j] of every word."""

from __future__ import annotations

from collections.abc import Sequence as ListOf
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor

from carryover.data.coding import CHARACTER_IDS, TokenBatch, TokenCoder
from carryover.encoders.artefact_parts import check_vocabulary, fill, parsed, read_heldout
from carryover.encoders.encoder import Choose, Encoder, LayerGroup, Words, every_layer
from carryover.errors import BadData
from carryover.models.bilm import BiLanguageModel, BiLanguageModelState
from carryover.objectives.bilm import lines_perplexity
from carryover.sequence import Sequence
from carryover.storage.artefact import Artefact

_FEWEST_WORDS = 32


@final
class BidirectionalEncoder(Encoder):
    """A pretrained bidirectional language model, ready to turn words into vectors."""

    kind = "bilm"
    kind_in_task = "language-model"
    description = "a bidirectional language model"
    proved_figures = ("forward_perplexity", "backward_perplexity")
    model: BiLanguageModel

    @classmethod
    def from_artefact(cls, stored: Artefact, *, device: str = "cpu") -> BidirectionalEncoder:
        config = parsed(BiLanguageModel.Config.from_json, stored.config, stored.folder / "config.json")
        coder = parsed(TokenCoder.from_json, stored.tokenizer, stored.folder / "tokenizer.json")
        parsed(lambda coder: check_coder(coder, config), coder, stored.folder)
        model = fill(lambda: BiLanguageModel(config), stored.tensors, stored.folder)
        return cls(model.to(device), coder, stored.record, read_heldout(stored), stored.folder)

    @classmethod
    def build(cls, config: dict[str, Any], coder: TokenCoder) -> BidirectionalEncoder:
        known = BiLanguageModel.Config.from_json(config)
        check_coder(coder, known)
        return cls(BiLanguageModel(known), coder, {})

    @property
    def out_size(self) -> int:
        return self.model.out_size

    @property
    def layer_count(self) -> int:
        return self.model.mixed_layers

    def batch(self, sentences: ListOf[Words]) -> TokenBatch:
        return self.coder.batch(sentences, borders=True)

    def steady_batch(self, sentences: ListOf[Words]) -> TokenBatch:
        """As every encoder's, and with enough distinct words for the products of the character encoder too."""
        batch: TokenBatch = super().steady_batch(sentences)
        if batch.characters is None or len(batch.characters) >= _FEWEST_WORDS:
            return batch
        missing = _FEWEST_WORDS - len(batch.characters)
        filled = torch.nn.functional.pad(batch.characters, (0, 0, 0, missing))  # [U, 50] → [U + missing, 50]
        return replace(batch, characters=filled)

    def states(self, batch: TokenBatch) -> Sequence:
        return self.model.representations(batch)

    def initial_state(self, rows: int) -> BiLanguageModelState:
        weight = next(self.model.parameters())
        return self.model.initial_state(rows, device=weight.device, dtype=weight.dtype)

    def advance(
        self, batch: TokenBatch, state: BiLanguageModelState, *, steps: int | None = None, choose: Choose = every_layer
    ) -> tuple[list[Tensor], BiLanguageModelState]:
        """As every encoder's: forward from the end of what a row held before, backward from its beginning."""
        if steps is not None:
            return self.model.continue_long_representations(batch, state, steps, choose)
        vectors, state = self.model.continue_representations(batch, state)
        return [choose(row) for row in vectors.rows()], state

    def groups(self) -> list[LayerGroup]:
        model, top = self.model, len(self.model.forward_layers)
        groups = []
        for number in range(top, 0, -1):
            parts = {"forward": model.forward_layers[number - 1], "backward": model.backward_layers[number - 1]}
            parameters = {f"{side}.{name}": p for side, part in parts.items() for name, p in part.named_parameters()}
            groups.append(LayerGroup(f"layer {number}", top - number + 1, parameters))
        return [*groups, LayerGroup("tokens", top + 1, dict(model.token_encoder.named_parameters()))]

    def score(self, lines: ListOf[str]) -> dict[str, float]:
        return lines_perplexity(self.model, self.coder, lines)

    def drop_output_layer(self) -> None:
        self.model.output = torch.nn.Identity()  # type: ignore[assignment]

    def knows(self, word: str) -> bool:
        return self.coder.kind == "characters" or word in self.coder.vocabulary


def check_coder(coder: TokenCoder, config: BiLanguageModel.Config) -> None:
    """Raise BadData where a tokenizer is not that of the language model with this configuration."""
    check_vocabulary(coder.kind, len(coder.vocabulary), config)
    _check_lexicon(coder, config)


def _check_lexicon(coder: TokenCoder, config: BiLanguageModel.Config) -> None:
    """Raise BadData where the coder gives other numbers of characters or words than the model has vectors for."""
    if coder.lexicon is None:
        found, wanted = (CHARACTER_IDS, 0), (config.characters, config.word_forms)
        fits = found == wanted
    else:
        words = coder.lexicon.words
        found = (max(coder.lexicon.characters.values()) + 2, 0 if words is None else max(words.values()) + 1)
        wanted = (config.characters, config.word_forms)
        fits = (words is None) == (config.word_forms == 0) and found[0] <= wanted[0] and found[1] <= wanted[1]
        fits = fits and coder.lexicon.places >= max(width for width, _ in config.filters)
    if not fits:
        raise BadData(
            f"tokenizer.json numbers {found[0]} characters and {found[1]} word forms, config.json has {wanted[0]} and "
            f"{wanted[1]}",
            repair="restore the folder from a copy",
        )
