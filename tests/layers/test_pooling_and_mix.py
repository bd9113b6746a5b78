"""Poolings and the scalar mix: known values, empty rows, weights that sum to one."""

from __future__ import annotations

import pytest
import torch

from carryover.layers import (
    AttentionPooling,
    ConcatenatedPooling,
    LastPooling,
    MaxPooling,
    MeanPooling,
    Pooling,
    ScalarMix,
    SumPooling,
)
from carryover.sequence import Sequence


@pytest.fixture
def x() -> Sequence:
    """Lengths 3, 1, 0; NaN in the padding."""
    values = torch.full((3, 4, 2), torch.nan)
    values[0, :3] = torch.tensor([[1.0, -1.0], [3.0, -5.0], [2.0, -3.0]])
    values[1, 0] = torch.tensor([-4.0, 6.0])
    return Sequence.of(values, [3, 1, 0])


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (SumPooling(2), [[6, -9], [-4, 6], [0, 0]]),
        (MeanPooling(2), [[2, -3], [-4, 6], [0, 0]]),
        (MaxPooling(2), [[3, -1], [-4, 6], [0, 0]]),
        (LastPooling(2), [[2, -3], [-4, 6], [0, 0]]),
        (LastPooling(2, both_ends=True), [[2, -1], [-4, 6], [0, 0]]),
        (ConcatenatedPooling(SumPooling(2), LastPooling(2)), [[6, -9, 2, -3], [-4, 6, -4, 6], [0] * 4]),
    ],
)
def test_known_values(pooling: Pooling, expected: list[list[float]], x: Sequence) -> None:
    assert pooling(x).tolist() == expected
    assert pooling.out_size == len(expected[0])


def test_attention_weights_sum_to_one_over_the_real_steps(x: Sequence) -> None:
    pooling = AttentionPooling(2, 3)
    weights = pooling.weights(x)
    torch.testing.assert_close(weights.sum(1), torch.tensor([1.0, 1.0, 0.0]))
    assert (weights[~x.mask] == 0).all()
    torch.testing.assert_close(pooling(x)[1], x.values[1, 0])


def test_attention_survives_very_different_scores() -> None:
    pooling = AttentionPooling(1, 1)
    with torch.no_grad():
        pooling.score_hidden.weight.fill_(50.0)
        pooling.score_hidden.bias.zero_()
        pooling.question.fill_(1e4)
    y = pooling(Sequence.of(torch.tensor([[[1.0], [-1.0], [0.5]]])))
    assert y.isfinite().all() and y.item() == pytest.approx(0.75)


def test_poolings_refuse_other_sizes(x: Sequence) -> None:
    with pytest.raises(ValueError, match=r"MeanPooling pools values \[batch, time, 3\], got \(3, 4, 2\)"):
        MeanPooling(3)(x)
    with pytest.raises(ValueError, match=r"the poolings read \[2, 3\] features"):
        ConcatenatedPooling(SumPooling(2), SumPooling(3))
    with pytest.raises(ValueError, match=r"the poolings read \[\] features"):
        ConcatenatedPooling()
    with pytest.raises(ValueError, match="in_size must be even"):
        LastPooling(3, both_ends=True)


def test_mix_starts_as_the_mean_and_follows_its_weights() -> None:
    mix = ScalarMix(3, 2)
    x = Sequence.of(torch.randn(2, 4, 3, 2))
    torch.testing.assert_close(mix(x).values, x.values.mean(2))
    with torch.no_grad():
        mix.layer_weights.copy_(torch.tensor([0.0, 100.0, 0.0]))
        mix.scale.fill_(2.0)
    torch.testing.assert_close(mix(x).values, 2 * x.values[:, :, 1])
    assert mix.shares().sum().item() == pytest.approx(1.0)


def test_mix_normalises_each_representation_by_itself() -> None:
    mix = ScalarMix(1, 50, layer_norm=True)
    x = Sequence.of(5 + 3 * torch.randn(2, 4, 1, 50))
    y = mix(x).values
    torch.testing.assert_close(y.mean(-1), torch.zeros(2, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std(-1, correction=0), torch.ones(2, 4), atol=1e-3, rtol=0)


def test_mix_refuses_another_number_of_layers() -> None:
    with pytest.raises(ValueError, match=r"values \[batch, time, 3, 2\], got \(1, 4, 2, 2\)"):
        ScalarMix(3, 2)(Sequence.of(torch.zeros(1, 4, 2, 2)))
    with pytest.raises(ValueError, match="cannot mix 0 layers"):
        ScalarMix(0, 2)
