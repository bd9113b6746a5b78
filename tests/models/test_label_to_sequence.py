"""Sequences about a label or a vector, in three ways: steps, generation, what is refused, and that the label decides."""

from __future__ import annotations

import json

import pytest
import torch

from carryover.errors import UsageError
from carryover.generation import beam_search, generate
from carryover.layers import GRU, FirstStateCondition, RepeatedCondition, SelfAttention
from carryover.models import LabelToSequence, StackConfig
from carryover.objectives import ConditionalObjective, Pairs, evaluate_conditional
from carryover.sequence import Sequence
from models.conditional_models import STACKS, V, label_to_sequence, some_ids

KINDS = [
    ("first-state", "gru"),
    ("first-state", "two lstms"),
    ("first-state", "elman"),
    ("concatenate", "two lstms"),
    ("concatenate", "transformer"),
    ("add", "tcn"),
    ("add", "gru"),
]
LABELS = torch.tensor([0, 3, 3, 1])


@pytest.mark.parametrize(("how", "stack"), KINDS)
def test_teacher_forcing_equals_steps(how: str, stack: str) -> None:
    model, ids = label_to_sequence(how, stack), some_ids(7, 3, 5, 0)
    whole, state, parts = model(LABELS, ids), model.remember(LABELS), []
    for start, stop in ((0, 1), (1, 4), (4, 7)):
        y, state = model.step(ids.slice(start, stop), state)
        parts.append(y)
    torch.testing.assert_close(Sequence.concatenate(parts).values, whole.values)


@pytest.mark.parametrize(("how", "stack"), KINDS)
def test_the_label_decides_at_every_step(how: str, stack: str) -> None:
    model, ids = label_to_sequence(how, stack), some_ids(5, 5, 5, 5)
    ids = Sequence.of(ids.values[:1].expand(4, -1))
    y = model(LABELS, ids).values
    torch.testing.assert_close(y[1], y[2])
    assert (y[0] - y[1]).abs().amax(dim=1).min() > 1e-6


@pytest.mark.parametrize(("how", "stack"), KINDS)
def test_generation_by_labels(how: str, stack: str) -> None:
    model = label_to_sequence(how, stack)
    with torch.no_grad():
        model.output.weight.mul_(6)
    found = generate(model.given(LABELS), [[1], [1], [1, 5, 4], [1]], max_tokens=8)
    for label, prompt, one in zip(LABELS, [[1], [1], [1, 5, 4], [1]], found, strict=True):
        made = list(prompt)
        for number in one.tokens:
            assert number == int(model(label[None], Sequence.of(torch.tensor([made]))).values[0, -1].argmax())
            made.append(number)
    ((best,),) = beam_search(model.given(LABELS[:1]), [[1]], beams=4, max_tokens=4)
    with torch.inference_mode():
        logs = torch.log_softmax(model(LABELS[:1], Sequence.of(torch.tensor([[1, *best.tokens[:-1]]]))).values[0], -1)
    assert best.log_probability == pytest.approx(float(logs.gather(1, torch.tensor(best.tokens).unsqueeze(1)).sum()))


@pytest.mark.parametrize("how", ["first-state", "concatenate", "add"])
def test_vectors_in_place_of_labels(how: str) -> None:
    model = label_to_sequence(how, "gru", labels=None, vector_size=3)
    vectors = torch.randn(2, 3, dtype=torch.float64)
    found, told, x = model(vectors, some_ids(4, 4)).values, model.condition(vectors), model.embedding(some_ids(4, 4))
    decoder = model.decoder
    if how == "first-state":
        hidden = decoder.layer.step(x, torch.tanh(decoder.first_state(told)))[0].values
    else:
        beside = told.unsqueeze(1).expand(-1, 4, -1)
        joined = torch.cat([x.values, beside], -1) if how == "concatenate" else x.values + decoder.map(beside)
        hidden = decoder.layer(Sequence.of(joined)).values
    torch.testing.assert_close(found, hidden @ model.output.weight.T + model.output.bias)
    model.train()
    model(vectors, some_ids(4, 2)).values.square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("how", ["first-state", "concatenate", "add"])
def test_each_way_learns_to_write_what_its_label_says(how: str) -> None:
    """Eight labels, each a word of 5 to 9 ids that begin alike: only the label tells them apart."""
    torch.manual_seed(0)
    config = LabelToSequence.Config(
        target_size=V, labels=8, how=how, embedding_size=16, condition_size=16, decoder=StackConfig(layer="gru", size=48)
    )
    model = LabelToSequence.of(config)
    generator = torch.Generator().manual_seed(5)
    words = [[3, 4, *torch.randint(3, V, (3 + k % 5,), generator=generator).tolist()] for k in range(8)]
    batch = Pairs(torch.arange(8), Sequence.pad([torch.tensor(word) for word in words]))
    objective, optimiser = ConditionalObjective(begin=1, end=2), torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        loss, _ = objective(model, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert evaluate_conditional(model, [batch], begin=1, end=2, max_tokens=12)["exact"] == 1.0
    wrong = Pairs(torch.arange(8).roll(1), batch.target)
    assert evaluate_conditional(model, [wrong], begin=1, end=2, max_tokens=12)["exact"] == 0.0


def test_what_does_not_fit_is_refused() -> None:
    model = label_to_sequence("add", "gru")
    with pytest.raises(ValueError, match="a label is 4 and the model knows 4: labels run from 0 to 3"):
        model(torch.tensor([4]), some_ids(2))
    with pytest.raises(UsageError, match="a transformer has no first state"):
        label_to_sequence("first-state", "transformer")
    with pytest.raises(UsageError, match="labels is 3 and vector_size 2"):
        LabelToSequence.Config(target_size=4, labels=3, vector_size=2)
    with pytest.raises(UsageError, match="labels is None and vector_size None"):
        LabelToSequence.Config(target_size=4)
    with pytest.raises(ValueError, match="which has no recurrent layer: use RepeatedCondition"):
        FirstStateCondition(SelfAttention(4, 2, causal=True), 3)
    with pytest.raises(ValueError, match="how 'multiply'"):
        RepeatedCondition(GRU(4, 3), 2, how="multiply")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="concatenates vectors of 4 to the input of a layer that reads 4"):
        RepeatedCondition(GRU(4, 3), 4)
    with pytest.raises(ValueError, match=r"about vectors \[batch, 2\] and got \(3, 4\)"):
        RepeatedCondition(GRU(4, 3), 2).begin(torch.randn(3, 4))
    with pytest.raises(ValueError, match="was given no vectors"):
        RepeatedCondition(GRU(4, 3), 2)(Sequence.of(torch.randn(1, 2, 2)))


def test_configuration() -> None:
    config = LabelToSequence.Config(target_size=V, labels=4, how="add", decoder=STACKS["tcn"])
    assert LabelToSequence.Config.from_json(json.loads(json.dumps(config.to_json()))) == config
