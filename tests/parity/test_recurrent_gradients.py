"""The backward passes written by hand against numerical differences, in float64."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from carryover.kernels.elman_gru_scan import elman_scan, gru_scan
from carryover.kernels.lstm_arguments import LSTMState, LSTMWeights
from carryover.kernels.lstm_scan import scan
from carryover.kernels.packed_steps import PackedSteps
from carryover.layers.recurrent.elman import Elman
from carryover.layers.recurrent.gru import GRU
from carryover.layers.recurrent.lstm import LSTM
from carryover.sequence import Sequence

LENGTHS = torch.tensor([2, 4, 0, 4])


def check(function: object, *inputs: torch.Tensor | None) -> None:
    leaves = [None if t is None else t.detach().clone().requires_grad_() for t in inputs]
    assert gradcheck(function, leaves, eps=1e-6, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("peephole", [False, True])
@pytest.mark.parametrize("projection, projection_clip", [(None, None), (3, None), (3, 0.05)])
@pytest.mark.parametrize("cell_clip", [None, 0.2])
def test_lstm_scan(cell_clip: float | None, projection: int | None, projection_clip: float | None, peephole: bool) -> None:
    torch.manual_seed(0)
    layer = LSTM(
        2, 4, projection=projection, projection_clip=projection_clip, cell_clip=cell_clip, peephole=peephole
    ).double()
    steps = PackedSteps(LENGTHS, 4)
    x = torch.randn(steps.total, 2, dtype=torch.float64)
    hidden, cell = 0.2 * torch.randn(4, layer.out_size).double(), 0.2 * torch.randn(4, 4).double()

    def function(
        x: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor, *weights: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        y, state = scan(x, LSTMWeights(*weights), LSTMState(hidden, cell), steps, cell_clip, projection_clip)
        return y, *state

    outputs = function(x, hidden, cell, *layer.weights())
    for values, limit in [(outputs[2], cell_clip), (outputs[0], projection_clip)]:
        if limit is not None:  # some cut, some not, none so near the border that a difference would cross it
            distance = (values.abs() - limit).abs()
            assert (distance == 0).any() and ((distance == 0) | (distance > 1e-4)).all() and (distance > 1e-4).any()
    check(function, x, hidden, cell, *layer.weights())


def test_scans_side_by_side() -> None:
    """A leading axis: three scans in batched products."""
    torch.manual_seed(1)
    steps = PackedSteps(LENGTHS, 4)
    layers = [LSTM(2, 4, projection=3, cell_clip=0.2, peephole=True).double() for _ in range(3)]
    weights = [torch.stack(column) for column in zip(*(layer.weights() for layer in layers), strict=True)]
    x, hidden, cell = torch.randn(3, steps.total, 2), 0.2 * torch.randn(3, 4, 3), 0.1 * torch.randn(3, 4, 4)

    def function(
        x: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor, *weights: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        y, state = scan(x, LSTMWeights(*weights), LSTMState(hidden, cell), steps, 0.2)
        return y, *state

    check(function, x.double(), hidden.double(), cell.double(), *weights)


def test_gru_scan() -> None:
    torch.manual_seed(2)
    layer = GRU(2, 3, reset="before").double()
    x, state = torch.randn(4, 4, 2).double(), torch.randn(4, 3).double()

    def function(values: torch.Tensor, *rest: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y, last = gru_scan(Sequence(values, LENGTHS), *rest)
        return y.values, last

    check(function, x, state, layer.input_weight, layer.hidden_weight, layer.bias)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu", "sigmoid"])
def test_elman_scan(nonlinearity: str) -> None:
    torch.manual_seed(3)
    layer = Elman(2, 3).double()
    x, state = torch.randn(4, 4, 2).double(), torch.randn(4, 3).double()

    def function(values: torch.Tensor, *rest: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y, last = elman_scan(Sequence(values, LENGTHS), *rest, nonlinearity)
        return y.values, last

    check(function, x, state, layer.input_weight, layer.hidden_weight, layer.bias)
