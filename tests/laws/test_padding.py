"""Law: NaN in the padding changes no real output and no gradient; padded outputs are zero."""

from __future__ import annotations

import pytest
import torch

from carryover.layers import Embedding, LawBroken, MaxPooling, ids
from carryover.layers.laws import Case, padding
from carryover.sequence import Sequence
from laws.inventory import ROWS, Row, name
from laws.plain import LeakySum


@pytest.mark.parametrize("row", ROWS, ids=name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_layer_ignores_padding(row: Row, dtype: torch.dtype) -> None:
    padding(row.case(dtype))


class MultipliesByMask(LeakySum):
    """Broken: NaN times zero is NaN."""

    def forward(self, x: Sequence) -> Sequence:
        return super().forward(x.with_values(x.values * x.expand_mask())).map(lambda values: values + 0 * x.values.sum())


class SpeaksInPadding(LeakySum):
    """Broken: a bias in padded outputs."""

    def forward(self, x: Sequence) -> Sequence:
        y = super().forward(x)
        return y.with_values(y.values + 1)


class MasksTooLate(LeakySum):
    """Broken: right outputs, but the gradient of a square at NaN is NaN even where it is then masked out."""

    def forward(self, x: Sequence) -> Sequence:
        squares = x.values * x.values
        return super().forward(x.with_values(torch.where(x.expand_mask(), squares, 0)))


class ZeroWithGradient(LeakySum):
    """Broken: padded outputs are zero in value, yet a loss that weighs them reaches the weights."""

    def forward(self, x: Sequence) -> Sequence:
        y = super().forward(x)
        total = self.input_weight.sum()
        return y.with_values(y.values + (total - total.detach()))


class CountsPaddedSteps(LeakySum):
    """Broken: depends on how far the batch is padded."""

    def forward(self, x: Sequence) -> Sequence:
        y = super().forward(x)
        return y.with_values(y.values / max(1, x.time))


@pytest.mark.parametrize(
    ("layer", "finding"),
    [
        (MultipliesByMask(), "nan"),
        (SpeaksInPadding(), "padded output is 1 where 0"),
        (MasksTooLate(), "gradient of the input with NaN in the padding: nan"),
        (ZeroWithGradient(), "gradient of input_weight"),
        (CountsPaddedSteps(), "with more padding"),
    ],
)
def test_rejects_a_broken_layer(layer: LeakySum, finding: str) -> None:
    with pytest.raises(LawBroken, match=f"law 'padding': .*{finding}"):
        padding(Case.of(layer))


def test_rejects_a_broken_pooling() -> None:
    class PoolsPadding(MaxPooling):  # type: ignore[misc]
        def forward(self, x: Sequence) -> torch.Tensor:
            return x.values.amax(1)

    with pytest.raises(LawBroken, match="law 'padding'"):
        padding(Case.of(PoolsPadding(3)))


def test_rejects_a_layer_that_looks_up_padded_ids() -> None:
    class LooksUpPadding(Embedding):  # type: ignore[misc]
        def forward(self, x: Sequence) -> Sequence:
            return x.with_values(self.weight[x.values.clamp(0, 4)])

    with pytest.raises(LawBroken, match="law 'padding'"):
        padding(Case.of(LooksUpPadding(5, 2), ids(5)))
