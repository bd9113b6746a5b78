"""Attention in windows of a grid against a plain loop over the windows."""

from __future__ import annotations

import pytest
import torch

from carryover.layers import WindowAttention2D, taps
from laws.attention_references import loop_windows

GRIDS = [(8, 8), (4, 4), (12, 4), (7, 10), (5, 4), (3, 9), (1, 1), (2, 13)]


@pytest.mark.parametrize("height,width", GRIDS)
@pytest.mark.parametrize("shift", [0, 1, 2, 3])
@pytest.mark.parametrize("fast", [True, False])
def test_equals_a_loop_over_the_windows(height: int, width: int, shift: int, fast: bool) -> None:
    torch.manual_seed(height * width + shift)
    layer = WindowAttention2D(6, 2, 4, shift=shift).double()
    layer.fast = fast
    x = torch.randn(2, height, width, 6, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    expected = torch.stack([loop_windows(layer, grid) for grid in x])
    torch.testing.assert_close(y, expected, rtol=1e-8, atol=1e-10)
    assert layer.last_path == ("fused" if fast else "plain")
    weights = torch.randn_like(y)
    leaves = [x, *layer.parameters()]
    found = torch.autograd.grad((y * weights).sum(), leaves)
    for one, other in zip(found, torch.autograd.grad((expected * weights).sum(), leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("shift", [0, 2])
def test_a_cell_sees_its_window_and_nothing_else(shift: int) -> None:
    layer = WindowAttention2D(4, 2, 4, shift=shift)
    x = torch.randn(1, 8, 8, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x)[0, 3, 7].sum(), x)
    seen = (gradient[0] != 0).any(-1).nonzero()
    top, left = ((0, 4), (2, 6))[shift // 2]
    rows, columns = range(top, top + 4), range(left, 8)
    assert seen.tolist() == [[i, j] for i in rows for j in columns]


def test_the_bias_table_is_read_by_distance() -> None:
    layer = WindowAttention2D(2, 1, 2)
    with torch.no_grad():
        layer.bias_table.copy_(torch.arange(9.0).unsqueeze(1))
    # Cells 0 1 / 2 3; rows are queries. Entry (row distance + 1) · 3 + (column distance + 1).
    assert layer.relative_bias()[0].tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


def test_names_of_parameters_and_of_the_weights() -> None:
    layer = WindowAttention2D(6, 2, 3, shift=1)
    assert {name: tuple(tensor.shape) for name, tensor in layer.state_dict().items()} == {
        "bias_table": (25, 2),
        "query_key_value.weight": (18, 6),
        "query_key_value.bias": (18,),
        "output.weight": (6, 6),
        "output.bias": (6,),
    }
    with taps(layer, "weights") as seen:
        layer(torch.randn(2, 6, 9, 6))
    weights = seen["weights"]
    assert isinstance(weights, torch.Tensor)
    assert weights.shape == (2 * 6, 2, 9, 9)
    torch.testing.assert_close(weights.sum(-1), torch.ones(12, 2, 9))


def test_faulty_settings_and_input_are_refused() -> None:
    with pytest.raises(ValueError, match="WindowAttention2D cannot divide size 5 among 2 heads"):
        WindowAttention2D(5, 2, 4)
    with pytest.raises(ValueError, match="windows of 0 cells a side: choose at least 1"):
        WindowAttention2D(4, 2, 0)
    with pytest.raises(ValueError, match="has shift 4 with windows of 4: choose 0 … 3"):
        WindowAttention2D(4, 2, 4, shift=4)
    with pytest.raises(ValueError, match=r"expects a grid \[batch, height, width, 4\] and got \(1, 4, 8, 8\)"):
        WindowAttention2D(4, 2, 4)(torch.zeros(1, 4, 8, 8))
