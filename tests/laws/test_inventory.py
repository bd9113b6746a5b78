"""The inventory holds every public layer and pooling; `check` runs all laws that apply and touches nothing."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

import pytest
import torch
from torch import nn

import carryover.layers
from carryover.layers import Bidirectional, LawBroken, Layer, MeanPooling, Pooling, SumPooling, check
from carryover.layers.laws import LAWS
from carryover.sequence import Sequence
from laws.inventory import ROWS, Row, name
from laws.plain import LeakySum


def public_layers() -> dict[str, type[nn.Module]]:
    found = {one: getattr(carryover.layers, one) for one in carryover.layers.__all__}
    return {
        one: kind
        for one, kind in found.items()
        if inspect.isclass(kind) and issubclass(kind, Layer | Pooling) and not inspect.isabstract(kind)
    }


def without_row(public: Iterable[str], rows: Iterable[Row]) -> list[str]:
    present = {row.stands_for or type(row.make(0)).__name__ for row in rows}
    return sorted(set(public) - present)


def test_every_public_layer_has_a_row() -> None:
    assert without_row(public_layers(), ROWS) == []


def test_a_layer_without_a_row_is_noticed() -> None:
    assert without_row([*public_layers(), "NewLayer"], ROWS) == ["NewLayer"]
    assert without_row(public_layers(), [row for row in ROWS if row.name != "Highway"]) == ["Highway"]


def test_every_layer_defined_in_the_room_is_public() -> None:
    def below(kind: type) -> Iterable[type]:
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    kinds = [kind for base in (Layer, Pooling) for kind in below(base) if kind.__module__.startswith("carryover.layers.")]
    bases = {kind for kind in kinds if kind.__name__.startswith("_") and kind.__subclasses__()}
    hidden = [kind.__name__ for kind in kinds if kind.__name__ not in carryover.layers.__all__ and kind not in bases]
    assert hidden == []


def test_row_names_are_unique() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=name)
def test_trainable_parameters_all_receive_a_gradient(row: Row) -> None:
    layer = row.make(0).train()
    case = row.case()
    y = layer(case.make(9, 4))
    values = y if isinstance(y, torch.Tensor) else y.values
    if values.requires_grad:
        values.square().sum().backward()
    without = [one for one, parameter in layer.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert without == []


def test_check_runs_every_law_that_applies() -> None:
    assert check(LeakySum()) == [law for law in LAWS if law != "reversal"]
    assert check(Bidirectional(LeakySum(), LeakySum())) == [law for law in LAWS if law != "reset"]
    assert check(SumPooling(3)) == ["any length", "padding", "batch", "persistence"]
    assert check(SumPooling(3), reference_outputs=lambda _, x: x.zero_padding().values.sum(1))[-1] == "reference"


def test_check_names_the_broken_law_and_the_layer() -> None:
    class Shouts(LeakySum):
        def forward(self, x: Sequence) -> Sequence:
            return super().forward(x).with_values(x.values.new_ones(*x.values.shape[:2], self.out_size))

    with pytest.raises(LawBroken, match="Shouts breaks the law 'padding'") as caught:
        check(Shouts())
    assert caught.value.law == "padding"
    assert isinstance(caught.value, AssertionError)


def test_a_pooling_of_nan_is_told_as_a_broken_law() -> None:
    class Poisoned(MeanPooling):  # type: ignore[misc]
        def forward(self, x: Sequence) -> torch.Tensor:
            return x.values.sum(1) / x.lengths.unsqueeze(1)

    with pytest.raises(LawBroken, match="Poisoned breaks the law 'any length': output is not finite"):
        check(Poisoned(3))


def test_check_leaves_the_layer_and_the_random_state_alone() -> None:
    layer = LeakySum().train()
    before = {one: tensor.clone() for one, tensor in layer.state_dict().items()}
    random_state = torch.get_rng_state()
    check(layer)
    assert layer.training
    assert all(parameter.grad is None for parameter in layer.parameters())
    assert all(torch.equal(tensor, before[one]) for one, tensor in layer.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_check_works_in_bfloat16() -> None:
    check(LeakySum().to(torch.bfloat16))
