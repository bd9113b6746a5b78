"""Signals written sample by sample: steps equal the whole pass, conditions decide what is written."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from carryover.data.companding import mu_law_decode, mu_law_encode
from carryover.errors import UsageError
from carryover.generation import Sampling, generate
from carryover.models import SignalModel
from carryover.sequence import Sequence

PERIODS = (6, 10)


def make(**options: int) -> SignalModel:
    torch.manual_seed(0)
    return SignalModel(SignalModel.Config(**{"classes": 16, "size": 12, "skip_size": 16, "levels": 4, **options})).eval()


def tones(kind: torch.Tensor, start: torch.Tensor, steps: int) -> torch.Tensor:
    """Classes of 16 [B, steps] of a sine of the row's period."""
    period = torch.tensor(PERIODS)[kind].unsqueeze(1)
    times = start.unsqueeze(1) + torch.arange(steps)
    return mu_law_encode(torch.sin(2 * math.pi * times / period) * 0.9, 16)


@pytest.mark.parametrize("sizes", [(0, 0), (3, 0), (0, 2), (3, 2)])
def test_steps_equal_the_whole_pass(sizes: tuple[int, int]) -> None:
    model, (local_size, global_size) = make(local_size=sizes[0], global_size=sizes[1]), sizes
    ids = Sequence.of(torch.randint(16, (3, 11)), [11, 4, 0])
    local = torch.randn(3, 11, local_size) if local_size else None
    context = torch.randn(3, global_size) if global_size else None
    whole = model(ids, None if local is None else ids.with_values(local), context)
    state, parts = model.given(local, context, batch_size=3).state, []
    for start, stop in ((0, 1), (1, 5), (5, 11)):
        y, state = model.step(ids.slice(start, stop), state)
        parts.append(y)
    torch.testing.assert_close(Sequence.concatenate(parts).values, whole.values)
    assert model.receptive_field == 1 + 16 and whole.values.shape == (3, 11, 16)
    assert state.steps.tolist() == [11, 4, 0]


@pytest.mark.parametrize("how", ["global", "local"])
def test_it_learns_to_write_the_tone_it_is_told(how: str) -> None:
    """Two periods; the right one is written on for forty samples from a prompt of one, told by a vector or at every sample."""
    model = make(**{f"{how}_size": 2}).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        kind = torch.randint(2, (16,))
        told = one_hot(kind, 2).float()
        ids = tones(kind, torch.randint(30, (16,)), 40)
        x = Sequence.of(ids[:, :-1])
        local = x.with_values(told.unsqueeze(1).expand(-1, 39, -1)) if how == "local" else None
        scores = model(x, local, told if how == "global" else None)
        loss = cross_entropy(scores.values.flatten(0, 1), ids[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    kind, start = torch.tensor([0, 1]), torch.tensor([0, 0])
    wanted, told = tones(kind, start, 44), one_hot(kind, 2).float()
    local = told.unsqueeze(1).expand(-1, 44, -1) if how == "local" else None
    given = model.given(local, told if how == "global" else None)
    written = generate(given, wanted[:, :4].tolist(), max_tokens=40)
    for row, one in enumerate(written):
        signal, truth = mu_law_decode(torch.tensor(one.tokens), 16), mu_law_decode(wanted[row, 4:], 16)
        assert (signal - truth).abs().mean() < 0.1, f"period {PERIODS[row]}"
    drawn = generate(given, wanted[:, :4].tolist(), max_tokens=40, sampling=Sampling(temperature=0.5), seed=[3, 4])
    assert all(len(one.tokens) == 40 for one in drawn)


def test_a_row_is_written_as_it_is_alone() -> None:
    model, context = make(global_size=2), torch.randn(3, 2)
    prompts = [[1, 2, 3], [4], [5, 6]]
    together = generate(model.given(context=context), prompts, max_tokens=9)
    for row, prompt in enumerate(prompts):
        (alone,) = generate(model.given(context=context[row : row + 1]), [prompt], max_tokens=9)
        assert alone.tokens == together[row].tokens


def test_wrong_conditions_are_named() -> None:
    with pytest.raises(UsageError, match="local_size is -1"):
        SignalModel.Config(local_size=-1)
    with pytest.raises(UsageError, match="levels is 0"):
        SignalModel.Config(levels=0)
    model = make(local_size=3)
    with pytest.raises(ValueError, match=r"local conditions \['batch', 'steps', 3\] and got None: give `local`"):
        model.given()
    with pytest.raises(ValueError, match=r"context conditions \['batch', 0\] and got \(2, 4\)"):
        model.given(torch.randn(2, 5, 3), torch.randn(2, 4))
    with pytest.raises(ValueError, match="at sample 6 and its local conditions have 5 steps"):
        generate(model.given(torch.randn(1, 5, 3)), [[1, 2]], max_tokens=6)
    both = make(local_size=3, global_size=2)
    with pytest.raises(ValueError, match="2 rows of local and 3 of global conditions"):
        both.given(torch.randn(2, 5, 3), torch.randn(3, 2))
    config = model.config
    assert SignalModel.Config.from_json(json.loads(json.dumps(config.to_json()))) == config
