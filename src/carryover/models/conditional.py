"""The common shape of models that write a sequence about something: a sentence to translate, a label, an image's features.

    p(y_1 … y_n | source) = Π_k p(y_k | y_1 … y_{k−1}, source),   p(y_k | …) = softmax(W h_k + c)

with h_k of a decoder that has read E[y_1] … E[y_{k−1}] and knows of the source. In training the y are the true ones (teacher
forcing, one pass for all steps), in use the model's own, by `carryover.generation` on `given(source)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn

from carryover.errors import UsageError
from carryover.generation.steps import PrimedModel
from carryover.layers import Conditioned, Dropout, Embedding, FirstStateCondition, Layer, RepeatedCondition, State
from carryover.models.output import OutputLayer
from carryover.models.stacks import StackConfig
from carryover.sequence import Sequence

CONDITIONS = ("first-state", "concatenate", "add")


class ConditionalLanguageModel(nn.Module, ABC):
    """Ids and a source in, scores of the next id out; whole or step by step.

    Parameters: `embedding.weight` [V, decoder.in_size], `decoder.…`, `output.weight` [V, decoder.out_size] and `output.bias`
    [V], and what a subclass adds. `dropout` acts on embeddings and on what the output layer reads. A subclass says how a
    source is read: `remember` for steps, `hidden` for a whole pass.
    """

    def __init__(self, decoder: Layer, vocabulary_size: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = Embedding(vocabulary_size, decoder.in_size)
        self.drop_input, self.drop_output = Dropout(decoder.in_size, dropout), Dropout(decoder.out_size, dropout)
        self.decoder = decoder
        self.output = OutputLayer(decoder.out_size, vocabulary_size)

    @abstractmethod
    def remember(self, source: Any) -> State:
        """The decoder's state when it knows of the source and has read no id."""

    @abstractmethod
    def decode(self, inputs: Sequence, source: Any) -> Sequence:
        """The decoder's whole pass over embedded ids [B, T, decoder.in_size]."""

    def hidden(self, source: Any, ids: Sequence) -> Sequence:
        """Hidden states [B, T, decoder.out_size] after each of ids [B, T], ready for the output layer."""
        return self.drop_output(self.decode(self.drop_input(self.embedding(ids)), source))

    def forward(self, source: Any, ids: Sequence) -> Sequence:
        """Scores (logits) [B, T, V] of what follows each id of [B, T], one source a row."""
        return self._scores(self.hidden(source, ids))

    @torch.no_grad()
    def given(self, source: Any) -> PrimedModel:
        """This model as one for `carryover.generation`, which writes about these sources, one prompt for each."""
        return PrimedModel(self, self.remember(source))

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """The decoder's state when it knows of nothing."""
        return self.decoder.initial_state(batch_size, device=device, dtype=dtype)

    def step(self, ids: Sequence, state: State) -> tuple[Sequence, State]:
        """Read ids [B, T] and carry the state on; scores [B, T, V] of what follows each."""
        hidden, state = self.decoder.step(self.drop_input(self.embedding(ids)), state)
        return self._scores(self.drop_output(hidden)), state

    def _scores(self, hidden: Sequence) -> Sequence:
        return hidden.with_values(self.output.scores(hidden.values)).zero_padding()


def build_conditioned(stack: StackConfig, in_size: int, condition_size: int, how: str) -> Conditioned:
    """A causal stack that reads `in_size` features and is conditioned on a vector in one of the ways `CONDITIONS`.

    Raises UsageError for a stack that is bidirectional, and for "first-state" where no layer is recurrent.
    """
    check_causal(stack)
    if how != "first-state":
        extra = condition_size if how == "concatenate" else 0
        return RepeatedCondition(stack.build(in_size + extra), condition_size, how="concatenate" if extra else "add")
    if stack.layer in ("tcn", "transformer"):
        raise UsageError(
            f"a {stack.layer} has no first state that a vector could decide", repair="use 'concatenate' or 'add'"
        )
    return FirstStateCondition(stack.build(in_size), condition_size)


def check_causal(stack: StackConfig) -> None:
    """Raise UsageError for a decoder that would read its own future."""
    if stack.bidirectional:
        raise UsageError("a decoder is bidirectional", repair="leave bidirectional to the encoder")
