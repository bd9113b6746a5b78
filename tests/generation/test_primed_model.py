"""A model that begins with given states: rows keep theirs, whatever leaves the batch, and wrong numbers are told."""

from __future__ import annotations

import pytest
import torch

from carryover.errors import UsageError
from carryover.generation import PrimedModel, beam_search, generate
from carryover.layers import Embedding, Perceptron, Stacked
from carryover.sequence import Sequence
from generation.perfect import Perfect, scrambled


def after(model: Perfect, *prefixes: list[int]) -> PrimedModel:
    """The model when each row has read a prefix of its own."""
    ids = Sequence.pad([torch.tensor(prefix) for prefix in prefixes])
    return PrimedModel(model, model.step(ids, model.initial_state(len(prefixes)))[1])


def test_rows_go_on_from_their_own_states() -> None:
    model, prefixes = scrambled(6), [[1, 2, 3], [4], [5, 5]]
    prompts = [[2], [3, 1], [1]]
    whole = [[*prefix, *prompt] for prefix, prompt in zip(prefixes, prompts, strict=True)]
    for stop in ([], [0]):
        assert generate(after(model, *prefixes), prompts, max_tokens=9, stop=stop) == generate(
            model, whole, max_tokens=9, stop=stop
        )
    options = {"beams": 3, "best": 2, "max_tokens": 5, "stop": [0]}
    assert beam_search(after(model, *prefixes), prompts, **options) == beam_search(model, whole, **options)


def test_another_number_of_prompts_is_refused() -> None:
    with pytest.raises(UsageError, match="1 prompts for a state of 2 rows"):
        generate(after(scrambled(4), [1], [2]), [[1]], max_tokens=1)


def test_a_module_in_training_mode_is_still_seen() -> None:

    model = Stacked(Embedding(4, 3), Perceptron(3, (), 4))
    started = PrimedModel(model.train(), model.initial_state(1))
    with pytest.raises(UsageError, match="training mode"):
        generate(started, [[1]], max_tokens=1)
    model.eval()
    assert generate(started, [[1]], max_tokens=3) == generate(model, [[1]], max_tokens=3)
