"""Beam search against trying every continuation."""

from __future__ import annotations

import math
from collections.abc import Sequence as ListOf

import pytest

from carryover.errors import UsageError
from carryover.generation import beam_search, generate
from generation.perfect import always, chain, every_ending, scrambled

STOP = 0

# The likelier first step leads into a wide field of unlikely ones, the other to a sure end.
TRAP = {
    1: [0.0, 0.0, 0.6, 0.4],
    2: [0.3, 0.3, 0.2, 0.2],
    3: [0.99, 0.01, 0.0, 0.0],
}


def test_a_beam_escapes_the_trap_that_catches_the_greedy() -> None:
    (greedy,) = generate(chain(TRAP), [[1]], max_tokens=5, stop=[STOP])
    ((found,),) = beam_search(chain(TRAP), [[1]], beams=2, max_tokens=5, stop=[STOP])
    assert greedy.tokens == [2] and greedy.log_probability == pytest.approx(math.log(0.6 * 0.3))
    assert found.tokens == [3] and found.log_probability == pytest.approx(math.log(0.4 * 0.99))


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("normalisation", ["wu", "normalised"])
def test_a_wide_beam_finds_what_trying_all_finds(length_penalty: float, normalisation: str) -> None:
    model, longest = scrambled(4), 4

    def score(tokens: tuple[int, ...], nats: float, stopped: bool) -> float:
        length = len(tokens) + stopped
        return nats / ((5 + length) / 6 if normalisation == "wu" else length) ** length_penalty

    for prompt in ((1,), (2, 3), (0, 1, 1)):
        every = [(score(*one), *one) for one in every_ending(model, prompt, STOP, longest)]
        wanted = sorted(every, key=lambda one: -one[0])
        (found,) = beam_search(
            model,
            [list(prompt)],
            beams=200,
            best=12,
            max_tokens=longest,
            stop=[STOP],
            length_penalty=length_penalty,
            normalisation=normalisation,
        )
        assert [tuple(one.tokens) for one in found] == [tokens for _, tokens, _, _ in wanted[:12]]
        assert [one.score for one in found] == pytest.approx([one[0] for one in wanted[:12]])
        assert [one.log_probability for one in found] == pytest.approx([one[2] for one in wanted[:12]])
        assert [one.stopped_by is not None for one in found] == [one[3] for one in wanted[:12]]


def test_a_beam_ends_where_it_is_said_to() -> None:
    """With stop tokens and an ending of two tokens, all continuations tried out, each cut where it first ends."""
    model, longest = scrambled(4), 4

    def ends(tokens: ListOf[int]) -> bool:
        return tuple(tokens[-2:]) == (2, 3)

    for prompts in ([[1]], [[2, 3], [0, 1, 1]]):
        found = beam_search(
            model, prompts, beams=200, best=12, max_tokens=longest, stop=[STOP], until=lambda _, tokens: ends(tokens)
        )
        for prompt, row in zip(prompts, found, strict=True):
            every = {}
            for tokens, nats, stopped in every_ending(model, tuple(prompt), STOP, longest):
                cut = next((size for size in range(2, len(tokens) + 1) if ends(tokens[:size])), None)
                if cut is None:
                    every[tokens, stopped] = nats
                else:
                    read = [(*prompt, *tokens[:place]) for place in range(cut)]
                    every[tokens[:cut], False] = sum(
                        math.log(model.distribution(before)[number]) for before, number in zip(read, tokens, strict=False)
                    )
            wanted = sorted(every.items(), key=lambda one: -one[1])[:12]
            assert any(ends(tokens) for (tokens, _), _ in wanted)
            assert [(tuple(one.tokens), one.stopped_by is not None) for one in row] == [what for what, _ in wanted]
            assert [one.score for one in row] == pytest.approx([nats for _, nats in wanted])


def test_what_ends_leaves_room_for_what_goes_on() -> None:
    """The fifth best goes on where three of the four best have ended, and is the way to the best end after them."""
    table = {3: [0.02, 0.02, 0.02, 0.47, 0.47], 4: [0.96, 0.01, 0.01, 0.01, 0.01], 1: [0.3, 0.3, 0.2, 0.11, 0.09]}
    asked = []

    def ends(prompt: int, tokens: ListOf[int]) -> bool:
        asked.append(prompt)
        return tokens[-1] < 3

    _, found = beam_search(chain(table), [[3], [1]], beams=4, best=4, max_tokens=2, until=ends)
    assert [one.tokens for one in found] == [[0], [1], [2], [4, 0]] and set(asked) == {0, 1}
    assert [one.stopped_by for one in found] == [None] * 4


def test_one_beam_is_greedy() -> None:
    model = scrambled(5)
    for start in range(5):
        (greedy,) = generate(model, [[start]], max_tokens=8, stop=[STOP])
        ((found,),) = beam_search(model, [[start]], beams=1, max_tokens=8, stop=[STOP])
        assert found.tokens == greedy.tokens and found.stopped_by == greedy.stopped_by
        assert found.log_probability == pytest.approx(greedy.log_probability)


def test_a_penalty_prefers_longer_ones() -> None:
    table = {1: [0.5, 0.0, 0.5], 2: [0.6, 0.0, 0.4]}
    lengths = []
    for penalty in (0.0, 3.0):
        ((found,),) = beam_search(
            chain(table), [[1]], beams=4, max_tokens=6, stop=[STOP], length_penalty=penalty, normalisation="normalised"
        )
        lengths.append(len(found.tokens))
    assert lengths[0] == 0 and lengths[1] > 2


def test_prompts_do_not_depend_on_each_other() -> None:
    model = scrambled(5)
    prompts = [[1], [2, 2, 4, 1], [3, 0]]
    together = beam_search(model, prompts, beams=3, best=3, max_tokens=7, stop=[STOP], length_penalty=1)
    for prompt, found in zip(prompts, together, strict=True):
        assert beam_search(model, [prompt], beams=3, best=3, max_tokens=7, stop=[STOP], length_penalty=1) == [found]
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_beams_are_never_equal_and_ties_go_to_the_lowest() -> None:
    (found,) = beam_search(always(0.25, 0.25, 0.25, 0.25), [[1]], beams=4, best=4, max_tokens=2)
    assert [one.tokens for one in found] == [[0, 0], [0, 1], [0, 2], [0, 3]]


def test_lengths_and_forbidden_tokens_hold_here_too() -> None:
    ((found,),) = beam_search(always(0.7, 0.1, 0.2), [[1]], beams=3, max_tokens=6, min_tokens=2, stop=[STOP], forbidden=[2])
    assert found.tokens == [1, 1] and found.stopped_by == STOP


def test_a_search_ends_when_nothing_can_become_better() -> None:
    model = always(0.9, 0.05, 0.05)
    beam_search(model, [[1]], beams=3, max_tokens=30, stop=[STOP])
    assert len(model.batch_sizes) <= 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"beams": 0}, "beams is 0"),
        ({"best": 3}, "beams is 2 and best 3"),
        ({"length_penalty": -1.0}, "length_penalty is -1"),
        ({"normalisation": "wo"}, "wu, normalised"),
    ],
)
def test_wrong_numbers_are_named(changes: dict[str, object], says: str) -> None:
    arguments: dict[str, object] = {"beams": 2, "max_tokens": 3, **changes}
    with pytest.raises(UsageError, match=says):
        beam_search(always(0.5, 0.5), [[1]], **arguments)  # type: ignore[arg-type]
