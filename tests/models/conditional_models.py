"""Encoder–decoders and label models of every kind, small and in float64, for the tests of several files."""

from __future__ import annotations

import torch

from carryover.models import EncoderDecoder, LabelToSequence, StackConfig
from carryover.sequence import Sequence

V = 11
SOURCES = [6, 1, 0, 9]

STACKS = {
    "gru": StackConfig(layer="gru", size=8),
    "two lstms": StackConfig(layer="lstm", size=6, depth=2, dropout=0.2),
    "tcn": StackConfig(layer="tcn", size=6, depth=2),
    "transformer": StackConfig(layer="transformer", size=8, heads=2, depth=2, horizon=5),
    "elman": StackConfig(layer="layer-norm-elman", size=5),
}
BOTH_WAYS = {
    "gru": StackConfig(layer="gru", size=4, bidirectional=True),
    "transformer": StackConfig(layer="transformer", size=8, heads=2, bidirectional=True),
    "tcn": StackConfig(layer="tcn", size=3, depth=2, bidirectional=True),
}

# name → (encoder, decoder, further options)
KINDS: dict[str, tuple[StackConfig, StackConfig, dict[str, object]]] = {
    "additive, gru": (BOTH_WAYS["gru"], STACKS["gru"], {"attention": "additive"}),
    "additive, transformer": (BOTH_WAYS["tcn"], STACKS["transformer"], {"attention": "additive"}),
    "multiplicative, two lstms": (STACKS["gru"], STACKS["two lstms"], {"attention": "multiplicative"}),
    "multiplicative, tcn": (BOTH_WAYS["transformer"], STACKS["tcn"], {"attention": "multiplicative"}),
    "input feeding, two lstms": (
        STACKS["gru"],
        STACKS["two lstms"],
        {"attention": "multiplicative", "input_feeding": True},
    ),
    "heads, transformer": (BOTH_WAYS["transformer"], STACKS["transformer"], {"attention": "heads"}),
    "none, first state": (BOTH_WAYS["gru"], STACKS["two lstms"], {"attention": "none"}),
    "none, concatenate": (STACKS["tcn"], STACKS["elman"], {"attention": "none", "how": "concatenate", "pooling": "last"}),
    "none, add": (
        BOTH_WAYS["transformer"],
        STACKS["transformer"],
        {"attention": "none", "how": "add", "pooling": "mean+max"},
    ),
}


def encoder_decoder(kind: str, **others: object) -> EncoderDecoder:
    torch.manual_seed(0)
    encoder, decoder, options = KINDS[kind]
    sizes = {"source_size": 7, "target_size": V, "embedding_size": 8, "attention_size": 5}
    config = EncoderDecoder.Config(encoder=encoder, decoder=decoder, **{**sizes, **options, **others})  # type: ignore[arg-type]
    return EncoderDecoder.of(config).double().eval()


def label_to_sequence(how: str, stack: str, **others: object) -> LabelToSequence:
    torch.manual_seed(0)
    options = {"target_size": V, "labels": 4, "embedding_size": 6, "condition_size": 5, **others}
    return LabelToSequence.of(LabelToSequence.Config(how=how, decoder=STACKS[stack], **options)).double().eval()  # type: ignore[arg-type]


def some_ids(*lengths: int, size: int = V, seed: int = 1) -> Sequence:
    drawn = torch.randint(size, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    return Sequence.of(drawn, list(lengths))
