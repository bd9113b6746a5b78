"""Three ways of leaving things out in training: single elements, one mask a row, recurrent weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from carryover.layers.base import Layer, State
from carryover.layers.element import ElementLayer
from carryover.sequence import Sequence


def check_probability(probability: float) -> float:
    """The probability itself; ValueError unless 0 ≤ probability < 1."""
    if not 0 <= probability < 1:
        raise ValueError(f"a dropout probability is {probability}: it must be at least 0 and below 1")
    return probability


_part: ContextVar[tuple[range, int] | None] = ContextVar("part of a batch", default=None)


@contextmanager
def part_of_batch(part: range, whole: int) -> Iterator[None]:
    """While the block runs, every batch is the rows `part` of one of `whole` rows that processes share.

    All that drops activations then drops what it would drop of these rows if the batch were in one piece, given the same
    random state in all processes.
    """
    token = _part.set((part, whole))
    try:
        yield
    finally:
        _part.reset(token)


def is_part() -> bool:
    """Whether batches are parts just now (see `part_of_batch`)."""
    return _part.get() is not None


def drop(values: Tensor, probability: float, training: bool) -> Tensor:
    """`torch.nn.functional.dropout` of values [rows, ...], which may be a part of a batch (see `part_of_batch`).

    Raises ValueError when they have another number of rows than the part.
    """
    found = _part.get()
    if found is None or not training or probability == 0:
        return F.dropout(values, probability, training)
    part, whole = found
    if len(values) != len(part):
        raise ValueError(f"{len(values)} rows were given, and this process has the rows {part.start} to {part.stop - 1}")
    # The library draws in the order in which the values lie in memory, so the mask of the whole batch must lie likewise.
    strides = torch.empty_like(values).stride()
    order = sorted(range(values.dim()), key=lambda axis: (-strides[axis], -axis))
    shape = (whole, *values.shape[1:])
    ones = torch.ones([shape[axis] for axis in order], dtype=values.dtype, device=values.device)
    places = [order.index(axis) for axis in range(values.dim())]
    return values * F.dropout(ones.permute(places), probability, True)[part.start : part.stop]


@final
class Dropout(ElementLayer):
    """Each element is zero with the given probability, else divided by 1 − probability; drawn anew at every step.

    Srivastava et al. 2014. The identity in evaluation mode. Values [B, T, size] to the same.
    """

    def __init__(self, size: int, probability: float) -> None:
        super().__init__()
        self.in_size = self.out_size = size
        self.probability = check_probability(probability)

    def element(self, values: Tensor) -> Tensor:
        return drop(values, self.probability, self.training)

    def extra_repr(self) -> str:
        return f"{self.in_size}, {self.probability}"


@final
class VariationalDropout(Layer):
    """One dropout mask for each row, the same at all its steps; values [B, T, size] to the same.

    y_t = m ⊙ x_t / (1 − p) with m drawn once a row. Gal, Ghahramani 2016, "A theoretically grounded application of
    dropout in recurrent neural networks". The identity in evaluation mode.

    A whole pass draws new masks. Step by step the mask is the state: `initial_state` draws it (all ones in evaluation
    mode), so a row keeps its mask from one chunk to the next until its state is restarted. Make the state in the mode
    in which it is used.
    """

    causal = True
    receptive_field = 1
    axes = None

    def __init__(self, size: int, probability: float) -> None:
        super().__init__()
        self.in_size = self.out_size = size
        self.probability = check_probability(probability)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """The multipliers [batch_size, size]: 0 or 1 / (1 − probability) in training, else 1."""
        ones = torch.ones(batch_size, self.in_size, device=device, dtype=dtype)
        return drop(ones, self.probability, self.training)

    def forward(self, x: Sequence) -> Sequence:
        self.check_input(x)
        state = self.initial_state(x.batch_size, device=x.device, dtype=x.values.dtype)
        return self.step(x, state)[0]

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        self.check_input(x)
        self.check_state(x, state)
        if not self.training:
            return x.zero_padding(), state
        return x.map(lambda values: values * state.to(values.dtype).unsqueeze(1)), state

    def extra_repr(self) -> str:
        return f"{self.in_size}, {self.probability}"


@final
class WeightDrop(Layer):
    """Another layer with some of its weights dropped in training, as the weight-dropped LSTM drops W_h.

    Every call in training (a whole pass, or a `step` over a chunk) draws one mask for each named weight, the same for
    all rows and steps of that call: dropping connections of the recurrence itself, which dropping activations cannot do
    without breaking the memory. Merity, Keskar, Socher 2018, "Regularizing and optimizing LSTM language models".
    In evaluation mode the layer runs as it is. The parameters keep the names and values they have in `layer`; only the
    copies that a call works with are dropped.

    Parameters
    ----------
    layer : any layer; sizes, causality and state are its own.
    probability : with which a single weight is zero.
    names : the parameters of `layer` to drop, by default every one called `hidden_weight`. ValueError when there is
        none of that name.
    """

    def __init__(self, layer: Layer, probability: float, *, names: tuple[str, ...] | None = None) -> None:
        super().__init__()
        present = [name for name, _ in layer.named_parameters()]
        if names is None:
            names = tuple(name for name in present if name.split(".")[-1] == "hidden_weight")
        if missing := [name for name in names or ("hidden_weight",) if name not in present]:
            raise ValueError(f"{type(layer).__name__} has no parameter {missing[0]!r} to drop: choose from {present}")
        self.layer = layer
        self.names = names
        self.probability = check_probability(probability)
        self.in_size, self.out_size, self.ratio = layer.in_size, layer.out_size, layer.ratio
        self.feature_axis = layer.feature_axis
        self.reads_ids, self.axes = layer.reads_ids, layer.axes
        self.causal, self.receptive_field = layer.causal, layer.receptive_field

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return self.layer.output_lengths(lengths)

    def forward(self, x: Sequence) -> Sequence:
        if not self.training:
            return self.layer(x)
        return functional_call(self.layer, self._drop(), (x,))

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return self.layer.initial_state(batch_size, device=device, dtype=dtype)

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        if not self.training:
            return self.layer.step(x, state)
        dropped = {f"layer.{name}": weight for name, weight in self._drop().items()}
        return functional_call(_Step(self.layer), dropped, (x, state))

    def _drop(self) -> dict[str, Tensor]:
        return {name: F.dropout(self.layer.get_parameter(name), self.probability) for name in self.names}

    def extra_repr(self) -> str:
        return f"probability={self.probability}, names={list(self.names)}"


class _Step(nn.Module):
    """`step` as a module's forward, the only method whose weights `functional_call` can replace."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        return self.layer.step(x, state)
