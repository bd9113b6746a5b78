"""TCN, WaveNet, ConvLSTM: the ways to the outputs agree, dropout keeps its masks, faulty arguments are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from carryover.layers import TCN, ConvLSTM, Layer, TemporalBlock, WaveNet, WaveNetBlock
from carryover.layers.convolutional.temporal import tcn_plain
from carryover.sequence import Sequence

LENGTHS = [[40, 40, 40], [40, 0, 3], [1, 0, 2], [17, 39, 23]]


def batch(lengths: list[int], features: int = 3) -> Sequence:
    x = Sequence.of(torch.randn(3, 40, features), lengths)
    return x.with_values(x.values.masked_fill(~x.expand_mask(), torch.nan))


def with_gradients(run: Callable[[Sequence], Tensor], x: Sequence, layer: Layer) -> tuple[Tensor, ...]:
    values = x.values.clone().requires_grad_()
    y = run(Sequence(values, x.lengths))
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=y.dtype)
    found = torch.autograd.grad((y * weights).sum(), [values, *layer.parameters()], allow_unused=True)
    return y, *(torch.zeros(1) if gradient is None else gradient for gradient in found)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(("levels", "kernel"), [(1, 1), (1, 3), (2, 2), (3, 3), (4, 2), (3, 8), (5, 4), (4, 1)])
def test_the_last_outputs_are_those_of_the_whole_pass(levels: int, kernel: int, lengths: list[int]) -> None:
    layer = TCN(3, 4, levels=levels, kernel=kernel).double()
    x = batch(lengths).to(torch.float64)
    whole = with_gradients(lambda x: layer(x).last(), x, layer)
    torch.testing.assert_close(with_gradients(layer.last_output, x, layer), whole)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_the_whole_pass_equals_the_plain_one(lengths: list[int]) -> None:
    layer = TCN(3, 4, levels=3, kernel=4)
    x = batch(lengths)
    plain = with_gradients(lambda x: tcn_plain(layer, x).values, x, layer)
    torch.testing.assert_close(with_gradients(lambda x: layer(x).values, x, layer), plain, rtol=1e-4, atol=1e-5)


def test_the_last_output_of_no_step_is_zero() -> None:
    layer = TCN(3, 4, levels=2)
    assert torch.equal(layer.last_output(Sequence.of(torch.zeros(2, 0, 3))), torch.zeros(2, 4))


def test_dropout_leaves_out_whole_channels_in_both_passes() -> None:
    layer = TCN(3, 50, levels=2, kernel=2, dropout=0.5)
    x = Sequence.of(torch.randn(2, 9, 3))
    torch.manual_seed(1)
    whole = layer(x)
    torch.manual_seed(1)
    torch.testing.assert_close(layer.last_output(x), whole.last())
    assert not torch.allclose(layer(x).values, whole.values)
    layer.eval()
    assert torch.equal(layer(x).values, layer(x).values)

    block = TemporalBlock(50, 50, 2, dropout=0.5)
    torch.nn.init.zeros_(block.second.weight_length)
    torch.nn.init.ones_(block.second.bias)
    added = block(Sequence.of(torch.zeros(2, 9, 50))).values  # relu(1) under the mask, nothing else
    assert set(added.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(added, added[:, :1].expand_as(added))
    assert not torch.equal(added[0], added[1])


def test_a_row_keeps_its_dropout_masks_from_chunk_to_chunk() -> None:
    layer = TCN(3, 8, levels=2, kernel=2, dropout=0.5)
    x = Sequence.of(torch.randn(2, 9, 3))
    state = layer.initial_state(2)
    at_once, _ = layer.step(x, state)
    first, state = layer.step(x.slice(0, 4), state)
    rest, _ = layer.step(x.slice(4, 9), state)
    torch.testing.assert_close(torch.cat([first.values, rest.values], dim=1), at_once.values)


def test_generation_goes_on_beyond_the_receptive_field() -> None:
    layer, steps = TCN(2, 4, levels=3, kernel=3), 70
    x = Sequence.of(torch.randn(2, steps, 2))
    expected, parts = layer(x).values, []
    with torch.no_grad():
        state = layer.initial_state(2)
        for t in range(steps):
            y, state = layer.step(x.slice(t, t + 1), state)
            parts.append(y.values)
    torch.testing.assert_close(torch.cat(parts, dim=1), expected)


def test_weights_multiplied_out_compute_the_same() -> None:
    layer = TCN(3, 4, levels=2, kernel=3, dropout=0.2).double().eval()
    plain = layer.without_weight_norm()
    x = batch([40, 0, 3]).to(torch.float64)
    torch.testing.assert_close(plain(x).values, layer(x).values)
    assert not plain.training
    assert "blocks.1.second.weight" in plain.state_dict()
    assert "blocks.1.second.weight_direction" in layer.state_dict()


def test_states_hold_the_window_and_no_more() -> None:
    layer = WaveNet(3, 5, size=4, skip_size=6, levels=3, stacks=2)
    assert [tuple(part[0].shape) for part in layer.initial_state(2)] == [(2, n, n_in) for n, n_in in
        [(1, 3), (1, 4), (2, 4), (4, 4), (1, 4), (2, 4), (4, 4)]]  # fmt: skip


def test_conditions_reach_the_output() -> None:
    torch.manual_seed(0)
    layer = WaveNet(3, 5, size=4, skip_size=6, levels=2, local_size=2, global_size=3)
    x, local, context = Sequence.of(torch.randn(2, 8, 3)), Sequence.of(torch.randn(2, 8, 2)), torch.randn(2, 3)
    y = layer(x, local, context).values
    assert not torch.allclose(layer(x, local, context + 1).values, y)
    later = local.values.clone()
    later[:, 4] += 1
    changed = (layer(x, local.with_values(later), context).values - y).abs().sum((0, 2)) > 0
    assert changed.tolist() == [False] * 4 + [True, False, True, False]  # the upper block reads steps t and t − 2


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TCN(3, 4, levels=0), "TCN was given levels 0: it must be at least 1"),
        (lambda: TCN(3, 4, levels=2, kernel=0), "TCN was given kernel 0"),
        (lambda: TemporalBlock(3, 4, 2, dilation=0), "TemporalBlock was given dilation 0"),
        (lambda: TemporalBlock(3, 4, 2, dropout=1.0), "a dropout probability is 1.0"),
        (lambda: WaveNetBlock(3, 0), "WaveNetBlock was given skip_size 0"),
        (lambda: WaveNetBlock(3, 4, local_size=-1), "WaveNetBlock was given local_size -1 and global_size 0"),
        (lambda: WaveNet(3, 4, size=2, skip_size=2, levels=1, stacks=0), "WaveNet was given stacks 0"),
        (lambda: ConvLSTM(1, 2, space=(3,), kernel=4), "ConvLSTM was given a kernel of 4, .* take the odd 3 or 5"),
        (lambda: ConvLSTM(1, 2, space=(3, 3, 3)), r"ConvLSTM was given space \(3, 3, 3\): give \(width,\)"),
        (lambda: ConvLSTM(1, 0, space=(3,)), "ConvLSTM was given size 0"),
    ],
)
def test_faulty_arguments_are_refused(build: Callable[[], Layer], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "layer",
    [
        TCN(3, 4, levels=1),
        TemporalBlock(3, 4, 2),
        WaveNetBlock(3, 4),
        WaveNet(3, 4, size=2, skip_size=2, levels=1),
        ConvLSTM(3, 4, space=(2,)),
    ],
)
def test_faulty_inputs_are_refused(layer: Layer) -> None:
    name = f"^{type(layer).__name__}"
    more = (2,) if isinstance(layer, ConvLSTM) else ()
    x = Sequence.of(torch.randn(4, 2, 3, *more))
    for run in (layer, lambda x: layer.step(x, layer.initial_state(4))):
        with pytest.raises(ValueError, match=f"{name} expects 3 features and got 5: build it with in_size=5"):
            run(Sequence.of(torch.randn(4, 2, 5, *more)))
        with pytest.raises(TypeError, match=rf"{name} reads real numbers and got torch\.int64: embed the ids first"):
            run(Sequence.of(torch.zeros(4, 2, 3, *more, dtype=torch.int64)))
        with pytest.raises(ValueError, match=rf"{name} reads values \[batch, time, 3.* and got shape"):
            run(Sequence.of(torch.zeros(4, 2, 3, *more, 1)))
    with pytest.raises(ValueError, match=f"{name} was given a state of batch size 3 .* batch size 4"):
        layer.step(x, layer.initial_state(3))


def test_states_of_another_depth_and_images_of_another_size_are_refused() -> None:
    x = Sequence.of(torch.randn(2, 2, 3))
    with pytest.raises(ValueError, match="TCN was given 1 states for 2 blocks: make one with initial_state"):
        TCN(3, 4, levels=2).step(x, TCN(3, 4, levels=1).initial_state(2))
    with pytest.raises(ValueError, match="WaveNet was given 2 states for 3 convolutions"):
        wide, narrow = (WaveNet(3, 4, size=2, skip_size=2, levels=levels) for levels in (2, 1))
        wide.step(x, narrow.initial_state(2))
    with pytest.raises(ValueError, match=r"images of size \(4, 4\) and got \(4, 5\): build it with space=\(4, 5\)"):
        ConvLSTM(1, 2, space=(4, 4))(Sequence.of(torch.randn(1, 2, 1, 4, 5)))


def test_faulty_conditions_are_refused() -> None:
    plain = WaveNet(3, 5, size=4, skip_size=6, levels=1)
    layer = WaveNet(3, 5, size=4, skip_size=6, levels=1, local_size=2, global_size=3)
    x, local, context = Sequence.of(torch.randn(2, 6, 3)), Sequence.of(torch.randn(2, 6, 2)), torch.randn(2, 3)
    with pytest.raises(ValueError, match=r"WaveNet expects local conditions of shape \(2, 6, 2\) and got None"):
        layer(x, context=context)
    with pytest.raises(ValueError, match=r"expects a global condition of shape \(2, 3\) and got None"):
        layer(x, local)
    with pytest.raises(ValueError, match=r"expects local conditions of shape None and got \(2, 6, 2\)"):
        plain(x, local)
    with pytest.raises(ValueError, match=r"expects a global condition of shape None and got \(2, 3\)"):
        plain(x, context=context)
    with pytest.raises(ValueError, match=r"lengths \[6, 6\] and local conditions of lengths \[6, 5\]: make them equal"):
        layer(x, Sequence.of(local.values, [6, 5]), context)
