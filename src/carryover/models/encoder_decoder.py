"""From a sequence to a sequence of another length: an encoder reads all of the source, then a decoder writes.

Without attention the source becomes one vector (Sutskever, Vinyals & Le 2014; Cho et al. 2014); with it the decoder looks at
every step of the encoder, before each word by a small network (Bahdanau, Cho & Bengio 2015), after it by a product (Luong,
Pham & Manning 2015, with or without input feeding), or in every block by heads (Vaswani et al. 2017).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from carryover.errors import UsageError
from carryover.layers import (
    AdditiveAttention,
    BahdanauDecoder,
    Embedding,
    InputFeedingDecoder,
    Layer,
    LuongDecoder,
    MemoryDecoder,
    MultiplicativeAttention,
    Stacked,
    State,
    SummaryDecoder,
    Transformer,
)
from carryover.layers.pooling import build_pooling
from carryover.models.conditional import CONDITIONS, ConditionalLanguageModel, build_conditioned, check_causal
from carryover.models.configuration import ModelConfig
from carryover.models.sequence_model import INPUTS
from carryover.models.stacks import StackConfig
from carryover.sequence import Sequence

ATTENTIONS = ("none", "additive", "multiplicative", "heads")


class EncoderDecoder(ConditionalLanguageModel):
    """Any `encoder` from source ids or values to a memory [B, S, n], and any `decoder` that can be told of one.

    `source` is a `Sequence`, ids [B, S] or values [B, S, features] as the encoder reads; rows may differ in length, and
    each decoder row knows of its own source only. Parameters as in `ConditionalLanguageModel`, and `encoder.…`. UsageError
    when the decoder looks at other features than the encoder gives.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(ModelConfig):
        """What the model is made of. Raises UsageError naming the field that is wrong.

        source_size : ids of the source, or with `source` "values" features of a step. target_size : ids that are written.
        embedding_size : features of an id on both sides. encoder, decoder : stacks; the decoder's is causal.
        attention : one of `ATTENTIONS`; "heads" is for a Transformer. attention_size : of the network of "additive".
        input_feeding : of "multiplicative": the result of attention is read at the next step too, so training takes steps.
        pooling, how : without attention, the source's vector (see `carryover.layers.pooling.POOLINGS`) and in which of
            the ways `CONDITIONS` the decoder is conditioned. dropout : of the target's embeddings and of what the output reads.
        """

        source_size: int
        target_size: int
        source: str = "ids"
        embedding_size: int = 128
        encoder: StackConfig = field(default_factory=lambda: StackConfig(bidirectional=True))
        decoder: StackConfig = field(default_factory=StackConfig)
        attention: str = "additive"
        attention_size: int = 128
        input_feeding: bool = False
        pooling: str = "ends"
        how: str = "first-state"
        dropout: float = 0.0

        def __post_init__(self) -> None:
            self.nest("encoder", StackConfig)
            self.nest("decoder", StackConfig)
            self.check_choice("source", INPUTS)
            self.check_choice("attention", ATTENTIONS)
            self.check_choice("how", CONDITIONS)
            self.check_positive("source_size", "target_size", "embedding_size", "attention_size")
            self.check_probability("dropout")
            if self.input_feeding and self.attention != "multiplicative":
                raise UsageError(
                    f"input_feeding is true and attention {self.attention!r}",
                    repair="make the attention 'multiplicative', or leave input_feeding out",
                )
            if self.attention == "heads" and (
                self.decoder.layer != "transformer" or self.decoder.size != self.embedding_size
            ):
                raise UsageError(
                    f"attention is 'heads' with a decoder of {self.decoder.layer} of size {self.decoder.size} and an "
                    f"embedding_size of {self.embedding_size}",
                    repair="make the decoder a transformer of the embedding's size, or choose another attention",
                )

    def __init__(
        self, encoder: Layer, decoder: MemoryDecoder | Transformer, vocabulary_size: int, *, dropout: float = 0.0
    ) -> None:
        super().__init__(decoder, vocabulary_size, dropout=dropout)
        if decoder.memory_size != encoder.out_size:
            raise UsageError(
                f"the encoder gives {encoder.out_size} features and the decoder looks at {decoder.memory_size}",
                repair="make the sizes equal",
            )
        self.encoder = encoder

    @classmethod
    def of(cls, config: Config) -> EncoderDecoder:
        """A new model of this configuration, with fresh weights."""
        if config.source == "ids":
            embedding = Embedding(config.source_size, config.embedding_size)
            encoder: Layer = Stacked(embedding, config.encoder.build(config.embedding_size))
        else:
            encoder = config.encoder.build(config.source_size)
        return cls(encoder, _build_decoder(config, encoder.out_size), config.target_size, dropout=config.dropout)

    def remember(self, source: Sequence) -> State:
        return self._decoder.remember(self.encoder(source))

    def decode(self, inputs: Sequence, source: Sequence) -> Sequence:
        return self._decoder(inputs, self.encoder(source))

    @property
    def _decoder(self) -> MemoryDecoder | Transformer:
        assert isinstance(self.decoder, MemoryDecoder | Transformer)
        return self.decoder


def _build_decoder(config: EncoderDecoder.Config, memory_size: int) -> MemoryDecoder | Transformer:
    size, stack = config.embedding_size, config.decoder
    check_causal(stack)
    if config.attention == "heads":
        return stack.transformer(memory_size)
    if config.attention == "none":
        pooling = build_pooling(config.pooling, memory_size)
        return SummaryDecoder(pooling, build_conditioned(stack, size, pooling.out_size, config.how))
    if config.attention == "additive":
        layer = stack.build(size + memory_size)
        return BahdanauDecoder(layer, AdditiveAttention(layer.out_size, memory_size, config.attention_size))
    if config.input_feeding:
        layer = stack.build(size + stack.size)
        return InputFeedingDecoder(layer, MultiplicativeAttention(layer.out_size, memory_size), stack.size)
    layer = stack.build(size)
    return LuongDecoder(layer, MultiplicativeAttention(layer.out_size, memory_size), layer.out_size)
