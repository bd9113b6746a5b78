"""The autoregressive language model over each of its stacks: steps, tying, configuration."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from carryover.errors import UsageError
from carryover.generation import generate
from carryover.models.language_model import STACKS, LanguageModel
from carryover.sequence import Sequence

V = 11


def make(stack: str, **others: object) -> LanguageModel:
    torch.manual_seed(0)
    options = {"size": 8, "cells": 12, "heads": 2, "horizon": 5, "dropout": 0.0, **others}
    return LanguageModel(LanguageModel.Config(vocabulary_size=V, stack=stack, **options)).double()  # type: ignore[arg-type]


def some(*lengths: int) -> Sequence:
    generator = torch.Generator().manual_seed(1)
    return Sequence.of(torch.randint(V, (len(lengths), max(lengths)), generator=generator), list(lengths))


@pytest.mark.parametrize("stack", STACKS)
def test_steps_equal_the_whole_pass(stack: str) -> None:
    model, x = make(stack).eval(), some(13, 5, 0)
    whole, state, parts = model(x), model.initial_state(3), []
    for start, stop in ((0, 1), (1, 4), (4, 13)):
        y, state = model.step(x.slice(start, stop), state)
        parts.append(y)
    torch.testing.assert_close(Sequence.concatenate(parts).values, whole.values)
    assert whole.values.shape == (3, 13, V)


@pytest.mark.parametrize("stack", STACKS)
def test_the_future_is_not_seen(stack: str) -> None:
    model, x = make(stack).eval(), some(9)
    other = Sequence(x.values.clone(), x.lengths)
    other.values[0, 6:] = (other.values[0, 6:] + 1) % V
    first, second = model(x).values, model(other).values
    assert torch.equal(first[:, :6], second[:, :6]) and not torch.equal(first[:, 6:], second[:, 6:])


@pytest.mark.parametrize("stack", STACKS)
def test_generating_by_steps_equals_reading_the_prefix_anew(stack: str) -> None:
    model = make(stack).eval()
    (found,) = generate(model, [[2, 5]], max_tokens=15)
    ids = [2, 5]
    for number in found.tokens:
        assert number == int(model(Sequence.of(torch.tensor([ids]))).values[0, -1].argmax())
        ids.append(number)


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("tied", [True, False])
def test_every_parameter_learns_and_tied_embeddings_are_one(stack: str, tied: bool) -> None:
    model, x = make(stack, tied=tied), some(9, 7)
    scores = model(x).values[:, :-1].flatten(0, 1)
    cross_entropy(scores, x.values[:, 1:].flatten()).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    weights = [name for name, parameter in model.named_parameters() if parameter.shape == (V, 8)]
    assert weights == (["embedding.weight"] if tied else ["embedding.weight", "output.weight"])
    assert (model.output_layer().weight is model.embedding.weight) == tied
    assert len(model.state_dict()) == len(list(model.named_parameters()))


def test_a_tied_gradient_is_the_sum_of_both_ends() -> None:
    tied, apart = make("gru"), make("gru", tied=False)
    with torch.no_grad():
        for name, parameter in tied.named_parameters():
            {**dict(apart.named_parameters()), "output_bias": apart.output.bias}[name].copy_(parameter)  # type: ignore[union-attr]
        apart.output.weight.copy_(tied.embedding.weight)  # type: ignore[union-attr]
    x = some(9, 7)
    for model in (tied, apart):
        model(x).values.square().sum().backward()
    both = apart.embedding.weight.grad + apart.output.weight.grad  # type: ignore[union-attr,operator]
    torch.testing.assert_close(tied.embedding.weight.grad, both)


def test_configurations_travel_and_sizes_have_names() -> None:
    config = LanguageModel.Config.of_size("tiny", vocabulary_size=30, stack="transformer", horizon=None)
    assert LanguageModel.Config.from_json(config.to_json()) == config and config.horizon is None
    small = LanguageModel(LanguageModel.Config.of_size("small", vocabulary_size=100))
    assert sum(parameter.numel() for parameter in small.parameters()) > 1_000_000


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"stack": "lstn"}, "did you mean 'lstm'"),
        ({"input": "bytes"}, "input is 'bytes'"),
        ({"layers": 0}, "layers is 0"),
        ({"horizon": 0}, "horizon is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"stack": "transformer", "size": 10, "heads": 4}, "size is 10 and heads 4"),
    ],
)
def test_a_wrong_field_is_named(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        LanguageModel.Config(vocabulary_size=5, **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="use one of tiny, small"):
        LanguageModel.Config.of_size("huge", vocabulary_size=5)
    with pytest.raises(UsageError, match="did you mean 'layers'"):
        LanguageModel.Config.from_json({"vocabulary_size": 5, "layer": 2})
    with pytest.raises(UsageError, match="no vocabulary_size"):
        LanguageModel.Config.from_json({})
