"""Generating from a model whose every distribution is known."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product

import pytest
import torch
from scipy.stats import chisquare

from carryover import Sequence, layers
from carryover.errors import UsageError
from carryover.generation import Generated, Sampling, Token, generate, stream
from generation.perfect import always, chain, scrambled

STOP = 3
COUNTING = {0: [0.1, 0.7, 0.1, 0.1], 1: [0.1, 0.1, 0.6, 0.2], 2: [0.1, 0.1, 0.2, 0.6]}


def test_greedy_takes_the_likeliest_until_the_stop_token() -> None:
    (found,) = generate(chain(COUNTING), [[0]], max_tokens=10, stop=[STOP])
    assert found.tokens == [1, 2] and found.stopped_by == STOP
    assert found.log_probability == pytest.approx(math.log(0.7 * 0.6 * 0.6)) == found.score


def test_equal_scores_give_the_lowest_id() -> None:
    assert generate(always(0.2, 0.4, 0.4), [[0]], max_tokens=3)[0].tokens == [1, 1, 1]


def test_the_length_ends_a_row_that_does_not_stop() -> None:
    (found,) = generate(chain(COUNTING), [[0]], max_tokens=1, stop=[STOP])
    assert found.tokens == [1] and found.stopped_by is None
    (found,) = generate(chain(COUNTING), [[2]], max_tokens=1, stop=[STOP])
    assert found.tokens == [] and found.stopped_by == STOP


def test_no_stop_before_the_shortest_length() -> None:
    (found,) = generate(chain(COUNTING), [[0]], max_tokens=9, min_tokens=4, stop=[STOP])
    assert found.tokens == [1, 2, 2, 2] and found.stopped_by == STOP


def test_forbidden_tokens_never_come_and_probabilities_stay_the_models_own() -> None:
    (found,) = generate(always(0.1, 0.6, 0.3), [[0]], max_tokens=2, forbidden=[1])
    assert found.tokens == [2, 2] and found.log_probability == pytest.approx(2 * math.log(0.3))
    drawn = generate(always(0.1, 0.6, 0.3), [[0]] * 50, max_tokens=4, forbidden=[1], sampling=Sampling())
    assert {number for one in drawn for number in one.tokens} == {0, 2}


def test_sampled_sequences_come_as_often_as_they_are_likely() -> None:
    table = {0: [0.2, 0.5, 0.3], 1: [0.6, 0.1, 0.3], 2: [0.25, 0.25, 0.5]}
    drawn = generate(chain(table), [[0]] * 4000, max_tokens=3, sampling=Sampling(), seed=77)
    counts = Counter(tuple(one.tokens) for one in drawn)
    every = list(product(range(3), repeat=3))
    wanted = [4000 * table[0][a] * table[a][b] * table[b][c] for a, b, c in every]
    assert chisquare([counts[tokens] for tokens in every], wanted).pvalue > 0.001


def test_a_row_is_what_it_is_alone() -> None:
    model = scrambled(6)
    prompts = [[1], [4, 2, 0, 5, 5, 1], [3, 3], [2, 4, 1]]
    for sampling in (None, Sampling(temperature=1.5), Sampling(top_k=3, top_p=0.9)):
        together = generate(model, prompts, max_tokens=12, stop=[0], sampling=sampling, seed=[5, 9, 5, 2])
        assert len({len(one.tokens) for one in together}) > 1, "rows end at different times"
        for prompt, seed, found in zip(prompts, [5, 9, 5, 2], together, strict=True):
            assert generate(model, [prompt], max_tokens=12, stop=[0], sampling=sampling, seed=seed) == [found]


def test_seeds_decide_and_a_single_one_counts_up() -> None:
    model = scrambled(6)

    def draw(seed: int | list[int]) -> list[Generated]:
        return generate(model, [[1], [1]], max_tokens=12, sampling=Sampling(), seed=seed)

    assert draw(3) == draw(3) == draw([3, 4]) != draw(4)
    same = draw([8, 8])
    assert same[0] == same[1] != draw([8, 9])[1]


def test_a_stream_yields_each_token_before_the_next_is_computed() -> None:
    model = chain(COUNTING)
    tokens = stream(model, [[0], [2]], max_tokens=10, stop=[STOP])
    assert model.batch_sizes == []
    first = next(tokens)
    assert first == Token(0, 1, pytest.approx(math.log(0.7)), ends=False, stop=False) and model.batch_sizes == [2]
    assert next(tokens) == Token(1, STOP, pytest.approx(math.log(0.6)), ends=True, stop=True)
    assert torch.is_inference_mode_enabled() is False
    assert [token.id for token in tokens] == [2, STOP]
    assert model.batch_sizes == [2, 1, 1], "a row that has ended costs nothing more"


def test_a_long_prompt_is_read_in_parts() -> None:
    stacked = layers.Stacked(layers.Embedding(7, 4), layers.GRU(4, 4), layers.Perceptron(4, (), 7)).eval()
    prompts = [[number % 7 for number in range(length)] for length in (700, 3, 256, 512)]
    together = generate(stacked, prompts, max_tokens=5)
    assert [generate(stacked, [prompt], max_tokens=5)[0].tokens for prompt in prompts] == [one.tokens for one in together]
    with torch.inference_mode():
        whole = stacked(Sequence.of(torch.tensor([prompts[0]]))).values[0, -1]
    assert together[0].tokens[0] == int(whole.argmax())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompts": []}, "there is no prompt"),
        ({"prompts": [[1], []]}, "prompt 1 is empty"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"min_tokens": 5}, "min_tokens is 5 and max_tokens 4"),
        ({"seed": [1]}, "1 seeds for 2 prompts"),
        ({"forbidden": [0, 1, 2, 3]}, "no token may come next"),
        ({"stop": [0, 1, 2, 3], "min_tokens": 1}, "no token may come next"),
        ({"forbidden": [4]}, "ids of this model are 0 to 3"),
        ({"model": always(0, 0, 0, 0)}, "not numbers"),
        ({"model": layers.Embedding(4, 4)}, "training mode"),
    ],
)
def test_what_cannot_be_done_is_said(changes: dict[str, object], says: str) -> None:
    arguments: dict[str, object] = {"model": always(0.1, 0.2, 0.3, 0.4), "prompts": [[1], [2]], "max_tokens": 4, **changes}
    with pytest.raises(UsageError, match=says):
        generate(**arguments)  # type: ignore[arg-type]
