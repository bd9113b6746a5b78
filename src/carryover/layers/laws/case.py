"""What every law needs: a layer under examination, inputs for it, and ways to compare and to look back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from carryover.layers.base import Layer
from carryover.layers.pooling import Pooling
from carryover.sequence import Sequence

Examined = Layer | Pooling
Inputs = Callable[[list[int], torch.Generator], Sequence]
"""Makes an input whose rows have the given lengths, from the given source of randomness."""

LONG = 17
"""Steps of the longest row the laws use."""


class LawBroken(AssertionError):
    """A layer does not keep the contract: names the law, the layer and the two values that disagree."""

    def __init__(self, law: str, layer: nn.Module, finding: str) -> None:
        self.law = law
        super().__init__(f"{type(layer).__name__} breaks the law '{law}': {finding}")


def real_values(*features: int) -> Inputs:
    """Inputs of normally distributed numbers [B, T, *features]."""

    def make(lengths: list[int], generator: torch.Generator) -> Sequence:
        return Sequence.of(torch.randn(len(lengths), max(lengths), *features, generator=generator), lengths)

    return make


def ids(count: int, *features: int) -> Inputs:
    """Inputs of ids 0 … count−1, [B, T, *features]."""

    def make(lengths: list[int], generator: torch.Generator) -> Sequence:
        return Sequence.of(torch.randint(count, (len(lengths), max(lengths), *features), generator=generator), lengths)

    return make


def tolerances(dtype: torch.dtype) -> tuple[float, float]:
    """Relative and absolute difference that rounding may cause when the order of a sum changes."""
    return {torch.float64: (1e-8, 1e-10), torch.float32: (1e-3, 2e-5)}.get(dtype, (5e-2, 1e-1))


@dataclass(frozen=True)
class Case:
    """One layer (a private copy, in evaluation mode) and everything a law does with it."""

    layer: Examined
    inputs: Inputs
    seed: int = 0

    @classmethod
    def of(cls, layer: Examined, inputs: Inputs | None = None, *, seed: int = 0) -> Case:
        """A case that leaves `layer` itself untouched: its mode, gradients and weights stay what they are."""
        return cls(copy.deepcopy(layer).eval(), inputs or real_values(layer.in_size), seed)

    @property
    def like(self) -> Tensor:
        """A tensor of the layer's type of number on the layer's device."""
        real = (tensor for tensor in [*self.layer.parameters(), *self.layer.buffers()] if tensor.is_floating_point())
        return next(real, torch.zeros(()))

    @property
    def causal_layer(self) -> Layer | None:
        """The layer when it has state, else None."""
        return self.layer if isinstance(self.layer, Layer) and self.layer.causal else None

    def make(self, *lengths: int, seed: int = 0) -> Sequence:
        """An input with these lengths, the same for the same seed."""
        x = self.inputs(list(lengths), torch.Generator().manual_seed(1000 * self.seed + seed))
        x = x.to(self.like.device)
        return x.to(self.like.dtype) if x.values.is_floating_point() else x

    def run(self, x: Sequence) -> Sequence:
        """The whole pass; one vector a row counts as a sequence of one step."""
        y = self.layer(x)
        return one_step(y) if isinstance(y, Tensor) else y

    def broken(self, law: str, finding: str) -> LawBroken:
        return LawBroken(law, self.layer, finding)

    def require_equal(self, law: str, what: str, found: Tensor, expected: Tensor) -> None:
        """Raise `LawBroken` unless the two agree up to rounding (a NaN agrees with nothing)."""
        if found.shape != expected.shape:
            raise self.broken(law, f"{what}: shape {tuple(found.shape)} where {tuple(expected.shape)} was expected")
        relative, absolute = tolerances(found.dtype)
        if torch.allclose(found, expected, relative, absolute):
            return
        excess = (found - expected).abs() - relative * expected.abs()
        worst = int(excess.nan_to_num(nan=torch.inf, posinf=torch.inf).argmax())
        at = [int(i) for i in torch.unravel_index(torch.tensor(worst), found.shape)]
        one, other = found.flatten()[worst].item(), expected.flatten()[worst].item()
        raise self.broken(law, f"{what}: {one:.6g} where {other:.6g} was expected, at {at}")


@dataclass(frozen=True)
class Gradients:
    """Gradients of one number: with respect to the input (None for ids) and to every parameter by name."""

    of_input: Tensor | None
    of_parameters: dict[str, Tensor]


def one_step(vectors: Tensor) -> Sequence:
    """One vector a row [B, …] as a sequence of one step, NaN and all: whether that is sound is for the laws to say."""
    return Sequence(vectors.unsqueeze(1), vectors.new_ones(len(vectors), dtype=torch.int64))


def leaf(x: Sequence) -> Sequence:
    """The same input as a leaf that collects gradients (ids are returned as they are)."""
    return x.with_values(x.values.detach().clone().requires_grad_()) if x.values.is_floating_point() else x


def fill_padding(x: Sequence, filling: float) -> Sequence:
    """The same input, as a constant, with `filling` in its padding; for ids an impossible number."""
    values = x.values.detach()
    number = filling if values.is_floating_point() else (-1 if filling != filling else torch.iinfo(values.dtype).max)
    return x.with_values(values.masked_fill(~x.expand_mask(), number))


def gradients(case: Case, x: Sequence, number: Tensor) -> Gradients:
    """Differentiate `number` with respect to `x.values` and the parameters; zeros where nothing depends."""
    named = {name: parameter for name, parameter in case.layer.named_parameters() if parameter.requires_grad}
    wanted = ([x.values] if x.values.requires_grad else []) + list(named.values())
    if not number.requires_grad or not wanted:
        found: list[Tensor] = [torch.zeros_like(tensor) for tensor in wanted]
    else:
        got = torch.autograd.grad(number, wanted, retain_graph=True, allow_unused=True)
        found = [
            torch.zeros_like(tensor) if gradient is None else gradient.to_dense()
            for tensor, gradient in zip(wanted, got, strict=True)
        ]
    of_input = found.pop(0) if x.values.requires_grad else None
    return Gradients(of_input, dict(zip(named, found, strict=True)))


def require_equal_gradients(case: Case, law: str, what: str, found: Gradients, expected: Gradients) -> None:
    """Raise `LawBroken` unless both sets of gradients agree; padding is part of the comparison."""
    if found.of_input is not None and expected.of_input is not None:
        case.require_equal(law, f"gradient of the input {what}", found.of_input, expected.of_input)
    for name, gradient in expected.of_parameters.items():
        case.require_equal(law, f"gradient of {name} {what}", found.of_parameters[name], gradient)


def loss_weights(y: Sequence, seed: int = 7) -> Tensor:
    """Fixed random numbers in the shape of `y.values`: their weighted sum is the number that laws differentiate."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(y.values.shape, generator=generator).to(y.values)


def influence(case: Case, time: int, draws: int = 3) -> Tensor:
    """bool [T_out, T_in]: which input steps an output step depends on, for one row of `time` steps.

    Measured by exact gradients for real inputs and by exchanging one id at a time for ids; the union over some random
    inputs, since a rectifier can hide a dependence.
    """
    measure = _by_gradients if case.make(time).values.is_floating_point() else _by_exchange
    seen = [measure(case, case.make(time, seed=draw), case.make(time, seed=draw + 100)) for draw in range(draws)]
    return torch.stack(seen).any(0)


def _by_gradients(case: Case, x: Sequence, _: Sequence) -> Tensor:
    x = leaf(x)
    y = case.run(x)
    weighted = (y.values * loss_weights(y)).flatten(2).sum(2)  # [1, T_out]
    rows = []
    for number in weighted[0]:
        gradient = gradients(case, x, number).of_input
        assert gradient is not None
        rows.append((gradient != 0).flatten(2).any(2)[0])
    return torch.stack(rows)


def _by_exchange(case: Case, x: Sequence, other: Sequence) -> Tensor:
    with torch.no_grad():
        before = case.run(x).values
        columns = []
        for step in range(x.time):
            values = x.values.clone()
            values[:, step] = other.values[:, step]
            change = (case.run(x.with_values(values)).values - before).abs().flatten(2).amax(2)[0]  # [T_out]
            columns.append(~(change <= tolerances(before.dtype)[1]))
    return torch.stack(columns, dim=1)
