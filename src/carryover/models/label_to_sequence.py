"""From a label or a vector to a sequence: names of a kind, sentences of a class, captions of an image's features."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from carryover.errors import UsageError
from carryover.layers import Conditioned, State
from carryover.models.conditional import CONDITIONS, ConditionalLanguageModel, build_conditioned
from carryover.models.configuration import ModelConfig
from carryover.models.stacks import StackConfig
from carryover.sequence import Sequence


class LabelToSequence(ConditionalLanguageModel):
    """A decoder conditioned on one vector per row: the row of a table for a label, or a learned map of a vector given.

    `source` is labels [B] (int64) or vectors [B, n]; how the decoder uses it depends on its kind, see
    `carryover.layers.Conditioned`. Parameters as in `ConditionalLanguageModel`, and `condition.weight`: of a table of
    labels [labels, condition_size], of a map [condition_size, n] with `condition.bias`. ValueError for labels out of range.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(ModelConfig):
        """What the model is made of. Raises UsageError naming the field that is wrong.

        labels : how many there are; or vector_size : features of a vector given, with `labels` left out.
        target_size : ids that are written. how : one of `CONDITIONS`, how the decoder is conditioned.
        embedding_size : features of an id. condition_size : features of a label, or of a vector once mapped.
        decoder : a causal stack. dropout : of embeddings and of what the output layer reads.
        """

        target_size: int
        labels: int | None = None
        vector_size: int | None = None
        how: str = "first-state"
        embedding_size: int = 128
        condition_size: int = 128
        decoder: StackConfig = field(default_factory=StackConfig)
        dropout: float = 0.0

        def __post_init__(self) -> None:
            self.nest("decoder", StackConfig)
            self.check_choice("how", CONDITIONS)
            self.check_positive("target_size", "labels", "vector_size", "embedding_size", "condition_size")
            self.check_probability("dropout")
            if (self.labels is None) == (self.vector_size is None):
                raise UsageError(
                    f"labels is {self.labels} and vector_size {self.vector_size}", repair="give exactly one of the two"
                )

    def __init__(self, condition: nn.Embedding | nn.Linear, decoder: Conditioned, vocabulary_size: int, **options: float):
        super().__init__(decoder, vocabulary_size, **options)
        self.condition = condition

    @classmethod
    def of(cls, config: Config) -> LabelToSequence:
        """A new model of this configuration, with fresh weights."""
        size = config.condition_size
        condition = nn.Embedding(config.labels, size) if config.labels else nn.Linear(config.vector_size or 0, size)
        decoder = build_conditioned(config.decoder, config.embedding_size, size, config.how)
        return cls(condition, decoder, config.target_size, dropout=config.dropout)

    def remember(self, source: Tensor) -> State:
        return self._decoder.begin(self._vectors(source))

    def decode(self, inputs: Sequence, source: Tensor) -> Sequence:
        return self._decoder(inputs, self._vectors(source))

    @property
    def _decoder(self) -> Conditioned:
        assert isinstance(self.decoder, Conditioned)
        return self.decoder

    def _vectors(self, source: Tensor) -> Tensor:
        if isinstance(self.condition, nn.Embedding) and len(source):
            low, high = (int(bound) for bound in torch.aminmax(source))
            if low < 0 or high >= self.condition.num_embeddings:
                raise ValueError(
                    f"a label is {low if low < 0 else high} and the model knows {self.condition.num_embeddings}: "
                    f"labels run from 0 to {self.condition.num_embeddings - 1}"
                )
        return self.condition(source)
