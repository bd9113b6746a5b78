"""The LSTM's steps in C that keep what a backward pass needs: the loop's numbers and gradients."""

from __future__ import annotations

import pytest
import torch

from carryover.kernels import c_library
from carryover.layers.recurrent.lstm import LSTM, lstm_loop
from carryover.layers.recurrent.lstm_side_by_side import lstm_together
from carryover.sequence import Sequence
from parity.calls import record_calls
from parity.recurrent import LENGTHS, ragged, require_equal, run, some_state

CLIPS = {"cell_clip": 0.2, "projection_clip": 0.05}
OPTIONS = [{"projection": 2, **CLIPS}, {"projection": 4}, {"cell_clip": 0.15}]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return record_calls(monkeypatch, c_library.TRAINING)


def scan(layer: LSTM, x: Sequence, state: object) -> tuple[Sequence, object]:
    outputs, states = lstm_together([layer], [x], [state])  # type: ignore[list-item]
    return outputs[0], states[0]


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("cells", [5, 16, 35])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients_equal_the_loop(called: list[str], options: dict[str, float], cells: int, lengths: str) -> None:
    """With cells that fill no register, bounds that cut, NaN in the padding, rows without any step."""
    torch.manual_seed(cells)
    layer = LSTM(3, cells, **options)  # type: ignore[arg-type]
    x, state = ragged(layer, LENGTHS[lengths]), some_state(layer, 5)
    expected = run(lambda y, s: lstm_loop(layer, y, s), layer, x, state)
    found = run(lambda y, s: scan(layer, y, s), layer, x, state)
    steps = max(LENGTHS[lengths])
    assert called == ["lstm_forward"] * steps + ["lstm_backward"] * steps
    require_equal(found, expected, 3e-6)
    if "cell_clip" in options and steps:
        assert (expected["state 1"].abs() == options["cell_clip"]).any(), "a test of clipping in which nothing is cut"


def test_bfloat16_products(called: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As near to float32 as the steps in PyTorch are, whose roundings it shares but for the order of a few sums."""
    torch.manual_seed(1)
    layer = LSTM(24, 40, projection=24)  # where a bound cuts depends on the last bit
    x, state = ragged(layer, LENGTHS["ragged"]), some_state(layer, 5)

    def low() -> dict[str, torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            return {name: part.float() for name, part in run(lambda y, s: scan(layer, y, s), layer, x, state).items()}

    found, exact = low(), run(lambda y, s: lstm_loop(layer, y, s), layer, x, state)
    assert set(called) == {"lstm_forward", "lstm_backward"}
    monkeypatch.setenv("CARRYOVER_KERNELS", "off")
    called.clear()
    plain = low()
    assert not called
    for name, part in exact.items():
        part, one, other = (torch.nan_to_num(each) for each in (part, found[name], plain[name]))
        assert (one - part).norm() <= 0.03 * part.norm(), name
        assert (one - other).norm() <= 0.01 * part.norm(), name


def test_threads_change_nothing(called: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carryover.kernels.lstm_elementwise.THREAD_CELLS", 1)
    torch.manual_seed(2)
    layer = LSTM(3, 20, projection=6, **CLIPS)  # type: ignore[arg-type]
    x, state = ragged(layer, [6] * 13 + [2] * 5 + [0]), some_state(layer, 19)
    results = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        results.append(run(lambda y, s: scan(layer, y, s), layer, x, state))
    assert called
    for other in results[1:]:
        for name, part in results[0].items():
            assert torch.equal(torch.nan_to_num(part), torch.nan_to_num(other[name])), name


def test_a_nan_stays_in_its_row(called: list[str]) -> None:
    layer = LSTM(4, 20, projection=6, **CLIPS)  # type: ignore[arg-type]
    values = torch.randn(3, 5, 4)
    values[1, 2, 0] = float("nan")
    x = Sequence(values.requires_grad_(), torch.tensor([5, 5, 5]))
    y, _ = scan(layer, x, layer.initial_state(3))
    (gradient,) = torch.autograd.grad(y.values[[0, 2]].sum(), [values])
    assert called and y.values[1, 2:].isnan().all() and y.values[1, :2].isfinite().all()
    assert y.values[[0, 2]].isfinite().all() and gradient[[0, 2]].isfinite().all()


def test_rounding_to_bfloat16_is_torchs(called: list[str]) -> None:
    """Ties to even, denormal numbers, infinities: o (u − ½) of one step beside the same product rounded by PyTorch."""
    from carryover.kernels.lstm_elementwise import CompiledSteps

    rows, cells = 7, 50
    torch.manual_seed(0)
    d_outputs, u = torch.randn(rows, cells).bfloat16(), torch.rand(rows, cells)
    gates, before, dz = torch.rand(rows, 4 * cells), torch.randn(rows, cells), torch.zeros(rows, cells)
    u[0, :3] = torch.tensor([0.5 + 2**-24, 1.0, 0.0])
    d_outputs[1] *= 1e-38
    d_outputs[2, :4], gates[2, 3 * cells : 3 * cells + 4] = (
        1,
        0.5,
    )  # halfway between two, of which the even one is below, above
    u[2, :4] = 1.5 + torch.tensor([1, 3, -5, -7]) * 2**-8
    found = torch.empty(rows, 4 * cells, dtype=torch.bfloat16)
    CompiledSteps(cells, torch.bfloat16, None).backward(gates, u, before, None, d_outputs, dz, found)
    o = gates[:, 3 * cells :]
    expected = (d_outputs.float() * (u - 0.5)) * (o * (1 - o))
    assert torch.equal(found[:, 3 * cells :], expected.bfloat16())


@pytest.mark.parametrize("case", ["peephole", "double", "off", "small"])
def test_what_runs_in_pytorch(called: list[str], monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    layer = LSTM(3, 16, projection=4, peephole=case == "peephole")
    if case == "double":
        layer.double()
    if case == "off":
        monkeypatch.setenv("CARRYOVER_KERNELS", "off")
    if case == "small":
        monkeypatch.setattr(c_library, "LEAST_WEIGHTS", 1 << 18)
    x = Sequence.of(torch.randn(2, 3, 3, dtype=layer.bias.dtype))
    scan(layer, x, layer.initial_state(2))[0].values.sum().backward()
    assert not called and layer.last_path == "scan"
