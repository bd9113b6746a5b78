"""Elman networks, GRUs and LSTMs in C over all steps: the loops' numbers and gradients, and when they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from carryover.kernels import c_library, elman_gru_lstm_compiled
from carryover.layers.bidirectional import Bidirectional
from carryover.layers.recurrent.elman import Elman, elman_loop
from carryover.layers.recurrent.gru import GRU, gru_loop
from carryover.layers.recurrent.lstm import LSTM, MOST_CELLS, lstm_loop
from carryover.layers.recurrent.lstm_side_by_side import lstm_together
from carryover.sequence import Sequence
from parity.calls import record_calls
from parity.recurrent import LENGTHS, ragged, require_equal, run, some_state

Make = Callable[[int, int], Any]
LAYERS: dict[str, tuple[Make, Callable[..., Any]]] = {
    "tanh": (Elman, elman_loop),
    "relu": (lambda i, h: Elman(i, h, nonlinearity="relu"), elman_loop),
    "sigmoid": (lambda i, h: Elman(i, h, nonlinearity="sigmoid"), elman_loop),
    "gru": (GRU, gru_loop),
    "lstm": (LSTM, lstm_loop),
}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return record_calls(monkeypatch, c_library.RECURRENCE, elman_gru_lstm_compiled)


every_size = pytest.mark.parametrize("size", [5, 16, 35, 70])
every_length = pytest.mark.parametrize("lengths", LENGTHS)
every_layer = pytest.mark.parametrize("name", LAYERS)


@every_length
@every_size
@every_layer
def test_gradients_equal_the_loop(called: list[str], name: str, size: int, lengths: str) -> None:
    """With sizes that fill no register, one panel and several; NaN in the padding, rows without any step."""
    torch.manual_seed(size)
    make, loop = LAYERS[name]
    layer = make(3, size)
    x, state = ragged(layer, LENGTHS[lengths]), some_state(layer, 5)
    expected = run(lambda y, s: loop(layer, y, s), layer, x, state)
    found = run(layer.step, layer, x, state)
    assert layer.last_path == "compiled"
    assert called == ["recurrence_forward", "recurrence_backward"]
    require_equal(found, expected, 5e-6)


def _pairs() -> bool:
    """Whether the processor multiplies bfloat16."""
    library = c_library.library(c_library.RECURRENCE)
    return library is not None and bool(library.has_bfloat16())


@every_length
@every_size
@every_layer
def test_bfloat16_is_near_the_loop(called: list[str], name: str, size: int, lengths: str) -> None:
    """Under autocast, with numbers of factors that are odd, even, and no whole panel."""
    torch.manual_seed(size)
    make, loop = LAYERS[name]
    layer = make(3, size)
    if name == "relu":
        nn.init.constant_(layer.bias, 2)  # at its kink a slope would hang on the last bit
    x, state = ragged(layer, LENGTHS[lengths]), some_state(layer, 5)
    expected = run(lambda y, s: loop(layer, y, s), layer, x, state)

    def step(y: Sequence, s: Any) -> tuple[Sequence, Any]:
        with torch.autocast("cpu", torch.bfloat16):
            outputs, last = layer.step(y, s)
        assert outputs.values.dtype == torch.bfloat16
        return outputs.with_values(outputs.values.float()), last

    found = run(step, layer, x, state)
    assert (layer.last_path == "compiled") == (_pairs() and (name != "lstm" or lengths != "full"))
    for part, right in expected.items():
        distance = torch.nan_to_num(found[part] - right).norm() / torch.nan_to_num(right).norm().clamp(min=1e-30)
        assert distance < (0.015 if layer.last_path == "compiled" else 0.1), (part, float(distance))  # 0.07 the library's


@every_layer
def test_rows_in_any_company(called: list[str], name: str) -> None:
    """In another order bit for bit, and alone but for the product with the input, which the library does as it likes."""
    torch.manual_seed(1)
    layer = LAYERS[name][0](3, 20)
    lengths = [6, 9, 3, 0, 9, 7, 1, 8, 9, 2, 9, 5, 9, 9, 4, 9, 6, 7, 9]
    x = Sequence.of(torch.randn(19, 9, 3), lengths)
    together = layer(x).values.detach()
    turned = layer(Sequence.of(x.values.flip(0), lengths[::-1])).values.detach()
    assert torch.equal(turned.flip(0), together)
    for row in (0, 1, 6):
        alone = layer(Sequence.of(x.values[row : row + 1].clone(), lengths[row : row + 1])).values
        torch.testing.assert_close(alone[0], together[row], rtol=1e-6, atol=1e-6)
    assert set(called) == {"recurrence_forward"}


@every_layer
def test_gradients_by_threads(called: list[str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_library, "THREAD_WORK", 1)
    torch.manual_seed(2)
    layer = LAYERS[name][0](3, 20)
    x, state = ragged(layer, [6] * 13 + [2] * 5 + [0]), some_state(layer, 19)
    results = []
    for threads in (1, 2, 4):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        results.append(run(layer.step, layer, x, state))
    for other in results[1:]:
        for part in results[0]:
            assert torch.equal(torch.nan_to_num(results[0][part]), torch.nan_to_num(other[part])), part


@every_layer
def test_a_nan_stays_in_its_row(called: list[str], name: str) -> None:
    layer = LAYERS[name][0](4, 20)
    values = torch.randn(4, 5, 4)
    values[1, 2, 0] = float("nan")
    y = layer(Sequence(values.requires_grad_(), torch.tensor([5, 5, 5, 5])))
    (gradient,) = torch.autograd.grad(y.values[[0, 2]].sum(), [values])
    assert called and y.values[1, 2:].isnan().all() and y.values[1, :2].isfinite().all()
    assert y.values[[0, 2]].isfinite().all() and gradient[[0, 2]].isfinite().all()


@every_layer
def test_far_from_zero(called: list[str], name: str) -> None:
    """Sums at which an exponential would overflow, and tiny ones, of which tanh must keep the leading digits."""
    make, loop = LAYERS[name]
    layer = make(1, 16)
    for scale in (1e-6, 300.0):
        values = torch.linspace(-1, 1, 24).view(4, 6, 1) * scale
        x, state = Sequence.of(values), layer.initial_state(4)
        nn.init.zeros_(layer.bias)
        found, expected = layer.step(x, state)[0].values, loop(layer, x, state)[0].values
        torch.testing.assert_close(found, expected, rtol=2e-6, atol=0 if name == "tanh" and scale < 1 else 1e-6)
    assert called


def test_the_last_state_alone_has_a_gradient(called: list[str]) -> None:
    for name, (make, loop) in LAYERS.items():
        layer = make(3, 9)
        x, state = ragged(layer, LENGTHS["ragged"]), some_state(layer, 5)

        def last(step: Callable[..., Any]) -> Tensor:
            ended = step(x, state)[1]  # noqa: B023 - called at once
            return (ended if isinstance(ended, Tensor) else ended.cell).square().sum()

        leaves = [x.values, *layer.parameters()]
        found = torch.autograd.grad(last(layer.step), leaves)
        expected = torch.autograd.grad(last(lambda y, s: loop(layer, y, s)), leaves)  # noqa: B023
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(torch.nan_to_num(one), torch.nan_to_num(other), rtol=1e-5, atol=1e-6, msg=name)
    assert called.count("recurrence_backward") == len(LAYERS)


def test_weights_that_are_no_parameters(called: list[str]) -> None:
    """Weights made anew for each call, as weight drop makes them, and slices of larger ones."""
    layer = GRU(3, 8)
    whole = torch.randn(24, 20, requires_grad=True)
    del layer.hidden_weight
    layer.hidden_weight = whole[:, 3:11]  # type: ignore[assignment]
    x, state = Sequence.of(torch.randn(2, 5, 3)), layer.initial_state(2)
    (found,) = torch.autograd.grad(layer.step(x, state)[0].values.sum(), [whole])
    (expected,) = torch.autograd.grad(gru_loop(layer, x, state)[0].values.sum(), [whole])
    assert called
    torch.testing.assert_close(found, expected)


def test_directions_and_lstms_together(called: list[str]) -> None:
    both = Bidirectional(LSTM(3, 6), LSTM(3, 6))
    x = Sequence.of(torch.randn(4, 5, 3), [5, 2, 0, 4])
    y = both(x)
    assert both.forward_layer.last_path == both.backward_layer.last_path == "compiled"
    layers = [LSTM(3, 6), LSTM(3, 6)]
    found, _ = lstm_together(layers, [x, x], [layer.initial_state(4) for layer in layers])
    assert [layer.last_path for layer in layers] == ["compiled"] * 2 and called == ["recurrence_forward"] * 4
    torch.testing.assert_close(found[0].values, lstm_loop(layers[0], x, layers[0].initial_state(4))[0].values)
    assert y.values.shape == (4, 5, 12)


def _double(layer: nn.Module, x: Sequence) -> Sequence:
    layer.double()
    return x.with_values(x.values.double())


def test_where_onednn_is_faster(called: list[str]) -> None:
    layer = LSTM(3, 16)
    full, ragged_rows = Sequence.of(torch.randn(4, 6, 3)), Sequence.of(torch.randn(4, 6, 3), [6, 2, 6, 6])
    with torch.no_grad():
        layer(full)
        assert layer.last_path == "fused"
        layer(ragged_rows)
        assert layer.last_path == "compiled"
    layer(Sequence.of(torch.randn(3, 6, 3)))
    assert layer.last_path == "fused"
    for cells, path in {MOST_CELLS: "compiled", MOST_CELLS + 1: "fused"}.items():
        layer = LSTM(3, cells)
        layer(full)
        assert layer.last_path == path
    assert len(called) == 2


@pytest.mark.parametrize("case", ["double", "off", "small", "short", "low", "transformed", "not fast"])
@pytest.mark.parametrize("name", ["tanh", "gru", "lstm"])
def test_what_pytorch_runs(called: list[str], monkeypatch: pytest.MonkeyPatch, name: str, case: str) -> None:
    layer = LAYERS[name][0](3, 16)
    x = Sequence.of(torch.randn(4, 3 if case == "short" else 6, 3))
    if case == "double":
        x = _double(layer, x)
    if case == "off":
        monkeypatch.setenv("CARRYOVER_KERNELS", "off")
    if case == "small":
        monkeypatch.setattr(elman_gru_lstm_compiled, "LEAST_WEIGHTS", 1 << 13)
    layer.fast = case != "not fast"
    if case == "low" and name != "lstm":
        monkeypatch.setattr(c_library.library(c_library.RECURRENCE), "has_bfloat16", lambda: 0)
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "low"):
        if case == "transformed":
            torch.func.grad(lambda values: layer(x.with_values(values)).values.sum())(x.values)
        else:
            layer(x).values.sum().backward()
    assert not called and layer.last_path == ("loop" if case == "not fast" else "fused")
