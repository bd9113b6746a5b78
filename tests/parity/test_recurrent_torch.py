"""LSTM, GRU and Elman equal torch.nn on the same weights, row by row, in values and in all gradients."""

from __future__ import annotations

import pytest
import torch

from carryover.layers.recurrent.elman import Elman
from carryover.layers.recurrent.gru import GRU
from carryover.layers.recurrent.lstm import LSTM
from parity.recurrent import LENGTHS, ragged, require_equal, run, some_state, torch_step

LAYERS = {
    "LSTM": lambda: LSTM(4, 7),
    "LSTM, projection": lambda: LSTM(4, 7, projection=3),
    "LSTM, clips out of reach": lambda: LSTM(4, 7, projection=3, cell_clip=50, projection_clip=50),
    "GRU": lambda: GRU(4, 5),
    "Elman, tanh": lambda: Elman(4, 5),
    "Elman, relu": lambda: Elman(4, 5, nonlinearity="relu"),
}


# torch says that its own LSTM with projection has no oneDNN kernel; that is why ours exists.
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("name", LAYERS)
def test_equals_torch(name: str, lengths: str, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    layer = LAYERS[name]().to(dtype)
    x, state = ragged(layer, LENGTHS[lengths]), some_state(layer, 5)
    if lengths == "empty":  # nothing is read: the outputs are zeros and the state stays
        y, last = layer.step(x, state)
        assert not y.values.any()
        for before, after in zip(*(s if isinstance(s, tuple) else (s,) for s in (state, last)), strict=True):
            assert torch.equal(before, after)
        return
    tolerance = 3e-6 if dtype == torch.float32 else 1e-12
    require_equal(run(layer.step, layer, x, state), run(torch_step(layer), layer, x, state), tolerance)


@pytest.mark.parametrize("name", ["LSTM", "LSTM, projection", "GRU", "Elman, tanh"])
def test_whole_pass_equals_step_on_ragged_rows(name: str) -> None:
    """`forward` may take a faster way than `step`, because nobody asks it for states."""
    torch.manual_seed(2)
    layer = LAYERS[name]()
    x = ragged(layer, LENGTHS["ragged"])
    y = layer(x).values
    stepped = layer.step(x, layer.initial_state(5))[0].values
    torch.testing.assert_close(y, stepped, atol=1e-6, rtol=1e-6)
    weights = torch.randn(y.shape)
    leaves = [x.values, *layer.parameters()]
    for a, b in zip(*(torch.autograd.grad((v * weights).sum(), leaves) for v in (y, stepped)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_in_evaluation_mode(name: str) -> None:
    torch.manual_seed(3)
    layer = LAYERS[name]().eval()
    layer(ragged(layer, LENGTHS["ragged"])).values.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())
