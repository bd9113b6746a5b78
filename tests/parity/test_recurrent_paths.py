"""Which path ran: a fast path that is lost gives the same numbers, so only a test that asks would notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from carryover.kernels.lstm_scan import scan_side_by_side
from carryover.kernels.packed_steps import PackedSteps
from carryover.kernels.products import prepare, product, uses_onednn
from carryover.kernels.pytorch_recurrent import KERNELS, Kernel
from carryover.layers.bidirectional import Bidirectional
from carryover.layers.dropout import WeightDrop
from carryover.layers.recurrent.elman import Elman
from carryover.layers.recurrent.gru import GRU
from carryover.layers.recurrent.lstm import LOW_PRECISION_CELLS, LSTM, lstm_loop
from carryover.layers.recurrent.lstm_side_by_side import lstm_together
from carryover.sequence import Sequence
from parity.recurrent import LENGTHS, ragged, run, some_state

ONEDNN = torch.backends.mkldnn.is_available()


def operations(function: object) -> set[str]:
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        function()  # type: ignore[operator]
    return {event.key for event in profiler.key_averages()}


@pytest.mark.parametrize("lengths", ["full", "ragged"])
@pytest.mark.parametrize("training", [True, False])
def test_plain_lstm_runs_fused(training: bool, lengths: str) -> None:
    layer = LSTM(4, 6).train(training)
    x = ragged(layer, LENGTHS[lengths])
    ran = operations(lambda: layer(x).values.sum().backward())
    assert layer.last_path == "fused" and "aten::lstm" in ran
    if ONEDNN:
        assert {"aten::mkldnn_rnn_layer", "aten::mkldnn_rnn_layer_backward"} <= ran
    assert "aten::sigmoid_" not in ran and "aten::tanh" not in ran


def test_plain_lstm_steps_fused_unless_ragged_rows_hand_on_their_state() -> None:
    layer = LSTM(4, 6)
    state = layer.initial_state(5)
    layer.step(ragged(layer, LENGTHS["full"]), state)
    assert layer.last_path == "fused"
    layer.step(ragged(layer, LENGTHS["ragged"]), state)
    assert layer.last_path == "scan"


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("lengths", [[1, 1, 1, 1, 1], [1, 0, 1, 1, 0]], ids=str)
@pytest.mark.parametrize("options", [{}, {"peephole": True}, {"projection": 3, "projection_clip": 0.1}], ids=str)
def test_one_step_without_gradients(options: dict[str, Any], lengths: list[int], low: bool) -> None:
    """The library's cell, or the plain loop where there is none; with gradients the paths for whole rows."""
    layer = LSTM(4, 6, **options)
    state = some_state(layer, 5)
    x = ragged(layer, lengths, time=1)
    expected, last = lstm_loop(layer, x, state)
    tolerance = 3e-2 if low else 1e-6
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=low):
        found, found_last = layer.step(x, state)
    assert layer.last_path == ("cell" if not options else "scan" if low else "loop")
    assert found.values.dtype == (torch.bfloat16 if low else torch.float32)
    torch.testing.assert_close(found.values.float(), expected.values, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(found_last, last, atol=tolerance, rtol=tolerance)
    layer.step(x, state)
    assert layer.last_path == ("fused" if not options and all(lengths) else "scan")


def test_dropped_weights_stay_fused() -> None:
    layer = WeightDrop(LSTM(4, 6), 0.5).train()
    layer(ragged(layer, LENGTHS["full"])).values.sum().backward()
    assert layer.layer.last_path == "fused"


@pytest.mark.parametrize(
    "layer, path, operation",
    [
        (GRU(4, 6), "fused", "aten::gru"),
        (GRU(4, 6, reset="before"), "scan", "_GRUScan"),
        (Elman(4, 6), "fused", "aten::rnn_tanh"),
        (Elman(4, 6, nonlinearity="relu"), "fused", "aten::rnn_relu"),
        (Elman(4, 6, nonlinearity="sigmoid"), "scan", "_ElmanScan"),
        (LSTM(4, 6, projection=3), "scan", "LSTMScan"),
        (LSTM(4, 6, cell_clip=3), "scan", "LSTMScan"),
        (LSTM(4, 6, peephole=True), "scan", "LSTMScan"),
    ],
)
@pytest.mark.parametrize("lengths", ["full", "ragged"])
def test_paths(layer: LSTM | GRU | Elman, path: str, operation: str, lengths: str) -> None:
    x = ragged(layer, LENGTHS[lengths])
    ran = operations(lambda: layer(x))
    assert layer.last_path == path and operation in ran


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shape of the input of every call of a fused kernel."""
    seen: list[tuple[int, ...]] = []

    def counted(kernel: Kernel) -> Kernel:
        def run(values: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
            seen.append(tuple(values.shape))
            return kernel(values, *arguments)

        return run

    for name, kernel in KERNELS.items():
        monkeypatch.setitem(KERNELS, name, counted(kernel))
    return seen


@pytest.mark.parametrize("layer", [GRU(4, 6), Elman(4, 6), Elman(4, 6, nonlinearity="relu")], ids=repr)
def test_ragged_rows_run_packed_without_gradients(layer: GRU | Elman, calls: list[tuple[int, ...]]) -> None:
    """The kernels that oneDNN lacks spare the padding then; rows of length 0 keep their state."""
    x, state = ragged(layer, LENGTHS["ragged"]), some_state(layer, 5)
    expected, last = layer.loop(x, state)
    with torch.no_grad():
        found, found_last = layer.step(x, state)
        none, kept = layer.step(Sequence(x.values, torch.zeros_like(x.lengths)), state)
    assert calls == [(sum(LENGTHS["ragged"]), 4), (5, 6, 4)]
    torch.testing.assert_close(found.values, expected.values, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found_last, last, atol=1e-6, rtol=1e-6)
    assert not none.values.any() and torch.equal(kept, state)


@pytest.mark.parametrize("lengths", ["full", "ragged", "empty"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "make", [lambda: LSTM(4, 6), lambda: GRU(4, 6), lambda: Elman(4, 6), lambda: Elman(4, 6, nonlinearity="relu")]
)
def test_two_directions_run_in_one_call(
    make: Callable[[], LSTM | GRU | Elman], training: bool, lengths: str, calls: list[tuple[int, ...]]
) -> None:
    torch.manual_seed(3)
    layer = Bidirectional(make(), make())
    x, results = ragged(layer, LENGTHS[lengths]), []
    packs = lengths == "ragged" and not training and not isinstance(layer.forward_layer, LSTM)
    for fast in (True, False):
        layer.forward_layer.fast = layer.backward_layer.fast = fast
        with torch.set_grad_enabled(training):
            y = layer(x).values
            leaves = [x.values, *layer.parameters()]
            results.append([y, *torch.autograd.grad(y.pow(2).sum(), leaves)] if training else [y])
    full = (5, 6, 4)
    assert calls == ([(sum(LENGTHS["ragged"]), 4)] if packs else [full] if lengths == "full" else [full, full])
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-5)


def test_which_path_two_directions_took() -> None:
    layer = Bidirectional(GRU(4, 6), GRU(4, 6))
    layer(ragged(layer, LENGTHS["full"]))
    assert [one.last_path for one in (layer.forward_layer, layer.backward_layer)] == ["fused", "fused"]  # type: ignore[attr-defined]


def test_hooks_of_a_direction_are_called() -> None:
    layer, seen = Bidirectional(GRU(4, 6), GRU(4, 6)), []
    layer.backward_layer.register_forward_hook(lambda *arguments: seen.append(1))
    layer(ragged(layer, LENGTHS["full"]))
    assert seen == [1]


def test_two_directions_of_unlike_layers_run_one_by_one() -> None:
    for ahead, back in [(GRU(4, 6), GRU(4, 5)), (GRU(4, 6), Elman(4, 6)), (LSTM(4, 6), LSTM(4, 6, peephole=True))]:
        layer = Bidirectional(ahead, back)
        x = ragged(layer, LENGTHS["full"])
        together = torch.cat([ahead(x).values, back(x.reverse()).reverse().values], dim=-1)
        assert torch.equal(layer(x).values, together)


def test_training_in_bfloat16_scans_where_that_is_faster() -> None:
    small, large = LSTM(4, LOW_PRECISION_CELLS - 1), LSTM(4, LOW_PRECISION_CELLS)
    x = ragged(large, LENGTHS["full"])
    paths = []
    for layer in (small, large):
        layer(x)
        paths.append(layer.last_path)
        with torch.autocast("cpu", torch.bfloat16):
            layer(x)
            paths.append(layer.last_path)
            with torch.no_grad():
                layer(x)
            paths.append(layer.last_path)
    assert paths == ["fused", "fused", "fused", "fused", "scan", "fused"]


def test_scan_computes_its_products_with_onednn() -> None:
    layer = LSTM(4, 6, projection=3)
    assert uses_onednn(layer.hidden_weight) == ONEDNN
    if ONEDNN:
        x = ragged(layer, LENGTHS["full"])
        ran = operations(lambda: layer(x).values.sum().backward())
        assert "mkldnn::_linear_pointwise" in ran and not {"aten::mm", "aten::addmm"} & ran


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_products(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(5, 3).to(dtype), torch.randn(4, 3).to(dtype), torch.randn(4).to(dtype)
    expected = x.double() @ weight.double().t()
    tolerance = {torch.float32: 1e-6, torch.bfloat16: 3e-2, torch.float64: 1e-14}[dtype]
    for found in (product(x, weight), prepare(weight, 5)(x), product(x.t().contiguous().t(), weight.t().contiguous().t())):
        torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(product(x, weight, bias).double(), expected + bias, atol=2 * tolerance, rtol=tolerance)
    assert product(x[:0], weight).shape == (0, 4) and product(x, weight[:0]).shape == (5, 0)
    batched = product(torch.stack([x, -x]), torch.stack([weight, weight]), torch.stack([bias, bias]))
    torch.testing.assert_close(batched[1].double(), bias - expected, atol=2 * tolerance, rtol=tolerance)


@pytest.mark.parametrize("lengths", ["full", "ragged"])
@pytest.mark.parametrize("options", [{"projection": 3, "cell_clip": 0.2, "projection_clip": 0.1, "peephole": True}, {}])
def test_together_equals_one_by_one(options: dict[str, float], lengths: str) -> None:
    torch.manual_seed(1)
    layers = [LSTM(4, 6, **options) for _ in range(3)]  # type: ignore[arg-type]
    inputs, states = [ragged(layer, LENGTHS[lengths]) for layer in layers], [some_state(layer, 5) for layer in layers]
    outputs, lasts = lstm_together(layers, inputs, states)
    assert {layer.last_path for layer in layers} == {"scan" if options or lengths == "ragged" else "fused"}
    steps = PackedSteps(inputs[0].lengths, 6)
    side_by_side = scan_side_by_side(
        [steps.pack(x.values) for x in inputs],
        [layer.weights() for layer in layers],
        states,
        steps,
        layers[0].cell_clip,
        layers[0].projection_clip,
    )
    for k, layer in enumerate(layers):
        expected, last = lstm_loop(layer, inputs[k], states[k])
        for found, found_last in [(outputs[k].values, lasts[k]), (steps.unpack(side_by_side[k][0]), side_by_side[k][1])]:
            torch.testing.assert_close(found, expected.values, atol=1e-6, rtol=1e-6)
            torch.testing.assert_close(found_last, last, atol=1e-6, rtol=1e-6)


def test_together_refuses_what_does_not_fit() -> None:
    one, other = LSTM(4, 6, projection=3), LSTM(4, 6, projection=3)
    x, y = Sequence.of(torch.randn(2, 3, 4), [3, 1]), Sequence.of(torch.randn(2, 3, 4), [3, 2])
    state = one.initial_state(2)
    with pytest.raises(ValueError, match=r"lengths \[3, 1\] and \[3, 2\]"):
        lstm_together([one, other], [x, y], [state, state])
    with pytest.raises(ValueError, match="only LSTMs of equal shape"):
        lstm_together([one, LSTM(4, 6, projection=3, cell_clip=1)], [x, x], [state, state])
    with pytest.raises(ValueError, match="state of batch size 2 with an input of batch size 3"):
        one.step(Sequence.of(torch.randn(3, 3, 4)), state)
    with pytest.raises(ValueError, match="expects 4 features and got 5"):
        one(Sequence.of(torch.randn(3, 3, 5)))


@pytest.mark.parametrize("lengths", ["full", "ragged"])
@pytest.mark.parametrize(
    "layer",
    [
        LSTM(16, 32),
        LSTM(16, 32, projection=8, cell_clip=1, projection_clip=1),
        LSTM(16, 32, peephole=True),
        GRU(16, 32),
        GRU(16, 32, reset="before"),
        Elman(16, 32, nonlinearity="sigmoid"),
    ],
    ids=repr,
)
def test_bfloat16(layer: LSTM | GRU | Elman, lengths: str) -> None:
    """Under autocast the outputs are bfloat16, gradients and states keep their float32, and all are near the exact ones."""
    torch.manual_seed(2)
    x, state = ragged(layer, LENGTHS[lengths]), some_state(layer, 5)
    exact = run(layer.step, layer, x, state)
    with torch.autocast("cpu", torch.bfloat16):
        near = run(layer.step, layer, x, state)
    assert near.pop("outputs").dtype == torch.bfloat16
    for name, tensor in near.items():
        assert tensor.dtype == torch.float32, name
        distance = (tensor - exact[name]).norm() / exact[name].norm().clamp(min=1e-6)
        assert distance < 0.03, (name, float(distance))


@pytest.mark.parametrize("layer", [LSTM(8, 16), LSTM(8, 16, projection=4), GRU(8, 16), GRU(8, 16, reset="before")], ids=repr)
def test_layer_cast_to_bfloat16(layer: LSTM | GRU) -> None:
    layer = layer.to(torch.bfloat16)
    y = layer(ragged(layer, LENGTHS["ragged"]))
    assert y.values.dtype == torch.bfloat16 and y.values.isfinite().all()
    y.values.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())
