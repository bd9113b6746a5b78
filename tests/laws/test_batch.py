"""Law: neighbours full of NaN, permuted rows, a batch of one: the same outputs."""

from __future__ import annotations

import pytest
import torch

from carryover.layers import LawBroken
from carryover.layers.laws import Case, batch
from carryover.sequence import Sequence
from laws.inventory import ROWS, Row, name
from laws.plain import LeakySum


@pytest.mark.parametrize("row", ROWS, ids=name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_layer_treats_rows_by_themselves(row: Row, dtype: torch.dtype) -> None:
    batch(row.case(dtype))


class CentresTheBatch(LeakySum):
    """Broken: subtracts the mean over all rows."""

    def forward(self, x: Sequence) -> Sequence:
        return super().forward(x.with_values(x.values - x.zero_padding().values.mean((0, 1))))


class KnowsItsPlace(LeakySum):
    """Broken: depends on where in the batch a row stands."""

    def forward(self, x: Sequence) -> Sequence:
        y = super().forward(x)
        return y.map(lambda values: values + torch.arange(x.batch_size).view(-1, 1, 1))


class SumsWithZero(LeakySum):
    """Broken: adds nothing of its neighbours, but zero times a neighbour's NaN is NaN."""

    def forward(self, x: Sequence) -> Sequence:
        others = x.zero_padding().values.sum((0, 1)) * 0
        return super().forward(x.with_values(x.values + others))


class MixesGradients(LeakySum):
    """Broken: right outputs, but a row's gradient is scaled by the size of the batch."""

    def forward(self, x: Sequence) -> Sequence:
        y = super().forward(x)
        return y.with_values(y.values / x.batch_size + (y.values - y.values / x.batch_size).detach())


@pytest.mark.parametrize(
    ("layer", "finding"),
    [
        (CentresTheBatch(), "output"),
        (KnowsItsPlace(), "permuting the rows"),
        (SumsWithZero(), "neighbours full of NaN: nan"),
        (MixesGradients(), "gradient of row 0 alone"),
    ],
)
def test_rejects_a_broken_layer(layer: LeakySum, finding: str) -> None:
    with pytest.raises(LawBroken, match=f"law 'batch': .*{finding}"):
        batch(Case.of(layer))
