"""Law: restarting one row of the state leaves the others alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from carryover.layers import LawBroken, State
from carryover.layers.laws import Case, reset
from carryover.sequence import Sequence
from laws.inventory import CAUSAL_ROWS, Row, name
from laws.plain import LeakySum


@pytest.mark.parametrize("row", CAUSAL_ROWS, ids=name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_causal_layer_restarts_row_by_row(row: Row, dtype: torch.dtype) -> None:
    reset(row.case(dtype))


class MixesStates(LeakySum):
    """Broken: every row's state takes in the others'."""

    def advance(self, drive: Tensor, state: Tensor, real: Tensor) -> Tensor:
        return super().advance(drive, 0.9 * state + 0.1 * state.mean(0, keepdim=True), real)


class SharesAClock(LeakySum):
    """Broken: counts the steps since the oldest row began and damps every row by the count."""

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        clock = torch.zeros(batch_size, 1, device=device, dtype=dtype)
        return super().initial_state(batch_size, device=device, dtype=dtype), clock

    def forward(self, x: Sequence) -> Sequence:
        return self.step(x, self.initial_state(x.batch_size, dtype=x.values.dtype))[0]

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        memory, clock = state
        damped = x.with_values(x.values / (1 + clock.amax()))
        y, memory = super().step(damped, memory)
        return y, (memory, clock + x.time)


class BatchSecond(LeakySum):
    """Broken: the state is [units, batch]."""

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return torch.zeros(self.out_size + 1, batch_size, device=device, dtype=dtype)


@pytest.mark.parametrize(
    ("layer", "finding"),
    [
        (MixesStates(), "output of the rows that continue"),
        (SharesAClock(), "output of the restarted row"),
        (BatchSecond(), r"tensor 0 of the state has shape \(5, 4\)"),
    ],
)
def test_rejects_a_broken_layer(layer: LeakySum, finding: str) -> None:
    with pytest.raises(LawBroken, match=f"law 'reset': .*{finding}"):
        reset(Case.of(layer))
