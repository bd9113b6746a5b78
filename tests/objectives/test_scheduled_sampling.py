"""Scheduled sampling: the drawn inputs and the loss are those of a plain loop, and the two ends are the two known ways."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.nn.functional import cross_entropy

from carryover.data.order import uniform
from carryover.errors import UsageError
from carryover.generation import Sampling, generate
from carryover.models.conditional import ConditionalLanguageModel
from carryover.objectives import ConditionalObjective, Pairs, TruthSchedule, draw_inputs
from carryover.sequence import Sequence
from models.conditional_models import KINDS, V, encoder_decoder, label_to_sequence, some_ids

BEGIN, END = 1, 2
SOURCES, TARGETS = (6, 2, 4, 0), (7, 3, 0, 5)


def pairs() -> Pairs:
    return Pairs(some_ids(*SOURCES, size=7), some_ids(*TARGETS, seed=3))


def sharpened(kind: str) -> ConditionalLanguageModel:
    """A model that is not undecided between all words."""
    model = encoder_decoder(kind)
    with torch.no_grad():
        model.output.weight.mul_(8)
    return model


def plain_loss(
    model: ConditionalLanguageModel, batch: Pairs, truth: float, seed: int, sampling: Sampling | None
) -> tuple[torch.Tensor, list[list[int]]]:
    """One pass a row that draws as it goes: the mean loss and what each row has read."""
    steps = max(TARGETS) + 1
    coins = uniform(len(TARGETS) * steps, seed, 1).reshape(len(TARGETS), steps)
    numbers = uniform(len(TARGETS) * steps, seed, 2).reshape(len(TARGETS), steps)
    nats, tokens, read = torch.zeros((), dtype=torch.float64), 0, []
    for row, (source, target) in enumerate(zip(batch.source.rows(), batch.target.rows(), strict=True)):
        wanted = [*target.tolist(), END]
        state, word, words = model.remember(Sequence.of(source.unsqueeze(0))), BEGIN, []
        for t, right in enumerate(wanted):
            words.append(word)
            scores, state = model.step(Sequence.of(torch.tensor([[word]])), state)
            nats = nats + cross_entropy(scores.values[0, 0], torch.tensor(right), reduction="sum")
            tokens += 1
            if t + 1 < len(wanted):
                probabilities = torch.softmax(scores.values[0, 0].detach(), dim=0)
                own = int(probabilities.argmax())
                if sampling is not None:
                    own, passed = 0, float(probabilities[0])
                    while passed <= numbers[row, t + 1]:
                        own, passed = own + 1, passed + float(probabilities[own + 1])
                word = right if coins[row, t + 1] < truth else own
        read.append(words)
    return nats / tokens, read


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("truth", "sampling"), [(0.5, None), (0.5, Sampling()), (0.0, Sampling())])
def test_inputs_loss_and_gradient_are_those_of_a_plain_loop(kind: str, truth: float, sampling: Sampling | None) -> None:
    model, batch = sharpened(kind), pairs()
    objective = ConditionalObjective(begin=BEGIN, end=END, sampling=sampling)
    wanted, read = plain_loss(model, batch, truth, 5, sampling)
    inputs, _ = objective.shift(batch.target)
    drawn = draw_inputs(model, batch.source, inputs, truth=truth, seed=5, sampling=sampling)
    assert [row.tolist() for row in drawn.rows()] == read
    assert read != [row.tolist() for row in inputs.rows()]  # something was drawn that is not true
    wanted.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    loss, figures = objective(model, batch, truth=truth, seed=5)
    loss.backward()
    assert loss.item() == pytest.approx(wanted.item()) and figures["tokens"] == sum(TARGETS) + len(TARGETS)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name])


@pytest.mark.parametrize("kind", ["additive, gru", "input feeding, two lstms", "heads, transformer"])
def test_the_two_ends_are_teacher_forcing_and_a_free_run(kind: str) -> None:
    model, batch = sharpened(kind), pairs()
    inputs, _ = ConditionalObjective(begin=BEGIN, end=END).shift(batch.target)
    assert torch.equal(draw_inputs(model, batch.source, inputs, truth=1, seed=0).values, inputs.values)
    free = draw_inputs(model, batch.source, inputs, truth=0, seed=0).rows()
    written = generate(model.given(batch.source), [[BEGIN]] * 4, max_tokens=max(TARGETS))
    for row, one in zip(free, written, strict=True):
        assert row.tolist() == [BEGIN, *one.tokens][: len(row)]


def test_true_ids_are_read_as_often_as_asked_for_and_padding_never_changes() -> None:
    model, targets = label_to_sequence("add", "gru"), some_ids(*[40] * 40)
    padded = Sequence(targets.values, torch.arange(1, 41))
    labels = torch.arange(40) % 4
    inputs, _ = ConditionalObjective(begin=BEGIN, end=END).shift(padded)
    drawn = draw_inputs(model, labels, inputs, truth=0.75, seed=9, sampling=Sampling())
    real = inputs.mask.clone()
    assert torch.equal(drawn.values[~real], inputs.values[~real])
    real[:, 0] = False
    kept = (drawn.values == inputs.values)[real].double().mean().item()
    assert abs(kept - (0.75 + 0.25 / V)) < 0.05  # of those drawn one of V is right by chance
    again = draw_inputs(model, labels, inputs, truth=0.75, seed=9, sampling=Sampling())
    other = draw_inputs(model, labels, inputs, truth=0.75, seed=10, sampling=Sampling())
    assert torch.equal(again.values, drawn.values) and not torch.equal(other.values, drawn.values)
    assert not any(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("kind", ["linear", "exponential", "inverse-sigmoid"])
@pytest.mark.parametrize("updates", [1, 40, 5000])
def test_schedules_fall_to_one_half_at_the_update_asked_for(kind: str, updates: int) -> None:
    schedule = TruthSchedule(kind=kind, updates=updates)
    assert schedule.truth(updates) == pytest.approx(0.5)
    shares = [schedule.truth(update) for update in range(0, 4 * updates + 1, max(1, updates // 10))]
    assert all(later <= earlier for earlier, later in pairwise(shares)) and min(shares) >= 0
    assert schedule.truth(0) > 0.63 if kind == "inverse-sigmoid" else schedule.truth(0) == 1
    assert TruthSchedule(kind=kind, updates=updates, floor=0.25).truth(100 * updates) == 0.25


def test_the_formulas_are_those_of_the_paper() -> None:
    assert TruthSchedule(kind="linear", updates=10).truth(4) == pytest.approx(1 - 0.05 * 4)
    assert TruthSchedule(kind="exponential", updates=10).truth(4) == pytest.approx((0.5**0.1) ** 4)
    k = 3.0
    updates = round(k * torch.tensor(k).log().item(), 9)  # where k / (k + exp(i / k)) is 1/2
    schedule = TruthSchedule(kind="inverse-sigmoid", updates=updates)
    for update in (0, 1, 2, 7):
        assert schedule.truth(update) == pytest.approx(k / (k + torch.tensor(update / k).double().exp().item()))


def test_wrong_use_is_named() -> None:
    with pytest.raises(UsageError, match="kind is 'cosine'"):
        TruthSchedule(kind="cosine", updates=5)
    with pytest.raises(UsageError, match="updates is 0"):
        TruthSchedule(updates=0)
    with pytest.raises(UsageError, match=r"floor is 1\.5"):
        TruthSchedule(updates=5, floor=1.5)
    with pytest.raises(UsageError, match=r"truth is 1\.5"):
        ConditionalObjective(begin=BEGIN, end=END)(encoder_decoder("additive, gru"), pairs(), truth=1.5)
