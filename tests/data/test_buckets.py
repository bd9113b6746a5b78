"""Batches by length: complete, within the budget, reordered each epoch, and exactly resumable."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryover.data.buckets import BucketSampler
from carryover.errors import BadData, UsageError

DRAW = random.Random(0)
LENGTHS = [DRAW.randint(1, 60) for _ in range(500)] + [400]


@given(st.lists(st.integers(0, 50), max_size=80), st.integers(1, 120), st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_every_example_once_within_the_budget(lengths: list[int], budget: int, seed: int, epoch: int) -> None:
    batches = BucketSampler(lengths, token_budget=budget, seed=seed).epoch(epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def test_short_examples_share_larger_batches() -> None:
    batches = BucketSampler(LENGTHS, token_budget=600, seed=0).epoch(0)
    longest = {len(batch): max(LENGTHS[i] for i in batch) for batch in batches}
    assert max(longest) > 30 and longest[max(longest)] < 20 < longest[min(longest)]
    padded = sum(len(batch) * max(LENGTHS[i] for i in batch) for batch in batches)
    assert padded < 1.25 * sum(LENGTHS), "little padding"
    capped = BucketSampler(LENGTHS, token_budget=600, seed=0, largest_batch=8).epoch(0)
    assert max(map(len, capped)) == 8


def test_an_epoch_is_a_pure_function_of_seed_and_number() -> None:
    sampler = BucketSampler(LENGTHS, token_budget=300, seed=1)
    first = sampler.epoch(0)
    assert sampler.epoch(4) != first
    assert sampler.epoch(0) == first == BucketSampler(LENGTHS, token_budget=300, seed=1).epoch(0)
    assert BucketSampler(LENGTHS, token_budget=300, seed=2).epoch(0) != first
    together = {frozenset(batch) for batch in first}
    assert len(together & {frozenset(batch) for batch in sampler.epoch(1)}) < len(together) / 2, "other neighbours"


def test_a_saved_position_continues_exactly() -> None:
    def run(sampler: BucketSampler, batches: int) -> list[list[int]]:
        taken: list[list[int]] = []
        while len(taken) < batches:
            for batch in sampler.remaining():
                taken.append(batch)
                if len(taken) == batches:
                    break
        return taken

    length = len(BucketSampler(LENGTHS, token_budget=300, seed=1).epoch(0))
    whole = run(BucketSampler(LENGTHS, token_budget=300, seed=1), 2 * length + 3)
    for stop in (0, 1, length - 1, length, length + 1, 2 * length):
        before = BucketSampler(LENGTHS, token_budget=300, seed=1)
        taken = run(before, stop)
        after = BucketSampler(LENGTHS, token_budget=300, seed=1)
        after.load_state_dict(json.loads(json.dumps(before.state_dict())))
        assert taken + run(after, len(whole) - stop) == whole, stop


def test_a_position_over_other_data_is_refused() -> None:
    state = BucketSampler(LENGTHS, token_budget=300, seed=1).state_dict()
    for other in (
        BucketSampler(LENGTHS[:-1], token_budget=300, seed=1),
        BucketSampler(LENGTHS, token_budget=301, seed=1),
        BucketSampler(LENGTHS, token_budget=300, seed=2),
    ):
        with pytest.raises(BadData, match=r"the saved position has .*these batches have"):
            other.load_state_dict(state)
    with pytest.raises(UsageError, match="token_budget is 0"):
        BucketSampler(LENGTHS, token_budget=0, seed=1)
