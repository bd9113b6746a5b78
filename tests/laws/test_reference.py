"""Law: a layer equals `torch.nn` on the same weights where that exists, else a plain loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from carryover.layers import LawBroken
from carryover.layers.laws import Case, reference
from laws.inventory import ROWS, Row, each_row, loop_leaky_sum, name
from laws.plain import LeakySum


@pytest.mark.parametrize("row", ROWS, ids=name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_layer_equals_its_reference(row: Row, dtype: torch.dtype) -> None:
    reference(row.case(dtype), row.reference)


class SlowerDecay(LeakySum):
    """Broken: another equation than the reference's."""

    def advance(self, drive: Tensor, state: Tensor, real: Tensor) -> Tensor:
        return super().advance(drive, state * 1.001, real)


class WrongBackward(LeakySum):
    """Broken: right outputs, wrong gradients."""

    def advance(self, drive: Tensor, state: Tensor, real: Tensor) -> Tensor:
        return super().advance(2 * drive - drive.detach(), state, real)


def test_the_honest_layer_passes() -> None:
    reference(Case.of(LeakySum()), each_row(loop_leaky_sum))


@pytest.mark.parametrize(("layer", "finding"), [(SlowerDecay(), "output"), (WrongBackward(), "gradient of the input")])
def test_rejects_a_broken_layer(layer: LeakySum, finding: str) -> None:
    with pytest.raises(LawBroken, match=f"law 'reference': {finding}"):
        reference(Case.of(layer), each_row(loop_leaky_sum))
