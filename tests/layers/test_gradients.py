"""Analytic against numerical derivatives, in double precision, for every row of the inventory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError
from torch.func import functional_call

from carryover.sequence import Sequence
from laws.inventory import ROWS, Row, name
from laws.plain import LeakySum


def agrees(row: Row) -> bool:
    """Whether derivatives of all outputs to the input and to every parameter equal finite differences."""
    case = row.case(torch.float64)
    x = case.make(4, 0, 2)
    real = x.values.is_floating_point()
    # Id 0 of a character network stands for no word and has no derivative by intention: leave it out.
    x = x.to(torch.float64) if real else x.with_values(x.values.clamp(min=1))
    names = [one for one, _ in case.layer.named_parameters()]
    parameters = [parameter.detach().requires_grad_() for parameter in case.layer.parameters()]

    def outputs(*tensors: Tensor) -> Tensor:
        values, given = (tensors[0], tensors[1:]) if real else (x.values, tensors)
        y = functional_call(case.layer, dict(zip(names, given, strict=True)), (x.with_values(values),))
        return y if isinstance(y, Tensor) else y.values

    inputs = [x.values.requires_grad_(), *parameters] if real else parameters
    return torch.autograd.gradcheck(outputs, inputs, fast_mode=True)


# A sparse gradient is beyond this check; the law `reference` compares it with torch's own.
DENSE_ROWS = [row for row in ROWS if row.name != "Embedding, padding id"]


@pytest.mark.parametrize("row", DENSE_ROWS, ids=name)
def test_derivatives_equal_finite_differences(row: Row) -> None:
    assert agrees(row)


class ForgetsAFactor(torch.autograd.Function):
    """x² with the derivative x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * ctx.saved_tensors[0]


class WrongDerivative(LeakySum):
    """Broken: its hand-written backward pass forgets a factor."""

    def forward(self, x: Sequence) -> Sequence:
        y = super().forward(x)
        return y.with_values(ForgetsAFactor.apply(y.values))


def test_a_wrong_derivative_is_noticed() -> None:
    with pytest.raises(GradcheckError, match="mismatch"):
        agrees(Row("wrong", WrongDerivative, lambda _, x: x))
