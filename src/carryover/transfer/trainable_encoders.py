"""What lies between words and a task's head: an encoder's mixed layers, or one learned from labels alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from collections.abc import Sequence as ListOf
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from carryover.data.coding import TokenBatch, TokenCoder
from carryover.data.vocabulary import Vocabulary
from carryover.encoders.encoder import Encoder, LayerGroup, Words
from carryover.encoders.vector_cache import represent
from carryover.encoders.words import WordsEncoder
from carryover.layers import Dropout, Embedding, ScalarMix
from carryover.sequence import Sequence
from carryover.transfer.plan import PLACEMENTS


class OwnWords(nn.Module):
    """Word vectors that a task learns for the words of its own training data.

    In training a word that occurs there only once (`rare`, bool [vocabulary]) is read as unknown half of the time, so that
    the vector of the unknown word learns from something (Lample et al. 2016, section 4.1).
    """

    def __init__(self, vocabulary: Vocabulary, size: int, *, rare: Tensor | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.coder = TokenCoder("words", vocabulary)
        self.words = Embedding(len(vocabulary), size)
        self.dropout = Dropout(size, dropout)
        self.out_size = size
        self.register_buffer("rare", rare, persistent=False)

    def forward(self, sentences: ListOf[Words]) -> Sequence:
        """[B, W, size]."""
        batch = self.coder.batch(sentences, borders=False)
        if self.training:
            batch = hide_rare(batch, self._buffers["rare"])
        return self.dropout(self.words(batch.to(self.words.weight.device).index))


def hide_rare(batch: TokenBatch, rare: Tensor | None) -> TokenBatch:
    """The batch with each rare word unknown half of the time; drawn from torch's generator on the CPU."""
    if rare is None:
        return batch
    ids = batch.index.values
    hidden = rare.cpu()[ids] & (torch.rand(ids.shape) < 0.5)
    return replace(batch, index=batch.index.with_values(ids.masked_fill(hidden, Vocabulary.UNKNOWN_ID)))


def layers_of(encoder: Encoder, sentences: ListOf[Words], *, fixed: bool) -> Sequence:
    """All layers' vectors of one pass, [B, W, L, D]; with gradients unless the encoder is `fixed` or none are wanted."""
    if encoder.model.training or (torch.is_grad_enabled() and not fixed):
        return encoder.states(encoder.batch(sentences).to(encoder.device))
    return Sequence.pad(represent(encoder, sentences))


class TaskEncoder(nn.Module, ABC):
    """What lies between the words of a sentence and the task LSTM or head.

    `own` are word vectors learned by the task that stand beside what was carried over, `out_size` is the size of a word's
    state, `output_size` that of what `at_output` puts beside the output of the task's LSTM.
    """

    coder: TokenCoder
    own: OwnWords | None
    out_size: int
    output_size: int = 0

    @abstractmethod
    def forward(self, sentences: ListOf[Words], ready: Sequence | None = None) -> Sequence:
        """[B, W, out_size]. `ready` is what `layers` gives for these sentences, where it was computed before."""

    def layers(self, sentences: ListOf[Words]) -> Sequence | None:
        """The carried encoder's vectors [B, W, L, D], to be given to `forward` and `at_output`; None where there is none."""
        return None

    def at_output(self, states: Sequence, layers: Sequence | None) -> Sequence:
        """The states of the task's LSTM [B, W, D'] with what belongs beside them, [B, W, D' + output_size]."""
        return states

    @property
    @abstractmethod
    def reads(self) -> tuple[type, ...]:
        """Types of input that it reads."""

    def tokenize(self, text: str) -> list[str]:
        """The words of a running text."""
        return self.coder.tokenize(text)

    def say_cut(self, where: str, sentences: Iterable[Words]) -> None:
        """Tell how many words are read in part; nothing when all are read whole."""
        self.coder.say_cut(where, sentences)

    def mixtures(self) -> dict[str, ScalarMix]:
        """The mixtures of layers by the place where they stand, "input" or "output" of the task's LSTM."""
        return {}

    def to_cache(self) -> Encoder | None:
        """The encoder whose vectors never change in training and can be computed once; None where there is none."""
        return None

    def fingerprint(self) -> str:
        """Of what was carried over and decides its vectors; empty where the weights alone do."""
        return ""

    @abstractmethod
    def groups(self) -> list[LayerGroup]:
        """The layers that were carried over, the topmost first."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """What `build_task_model` needs beside coder and vocabulary, as JSON."""


class MixedEncoder(TaskEncoder):
    """An encoder whose layers are mixed into one vector a word, γ Σ_j s_j h_j (Peters et al. 2018, equation 1).

    `fixed`: the encoder is in evaluation mode and without gradients even while the rest is trained; then its vectors may also
    be given ready-made. With `own` the mixture is concatenated with the task's word vectors, [x_k; ELMo_k] as in section 3.3 of
    the paper. The encoder's output layer is taken off: a task has no use for it.

    `placement` "output" or "both": a mixture with separate weights is for the output of the task's LSTM. `at_output` puts it
    there, of the same pass over the encoder; with "output" it is the only one and `forward` gives `own` alone.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        fixed: bool,
        layer_norm: bool = False,
        dropout: float = 0.0,
        own: OwnWords | None = None,
        placement: str = "input",
    ) -> None:
        super().__init__()
        if placement not in PLACEMENTS:
            raise ValueError(f"placement is {placement!r}: it must be one of {', '.join(PLACEMENTS)}")
        self.coder, self.fixed, self.placement, self.layer_norm = encoder.coder, fixed, placement, layer_norm
        encoder.drop_output_layer()
        self.encoder = encoder
        self.model: nn.Module = encoder.model

        def mixture(wanted: bool) -> ScalarMix | None:
            return ScalarMix(encoder.layer_count, encoder.out_size, layer_norm=layer_norm) if wanted else None

        self.mix = mixture(placement != "output")
        self.output_mix = mixture(placement != "input")
        self.dropout = Dropout(encoder.out_size, dropout)
        self.own = own
        self.out_size = (encoder.out_size if self.mix else 0) + (own.out_size if own is not None else 0)
        self.output_size = encoder.out_size if self.output_mix else 0

    def train(self, mode: bool = True) -> MixedEncoder:
        super().train(mode)
        self.model.train(mode and not self.fixed)
        return self

    def forward(self, sentences: ListOf[Words], ready: Sequence | None = None) -> Sequence:
        if self.mix is None:
            assert self.own is not None
            return self.own(sentences)
        mixed = self.dropout(self.mix(self.layers(sentences) if ready is None else ready))
        if self.own is None:
            return mixed
        own = self.own(sentences)
        # States given ready-made may be padded wider than the words.
        beside = nn.functional.pad(own.values, (0, 0, 0, mixed.time - own.time))
        return mixed.with_values(torch.cat([beside, mixed.values], dim=-1))

    def layers(self, sentences: ListOf[Words]) -> Sequence:
        return layers_of(self.encoder, sentences, fixed=self.fixed)

    def at_output(self, states: Sequence, layers: Sequence | None) -> Sequence:
        if self.output_mix is None:
            return states
        assert layers is not None
        mixed = self.dropout(self.output_mix(layers))
        beside = nn.functional.pad(states.values, (0, 0, 0, mixed.time - states.time))
        return mixed.with_values(torch.cat([beside, mixed.values], dim=-1))

    @property
    def reads(self) -> tuple[type, ...]:
        return self.encoder.reads

    def tokenize(self, text: str) -> list[str]:
        return self.encoder.tokenize(text)

    def say_cut(self, where: str, sentences: Iterable[Words]) -> None:
        self.encoder.say_cut(where, sentences)

    def mixtures(self) -> dict[str, ScalarMix]:
        both = {"input": self.mix, "output": self.output_mix}
        return {place: mix for place, mix in both.items() if mix is not None}

    def to_cache(self) -> Encoder | None:
        return self.encoder if self.fixed else None

    def fingerprint(self) -> str:
        return self.encoder.fingerprint()

    def groups(self) -> list[LayerGroup]:
        return self.encoder.groups()

    def description(self) -> dict[str, Any]:
        return {
            "kind": self.encoder.kind_in_task,
            "model": self.encoder.model.config.to_json(),
            "fixed": self.fixed,
            "layer_norm": self.layer_norm,
            "placement": self.placement,
            "dropout": self.dropout.probability,
            "own_size": 0 if self.own is None else self.own.out_size,
        }


class WordsAndSpelling(TaskEncoder):
    """The encoder learned from labels alone, read from words: `WordEncoder` with its two coders.

    `rare` as in `OwnWords`.
    """

    kind = "words"
    """What the description of a task's model calls it; a `WordsEncoder` that was carried over has another name."""

    def __init__(self, encoder: WordsEncoder, *, rare: Tensor | None = None) -> None:
        super().__init__()
        self.coder, self.own = encoder.coder, None
        self.reader = encoder
        self.encoder = encoder.model
        self.out_size = encoder.out_size
        self.register_buffer("rare", rare, persistent=False)

    def forward(self, sentences: ListOf[Words], ready: Sequence | None = None) -> Sequence:
        assert ready is None, "ready-made vectors belong to a fixed encoder"
        batch = self.reader.batch(sentences)
        if self.training:
            batch = replace(batch, words=hide_rare(batch.words, self._buffers["rare"]))
        states = self.reader.states(batch.to(self.reader.device))
        return states.with_values(states.values.squeeze(2))  # one vector a word

    def say_cut(self, where: str, sentences: Iterable[Words]) -> None:
        self.reader.spelling.say_cut(where, sentences)

    @property
    def reads(self) -> tuple[type, ...]:
        return self.reader.reads

    def groups(self) -> list[LayerGroup]:
        words = self.encoder.words
        return [] if words is None else [LayerGroup("word vectors", 1, {"weight": words.weight})]

    def description(self) -> dict[str, Any]:
        return {"kind": self.kind, "model": self.encoder.config.to_json()}
