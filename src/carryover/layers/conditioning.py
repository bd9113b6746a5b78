"""Layers whose rows are each about a vector: a class, an image, the summary of another sequence.

Three ways of telling a layer: the vector decides its first state (Vinyals et al. 2015, "Show and tell", who feed it in once,
before the first word); it is repeated at every step, set beside the input (Cho et al. 2014, "Learning phrase representations
using RNN encoder–decoder", whose decoder reads the summary at every step); or it is repeated and added to the input.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Literal, NamedTuple, cast, final, get_args

import torch
from torch import Tensor, nn

from carryover.layers.base import Layer, State, check_numbers, map_state, state_tensors
from carryover.layers.dropout import WeightDrop
from carryover.layers.recurrent.hidden_state_base import HiddenRecurrence
from carryover.layers.recurrent.layer_norm_cells import LayerNormLSTM
from carryover.layers.recurrent.lstm import LSTM
from carryover.layers.residual import Residual
from carryover.layers.stacked import Stacked
from carryover.sequence import Sequence

How = Literal["concatenate", "add"]
RECURRENT = (HiddenRecurrence, LSTM, LayerNormLSTM)


class Conditioned(Layer):
    """A causal layer over x [B, T, in_size] and one vector a row, [B, condition_size].

    `layer(x, vector)` is the whole pass, `layer.begin(vector)` the state with which rows about these vectors begin; from
    there `step` continues without them. `initial_state` begins with vectors of zeros. Raises ValueError for a layer that is
    not causal or changes the number of steps, and for a vector of another shape.
    """

    causal = True

    def __init__(self, layer: Layer, condition_size: int) -> None:
        super().__init__()
        if condition_size <= 0:
            raise ValueError(f"{type(self).__name__} has condition_size {condition_size}: it must be positive")
        if not layer.causal or not layer.keeps_length:
            raise ValueError(
                f"{type(self).__name__} was given {type(layer).__name__} with causal {layer.causal} and a ratio of "
                f"{layer.ratio}: it conditions a causal layer of one output a step"
            )
        self.layer, self.condition_size = layer, condition_size
        self.out_size, self.receptive_field = layer.out_size, layer.receptive_field

    @abstractmethod
    def begin(self, condition: Tensor) -> State:
        """The state before the first step of rows about `condition` [B, condition_size]."""

    def forward(self, x: Sequence, condition: Tensor | None = None) -> Sequence:
        """Whole pass. ValueError without vectors."""
        if condition is None:
            raise ValueError(
                f"{type(self).__name__} was given no vectors: call it as layer(x, vectors), or step with a state"
            )
        return self.step(x, self.begin(condition))[0]

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        like = next(self.parameters(), torch.empty(0))
        with torch.no_grad():
            state = self.begin(like.new_zeros(batch_size, self.condition_size))
        return map_state(lambda part: part.to(device, dtype if part.is_floating_point() else None), state)

    def check_condition(self, condition: Tensor) -> None:
        """Raise TypeError on numbers of another type than the weights, ValueError on another shape than [batch, condition_size]."""
        check_numbers(self, condition)
        if condition.dim() != 2 or condition.shape[1] != self.condition_size:
            raise ValueError(
                f"{type(self).__name__} is about vectors [batch, {self.condition_size}] and got {tuple(condition.shape)}: "
                f"build it with condition_size={condition.shape[-1]} or project the vectors first"
            )


@final
class FirstStateCondition(Conditioned):
    """The first state of every recurrent layer within `layer` is tanh(W c + b) of the row's vector c, and c is not seen again.

    `layer` is an Elman network, LSTM (hidden and cell), GRU, one of their layer-normalized forms, or a `Stacked`, `Residual`
    or `WeightDrop` of such and of others, which begin as ever. Values [B, T, layer.in_size] to [B, T, layer.out_size]; the
    state is the layer's own. Parameters: `layer.…` and `first_state.weight` [n, condition_size], `first_state.bias` [n],
    with n the numbers in all these states, in their order. ValueError when no recurrent layer is found: a cache of keys or
    a convolution's past has no place for a vector.
    """

    def __init__(self, layer: Layer, condition_size: int) -> None:
        super().__init__(layer, condition_size)
        self.in_size = layer.in_size
        self.sizes = [tensor.shape[1] for part in _recurrent(layer) for tensor in state_tensors(part.initial_state(1))]
        if not self.sizes:
            raise ValueError(
                f"FirstStateCondition was given {type(layer).__name__}, which has no recurrent layer: use RepeatedCondition"
            )
        self.first_state = nn.Linear(condition_size, sum(self.sizes))

    def begin(self, condition: Tensor) -> State:
        self.check_condition(condition)
        return _begin(self.layer, iter(torch.tanh(self.first_state(condition)).split(self.sizes, dim=1)), condition)

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        return self.layer.step(x, state)

    def extra_repr(self) -> str:
        return f"condition_size={self.condition_size}"


class RepeatedState(NamedTuple):
    """State of a `RepeatedCondition`: that of its layer, and what every step is given, [B, n]."""

    layer: State
    given: Tensor


@final
class RepeatedCondition(Conditioned):
    """The row's vector c is given to `layer` at every step:

        how="concatenate"   y_1 … y_T = layer([x_1; c] … [x_T; c])        layer.in_size = in_size + condition_size
        how="add"           y_1 … y_T = layer(x_1 + W c … x_T + W c)      layer.in_size = in_size

    Both are one family: to concatenate in front of an affine map is to add a learned map of c to its result. Values
    [B, T, in_size] to [B, T, layer.out_size]. Parameters: `layer.…` and, to add, `map.weight` W [in_size, condition_size].
    ValueError for another `how` and for a layer too small for the vector.
    """

    state_type = RepeatedState

    def __init__(self, layer: Layer, condition_size: int, *, how: How = "concatenate") -> None:
        super().__init__(layer, condition_size)
        if how not in get_args(How):
            raise ValueError(f"RepeatedCondition has how {how!r}: choose from {', '.join(get_args(How))}")
        self.how: How = how
        self.in_size = layer.in_size - condition_size if how == "concatenate" else layer.in_size
        if self.in_size <= 0:
            raise ValueError(
                f"RepeatedCondition concatenates vectors of {condition_size} to the input of a layer that reads "
                f"{layer.in_size}: build the layer for in_size + condition_size features"
            )
        self.map = nn.Linear(condition_size, self.in_size, bias=False) if how == "add" else None

    def begin(self, condition: Tensor) -> RepeatedState:
        self.check_condition(condition)
        inner = self.layer.initial_state(len(condition), device=condition.device, dtype=condition.dtype)
        return RepeatedState(inner, condition if self.map is None else self.map(condition))

    def step(self, x: Sequence, state: RepeatedState) -> tuple[Sequence, RepeatedState]:
        self.check_input(x)
        self.check_state_type(x, state)
        self.check_batch_size(x, state.given)
        y, inner = self.layer.step(self._join(x, state.given), state.layer)
        return y, RepeatedState(inner, state.given)

    def _join(self, x: Sequence, given: Tensor) -> Sequence:
        repeated = given.unsqueeze(1).expand(-1, x.time, -1)  # [B, T, n]
        if self.map is None:
            return x.with_values(torch.cat([x.values, repeated.to(x.values.dtype)], dim=-1))
        return x.with_values(x.values + repeated)

    def extra_repr(self) -> str:
        return f"condition_size={self.condition_size}, how={self.how}"


def _inner(layer: Layer) -> list[Layer]:
    if isinstance(layer, Stacked):
        return [cast("Layer", part) for part in layer.layers]
    return [layer.layer] if isinstance(layer, Residual | WeightDrop) else []


def _recurrent(layer: Layer) -> Iterator[Layer]:
    if isinstance(layer, RECURRENT):
        yield layer
    for part in _inner(layer):
        yield from _recurrent(part)


def _begin(layer: Layer, pieces: Iterator[Tensor], condition: Tensor) -> State:
    """The layer's first state, with the next of `pieces` in place of every tensor of a recurrent layer's."""
    if isinstance(layer, Stacked):
        return tuple(_begin(part, pieces, condition) for part in _inner(layer))
    if isinstance(layer, Residual | WeightDrop):
        return _begin(layer.layer, pieces, condition)
    state = layer.initial_state(len(condition), device=condition.device, dtype=condition.dtype)
    return map_state(lambda _: next(pieces), state) if isinstance(layer, RECURRENT) else state
