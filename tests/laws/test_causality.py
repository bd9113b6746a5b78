"""Law: the gradient of an output with respect to the future is exactly zero if and only if the layer is causal."""

from __future__ import annotations

import pytest

from carryover.layers import Convolution, Embedding, LawBroken, Stacked, ids
from carryover.layers.laws import Case, causality
from carryover.sequence import Sequence
from laws.inventory import LAYER_ROWS, Row, name
from laws.plain import LeakySum


@pytest.mark.parametrize("row", LAYER_ROWS, ids=name)
def test_every_layer_sees_the_future_only_if_it_says_so(row: Row) -> None:
    causality(row.case())


class Peeks(LeakySum):
    """Broken: a millionth of the next input, while causal is declared."""

    def forward(self, x: Sequence) -> Sequence:
        x = x.zero_padding()
        return super().forward(x.with_values(x.values + 1e-6 * x.values.roll(-1, 1)))


class PeeksBoldly(LeakySum):
    """Broken: the next input, while causal is declared."""

    def forward(self, x: Sequence) -> Sequence:
        x = x.zero_padding()
        return super().forward(x.with_values(x.values + x.values.roll(-1, 1)))


class FalselyModest(LeakySum):
    """Broken: declares that it is not causal, but never looks ahead."""

    causal = False


class PeeksWithinItsStride(Convolution):  # type: ignore[misc]
    """Broken: output t uses step 2t + 1, which is read after step 2t for which it stands."""

    def forward(self, x: Sequence) -> Sequence:
        x = x.zero_padding()
        return super().forward(x.with_values(x.values.roll(-1, 1)))


def test_rejects_a_strided_layer_that_looks_ahead() -> None:
    with pytest.raises(LawBroken, match="law 'causality': output 0 depends on the later input 1 though causal is True"):
        causality(Case.of(PeeksWithinItsStride(3, 4, 3, stride=2)))


def test_rejects_a_layer_that_looks_ahead() -> None:
    with pytest.raises(LawBroken, match="law 'causality': output 0 depends on the later input 1 though causal is True"):
        causality(Case.of(Peeks()))


def test_rejects_a_layer_that_never_looks_ahead_but_says_it_does() -> None:
    with pytest.raises(LawBroken, match="law 'causality': no output depends on a later input though causal is False"):
        causality(Case.of(FalselyModest()))


def test_rejects_a_layer_of_ids_that_looks_ahead() -> None:
    with pytest.raises(LawBroken, match="law 'causality'"):
        causality(Case.of(Stacked(Embedding(7, 3), PeeksBoldly()), ids(7)))
