"""What is left out in training: how much, by which mask, and that evaluation and the parameters stay as they are."""

from __future__ import annotations

import copy

import pytest
import torch

from carryover.layers import (
    Bidirectional,
    Dropout,
    Highway,
    Stacked,
    Transformer,
    VariationalDropout,
    WeightDrop,
    choose_rows,
)
from carryover.layers.dropout import part_of_batch
from carryover.sequence import Sequence
from laws.plain import LeakySum


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def ones(rows: int, steps: int, size: int) -> Sequence:
    return Sequence.of(torch.ones(rows, steps, size))


def test_element_dropout_drops_the_given_share_and_keeps_the_mean() -> None:
    y = Dropout(50, 0.3).train()(ones(20, 50, 50)).values
    assert sorted(y.unique().tolist()) == pytest.approx([0, 1 / 0.7])
    assert (y == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert not torch.equal(y[:, 0], y[:, 1])


def test_variational_dropout_keeps_one_mask_a_row_for_all_steps() -> None:
    y = VariationalDropout(200, 0.4).train()(ones(30, 5, 200)).values
    assert (y == y[:, :1]).all()
    assert not torch.equal(y[0], y[1])
    assert sorted(y.unique().tolist()) == pytest.approx([0, 1 / 0.6])
    assert (y == 0).float().mean().item() == pytest.approx(0.4, abs=0.03)


def test_variational_dropout_draws_anew_at_every_whole_pass() -> None:
    layer = VariationalDropout(50, 0.5).train()
    x = ones(2, 3, 50)
    assert not torch.equal(layer(x).values, layer(x).values)


def test_variational_dropout_steps_under_the_mask_of_its_state() -> None:
    layer = VariationalDropout(50, 0.5).train()
    x = ones(3, 6, 50)
    state = layer.initial_state(3)
    first, after = layer.step(x.slice(0, 2), state)
    second, after = layer.step(x.slice(2, 6), after)
    assert torch.equal(first.values[:, :1].expand(3, 4, 50), second.values)
    assert torch.equal(state, after)

    restarted = choose_rows(torch.tensor([False, True, False]), layer.initial_state(3), after)
    third, _ = layer.step(x, restarted)
    assert torch.equal(third.values[0, 0], first.values[0, 0]) and torch.equal(third.values[2, 0], first.values[2, 0])
    assert not torch.equal(third.values[1, 0], first.values[1, 0])


def test_variational_dropout_whole_is_step_under_the_same_seed() -> None:
    layer = VariationalDropout(50, 0.5).train()
    x = ones(3, 6, 50)
    torch.manual_seed(3)
    whole = layer(x)
    torch.manual_seed(3)
    stepped, _ = layer.step(x, layer.initial_state(3))
    assert torch.equal(whole.values, stepped.values)


def test_variational_dropout_is_the_identity_in_evaluation_whatever_the_state() -> None:
    layer = VariationalDropout(5, 0.5)
    state = layer.train().initial_state(3)
    assert torch.equal(layer.eval().step(ones(3, 2, 5), state)[0].values, torch.ones(3, 2, 5))
    assert torch.equal(layer.initial_state(3), torch.ones(3, 5))


@pytest.mark.parametrize("probability", [-0.1, 1.0, 1.5])
def test_probabilities_out_of_range_are_refused(probability: float) -> None:
    for build in (Dropout, VariationalDropout):
        with pytest.raises(ValueError, match=f"dropout probability is {probability}"):
            build(3, probability)
    with pytest.raises(ValueError, match=f"dropout probability is {probability}"):
        WeightDrop(LeakySum(), probability)


def test_weight_drop_drops_weights_and_nothing_else() -> None:
    inner = LeakySum(3, 400)
    y = WeightDrop(inner, 0.5).train()(ones(2, 2, 3)).values
    drive = inner.input_weight.sum(1)
    kept = (y[:, 1] - drive) / (0.9 * drive)  # the factor of the memory: 0 or 1 / (1 − 0.5)
    torch.testing.assert_close(kept.round(), kept, atol=1e-2, rtol=0)
    assert (kept[0].round() == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert torch.equal(y[0], y[1])  # one mask for all rows
    torch.testing.assert_close(y[0, 0], drive)


def test_weight_drop_draws_anew_at_every_call_in_training_only() -> None:
    layer = WeightDrop(LeakySum(3, 50), 0.5)
    x = ones(1, 4, 3)
    assert not torch.equal(layer.train()(x).values, layer(x).values)
    assert torch.equal(layer.eval()(x).values, layer(x).values)
    assert torch.equal(layer(x).values, layer.layer(x).values)


def test_weight_drop_steps_with_dropped_weights() -> None:
    layer = WeightDrop(LeakySum(3, 50), 0.5).train()
    x = ones(2, 4, 3)
    torch.manual_seed(4)
    whole = layer(x)
    torch.manual_seed(4)
    stepped, _ = layer.step(x, layer.initial_state(2))
    assert torch.equal(whole.values, stepped.values)
    assert not torch.equal(whole.values, layer.eval()(x).values)


def test_weight_drop_leaves_names_values_and_identity_of_the_parameters() -> None:
    inner = LeakySum()
    names, before = list(inner.state_dict()), copy.deepcopy(inner.state_dict())
    layer = WeightDrop(inner, 0.5).train()
    layer(ones(1, 4, 3)).values.sum().backward()
    layer.step(ones(1, 4, 3), layer.initial_state(1))
    assert list(layer.state_dict()) == [f"layer.{name}" for name in names]
    assert all(torch.equal(tensor, before[name]) for name, tensor in inner.state_dict().items())
    assert isinstance(inner.hidden_weight, torch.nn.Parameter)
    assert inner.hidden_weight.grad is not None and inner.input_weight.grad is not None
    fresh = LeakySum()
    fresh.load_state_dict(layer.layer.state_dict())  # the bare layer loads what the dropped one learned


def test_gradient_of_a_dropped_weight_is_zero() -> None:
    layer = WeightDrop(LeakySum(3, 50), 0.5).train()
    layer(ones(1, 2, 3)).values.sum().backward()
    gradient = layer.layer.hidden_weight.grad
    assert 10 < int((gradient == 0).sum()) < 40


def test_weight_drop_reaches_into_composed_layers() -> None:
    stack = Stacked(LeakySum(3, 4), LeakySum(4, 4))
    assert WeightDrop(stack, 0.5).names == ("layers.0.hidden_weight", "layers.1.hidden_weight")
    both = WeightDrop(Bidirectional(LeakySum(), LeakySum()), 0.5, names=("backward_layer.hidden_weight",)).train()
    assert not both.causal
    x = ones(1, 6, 3)
    first, second = both(x).values, both(x).values
    assert torch.equal(first[..., :4], second[..., :4]) and not torch.equal(first[..., 4:], second[..., 4:])


def test_weight_drop_names_what_there_is_to_drop() -> None:
    with pytest.raises(ValueError, match=r"LeakySum has no parameter 'weight' to drop: choose from \['hidden_weight', "):
        WeightDrop(LeakySum(), 0.5, names=("weight",))
    with pytest.raises(ValueError, match="Highway has no parameter 'hidden_weight'"):
        WeightDrop(Highway(3), 0.5)


@pytest.mark.parametrize("part", [range(0, 1), range(1, 4), range(3, 5)])
@pytest.mark.parametrize("transposed", [False, True])
def test_parts_of_a_batch_drop_what_the_whole_drops(part: range, transposed: bool) -> None:
    """To the bit, also where values lie with time before the batch, as recurrent layers leave them."""
    axes = (1, 0, 2) if transposed else (0, 1, 2)
    values = torch.randn(5, 7, 9).permute(axes).contiguous().permute(axes)
    own = values[part.start : part.stop].permute(axes).contiguous().permute(axes)
    for layer in (Dropout(9, 0.4), VariationalDropout(9, 0.4)):
        torch.manual_seed(3)
        whole = layer.train()(Sequence.of(values)).values
        torch.manual_seed(3)
        with part_of_batch(part, 5):
            mine = layer(Sequence.of(own)).values
        assert torch.equal(mine, whole[part.start : part.stop])
        assert 0 < (mine == 0).float().mean() < 1
        after = torch.rand(3)
        torch.manual_seed(3)
        layer(Sequence.of(values))
        assert torch.equal(torch.rand(3), after), "and what is drawn next is the same"


def test_parts_of_a_batch_drop_the_same_attention_weights() -> None:
    layer = Transformer(8, 2, 16, 2, causal=True, horizon=4, dropout=0.3).train()
    values = torch.randn(5, 7, 8)
    state = layer.initial_state(5)
    torch.manual_seed(3)
    whole = layer.step(Sequence.of(values), state)[0].values
    torch.manual_seed(3)
    with part_of_batch(range(1, 4), 5):
        mine = layer.step(Sequence.of(values[1:4]), layer.initial_state(3))[0].values
    torch.testing.assert_close(mine, whole[1:4], rtol=1e-5, atol=1e-5)


def test_rows_that_are_not_the_part_are_refused() -> None:
    with part_of_batch(range(0, 2), 5), pytest.raises(ValueError, match="3 rows were given"):
        Dropout(4, 0.5).train()(ones(3, 2, 4))
    with part_of_batch(range(0, 2), 5):
        Dropout(4, 0.5).eval()(ones(3, 2, 4))  # nothing is drawn
