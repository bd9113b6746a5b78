"""Models of series: values in, vectors of every layer out, and the next value from what was before.

    x_t → affine map → layer_1 → … → layer_L = h_t,   guess of x_{t+1}: x_t + W h_t + b

The layers are LSTMs, GRUs, the blocks of a TCN (Bai et al. 2018) or residual convolutions over a centred or causal window, as in
Wang, Yan, Oates 2017, "Time series classification from scratch with deep neural networks", with normalisation over the features
of a step in place of the batch, so that a series never depends on its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast, final

import torch
from torch import nn

from carryover.errors import UsageError
from carryover.layers import (
    GRU,
    LSTM,
    Bidirectional,
    Convolution,
    Dropout,
    Layer,
    LayerNorm,
    Perceptron,
    Stacked,
    State,
    TemporalBlock,
)
from carryover.layers.dropout import drop
from carryover.models.configuration import ModelConfig, check_field
from carryover.models.sizes import SERIES_SIZES
from carryover.sequence import Sequence

STACKS = ("tcn", "cnn", "lstm", "gru")


@final
class ConvolutionBlock(Layer):
    """y = x + D(relu(norm(W ∗ x))); values [B, T, size] to the same.

    The window is centred, or `causal`; its dilation is given. D drops single numbers. Sees 1 + (kernel − 1) · dilation steps.
    Parameters learned: those of the `Convolution` `convolution` and of the `LayerNorm` `norm`. ValueError for a size that is
    not positive, or a centred window without a middle step.
    """

    def __init__(self, size: int, kernel: int, *, dilation: int = 1, causal: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.in_size = self.out_size = size
        padding = "causal" if causal else "centred"
        self.convolution = Convolution(size, size, kernel, padding=padding, dilation=dilation)  # type: ignore[arg-type]
        self.norm = LayerNorm(size)
        self.dropout = dropout
        self.causal = self.convolution.causal
        self.receptive_field = self.convolution.receptive_field
        self.state_type = self.convolution.state_type

    def forward(self, x: Sequence) -> Sequence:
        self.check_input(x)
        return self._add(x, self.convolution(x))

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return self.convolution.initial_state(batch_size, device=device, dtype=dtype)

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        self.check_input(x)
        y, state = self.convolution.step(x, state)
        return self._add(x, y), state

    def _add(self, x: Sequence, y: Sequence) -> Sequence:
        hidden = drop(torch.relu(self.norm(y).values), self.dropout, self.training)
        return x.with_values(x.zero_padding().values + hidden).zero_padding()


class SeriesModel(nn.Module):
    """Standardised values [B, T, C] in, vectors of every layer or guesses of the next values out.

    Parameters: `input_layer.maps.0.…`, `layers.k.…` and, until it is taken off, `output.weight` [C, size], `output.bias`.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(ModelConfig):
        """What the model is made of. Raises UsageError naming the field that is wrong.

        in_size : channels. stack : one of `STACKS`. size : of each layer's output. layers : of the stack.
        causal : whether a vector knows only what was before; else recurrent layers and a TCN read both ways, half of `size`
            each, and convolutions are centred. kernel : of convolutions; the i-th (from 0) has dilation 2^i, at most 8 outside a
            TCN.
        dropout : inside the blocks, of what a recurrent layer reads.
        """

        in_size: int
        stack: str = "tcn"
        size: int = 32
        layers: int = 4
        kernel: int = 5
        causal: bool = True
        dropout: float = 0.1

        def __post_init__(self) -> None:
            self.check_choice("stack", STACKS)
            self.check_positive("in_size", "size", "layers", "kernel")
            self.check_probability("dropout")
            if not self.causal and self.stack != "cnn" and self.size % 2:
                raise UsageError(f"size is {self.size} and the model is bidirectional", repair="give an even size")
            if not self.causal and self.stack == "cnn" and self.kernel % 2 == 0:
                raise UsageError(f"kernel is {self.kernel} and has no middle step", repair="give an odd kernel")

        @classmethod
        def of_size(cls, size: str, **others: Any) -> SeriesModel.Config:
            """One of `SERIES_SIZES` with `others` on top. Raises UsageError for an unknown name."""
            check_field("size", size, SERIES_SIZES)
            return cls(**{**SERIES_SIZES[size], **others})

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.input_layer = Perceptron(config.in_size, (), config.size)
        self.layers = nn.ModuleList(_layer(config, number) for number in range(config.layers))
        self.output: nn.Linear | None = nn.Linear(config.size, config.in_size)

    @property
    def receptive_field(self) -> int | None:
        """Steps that a vector of the topmost layer knows of; None without a limit."""
        fields = [layer.receptive_field for layer in self._each()]
        return None if None in fields else 1 + sum(cast(int, field) - 1 for field in fields)

    @property
    def mixed_layers(self) -> int:
        """Number of vectors of a step: the map of its values, and the output of each layer."""
        return 1 + len(self.layers)

    def forward(self, x: Sequence) -> Sequence:
        """The next values after each step, [B, T, C]. Raises ValueError where the output layer was taken off."""
        if self.output is None:
            raise ValueError("this model has no output layer any more: load it again to predict values")
        hidden = self.input_layer(x)
        for layer in self._each():
            hidden = layer(hidden)
        return hidden.with_values(x.values + self.output(hidden.values)).zero_padding()

    def representations(self, x: Sequence) -> Sequence:
        """All layers' vectors of every step, [B, T, L+1, size], every series from its beginning. Gradients flow."""
        hidden = self.input_layer(x)
        outputs = [hidden.values]
        for layer in self._each():
            hidden = layer(hidden)
            outputs.append(hidden.values)
        return hidden.with_values(torch.stack(outputs, dim=2)).zero_padding()

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """What every series begins with. Raises TypeError where the model is not causal."""
        return tuple(layer.initial_state(batch_size, device=device, dtype=dtype) for layer in self._each())

    def continue_representations(self, x: Sequence, states: State) -> tuple[Sequence, State]:
        """`representations` read on from `states`, and the states after them."""
        hidden = self.input_layer(x)
        outputs, after = [hidden.values], []
        for layer, state in zip(self._each(), states, strict=True):
            hidden, reached = layer.step(hidden, state)
            outputs.append(hidden.values)
            after.append(reached)
        return hidden.with_values(torch.stack(outputs, dim=2)).zero_padding(), tuple(after)

    def drop_output_layer(self) -> None:
        """Take off what predicts: it gives vectors and cannot be scored any more."""
        self.output = None

    def _each(self) -> list[Layer]:
        return cast("list[Layer]", list(self.layers))


def _layer(config: SeriesModel.Config, number: int) -> Layer:
    size = config.size
    if config.stack == "cnn":
        dilation = 2 ** min(number, 3)
        return ConvolutionBlock(size, config.kernel, dilation=dilation, causal=config.causal, dropout=config.dropout)

    def one_way(out_size: int) -> Layer:
        if config.stack == "tcn":
            return TemporalBlock(size, out_size, config.kernel, dilation=2**number, dropout=config.dropout)
        cell = (LSTM if config.stack == "lstm" else GRU)(size, out_size)
        return Stacked(Dropout(size, config.dropout), cell)

    return one_way(size) if config.causal else Bidirectional(one_way(size // 2), one_way(size // 2))
