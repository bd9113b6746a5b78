"""Law: chunks (1, 3, the rest) give the outputs, input gradients and parameter gradients of the whole pass."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from carryover.layers import Convolution, LawBroken, State, detach_state
from carryover.layers.laws import Case, step_equals_whole
from carryover.sequence import Sequence
from laws.inventory import LAYER_ROWS, Row, name
from laws.plain import LeakySum


@pytest.mark.parametrize("row", LAYER_ROWS, ids=name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_causal_layer_steps_as_it_runs_whole(row: Row, dtype: torch.dtype) -> None:
    step_equals_whole(row.case(dtype))


class StartsAfresh(LeakySum):
    """Broken: a chunk forgets the one before it."""

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        return super().step(x, torch.zeros_like(state))


class LosesHistory(LeakySum):
    """Broken: right outputs, but gradients do not flow back into earlier chunks."""

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        return super().step(x, detach_state(state))


class MovesInPadding(LeakySum):
    """Broken: a row's state goes on decaying after the row has ended."""

    def advance(self, drive: Tensor, state: Tensor, real: Tensor) -> Tensor:
        return self.hidden_weight * state + drive


class OverwritesState(LeakySum):
    """Broken: the new state is written into the old one."""

    def forward(self, x: Sequence) -> Sequence:
        return LeakySum.step(self, x, self.initial_state(x.batch_size, dtype=x.values.dtype))[0]

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        y, after = super().step(x, state)
        with torch.no_grad():
            state.copy_(after)
        return y, after


class OverwritesWithoutGradients(LeakySum):
    """Broken: as above, but only where no gradients are recorded."""

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        y, after = super().step(x, state)
        if not torch.is_grad_enabled():
            state.copy_(after)
        return y, after


class SharesItsRoom(LeakySum):
    """Broken: without gradients, a second input that goes on from a state overwrites what the first one made of it."""

    made: ClassVar[dict[int, tuple[Tensor, Tensor]]] = {}

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        y, after = super().step(x, state)
        if not torch.is_grad_enabled():
            _, earlier = self.made.setdefault(id(state), (state, after))
            earlier.copy_(after)
        return y, after


class ForgetsThePhase(Convolution):  # type: ignore[misc]
    """Broken: every chunk begins with an output, wherever the one before it ended."""

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        return super().step(x, state._replace(phase=torch.zeros_like(state.phase)))


class KeepsOnePhase(Convolution):  # type: ignore[misc]
    """Broken: the first row's phase for all rows."""

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        y, state = super().step(x, state)
        return y, state._replace(phase=state.phase[:1].expand_as(state.phase))


class RemembersByItself(LeakySum):
    """Broken: the state is an attribute, so that two streams at once get in each other's way."""

    memory: Any = None

    def forward(self, x: Sequence) -> Sequence:
        self.memory = None
        return self.step(x, None)[0]

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        start = LeakySum.initial_state(self, x.batch_size, dtype=x.values.dtype) if self.memory is None else self.memory
        y, self.memory = super().step(x, start)
        return y, ()

    def initial_state(self, batch_size: int, **_: Any) -> State:
        return ()


class CachesPadding(LeakySum):
    """Broken: a cache that grows keeps the padding of a short row as if it had been read."""

    def initial_state(self, batch_size: int, **_: Any) -> State:
        memory = super().initial_state(batch_size)
        return memory, memory.new_zeros(batch_size, 0, self.in_size)

    def forward(self, x: Sequence) -> Sequence:
        return self.step(x, self.initial_state(x.batch_size))[0]

    def step(self, x: Sequence, state: State) -> tuple[Sequence, State]:
        y, memory = super().step(x, state[0])
        return y, (memory, torch.cat([state[1], x.values.nan_to_num(1.0)], dim=1))


class StepsThoughNotCausal(LeakySum):
    """Broken: not causal and yet stepped."""

    causal = False


@pytest.mark.parametrize(
    ("layer", "finding"),
    [
        (StartsAfresh(), "output in chunks"),
        (LosesHistory(), "gradient of the input in chunks"),
        (MovesInPadding(), "the state after row 1 alone"),
        (ForgetsThePhase(3, 4, 3, stride=2), r"chunks have .* outputs where the whole pass has"),
        (KeepsOnePhase(3, 4, 3, stride=3), "tensor 1 of the state after row 2 alone"),
        (OverwritesWithoutGradients(), "step changed tensor 0 of the state"),
        (SharesItsRoom(), "step changed tensor 0 of the state"),
        (OverwritesState(), "step changed tensor 0 of the state"),
        (RemembersByItself(), "output"),
        (CachesPadding(), "tensor 1 of the state after row 1 alone: 0 where 1 was expected"),
        (StepsThoughNotCausal(), "initial_state works where TypeError was expected"),
    ],
)
def test_rejects_a_broken_layer(layer: LeakySum, finding: str) -> None:
    with pytest.raises(LawBroken, match=f"law 'step = whole': .*{finding}"):
        step_equals_whole(Case.of(layer))
