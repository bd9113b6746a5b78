"""Law: names and shapes of parameters match the golden file; save → load → same output."""

from __future__ import annotations

import pytest
import torch

from carryover.layers import LawBroken
from carryover.layers.laws import Case, persistence
from carryover.sequence import Sequence
from golden.parameters import describe, differences, stored
from laws.inventory import ROWS, Row, name
from laws.plain import LeakySum


@pytest.mark.parametrize("row", ROWS, ids=name)
def test_every_layer_gives_the_same_after_loading_into_a_new_one(row: Row) -> None:
    persistence(row.case(), lambda: row.make(1))


@pytest.mark.parametrize("row", ROWS, ids=name)
def test_every_layer_gives_the_same_after_loading_into_a_copy(row: Row) -> None:
    persistence(row.case(torch.float64))


def test_names_and_shapes_match_the_golden_file() -> None:
    assert differences(describe(), stored()) == []


def test_a_renamed_or_reshaped_parameter_is_noticed() -> None:
    golden = stored()
    renamed = {layer: dict(tensors) for layer, tensors in golden.items()}
    renamed["Highway"]["new.weight"] = renamed["Highway"].pop("gate.weight")
    renamed["Embedding"]["weight"] = [4, 11]
    del renamed["Residual"]
    assert differences(renamed, golden) == [
        "Embedding: weight has shape [4, 11], the golden file says [11, 4]",
        "Highway: gate.weight is missing",
        "Highway: new.weight is not in the golden file",
        "Residual: no such row in the inventory",
    ]


class HidesATensor(LeakySum):
    """Broken: a weight that is no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = {"offset": [torch.randn(4)]}

    def forward(self, x: Sequence) -> Sequence:
        return super().forward(x).map(lambda values: values + self.hidden["offset"][0])


class ForgetsABuffer(LeakySum):
    """Broken: a random buffer that is left out of the state dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.randn(4), persistent=False)

    def forward(self, x: Sequence) -> Sequence:
        return super().forward(x).map(lambda values: values + self.offset)


class OtherNames(LeakySum):
    """Broken: a rebuilt layer has other parameter names."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        OtherNames.made += 1
        self.register_parameter(f"weight_{OtherNames.made}", torch.nn.Parameter(torch.zeros(1)))


@pytest.mark.parametrize(
    ("build", "finding"),
    [
        (HidesATensor, "hidden is a tensor outside the state dictionary"),
        (ForgetsABuffer, "output after saving and loading"),
        (OtherNames, "saved tensors do not load"),
    ],
)
def test_rejects_a_broken_layer(build: type[LeakySum], finding: str) -> None:
    with pytest.raises(LawBroken, match=f"law 'persistence': .*{finding}"):
        persistence(Case.of(build()), build)
