"""Layer-normalized recurrent cells: both paths, states, precision, what normalization promises, and that laws notice a fault."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from carryover.layers import Elman, LawBroken, Layer, LayerNormElman, LayerNormGRU, LayerNormLSTM, check
from carryover.layers.laws import Case, batch
from carryover.layers.recurrent import layer_norm_cells
from carryover.sequence import Sequence
from parity.recurrent import LENGTHS, ragged, require_equal, run, some_state

CELLS: list[Callable[[], Layer]] = [
    lambda: LayerNormElman(4, 6),
    lambda: LayerNormElman(4, 6, nonlinearity="sigmoid"),
    lambda: LayerNormGRU(4, 6),
    lambda: LayerNormLSTM(4, 6),
]
NAMES = ["elman", "elman, sigmoid", "gru", "lstm"]


def make(build: Callable[[], Layer], dtype: torch.dtype = torch.float32) -> Layer:
    torch.manual_seed(1)
    layer = build().to(dtype)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


@pytest.mark.parametrize("build", CELLS, ids=NAMES)
@pytest.mark.parametrize("lengths", LENGTHS)
def test_both_paths_agree(build: Callable[[], Layer], lengths: str) -> None:
    layer = make(build, torch.float64)
    x, state = ragged(layer, LENGTHS[lengths]), some_state(layer, 5)
    found = run(layer.step, layer, x, state)
    assert layer.last_path == "scan"
    layer.fast = False
    expected = run(layer.step, layer, x, state)
    assert layer.last_path == "loop"
    require_equal(found, expected, 1e-12)


@pytest.mark.parametrize("build", CELLS, ids=NAMES)
@pytest.mark.parametrize("lengths", ["full", "ragged"])
def test_bfloat16(build: Callable[[], Layer], lengths: str) -> None:
    """Under autocast the state keeps its float32, and all is near the exact numbers."""
    layer = make(build)
    x, state = ragged(layer, LENGTHS[lengths]), some_state(layer, 5)
    exact = run(layer.step, layer, x, state)
    with torch.autocast("cpu", torch.bfloat16):
        near = run(layer.step, layer, x, state)
    for name, tensor in near.items():
        assert name == "outputs" or tensor.dtype == torch.float32, name
        distance = (tensor - exact[name]).norm() / exact[name].norm().clamp(min=1e-6)
        assert distance < 0.03, (name, float(distance))


@pytest.mark.parametrize("build", CELLS, ids=NAMES)
def test_nothing_to_read(build: Callable[[], Layer]) -> None:
    layer = make(build)
    for rows, time in [(2, 0), (0, 4), (0, 0)]:
        y, _ = layer.step(ragged(layer, [0] * rows, time=time), layer.initial_state(rows))
        assert y.values.shape == (rows, time, 6)


def test_the_scale_of_the_weights_does_not_matter() -> None:
    """Ba, Kiros & Hinton 2016, section 5.1: scaling what is normalized changes nothing. A plain cell saturates."""
    torch.manual_seed(0)
    x = Sequence.of(torch.randn(3, 10, 4, dtype=torch.float64))
    for build in (LayerNormElman, LayerNormGRU, LayerNormLSTM, Elman):
        layer = build(4, 16).double()
        with torch.no_grad():
            before = layer(x).values
            layer.input_weight.mul_(20)
            layer.hidden_weight.mul_(20)
            distance = float((layer(x).values - before).abs().max())
        assert distance > 0.5 if build is Elman else distance < 0.01, (build, distance)


@pytest.mark.parametrize("build", CELLS, ids=NAMES)
def test_laws_notice_statistics_of_the_wrong_numbers(build: Callable[[], Layer], monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make(build)
    check(layer)

    def over_the_batch(values: Tensor, gain: Tensor, bias: Tensor | None) -> Tensor:
        standard = (values - values.mean(0)) / (values.var(0, unbiased=False) + 1e-5).sqrt()
        return standard * gain + (0 if bias is None else bias)

    monkeypatch.setattr(layer_norm_cells, "normalize", over_the_batch)
    with pytest.raises(LawBroken, match="law 'batch'"):
        batch(Case.of(layer))


@pytest.mark.parametrize("build", [LayerNormElman, LayerNormGRU, LayerNormLSTM])
def test_wrong_options_are_refused(build: type[Layer]) -> None:
    with pytest.raises(ValueError, match=r"in_size is 0 and .*size 4"):
        build(0, 4)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="expects 4 features and got 3"):
        build(4, 4)(Sequence.of(torch.randn(1, 2, 3)))  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="state of batch size 1 with an input of batch size 2"):
        layer = build(4, 4)  # type: ignore[call-arg]
        layer.step(Sequence.of(torch.randn(2, 2, 4)), layer.initial_state(1))


def test_unknown_nonlinearity() -> None:
    with pytest.raises(ValueError, match="nonlinearity is 'gelu'"):
        LayerNormElman(2, 3, nonlinearity="gelu")  # type: ignore[arg-type]
