"""Whole passes of a TCN in C, forward and backward: the numbers and gradients of the passes in PyTorch, under the same laws."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from carryover.kernels import c_library, tcn_passes
from carryover.layers import TCN, Convolution, check, taps
from carryover.layers.convolutional.temporal import tcn_plain
from carryover.sequence import Sequence
from parity.calls import record_calls

SIZES = [
    (3, 5, 3, 2),
    (2, 24, 3, 8),
    (16, 16, 2, 1),
    (20, 33, 2, 3),
    (5, 1, 2, 7),
    (1, 10, 5, 3),
    (2, 6, 8, 4),
    (11, 64, 1, 4),
]
LENGTHS = {"full": [70, 70, 70], "ragged": [70, 0, 1, 16, 33, 64, 65], "one": [1], "none": [0, 0]}


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return record_calls(monkeypatch, c_library.PASSES)


def some(lengths: list[int], features: int) -> Sequence:
    """NaN in the padding, and three steps more of it."""
    x = Sequence(torch.randn(len(lengths), max(lengths) + 3, features), torch.tensor(lengths))
    return x.with_values(x.values.masked_fill(~x.expand_mask(), torch.nan))


def results(layer: TCN, x: Sequence) -> dict[str, Tensor]:
    """Outputs with and without gradients, and the gradients of input and parameters."""
    torch.manual_seed(7)  # of the masks
    values = x.values.clone().requires_grad_()
    y = layer(Sequence(values, x.lengths)).values
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    names = ["input", *(name for name, _ in layer.named_parameters())]
    found = torch.autograd.grad((y * weights).sum(), [values, *layer.parameters()])
    torch.manual_seed(7)
    with torch.no_grad():
        again = layer(x).values
    return {"outputs": y.detach(), "without gradients": again, **dict(zip(names, found, strict=True))}


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_passes_equal_the_plain_ones(
    kernels: list[str], monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, int, int, int], dropout: float, lengths: str
) -> None:
    """Channels and steps that fill no register, dilations beyond a row, rows without a step."""
    torch.manual_seed(1)
    in_size, size, levels, kernel = sizes
    layer, x = TCN(in_size, size, levels=levels, kernel=kernel, dropout=dropout), some(LENGTHS[lengths], in_size)
    found = results(layer, x)
    assert layer.last_path == "compiled"
    monkeypatch.setenv("CARRYOVER_KERNELS", "off")
    expected = results(layer, x)
    assert layer.last_path == "plain"
    assert torch.equal(found["outputs"], found["without gradients"])
    for name, part in expected.items():
        assert (found[name] - part).norm() <= 1e-5 * part.norm() + 1e-6, name
    if dropout == 0:
        torch.testing.assert_close(found["outputs"], tcn_plain(layer, x).values.detach(), atol=1e-6, rtol=1e-5)


def test_they_obey_the_laws(kernels: list[str]) -> None:
    assert "padding" in check(TCN(3, 5, levels=3, kernel=3, dropout=0.2))
    assert {"temporal_forward", "temporal_backward"} <= set(kernels)


def test_a_row_depends_on_nothing_but_itself(kernels: list[str]) -> None:
    """Outputs to the last bit: alone, in another place, with other padding, beside NaN, whose gradient stays in its row."""
    layer = TCN(3, 24, levels=4, kernel=5)
    lengths = [50, 3, 49, 0, 17]
    x = some(lengths, 3)
    whole = layer(x).values
    for row, length in enumerate(lengths):
        alone = layer(Sequence.of(x.values[row : row + 1, :length])).values
        assert torch.equal(alone[0], whole[row, :length]) and not whole[row, length:].any()
    values = x.values.clone()
    values[2, 5] = torch.nan
    values.requires_grad_()
    y = layer(Sequence(values, x.lengths)).values
    (gradient,) = torch.autograd.grad(y.sum(), [values])
    assert torch.equal(y[[0, 1, 3, 4]], whole[[0, 1, 3, 4]])
    assert y[2, 5:49].isnan().all() and torch.equal(y[2, :5], whole[2, :5])
    assert gradient[[0, 1, 3, 4]].isfinite().all()


def test_threads_change_nothing(kernels: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = TCN(3, 24, levels=3, kernel=3, dropout=0.2), some([40, 17, 33, 0, 40, 2, 5, 31, 40], 3)
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(c_library, "threads_for", lambda work, threads=threads: threads)
        found.append(results(layer, x))
    assert layer.last_path == "compiled"
    for other in found[1:]:
        for name, part in found[0].items():
            assert torch.equal(part, other[name]), name


def test_gradients_of_what_is_trained_only(kernels: list[str]) -> None:
    layer, x = TCN(3, 8, levels=2, kernel=3), some([20, 9], 3)
    whole = results(layer, x)
    layer.blocks[0].requires_grad_(False)
    layer(x).values.square().sum().backward()
    assert layer.last_path == "compiled"
    assert all((parameter.grad is None) == name.startswith("blocks.0") for name, parameter in layer.named_parameters())
    layer.requires_grad_(False)
    values = x.values.clone().requires_grad_()
    y = layer(Sequence(values, x.lengths)).values
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((y * weights).sum(), [values])
    assert torch.equal(gradient, whole["input"])


def test_gradients_of_gradients(kernels: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a penalty on the gradient of the input."""
    torch.manual_seed(3)
    layer, x = TCN(3, 6, levels=2, kernel=3, dropout=0.3), some([20, 9], 3)

    def penalty() -> tuple[Tensor, ...]:
        torch.manual_seed(5)
        values = x.values.clone().requires_grad_()
        y = layer(Sequence(values, x.lengths)).values
        (gradient,) = torch.autograd.grad(y.square().sum(), [values], create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), list(layer.parameters()))

    found = penalty()
    assert layer.last_path == "compiled"
    monkeypatch.setenv("CARRYOVER_KERNELS", "off")
    torch.testing.assert_close(found, penalty(), atol=1e-5, rtol=1e-4)


def test_what_runs_in_pytorch(kernels: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Double precision, autocast, wide and small layers, taps, other modules, function transforms, where it is turned off."""
    x = Sequence.of(torch.randn(2, 9, 3))

    def path(layer: TCN, x: Sequence = x) -> str | None:
        layer(x)
        return layer.last_path

    layer = TCN(3, 5, levels=2)
    assert path(layer) == path(layer.without_weight_norm()) == "compiled"
    assert path(layer, Sequence.of(torch.randn(2, 0, 3))) == "plain"
    assert path(TCN(3, tcn_passes.MOST_CHANNELS + 1, levels=1)) == "plain"
    with torch.autocast("cpu", torch.bfloat16):
        assert path(layer) == "plain"
    with taps(layer, ["blocks.0"]):
        assert path(layer) == "plain"
    assert path(layer) == "compiled"
    gradient = torch.func.grad(lambda values: layer(x.with_values(values)).values.sum())(x.values)
    assert layer.last_path == "plain" and gradient.shape == x.values.shape
    with monkeypatch.context() as small:
        small.setattr(c_library, "LEAST_WEIGHTS", 1 << 18)
        assert path(layer) == "plain"
    with monkeypatch.context() as off:
        off.setenv("CARRYOVER_KERNELS", "off")
        assert path(layer) == "plain"
    assert path(TCN(3, 5, levels=2).double(), x.to(torch.float64)) == "plain"
    layer.blocks[0].match = nn.Sequential(layer.blocks[0].match)  # type: ignore[arg-type]
    assert path(layer) == "plain"
    layer = TCN(3, 5, levels=2)
    layer.blocks[1].first = Convolution(5, 5, 2, dilation=2)  # type: ignore[union-attr]
    assert path(layer) == "plain"


def test_a_weight_changed_before_the_backward_pass_is_noticed(kernels: list[str]) -> None:
    layer, x = TCN(3, 5, levels=2), some([9, 4], 3)
    loss = layer(x).values.sum()
    with torch.no_grad():
        layer.blocks[1].first.bias.add_(1)  # type: ignore[union-attr, operator]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
