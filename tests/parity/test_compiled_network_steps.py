"""Steps of a whole TCN or WaveNet in C: the numbers of the steps in PyTorch, under the same laws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from carryover.kernels import c_library
from carryover.layers import TCN, State, WaveNet, check, choose_rows, state_tensors, taps
from carryover.sequence import Sequence
from parity.calls import record_calls

Network = TCN | WaveNet
SIZES = [(3, 5, 3, 2), (2, 24, 2, 8), (16, 16, 3, 1), (20, 33, 2, 3)]


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return record_calls(monkeypatch, c_library.STEPS)


def networks(in_size: int, size: int, levels: int, kernel: int) -> list[Network]:
    torch.manual_seed(size)
    tcn = TCN(in_size, size, levels=levels, kernel=kernel, dropout=0.3).eval()
    sizes = {"size": size, "skip_size": size + 3, "levels": levels, "stacks": 2, "kernel": kernel}
    return [tcn, tcn.without_weight_norm(), WaveNet(in_size, 7, **sizes)]


def step_by_step(layer: Network, x: Sequence, *more: Any) -> tuple[Tensor, State]:
    with torch.no_grad():
        state, parts = layer.initial_state(x.batch_size), []
        for t in range(x.time):
            told = [part.slice(t, t + 1) if isinstance(part, Sequence) else part for part in more]
            y, state = layer.step(x.slice(t, t + 1), state, *told)
            parts.append(y.values)
        return torch.cat(parts, 1), state


@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_steps_equal_the_plain_ones(
    kernels: list[str], monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, int, int, int], rows: int
) -> None:
    """Beyond the receptive field and the room of a state's memory; sizes that fill no register."""
    for layer in networks(*sizes):
        x = Sequence.of(torch.randn(rows, 70, sizes[0]))
        found, state = step_by_step(layer, x)
        assert layer.last_path == "compiled"
        with monkeypatch.context() as off:
            off.setenv("CARRYOVER_KERNELS", "off")
            expected, last = step_by_step(layer, x)
        assert layer.last_path == "plain"
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(found, layer(x).values.detach(), atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(state_tensors(state), state_tensors(last), atol=1e-6, rtol=1e-6)


def test_conditions_reach_the_step(kernels: list[str]) -> None:
    torch.manual_seed(1)
    layer = WaveNet(3, 5, size=20, skip_size=6, levels=3, kernel=3, local_size=2, global_size=3)
    x, local, context = Sequence.of(torch.randn(4, 30, 3)), Sequence.of(torch.randn(4, 30, 2)), torch.randn(4, 3)
    found, _ = step_by_step(layer, x, local, context)
    assert layer.last_path == "compiled"
    torch.testing.assert_close(found, layer(x, local, context).values.detach(), atol=1e-6, rtol=1e-6)


def test_they_obey_the_laws(kernels: list[str]) -> None:
    """States that were handed in stay as they are, also where two go on from one."""
    for layer in networks(3, 5, 3, 3):
        kernels.clear()
        assert "step = whole" in check(layer)
        assert {"temporal_step", "gated_step"} & set(kernels)
    layer = TCN(3, 5, levels=2)
    x, state = Sequence.of(torch.randn(2, 1, 3)), layer.initial_state(2)
    with torch.no_grad():
        y, after = layer.step(x, state)
        again, other = layer.step(x.with_values(-x.values), state)
        assert layer.last_path == "compiled" and not torch.equal(y.values, again.values)
        mixed = choose_rows(torch.tensor([True, False]), after, other)
        third, _ = layer.step(x, mixed)
        assert layer.last_path == "compiled"
        assert torch.equal(third.values[:1], layer.step(x, after)[0].values[:1])
        assert torch.equal(third.values[1:], layer.step(x, other)[0].values[1:])


def test_a_row_depends_on_nothing_but_itself(kernels: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit: alone, in another place, beside NaN, by any number of threads."""
    for layer in networks(7, 130, 2, 3):
        x = Sequence.of(torch.randn(21, 5, 7))
        whole, _ = step_by_step(layer, x)
        for row in (0, 9, 20):
            assert torch.equal(step_by_step(layer, Sequence.of(x.values[row : row + 1]))[0][0], whole[row])
        order = torch.randperm(21)
        assert torch.equal(step_by_step(layer, Sequence.of(x.values[order]))[0], whole[order])
        with monkeypatch.context() as more:
            more.setattr(torch, "get_num_threads", lambda: 3)
            assert torch.equal(step_by_step(layer, x)[0], whole)
        broken = Sequence(x.values.clone().index_fill_(0, torch.tensor([3]), torch.nan), x.lengths)
        found, _ = step_by_step(layer, broken)
        kept = [row for row in range(21) if row != 3]
        assert layer.last_path == "compiled" and torch.equal(found[kept], whole[kept]) and found[3].isnan().all()


def test_changed_weights_are_seen_at_once(kernels: list[str]) -> None:
    for layer in networks(3, 16, 2, 3):
        x = Sequence.of(torch.randn(2, 1, 3))
        with torch.no_grad():
            state = layer.initial_state(2)
            before = layer.step(x, state)[0].values
            for parameter in layer.parameters():
                parameter.data.view(-1)[0] += 0.5  # leaves no trace
            after = layer.step(x, state)[0].values
            assert layer.last_path == "compiled" and not torch.equal(after, before)
        torch.testing.assert_close(after, layer(x).values.detach(), atol=1e-6, rtol=1e-6)


def test_what_runs_in_pytorch(kernels: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients, chunks, ragged rows, double precision, autocast, dropout, taps, other modules, and where it is turned off."""
    x = Sequence.of(torch.randn(2, 1, 3))

    def path(layer: Network, x: Sequence = x) -> str | None:
        layer.step(x, layer.initial_state(x.batch_size))
        return layer.last_path

    with torch.no_grad():
        for layer in networks(3, 5, 2, 2):
            assert path(layer) == "compiled"
            with torch.enable_grad():
                assert path(layer) == "plain"
            assert path(layer, Sequence.of(torch.randn(2, 2, 3))) == path(layer, Sequence(x.values, torch.tensor([1, 0])))
            assert layer.last_path == "plain"
            with torch.autocast("cpu", torch.bfloat16):
                assert path(layer) == "plain"
            with taps(layer, [""]):
                assert path(layer) == "plain"
            with monkeypatch.context() as small:
                small.setattr(c_library, "LEAST_WEIGHTS", 1 << 13)
                assert path(layer) == "plain"
            with monkeypatch.context() as off:
                off.setenv("CARRYOVER_KERNELS", "off")
                assert path(layer) == "plain"
            assert path(layer.double(), x.to(torch.float64)) == "plain"
        tcn, _, wavenet = networks(3, 5, 2, 2)
        assert path(tcn.train()) == "plain" and path(tcn.eval()) == "compiled"
        tcn.blocks[0].match = nn.Sequential(tcn.blocks[0].match)  # type: ignore[arg-type]
        wavenet.output = nn.Sequential(wavenet.output)  # type: ignore[arg-type]
        assert path(tcn) == path(wavenet) == "plain"
        tcn = TCN(3, 5, levels=2)
        assert path(tcn) == "compiled"
        tcn.blocks[1].first.bias = nn.Parameter(torch.zeros(1))  # type: ignore[union-attr]
        assert path(tcn) == "plain"


def test_states_of_another_layer_are_refused(kernels: list[str]) -> None:
    x = Sequence.of(torch.randn(2, 1, 3))
    with torch.no_grad():
        layer, other = TCN(3, 4, levels=2), TCN(3, 5, levels=2)
        with pytest.raises(ValueError, match=r"StepBuffer holds steps of shape \(5,\) and was given steps of shape \(4,\)"):
            layer.step(x, other.initial_state(2))
        first, second = layer.initial_state(2)
        with pytest.raises((ValueError, RuntimeError)):
            layer.step(x, (first, layer.initial_state(3)[1]))
        del second
