"""Stacked, bidirectional, residual: declared properties, states passed through, faulty combinations refused."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from carryover.layers import (
    Bidirectional,
    Dropout,
    ElementLayer,
    Embedding,
    Highway,
    Layer,
    Perceptron,
    Residual,
    Stacked,
    choose_rows,
    detach_state,
    map_state,
    state_tensors,
)
from carryover.sequence import Sequence
from laws.plain import LeakySum


class Window(ElementLayer):
    """Declares a field and a ratio; never run."""

    def __init__(self, receptive_field: int, ratio: Fraction = Fraction(1), causal: bool = True) -> None:
        super().__init__()
        self.in_size = self.out_size = 2
        self.receptive_field, self.ratio, self.causal = receptive_field, ratio, causal

    def element(self, values: torch.Tensor) -> torch.Tensor:
        return values


def test_stacked_state_is_the_tuple_of_states() -> None:
    stack = Stacked(LeakySum(3, 4), Dropout(4, 0.1), LeakySum(4, 2)).eval()
    x = Sequence.of(torch.randn(2, 5, 3))
    _, state = stack.step(x, stack.initial_state(2))
    lower, middle, upper = state
    assert (lower.shape, middle, upper.shape) == ((2, 4), (), (2, 2))
    below, own = stack.layers[0].step(x, stack.layers[0].initial_state(2))
    assert torch.equal(lower, own)
    assert torch.equal(upper, stack.layers[2].step(below, stack.layers[2].initial_state(2))[1])


def test_stacked_tells_all_outputs() -> None:
    stack = Stacked(LeakySum(3, 4), LeakySum(4, 2))
    x = Sequence.of(torch.randn(2, 5, 3), [5, 2])
    outputs = stack.all_outputs(x)
    assert [y.values.shape[-1] for y in outputs] == [4, 2]
    assert torch.equal(outputs[-1].values, stack(x).values)


@pytest.mark.parametrize(
    ("layers", "field"),
    [
        ([Window(1), Window(1)], 1),
        ([Window(3), Window(5)], 7),
        ([Window(3, Fraction(1, 2)), Window(3)], 7),
        ([Window(2, Fraction(1, 2)), Window(2, Fraction(1, 2)), Window(2)], 8),
    ],
)
def test_stacked_receptive_field_counts_strides(layers: list[Window], field: int) -> None:
    assert Stacked(*layers).receptive_field == field


def test_stacked_declares_what_its_layers_give() -> None:
    stack = Stacked(Embedding(9, 3), LeakySum(3, 4), Highway(4))
    assert (stack.in_size, stack.out_size, stack.causal, stack.receptive_field, stack.ratio) == (9, 4, True, None, 1)
    assert not Stacked(LeakySum(3, 2), Window(3, causal=False)).causal
    assert Stacked(Window(2, Fraction(1, 2)), Window(2, Fraction(1, 3))).ratio == Fraction(1, 6)


def test_stacked_refuses_layers_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"layer 1 \(LeakySum\) gives 4 features and layer 2 \(Highway\) expects 5"):
        Stacked(Highway(3), LeakySum(3, 4), Highway(5))
    with pytest.raises(ValueError, match="no layer"):
        Stacked()


def test_stacked_refuses_a_state_of_another_depth() -> None:
    stack = Stacked(LeakySum(3, 4), LeakySum(4, 4))
    with pytest.raises(ValueError, match="given 1 states for 2 layers"):
        stack.step(Sequence.of(torch.zeros(1, 1, 3)), (torch.zeros(1, 4),))


def test_stacked_that_is_not_causal_has_no_state() -> None:
    stack = Stacked(Bidirectional(LeakySum(3, 2), LeakySum(3, 2)), LeakySum(4, 2))
    with pytest.raises(TypeError, match="Stacked has no initial state: causal is False"):
        stack.initial_state(1)
    with pytest.raises(TypeError, match="Stacked cannot be stepped"):
        stack.step(Sequence.of(torch.zeros(1, 1, 3)), ())


def test_bidirectional_field_spans_both_sides() -> None:
    both = Bidirectional(Window(3), Window(4))
    assert (both.receptive_field, both.causal, both.out_size) == (6, False, 4)
    assert Bidirectional(LeakySum(), LeakySum()).receptive_field is None


def test_bidirectional_refuses_what_cannot_be_turned_around() -> None:
    both = Bidirectional(LeakySum(3, 3), LeakySum(3, 3))
    with pytest.raises(ValueError, match="Bidirectional has causal False and a ratio of 1"):
        Bidirectional(LeakySum(3, 3), both)
    with pytest.raises(ValueError, match="forward layer reads 3 features and the backward layer 4"):
        Bidirectional(LeakySum(3, 3), LeakySum(4, 3))
    layer = LeakySum()
    with pytest.raises(ValueError, match="one object"):
        Bidirectional(layer, layer)


def test_residual_passes_the_state_through() -> None:
    layer = Residual(LeakySum(3, 3))
    x = Sequence.of(torch.randn(2, 4, 3))
    y, state = layer.step(x, layer.initial_state(2))
    inner, own = layer.layer.step(x, layer.layer.initial_state(2))
    assert torch.equal(state, own)
    torch.testing.assert_close(y.values, x.values + inner.values)


@pytest.mark.parametrize("inner", [Perceptron(3, (), 4), Window(2, Fraction(1, 2))])
def test_residual_refuses_other_sizes_and_ratios(inner: Layer) -> None:
    with pytest.raises(ValueError, match="a residual layer needs equal sizes and a ratio of 1"):
        Residual(inner)


def test_wrappers_are_built_without_memory() -> None:
    with torch.device("meta"):
        assert Residual(LeakySum(3, 3)).keeps_length
        assert Bidirectional(LeakySum(), LeakySum()).out_size == 8


def test_wrappers_refuse_other_feature_sizes() -> None:
    for layer in (Residual(LeakySum(3, 3)), Bidirectional(LeakySum(), LeakySum()), Highway(3)):
        with pytest.raises(ValueError, match="expects 3 features and got 5: build it with in_size=5"):
            layer(Sequence.of(torch.zeros(1, 2, 5)))


def test_states_are_mapped_detached_and_chosen_in_depth() -> None:
    state = (torch.ones(2, 3, requires_grad=True) * 2, (), (torch.zeros(2, 1),))
    assert [tensor.shape for tensor in state_tensors(state)] == [(2, 3), (2, 1)]
    assert not any(tensor.requires_grad for tensor in state_tensors(detach_state(state)))
    doubled = map_state(lambda tensor: tensor * 2, state)
    chosen = choose_rows(torch.tensor([True, False]), doubled, state)
    assert chosen[0].tolist() == [[4.0] * 3, [2.0] * 3]
    assert chosen[1] == ()
