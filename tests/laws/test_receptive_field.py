"""Law: the declared receptive field is the measured one."""

from __future__ import annotations

import pytest

from carryover.layers import LawBroken, Perceptron
from carryover.layers.laws import Case, receptive_field
from laws.inventory import LAYER_ROWS, Row, name
from laws.plain import LeakySum


@pytest.mark.parametrize("row", LAYER_ROWS, ids=name)
def test_every_layer_sees_what_it_declares(row: Row) -> None:
    receptive_field(row.case())


class SeesMore(LeakySum):
    """Broken: unbounded, declared 3."""

    receptive_field = 3


class SeesLess(Perceptron):  # type: ignore[misc]
    """Broken: sees one step, declared 2."""

    receptive_field = 2


class SeesOne(Perceptron):  # type: ignore[misc]
    """Broken: sees one step, declared unbounded."""

    receptive_field = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("layer", "finding"),
    [
        (SeesMore(), "an output sees 9 steps where 3 were declared"),
        (SeesLess(3, (), 2), "an output sees 1 steps where 2 were declared"),
        (SeesOne(3, (), 2), "does not see the first input"),
    ],
)
def test_rejects_a_broken_layer(layer: LeakySum | Perceptron, finding: str) -> None:
    with pytest.raises(LawBroken, match=f"law 'receptive field': .*{finding}"):
        receptive_field(Case.of(layer))
