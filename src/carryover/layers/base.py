"""The contract every layer obeys: whole pass, step, declared causality and receptive field.

State is an argument and a return value of `step`, never an attribute of the layer: that one choice gives streaming,
truncated back-propagation (detach the state), generation and serving from the same code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from carryover.sequence import Sequence

State = Any
"""A tensor with the batch as its first dimension, or a (named) tuple of states. `()` is the state of a layer without memory."""


class Layer(nn.Module, ABC):
    """A map from `Sequence` to `Sequence` that treats every row independently and ignores padding.

    Attributes
    ----------
    in_size, out_size : numbers of features of the input and output values. For a layer that reads integer ids,
        `in_size` is the number of ids.
    reads_ids : whether the values are integer ids and not real numbers.
    axes : dimensions of the values that it reads, batch and time among them; None where a step may have any axes.
    feature_axis : the dimension of the values that holds the features: the last but for layers of images, whose
        elements are [C, H, W] and whose features stand at 2.
    causal : whether output t depends on inputs up to t only; exactly the causal layers have `step`.
    receptive_field : number of input steps one output sees, `None` when unbounded.
    ratio : outputs per input step. A row of length l has `output_lengths(l)` outputs, ratio · l rounded up unless the
        layer says otherwise. Output t stands for input step ⌊t / ratio⌋, and that is the last one a causal layer uses.
    state_type : what a state of the layer is: Tensor, a named tuple, or tuple.
    fast : False makes the layer take its plain path instead of a fused one; `carryover.layers.taps` sets it for a while.
    """

    in_size: int
    out_size: int
    causal: bool = False
    receptive_field: int | None = None
    ratio: Fraction = Fraction(1)
    fast: bool = True
    reads_ids: bool = False
    axes: int | None = 3
    feature_axis: int = -1
    state_type: type = Tensor

    def __call__(self, x: Sequence, *args: Any, **kwargs: Any) -> Any:
        require_sequence(self, x)
        return super().__call__(x, *args, **kwargs)

    @abstractmethod
    def forward(self, x: Sequence) -> Sequence:
        """Whole pass. `x.values` is [B, T, in_size] (or [B, T] ids); padded outputs are exactly zero."""

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Number of outputs of rows of the given lengths, int64 of any shape."""
        return -(-lengths * self.ratio.numerator // self.ratio.denominator)

    @property
    def keeps_length(self) -> bool:
        """Whether every row has as many outputs as steps."""
        steps = torch.arange(1, 65, device="cpu")  # also where a layer is built without memory
        return self.ratio == 1 and torch.equal(self.output_lengths(steps), steps)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """State before the first step, every tensor [batch_size, ...]. Raises TypeError when the layer is not causal."""
        raise self._not_causal("has no initial state")

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        """Advance by `x.values.shape[1]` steps; a row moves by its own length only. Raises TypeError if not causal."""
        raise self._not_causal("cannot be stepped")

    def stages(self) -> list[list[Layer]]:
        """What it is made of, from input to output: stages that run one after the other, each a few layers in their order.

        The output of a stage is a vector that is worth looking at; a layer that is not made of others is one stage.
        """
        return [[self]]

    def require_causal(self, otherwise: str) -> None:
        """Raise TypeError unless the layer is causal; `otherwise` says what it cannot do then: "cannot be stepped"."""
        if not self.causal:
            raise self._not_causal(otherwise)

    def _not_causal(self, what: str) -> TypeError:
        return TypeError(f"{type(self).__name__} {what}: causal is {self.causal}; run the whole pass, or use a causal layer")

    def check_input(self, x: Sequence) -> None:
        """Raise TypeError as `check_kind` does, ValueError when the shape of `x` is not [batch, time, …] with `in_size` features."""
        self.check_kind(x)
        if self.reads_ids:
            return
        shape = tuple(x.values.shape)
        if len(shape) < 3 or self.axes not in (None, len(shape)):
            axes = ["batch", "time", str(self.in_size)] + ["…"] * (self.axes is None or self.axes > 3)
            repair = "values.unsqueeze(2) for one number a step" if len(shape) < 3 else "add or flatten axes"
            raise ValueError(
                f"{type(self).__name__} reads values [{', '.join(axes)}] and got shape {shape}: give one vector a step; {repair}"
            )
        if (found := shape[self.feature_axis]) != self.in_size:
            raise ValueError(
                f"{type(self).__name__} expects {self.in_size} features and got {found}: "
                f"build it with in_size={found} or project the input first"
            )

    def check_kind(self, x: Sequence) -> None:
        """Raise TypeError on what is no `Sequence`, on ids where real numbers are read, or the reverse, and on numbers of
        another type than the layer's weights."""
        require_sequence(self, x)
        if not self.reads_ids:
            check_numbers(self, x.values)
        elif x.values.dtype not in (torch.int64, torch.int32):
            repair = "number the items first" if x.values.is_floating_point() else "use values.long()"
            raise TypeError(f"{type(self).__name__} reads integer ids, int64 or int32, and got {x.values.dtype}: {repair}")

    def check_state(self, x: Sequence, state: State) -> None:
        """Raise TypeError as `check_state_type` does, ValueError as `check_batch_size` does."""
        self.check_state_type(x, state)
        self.check_batch_size(x, state)

    def check_state_type(self, x: Sequence, state: State) -> None:
        """Raise TypeError when `state` is not of the layer's `state_type`."""
        if not isinstance(state, self.state_type):
            raise TypeError(
                f"{type(self).__name__} cannot use a state of type {type(state).__name__}; "
                f"start from `initial_state({x.batch_size})`"
            )

    def check_batch_size(self, x: Sequence, state: State) -> None:
        """Raise ValueError when the batch size of `state`, or of a part of one, is not that of `x`."""
        for tensor in state_tensors(state):
            if tensor.shape[0] != x.batch_size:
                raise ValueError(
                    f"{type(self).__name__} was given a state of batch size {tensor.shape[0]} with an input of batch "
                    f"size {x.batch_size}: make one with initial_state({x.batch_size})"
                )


def require_sequence(reader: nn.Module, x: object) -> None:
    """Raise TypeError, naming the module that reads it, unless `x` is a `Sequence`."""
    if not isinstance(x, Sequence):
        raise TypeError(
            f"{type(reader).__name__} reads a Sequence and got {type(x).__name__}: wrap the values, Sequence.of(values, lengths)"
        )


def check_numbers(reader: nn.Module, values: Tensor) -> None:
    """Raise TypeError unless the values are real numbers of the type of the reader's weights; under autocast they may differ."""
    if not values.is_floating_point():
        repair = (
            "give real and imaginary parts as features"
            if values.is_complex()
            else "embed the ids first, or turn counts into floats"
        )
        raise TypeError(f"{type(reader).__name__} reads real numbers and got {values.dtype}: {repair}")
    own = number_type(reader)
    if own is not None and own != values.dtype and not torch.is_autocast_enabled(values.device.type):
        raise TypeError(
            f"{type(reader).__name__} has weights of {own} and got values of {values.dtype}: use x.to({own}), or "
            f"layer.to({values.dtype})"
        )


def number_type(module: nn.Module) -> torch.dtype | None:
    """The type of a module's first weights that are real numbers; None where it has none."""
    for parameter in module._parameters.values():
        if parameter is not None and parameter.is_floating_point():
            return parameter.dtype
    for child in module._modules.values():
        if child is not None and (found := number_type(child)) is not None:
            return found
    return None


def state_tensors(state: State) -> list[Tensor]:
    """All tensors of a state, in order."""
    if isinstance(state, Tensor):
        return [state]
    return [tensor for part in state for tensor in state_tensors(part)]


def map_state(function: Callable[..., Tensor], state: State, *others: State) -> State:
    """Apply `function` to every tensor of `state` (and of states of the same shape), keeping the structure."""
    if isinstance(state, Tensor):
        return function(state, *others)
    parts = [map_state(function, part, *(other[i] for other in others)) for i, part in enumerate(state)]
    return tuple(parts) if type(state) in (tuple, list) else type(state)(*parts)


def detach_state(state: State) -> State:
    """The same state without its history: the border of truncated back-propagation through time."""
    return map_state(Tensor.detach, state)


def choose_rows(rows: Tensor, where_true: State, where_false: State) -> State:
    """Row b of the result comes from `where_true` if `rows[b]` else from `where_false`. `rows` is bool [B].

    Of two caches that have grown differently (see `same_width`) the result is as wide as the wider.
    """

    def choose(yes: Tensor, no: Tensor) -> Tensor:
        yes, no = same_width(yes, no)
        return torch.where(rows.view(-1, *([1] * (yes.dim() - 1))), yes, no)

    return map_state(choose, where_true, where_false)


def same_width(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Two caches [B, S, ..., features] that have grown to different S, the narrower filled up with zeros.

    Tensors of fewer than three axes or of equal S are returned as they are.
    """
    if one.dim() < 3 or other.dim() != one.dim() or one.shape[1] == other.shape[1]:
        return one, other
    width = max(one.shape[1], other.shape[1])

    def widen(tensor: Tensor) -> Tensor:
        more = tensor.new_zeros(tensor.shape[0], width - tensor.shape[1], *tensor.shape[2:])
        return torch.cat([tensor, more], dim=1)

    return widen(one), widen(other)
