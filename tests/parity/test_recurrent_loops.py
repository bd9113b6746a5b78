"""Every fast path equals the plain loop beside it: values, last states, all gradients, ragged rows, NaN in the padding."""

from __future__ import annotations

from itertools import product

import pytest
import torch

import carryover.kernels.lstm_scan as lstm_scan
from carryover.layers.recurrent.elman import Elman, elman_loop
from carryover.layers.recurrent.gru import GRU, gru_loop
from carryover.layers.recurrent.lstm import LSTM, lstm_loop
from parity.recurrent import LENGTHS, ragged, require_equal, run, some_state

# The clips are low enough to cut about half of the values.
LSTMS = [
    {"peephole": peephole, "projection": projection, "cell_clip": cell_clip, "projection_clip": clip}
    for peephole, projection, cell_clip, clip in product((False, True), (None, 3), (None, 0.15), (None, 0.05))
    if projection or not clip
]


def close(dtype: torch.dtype) -> float:
    return 3e-6 if dtype == torch.float32 else 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("options", LSTMS, ids=str)
def test_lstm(options: dict[str, object], lengths: str, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    layer = LSTM(4, 7, **options).to(dtype)  # type: ignore[arg-type]
    x, state = ragged(layer, LENGTHS[lengths]), some_state(layer, 5)
    expected = run(lambda a, b: lstm_loop(layer, a, b), layer, x, state)
    if options["cell_clip"] and lengths == "full":
        assert 0.2 < (expected["state 1"].abs() == 0.15).double().mean() < 0.9
    require_equal(run(layer.step, layer, x, state), expected, close(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lengths", ["full", "ragged", "short"])
@pytest.mark.parametrize("reset", ["before", "after"])
def test_gru(reset: str, lengths: str, dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    layer = GRU(4, 5, reset=reset).to(dtype)  # type: ignore[arg-type]
    x, state = ragged(layer, LENGTHS[lengths]), some_state(layer, 5)
    require_equal(run(layer.step, layer, x, state), run(lambda a, b: gru_loop(layer, a, b), layer, x, state), close(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lengths", ["full", "ragged", "short"])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu", "sigmoid"])
def test_elman(nonlinearity: str, lengths: str, dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    layer = Elman(4, 5, nonlinearity=nonlinearity).to(dtype)  # type: ignore[arg-type]
    x, state = ragged(layer, LENGTHS[lengths]), some_state(layer, 5)
    require_equal(run(layer.step, layer, x, state), run(lambda a, b: elman_loop(layer, a, b), layer, x, state), close(dtype))


@pytest.mark.parametrize("layer", [LSTM(3, 2), LSTM(3, 2, projection=2), GRU(3, 2), GRU(3, 2, reset="before"), Elman(3, 2)])
def test_nothing_to_read(layer: LSTM | GRU | Elman) -> None:
    for batch, time in [(2, 0), (0, 4), (0, 0)]:
        x, state = ragged(layer, [0] * batch, time=time), layer.initial_state(batch)
        y, last = layer.step(x, state)
        assert y.values.shape == (batch, time, 2)
        assert torch.equal(torch.cat(tuple(last)), torch.cat(tuple(state))) if batch else True
        assert layer(x).values.shape == (batch, time, 2)


def test_without_gradients_the_gates_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(4)
    layer = LSTM(4, 7, projection=3, cell_clip=0.2)
    x, state = ragged(layer, LENGTHS["ragged"]), some_state(layer, 5)
    expected, last = layer.step(x, state)
    seen = []
    real = lstm_scan.product
    monkeypatch.setattr(lstm_scan, "GATES_AT_ONCE", 28 * 7)
    monkeypatch.setattr(lstm_scan, "product", lambda x, *rest: seen.append(len(x)) or real(x, *rest))
    with torch.no_grad():
        found, found_last = layer.step(x, state)
    assert seen == [7, 7, 2]  # rows running at steps 0 … 5: 4, 3, 3, 2, 2, 2
    torch.testing.assert_close(found.values, expected.values)
    torch.testing.assert_close(found_last, last)


def test_a_row_of_nan_does_not_unclip_its_neighbours() -> None:
    """The backward pass leaves masks out when nothing was cut; a NaN must not look like nothing."""
    torch.manual_seed(5)
    layer = LSTM(4, 7, projection=3, cell_clip=0.1, projection_clip=0.02)
    values = torch.randn(2, 5, 4)
    gradients = []
    for neighbour in (0.0, float("nan")):
        x = ragged(layer, [5, 5], time=5)
        x = x.with_values(torch.stack([values[0], torch.full_like(values[1], neighbour)]).requires_grad_())
        gradients.append(torch.autograd.grad(layer(x).values[0].sum(), x.values)[0][0])
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(gradients[0], gradients[1])
