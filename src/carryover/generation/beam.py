"""Beam search: the likeliest continuations, kept several at a time.

Of Y with log-probability log p(Y) (its stop token included) and |Y| tokens, α the length penalty,

    wu           score = log p(Y) / ((5 + |Y|) / 6)^α         Wu et al. 2016, "Google's neural machine translation system",
                                                             equation 14, without coverage
    normalised   score = log p(Y) / |Y|^α                     with α = 1 the mean log-probability of a token

At each step the continuations of all beams of a prompt are ranked together. One of the `beams` best that has ended is set
aside; the best unfinished continuations fill the beams again, so that none is lost to one that has ended. The
search ends when no beam can overtake what is set aside: log p only falls and the divisor grows with |Y|, so no continuation
of a beam scores better than its log p over the divisor of the greatest length.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from collections.abc import Sequence as ListOf
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from carryover.errors import UsageError
from carryover.generation.sampling import best_places
from carryover.generation.steps import (
    Generated,
    Limits,
    Steppable,
    advance,
    check_evaluating,
    device_of,
    pick_rows,
    read_prompts,
)

NORMALISATIONS = ("wu", "normalised")


@dataclass(frozen=True)
class _Beam:
    """An unfinished continuation. `place` is its row in the batch of all prompts' beams."""

    tokens: tuple[int, ...]
    log_probability: float
    place: int


@dataclass
class _Search:
    """One prompt's beams, and what is set aside, the best first."""

    beams: list[_Beam]
    ended: list[Generated]


@torch.inference_mode()
def beam_search(
    model: Steppable,
    prompts: ListOf[ListOf[int]],
    *,
    beams: int,
    max_tokens: int,
    best: int = 1,
    length_penalty: float = 0.0,
    normalisation: str = "wu",
    min_tokens: int = 0,
    stop: Collection[int] = (),
    forbidden: Collection[int] = (),
    until: Callable[[int, ListOf[int]], bool] | None = None,
    device: Any = None,
) -> list[list[Generated]]:
    """The `best` continuations found of each prompt, the highest score first; fewer where there are not as many.

    `beams` continuations are kept at a time; one beam without a length penalty is greedy. Beams that reach `max_tokens`
    without a stop token count like the others, with `stopped_by` None. Of equal scores the earlier beam and the lower id
    win. `until` is asked with the number of the prompt and all new tokens of a continuation that does not end with a stop token;
    where it says True the continuation ends there. The other parameters are those of `stream`.

    Raises UsageError for a wrong number, and as `stream` does.
    """
    if beams < 1:
        raise UsageError(f"beams is {beams}", repair="give a whole number of at least 1")
    if not 1 <= best <= beams:
        raise UsageError(f"beams is {beams} and best {best}", repair="give 1 ≤ best ≤ beams")
    if not length_penalty >= 0:
        raise UsageError(f"length_penalty is {length_penalty}", repair="give 0 (none) or more")
    if normalisation not in NORMALISATIONS:
        raise UsageError(f"normalisation is {normalisation!r}", repair=f"use one of {', '.join(NORMALISATIONS)}")
    limits = Limits(max_tokens=max_tokens, min_tokens=min_tokens, stop=frozenset(stop), forbidden=frozenset(forbidden))
    check_evaluating(model)
    device = device_of(model) if device is None else device

    def divisor(length: int) -> float:
        return ((5 + length) / 6 if normalisation == "wu" else float(length)) ** length_penalty

    log_probabilities, state = read_prompts(model, prompts, device)
    searches = [_Search([_Beam((), 0.0, row)], []) for row in range(len(prompts))]
    for made in range(max_tokens):
        allowed = limits.allow(log_probabilities, made)
        for number, search in enumerate(searches):
            if search.beams:
                ends = None if until is None else partial(until, number)
                _extend(search, allowed, beams, limits.stop, ends, divisor)
                _end_where_final(search, best, beams, last=made + 1 == max_tokens, divisor=divisor, longest=max_tokens)
        going = [beam for search in searches for beam in search.beams]
        if not going:
            break
        log_probabilities, state = advance(
            model, [beam.tokens[-1] for beam in going], pick_rows(state, [beam.place for beam in going]), device
        )
        _number(searches)
    return [search.ended[:best] for search in searches]


def _extend(
    search: _Search,
    allowed: torch.Tensor,
    beams: int,
    stop: Collection[int],
    ends: Callable[[ListOf[int]], bool] | None,
    divisor: Callable[[int], float],
) -> None:
    """Beams one token longer, [beams of all prompts, V] log-probabilities given; those that end are set aside."""
    before = search.beams
    sums = torch.tensor([beam.log_probability for beam in before], dtype=torch.float64)
    places = [beam.place for beam in before]
    flat = (sums.unsqueeze(1) + allowed[places]).flatten()  # [n · V]
    size = allowed.shape[1]
    search.beams = []
    for rank, place in enumerate(_ranked(flat, beams + len(before) * len(stop))):
        value = float(flat[place])
        if value == -float("inf") or len(search.beams) == beams:
            break
        beam, number = before[place // size], place % size
        tokens = (*beam.tokens, number)
        stopped = number in stop
        if not stopped and not (ends and ends(tokens)):
            search.beams.append(_Beam(tokens, value, beam.place))
        elif rank < beams:
            kept = beam.tokens if stopped else tokens
            search.ended.append(Generated(list(kept), value, number if stopped else None, value / divisor(len(tokens))))


def _ranked(scores: torch.Tensor, likely: int) -> Iterator[int]:
    """Places of scores [N], the highest first, of equal ones the lowest first. The first `likely` cost as much as one."""
    given, count = 0, likely
    while given < len(scores):
        yield from best_places(scores, count)[given:]
        given, count = count, 2 * count


def _end_where_final(
    search: _Search, best: int, beams: int, *, last: bool, divisor: Callable[[int], float], longest: int
) -> None:
    """Rank what is set aside and end the search where it cannot become better."""
    if last:
        for beam in search.beams:
            score = beam.log_probability / divisor(len(beam.tokens))
            search.ended.append(Generated(list(beam.tokens), beam.log_probability, None, score))
    search.ended.sort(key=lambda one: -one.score)  # stable: of equal scores the earlier stays first
    del search.ended[beams:]
    if last:
        search.beams = []
    elif len(search.ended) >= best and search.beams:
        within_reach = search.beams[0].log_probability / divisor(longest)
        if search.ended[best - 1].score >= within_reach:
            search.beams = []


def _number(searches: list[_Search]) -> None:
    """Tell every beam its row in the batch just advanced."""
    place = 0
    for search in searches:
        numbered = []
        for beam in search.beams:
            numbered.append(_Beam(beam.tokens, beam.log_probability, place))
            place += 1
        search.beams = numbered
