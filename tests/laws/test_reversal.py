"""Law: bidirectional layers reverse within each row's own length."""

from __future__ import annotations

import pytest
import torch

from carryover.layers import LawBroken, Layer
from carryover.layers.laws import Case, reversal
from carryover.sequence import Sequence
from laws.inventory import BIDIRECTIONAL_ROWS, Row, name
from laws.plain import LeakySum


@pytest.mark.parametrize("row", BIDIRECTIONAL_ROWS, ids=name)
def test_every_bidirectional_layer_reverses_each_row_by_itself(row: Row) -> None:
    reversal(row.case())


class FlipsTheBatch(Layer):
    """Broken: turns the padded tensor around, so that short rows begin with their padding."""

    def __init__(self) -> None:
        super().__init__()
        self.in_size, self.out_size = 3, 8
        self.forward_layer, self.backward_layer = LeakySum(), LeakySum()

    def forward(self, x: Sequence) -> Sequence:
        full = Sequence.of(x.zero_padding().values.flip(1) + 0.1)
        back = self.backward_layer(full).values.flip(1)
        return x.with_values(torch.cat([self.forward_layer(x).values, back], dim=-1)).zero_padding()


class ForgetsToTurnBack(FlipsTheBatch):
    """Broken: the backward layer's outputs stay in its own order."""

    def forward(self, x: Sequence) -> Sequence:
        back = self.backward_layer(x.reverse())
        return x.with_values(torch.cat([self.forward_layer(x).values, back.values], dim=-1))


@pytest.mark.parametrize("layer", [FlipsTheBatch(), ForgetsToTurnBack()])
def test_rejects_a_broken_layer(layer: Layer) -> None:
    with pytest.raises(LawBroken, match="law 'reversal': output of row"):
        reversal(Case.of(layer))
