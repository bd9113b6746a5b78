"""Layers one above the other."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from fractions import Fraction
from itertools import pairwise
from math import ceil, prod
from typing import cast, final

import torch
from torch import Tensor, nn

from carryover.layers.base import Layer, State
from carryover.sequence import Sequence


@final
class Stacked(Layer):
    """y = layer_L(… layer_2(layer_1(x))): each layer reads what the one below it wrote.

    Causal when all layers are. The state is the tuple of their states, first layer first. The receptive field is
    1 + Σ_k (r_k − 1) / (ratio_1 ⋯ ratio_{k−1}), unbounded when that of any layer is; above a layer that gives several
    outputs a step it is an upper bound. ValueError when there is no layer or when one layer's output does not fit the next.

    The layers' parameters are named `layers.k.…`, k from 0.
    """

    state_type = tuple

    def __init__(self, *layers: Layer) -> None:
        super().__init__()
        if not layers:
            raise ValueError("Stacked was given no layer: give at least one")
        for k, (below, above) in enumerate(pairwise(layers)):
            if below.out_size != above.in_size:
                raise ValueError(
                    f"layer {k} ({type(below).__name__}) gives {below.out_size} features and layer {k + 1} "
                    f"({type(above).__name__}) expects {above.in_size}: make the sizes equal"
                )
        self.layers = nn.ModuleList(layers)
        self.in_size, self.out_size = layers[0].in_size, layers[-1].out_size
        self.reads_ids = layers[0].reads_ids
        self.axes = layers[0].axes
        self.causal = all(layer.causal for layer in layers)
        self.ratio = prod((layer.ratio for layer in layers), start=Fraction(1))
        self.receptive_field = _receptive_field(layers)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        for layer in self._each():
            lengths = layer.output_lengths(lengths)
        return lengths

    def forward(self, x: Sequence) -> Sequence:
        for layer in self._each():
            x = layer(x)
        return x

    def all_outputs(self, x: Sequence) -> list[Sequence]:
        """What every layer wrote in a whole pass, first layer first; the last one is `forward`'s answer."""
        outputs: list[Sequence] = []
        for layer in self._each():
            x = layer(x)
            outputs.append(x)
        return outputs

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        self.require_causal("has no initial state")
        return tuple(layer.initial_state(batch_size, device=device, dtype=dtype) for layer in self._each())

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        self.require_causal("cannot be stepped")
        return step_each(self, list(self._each()), x, state, "layers")

    def _each(self) -> Iterable[Layer]:
        return cast("Iterable[Layer]", self.layers)


def step_each(
    owner: Layer, layers: SequenceOf[Layer], x: Sequence, states: State, called: str
) -> tuple[Sequence, tuple[State, ...]]:
    """`x` through `layers` from the first to the last, each from its own state; what the last gives, and the new states.

    Raises TypeError where `states` is no tuple, and ValueError, naming the `owner` and what its layers are `called`, where
    there are not as many states as layers.
    """
    owner.check_state_type(x, states)
    if len(states) != len(layers):
        raise ValueError(
            f"{type(owner).__name__} was given {len(states)} states for {len(layers)} {called}: make one with initial_state"
        )
    after = []
    for layer, before in zip(layers, states, strict=True):
        x, state = layer.step(x, before)
        after.append(state)
    return x, tuple(after)


def _receptive_field(layers: tuple[Layer, ...]) -> int | None:
    total, stride = Fraction(1), Fraction(1)  # in steps of the first layer's input
    for layer in layers:
        if layer.receptive_field is None:
            return None
        total += (layer.receptive_field - 1) * stride
        stride /= layer.ratio
    return ceil(total)
