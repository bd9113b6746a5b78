"""The autoregressive language model: an embedding, any causal stack, and scores of the next token.

    x_k = E[t_k],   h_k = stack(x_1 … x_k),   p(t_{k+1} | t_1 … t_k) = softmax(W h_k + c)

The stack is made of LSTMs (Mikolov et al. 2010, "Recurrent neural network based language model", with the cell of Hochreiter
& Schmidhuber), GRUs, a TCN (Bai et al. 2018) or a Transformer with rotary positions and a horizon. Tied embeddings, W = E:
Press & Wolf 2017, "Using the output embedding to improve language models"; Inan et al. 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, pairwise, repeat
from typing import Any, cast

import torch
from torch import nn

from carryover.errors import UsageError
from carryover.layers import GRU, LSTM, TCN, Dropout, Embedding, Layer, Stacked, State, Transformer
from carryover.models.configuration import ModelConfig
from carryover.models.output import AdaptiveOutputLayer, OutputLayer, TiedOutput, default_cutoffs
from carryover.models.sizes import NEXT_TOKEN_SIZES
from carryover.sequence import Sequence

INPUTS = ("characters", "words", "subwords")
STACKS = ("lstm", "gru", "tcn", "transformer")
LONGEST_HORIZON = 65536  # steps; the state of a Transformer holds them all from the beginning
SOFTMAXES = ("full", "sampled", "adaptive")
LayerStates = tuple[tuple[State, ...], ...]
"""The states of the layers of each stage, the lowest first."""


class LanguageModel(nn.Module):
    """Ids in, scores of the next id out; whole or step by step, so it can be given to `carryover.generation`.

    Parameters: `embedding.weight` [V, size], `stack.layers.k.…`, and either `output.…` of an `OutputLayer` or an
    `AdaptiveOutputLayer` or, where embeddings are tied, `output_bias` [V] alone.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(ModelConfig):
        """What the model is made of. Raises UsageError naming the field that is wrong.

        vocabulary_size : ids that are read and predicted. input : what an id stands for.
        stack : one of `STACKS`. size : of embedding and of what the output layer reads. layers : of the stack, for a TCN
            its levels. cells : of recurrent layers below the top one; of a Transformer's feed-forward networks.
        heads, horizon : of a Transformer; it sees horizon − 1 steps back in each layer, without limit for None.
        kernel : of a TCN, whose receptive field is 1 + 2 (kernel − 1)(2^layers − 1).
        tied : whether the output layer's weight is that of the embedding.
        softmax : one of `SOFTMAXES`; samples, cutoffs and reduction are as in `BiLanguageModel.Config`. The adaptive one has
            rows of several widths and cannot be tied.
        """

        vocabulary_size: int
        input: str = "characters"
        stack: str = "lstm"
        size: int = 128
        cells: int = 256
        layers: int = 2
        heads: int = 4
        horizon: int | None = 128
        kernel: int = 3
        dropout: float = 0.1
        tied: bool = True
        softmax: str = "full"
        samples: int = 8192
        cutoffs: tuple[int, ...] | None = None
        reduction: float = 4.0

        def __post_init__(self) -> None:
            if self.cutoffs is not None:  # a list comes from JSON
                object.__setattr__(self, "cutoffs", tuple(int(cutoff) for cutoff in self.cutoffs))
            self.check_choice("input", INPUTS)
            self.check_choice("stack", STACKS)
            self.check_choice("softmax", SOFTMAXES)
            self.check_positive("vocabulary_size", "size", "cells", "layers", "heads", "kernel", "horizon", "samples")
            self.check_probability("dropout")
            self.check_at_least("reduction", 1)
            if (self.horizon or 0) > LONGEST_HORIZON:
                raise UsageError(
                    f"horizon is {self.horizon}", repair=f"give at most {LONGEST_HORIZON}, or null for no limit"
                )
            if self.stack == "transformer" and self.size % (2 * self.heads):
                raise UsageError(
                    f"size is {self.size} and heads {self.heads}", repair="make the size a multiple of twice the heads"
                )
            if self.tied and self.softmax == "adaptive":
                raise UsageError(
                    "tied is true and softmax 'adaptive', whose rows have several widths", repair="make tied false"
                )

        @classmethod
        def of_size(cls, size: str, **others: Any) -> LanguageModel.Config:
            """One of `NEXT_TOKEN_SIZES` with `others` on top. Raises UsageError for an unknown name."""
            if size not in NEXT_TOKEN_SIZES:
                raise UsageError(
                    f"size {size!r} is not one of a language model that generates",
                    repair=f"use one of {', '.join(NEXT_TOKEN_SIZES)}, with single fields of its configuration on top",
                )
            return cls(**{**NEXT_TOKEN_SIZES[size], **others})

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.vocabulary_size, config.size)
        self.stack = Stacked(*_layers(config))
        self.output: OutputLayer | AdaptiveOutputLayer | None = None
        if config.tied:
            self.output_bias = nn.Parameter(torch.zeros(config.vocabulary_size))
        elif config.softmax == "adaptive":
            words = config.vocabulary_size
            self.output = AdaptiveOutputLayer(config.size, words, config.cutoffs or default_cutoffs(words), config.reduction)
        else:
            self.output = OutputLayer(config.size, config.vocabulary_size)

    def output_layer(self) -> OutputLayer | TiedOutput | AdaptiveOutputLayer:
        """What turns hidden states into scores."""
        return TiedOutput(self.embedding.weight, self.output_bias) if self.output is None else self.output

    def forward(self, ids: Sequence) -> Sequence:
        """Scores (logits) [B, T, V] of what follows each id of [B, T], every row from its beginning."""
        return self._scores(self.stack(self.embedding(ids)))

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """What every text begins with. Make it in the mode in which it is used: a TCN's dropout masks are part of it."""
        return self.stack.initial_state(batch_size, device=device, dtype=dtype)

    def advance(self, ids: Sequence, state: State) -> tuple[Sequence, State]:
        """Read ids [B, T] and carry the state on; hidden states [B, T, size], ready for the output layer."""
        return self.stack.step(self.embedding(ids), state)

    def step(self, ids: Sequence, state: State) -> tuple[Sequence, State]:
        """`advance` with scores [B, T, V] in place of hidden states."""
        hidden, state = self.advance(ids, state)
        return self._scores(hidden), state

    # ------------------------------------------------------------------ vectors of every layer

    @property
    def mixed_layers(self) -> int:
        """Number of vectors of an id: its embedding, and the output of each layer of the stack."""
        return 1 + len(self.stages())

    @property
    def out_size(self) -> int:
        """Size of each of them: that of the widest layer. A narrower one is followed by zeros."""
        return max(self.config.size, *(stage[-1].out_size for stage in self.stages()))

    def stages(self) -> list[list[Layer]]:
        """The layers of the stack, the lowest first: recurrent layers, or the blocks of a TCN or of a Transformer."""
        return [stage for layer in self._stacked() for stage in layer.stages()]

    def drop_output_layer(self) -> None:
        """Take off what predicts: it gives vectors and cannot be scored any more."""
        self.output = None
        if self.config.tied:
            self.register_parameter("output_bias", None)

    def representations(self, ids: Sequence) -> Sequence:
        """All layers' vectors of every id, [B, T, L+1, D], every row from its beginning. Gradients flow."""
        return self._layers_of(ids, None)[0]

    def continue_representations(self, ids: Sequence, states: LayerStates) -> tuple[Sequence, LayerStates]:
        """`representations` read on from `states`, and the states after them."""
        return self._layers_of(ids, states)

    def initial_layer_states(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LayerStates:
        """What `continue_representations` begins with."""
        return tuple(
            tuple(layer.initial_state(batch_size, device=device, dtype=dtype) for layer in stage) for stage in self.stages()
        )

    def _stacked(self) -> list[Layer]:
        """The layers of the stack without the dropout below each of them."""
        return cast("list[Layer]", list(self.stack.layers)[1::2])

    def _layers_of(self, ids: Sequence, states: LayerStates | None) -> tuple[Sequence, LayerStates]:
        x = self.embedding(ids)
        outputs, after = [x.values], list[tuple[State, ...]]()
        for dropout, layer in zip(list(self.stack.layers)[::2], self._stacked(), strict=False):
            x = dropout(x)
            for stage in layer.stages():
                before = None if states is None else states[len(after)]
                x, reached = _through(stage, x, before)
                outputs.append(x.values)
                after.append(reached)
        size = self.out_size
        wide = [nn.functional.pad(values, (0, size - values.shape[-1])) for values in outputs]
        return x.with_values(torch.stack(wide, dim=2)).zero_padding(), tuple(after)

    def _scores(self, hidden: Sequence) -> Sequence:
        return hidden.with_values(self.output_layer().scores(hidden.values)).zero_padding()


def _through(stage: list[Layer], x: Sequence, states: tuple[State, ...] | None) -> tuple[Sequence, tuple[State, ...]]:
    """`x` through the layers of a stage, a whole pass or from their states; no states come out of a whole pass."""
    after = []
    for number, layer in enumerate(stage):
        if states is None:
            x = layer(x)
        else:
            x, state = layer.step(x, states[number])
            after.append(state)
    return x, tuple(after)


def _layers(config: LanguageModel.Config) -> list[Layer]:
    size = config.size
    below: list[Layer] = [Dropout(size, config.dropout)]
    if config.stack == "tcn":
        return [*below, TCN(size, size, levels=config.layers, kernel=config.kernel, dropout=config.dropout)]
    if config.stack == "transformer":
        decoder = Transformer(
            size,
            config.heads,
            config.cells,
            config.layers,
            causal=True,
            horizon=config.horizon,
            positions="rotary",
            dropout=config.dropout,
        )
        return [*below, decoder]
    cell = LSTM if config.stack == "lstm" else GRU
    widths = chain([size], repeat(config.cells, config.layers - 1), [size])
    found = below
    for in_size, out_size in pairwise(widths):
        found += [cell(in_size, out_size), Dropout(out_size, config.dropout)]
    return found
