"""Law: the same weights run any length; a row of length 0 and a batch of one are legal."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn

from carryover.layers import Convolution, LawBroken
from carryover.layers.laws import Case, any_length
from carryover.sequence import Sequence
from laws.inventory import ROWS, Row, name
from laws.plain import LeakySum


@pytest.mark.parametrize("row", ROWS, ids=name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_layer_runs_any_length(row: Row, dtype: torch.dtype) -> None:
    any_length(row.case(dtype))


class EightSteps(LeakySum):
    """Broken: one bias a step, for eight steps."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(8, self.out_size))

    def forward(self, x: Sequence) -> Sequence:
        y = super().forward(x)
        return y.with_values(y.values + self.bias[: x.time])


class DividesByLength(LeakySum):
    """Broken: 0/0 in a row of length 0."""

    def forward(self, x: Sequence) -> Sequence:
        y = super().forward(x)
        return y.with_values(y.values / x.lengths.view(-1, 1, 1))


class DropsAStep(LeakySum):
    """Broken: one output fewer than its ratio of 1 promises."""

    def forward(self, x: Sequence) -> Sequence:
        return super().forward(x).slice(1, x.time + 1)


class WrongSize(LeakySum):
    """Broken: declares more features than it gives."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        self.out_size = 5

    def forward(self, x: Sequence) -> Sequence:
        return x.with_values(x.values @ self.input_weight.T).zero_padding()


class OtherPrecision(LeakySum):
    """Broken: answers in half the layer's precision."""

    def forward(self, x: Sequence) -> Sequence:
        return super().forward(x).to(torch.bfloat16)


class OtherWithoutGradients(LeakySum):
    """Broken: a second path for evaluation that computes something else."""

    def forward(self, x: Sequence) -> Sequence:
        y = super().forward(x)
        return y if torch.is_grad_enabled() else y.with_values(y.values * 1.01)


class LosesTheLast(Convolution):  # type: ignore[misc]
    """Broken: of an odd number of steps the last gives no output, against what it declares."""

    def forward(self, x: Sequence) -> Sequence:
        return super().forward(Sequence(x.values, x.lengths - x.lengths % 2))


class OtherRatio(Convolution):  # type: ignore[misc]
    """Broken: declares three outputs to four steps and gives one to two."""

    def __init__(self) -> None:
        super().__init__(3, 4, 3, stride=2)
        self.ratio = Fraction(3, 4)

    def output_lengths(self, lengths: torch.Tensor) -> torch.Tensor:
        return (lengths + 1) // 2


@pytest.mark.parametrize(
    ("layer", "finding"),
    [
        (LosesTheLast(3, 4, 3, stride=2), "0 outputs for 1 steps where the ratio 1/2 .* output_lengths says 1"),
        (OtherRatio(), "4000 steps more give 2000 outputs more where the ratio 3/4"),
        (EightSteps(), "lengths .17. raise RuntimeError"),
        (DividesByLength(), "not finite"),
        (DropsAStep(), "0 outputs for 1 steps where the ratio 1"),
        (WrongSize(), r"output shape .* 5\] was expected"),
        (OtherPrecision(), "bfloat16 where the layer's torch.float32"),
        (OtherWithoutGradients(), "without gradients"),
    ],
)
def test_rejects_a_broken_layer(layer: LeakySum, finding: str) -> None:
    with pytest.raises(LawBroken, match=f"law 'any length': .*{finding}"):
        any_length(Case.of(layer))
