"""Wrong input to every layer of the inventory: the error names a layer of it, both values and what to do."""

from __future__ import annotations

import re

import pytest
import torch

from carryover.layers import LSTM, Layer, Pooling, check, map_state
from carryover.sequence import Sequence
from laws.inventory import CAUSAL_ROWS, LAYER_ROWS, ROWS, Row, name

LENGTHS = (4, 2)
REAL_ROWS = [row for row in ROWS if row.case().make(*LENGTHS).values.is_floating_point()]
JOINED_ROWS = ("WaveNet, conditioned", "WaveNetBlock, conditioned")  # one input for the tests; two in truth
SINGLE_ROWS = [row for row in REAL_ROWS if row.name not in JOINED_ROWS]
ID_ROWS = [row for row in ROWS if row not in REAL_ROWS]
STATEFUL_ROWS = [row for row in CAUSAL_ROWS if row.case().layer.initial_state(1) != ()]  # type: ignore[union-attr]
CENTRED_ROWS = [row for row in LAYER_ROWS if row not in CAUSAL_ROWS]


def says(error: BaseException, row: Row, *values: object) -> None:
    """The message has the name of a layer of the row, each value, and a repair behind a colon or semicolon."""
    message = str(error)
    kinds = {type(module).__name__ for module in row.make(0).modules() if isinstance(module, Layer | Pooling)}
    named = re.match(r"(\w+)", message)
    assert named is not None and named[1] in kinds, f"{message!r} names none of {sorted(kinds)}"
    for value in values:
        assert re.search(rf"(?<!\d){re.escape(str(value))}(?!\d)", message), f"{message!r} does not say {value}"
    assert re.search(r"[:;] \w+", message), f"{message!r} does not say what to do"


def wider(row: Row) -> tuple[Sequence, int, int]:
    """Inputs with one feature too many, that size and the right one."""
    layer, x = row.make(0), row.case().make(*LENGTHS)
    axis = layer.feature_axis if isinstance(layer, Layer) else -1
    values = torch.cat([x.values, x.values.narrow(axis, 0, 1)], dim=axis)
    return x.with_values(values), values.shape[axis], x.values.shape[axis]


@pytest.mark.parametrize("row", [row for row in REAL_ROWS if row.name not in JOINED_ROWS], ids=name)
def test_a_wrong_number_of_features(row: Row) -> None:
    x, found, wanted = wider(row)
    layer = row.make(0)
    with pytest.raises(ValueError) as caught:
        layer(x)
    says(caught.value, row, found, wanted)
    if isinstance(layer, Layer) and layer.causal:
        with pytest.raises(ValueError) as caught:
            layer.step(x, layer.initial_state(x.batch_size))
        says(caught.value, row, found, wanted)


@pytest.mark.parametrize("row", REAL_ROWS, ids=name)
def test_ids_where_numbers_are_read(row: Row) -> None:
    x = row.case().make(*LENGTHS)
    with pytest.raises(TypeError) as caught:
        row.make(0)(x.with_values(torch.zeros(x.values.shape, dtype=torch.int64)))
    says(caught.value, row, "torch.int64")


@pytest.mark.parametrize("row", SINGLE_ROWS, ids=name)
@pytest.mark.parametrize("steps", [4, 3])
def test_one_number_a_step_where_a_vector_is_read(row: Row, steps: int) -> None:
    """Also where there are as many steps as features, so that the last axis has the right size by accident."""
    layer, x = row.make(0), row.case().make(steps, 2)
    values = x.values.flatten(2)[..., 0]
    with pytest.raises(ValueError) as caught:
        layer(x.with_values(values))
    says(caught.value, row, "batch, time", f"(2, {steps})")
    if isinstance(layer, Layer) and layer.causal:
        with pytest.raises(ValueError) as caught:
            layer.step(x.with_values(values), layer.initial_state(2))
        says(caught.value, row, "batch, time")


@pytest.mark.parametrize("row", [row for row in SINGLE_ROWS if getattr(row.make(0), "axes", 3) is not None], ids=name)
def test_an_axis_too_many(row: Row) -> None:
    x = row.case().make(*LENGTHS)
    with pytest.raises(ValueError) as caught:
        row.make(0)(x.with_values(x.values.unsqueeze(2)))
    says(caught.value, row, "batch, time", str(tuple(x.values.unsqueeze(2).shape)))


@pytest.mark.parametrize("row", REAL_ROWS, ids=name)
@pytest.mark.parametrize("other", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_numbers_of_another_type_than_the_weights(row: Row, other: torch.dtype) -> None:
    """Refused where there are weights of another type; right where the layer has none, or is of that type too."""
    layer, x = row.make(0).eval(), row.case().make(*LENGTHS)
    if list(layer.parameters()):
        with pytest.raises(TypeError) as caught:
            layer(x.to(other))
        says(caught.value, row, "torch.float32", str(other))
        if isinstance(layer, Layer) and layer.causal:
            with pytest.raises(TypeError) as caught:
                layer.step(x.to(other), layer.initial_state(x.batch_size))
            says(caught.value, row, "torch.float32", str(other))
    y = layer.to(other)(x.to(other))
    assert (y if isinstance(y, torch.Tensor) else y.values).dtype == other


@pytest.mark.parametrize("row", REAL_ROWS, ids=name)
def test_complex_numbers(row: Row) -> None:
    x = row.case().make(*LENGTHS)
    with pytest.raises(TypeError) as caught:
        row.make(0)(x.to(torch.complex64))
    says(caught.value, row, "torch.complex64")


@pytest.mark.parametrize("row", ID_ROWS, ids=name)
@pytest.mark.parametrize("other", [torch.bool, torch.int16, torch.uint8], ids=str)
def test_ids_of_another_type(row: Row, other: torch.dtype) -> None:
    x = row.case().make(*LENGTHS)
    with pytest.raises(TypeError) as caught:
        row.make(0)(x.with_values(x.values.to(other)))
    says(caught.value, row, str(other), "values.long()")
    same = row.make(0)(x).values
    assert torch.equal(row.make(0)(x.with_values(x.values.int())).values, same)


@pytest.mark.parametrize("wrong", [torch.nn.Linear(3, 3), torch.nn.LSTM(3, 3), LSTM, None, "LSTM"], ids=str)
def test_what_is_no_layer_is_not_examined(wrong: object) -> None:
    with pytest.raises(
        TypeError, match=r"examines a layer or a pooling of carryover and got (the class )?\w+: give an object"
    ):
        check(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", ID_ROWS, ids=name)
def test_numbers_where_ids_are_read(row: Row) -> None:
    x = row.case().make(*LENGTHS)
    with pytest.raises(TypeError) as caught:
        row.make(0)(x.with_values(x.values.float()))
    says(caught.value, row, "torch.float32")


@pytest.mark.parametrize("row", ID_ROWS, ids=name)
@pytest.mark.parametrize("wrong", [-1, 11])
def test_an_id_that_is_none(row: Row, wrong: int) -> None:
    x = row.case().make(*LENGTHS)
    values = x.values.clone()
    values[0, 1] = wrong
    with pytest.raises(IndexError) as caught:
        row.make(0)(x.with_values(values))
    says(caught.value, row, wrong)


@pytest.mark.parametrize("row", STATEFUL_ROWS, ids=name)
def test_a_state_of_another_batch_size(row: Row) -> None:
    layer, x = row.make(0), row.case().make(*LENGTHS)
    assert isinstance(layer, Layer)
    state = map_state(lambda tensor: torch.cat([tensor, tensor[:1]]), layer.initial_state(2))
    with pytest.raises(ValueError) as caught:
        layer.step(x, state)
    says(caught.value, row, 2, 3)


@pytest.mark.parametrize("row", CENTRED_ROWS, ids=name)
def test_stepping_what_sees_the_future(row: Row) -> None:
    layer, x = row.make(0), row.case().make(*LENGTHS)
    assert isinstance(layer, Layer)
    with pytest.raises(TypeError) as caught:
        layer.initial_state(2)
    says(caught.value, row, "causal is False")
    with pytest.raises(TypeError) as caught:
        layer.step(x, ())
    says(caught.value, row, "causal is False")


@pytest.mark.parametrize("row", [row for row in ROWS if row.name not in JOINED_ROWS], ids=name)
def test_a_tensor_where_a_sequence_is_read(row: Row) -> None:
    layer, x = row.make(0), row.case().make(*LENGTHS)
    with pytest.raises(TypeError) as caught:
        layer(x.values)
    says(caught.value, row, "Tensor", "Sequence.of")
    if isinstance(layer, Layer) and layer.causal:
        with pytest.raises(TypeError) as caught:
            layer.step(x.values, layer.initial_state(2))  # type: ignore[arg-type]
        says(caught.value, row, "Tensor", "Sequence.of")


OTHER_STATE = (torch.zeros(2, 3),) * 7


@pytest.mark.parametrize("row", STATEFUL_ROWS, ids=name)
@pytest.mark.parametrize("wrong", [None, OTHER_STATE], ids=["none", "of another layer"])
def test_a_state_of_another_kind(row: Row, wrong: object) -> None:
    layer, x = row.make(0), row.case().make(*LENGTHS)
    assert isinstance(layer, Layer)
    with pytest.raises((TypeError, ValueError)) as caught:
        layer.step(x, wrong)
    says(caught.value, row, "initial_state")
