"""One token after the other: greedily or by chance, all at the end or each as it comes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from collections.abc import Sequence as ListOf
from typing import Any

import torch

from carryover.data.order import uniform
from carryover.errors import UsageError
from carryover.generation.sampling import Sampling, likeliest
from carryover.generation.steps import (
    Generated,
    Limits,
    Steppable,
    Token,
    advance,
    check_evaluating,
    device_of,
    pick_rows,
    read_prompts,
)


def generate(
    model: Steppable,
    prompts: ListOf[ListOf[int]],
    *,
    max_tokens: int,
    min_tokens: int = 0,
    stop: Collection[int] = (),
    forbidden: Collection[int] = (),
    until: Callable[[int, int], bool] | None = None,
    sampling: Sampling | None = None,
    seed: int | ListOf[int] = 0,
    device: Any = None,
) -> list[Generated]:
    """What follows each prompt; the whole of what `stream` yields, prompt by prompt. Parameters and errors are its own."""
    tokens: list[list[int]] = [[] for _ in prompts]
    sums = [0.0] * len(prompts)
    stopped: list[int | None] = [None] * len(prompts)
    for token in stream(
        model,
        prompts,
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        stop=stop,
        forbidden=forbidden,
        until=until,
        sampling=sampling,
        seed=seed,
        device=device,
    ):
        sums[token.row] += token.log_probability
        if token.stop:
            stopped[token.row] = token.id
        else:
            tokens[token.row].append(token.id)
    return [Generated(*parts, score=parts[1]) for parts in zip(tokens, sums, stopped, strict=True)]


def stream(
    model: Steppable,
    prompts: ListOf[ListOf[int]],
    *,
    max_tokens: int,
    min_tokens: int = 0,
    stop: Collection[int] = (),
    forbidden: Collection[int] = (),
    until: Callable[[int, int], bool] | None = None,
    sampling: Sampling | None = None,
    seed: int | ListOf[int] = 0,
    device: Any = None,
) -> Iterator[Token]:
    """Every new token as it comes: at each step one of every row that has not ended, in the order of the rows.

    Parameters
    ----------
    model : see `Steppable`; a module must be in evaluation mode.
    prompts : ids of each row, at least one each; rows may differ in length.
    max_tokens, min_tokens, stop, forbidden : see `Limits`.
    until : asked with row and id of every new token but a stop token; where it says True the row ends with that token.
    sampling : how tokens are drawn; None takes the likeliest, of equal ones the lowest id.
    seed : row b draws with seed + b; a list gives each row its own. A row of the same prompt and seed draws the same
        numbers alone and in any batch.
    device : where the model computes; None is where its parameters are.

    Raises UsageError for an empty prompt, a wrong limit, a wrong number of seeds, and when no token may come next.
    """
    limits = Limits(max_tokens=max_tokens, min_tokens=min_tokens, stop=frozenset(stop), forbidden=frozenset(forbidden))
    seeds = [seed + row for row in range(len(prompts))] if isinstance(seed, int) else list(seed)
    if len(seeds) != len(prompts):
        raise UsageError(f"{len(seeds)} seeds for {len(prompts)} prompts", repair="give one a prompt, or a single number")
    check_evaluating(model)
    return _stream(model, prompts, limits, until, sampling, seeds, device_of(model) if device is None else device)


def _stream(
    model: Steppable,
    prompts: ListOf[ListOf[int]],
    limits: Limits,
    until: Callable[[int, int], bool] | None,
    sampling: Sampling | None,
    seeds: list[int],
    device: Any,
) -> Iterator[Token]:
    # The mode without gradients holds during our own work only: a generator must not change it for whoever is between.
    with torch.inference_mode():
        log_probabilities, state = read_prompts(model, prompts, device)
    rows = list(range(len(prompts)))  # the unfinished ones
    for made in range(limits.max_tokens):
        allowed = limits.allow(log_probabilities, made)
        if sampling is None:
            ids = likeliest(allowed)
        else:
            ids = sampling.draw(allowed, torch.tensor([uniform(1, seeds[row], made)[0] for row in rows]))
        chosen = ids.tolist()
        nats = log_probabilities.gather(1, ids.unsqueeze(1)).squeeze(1).tolist()
        last = made + 1 == limits.max_tokens
        going = []
        for place, (row, number, value) in enumerate(zip(rows, chosen, nats, strict=True)):
            stop = number in limits.stop
            ends = last or stop
            if not stop and until is not None:
                ends = until(row, number) or ends
            if not ends:
                going.append(place)
            yield Token(row, number, value, ends=ends, stop=stop)
        if last or not going:
            return
        with torch.inference_mode():
            if len(going) < len(rows):
                state = pick_rows(state, going)
            rows = [rows[place] for place in going]
            log_probabilities, state = advance(model, [chosen[place] for place in going], state, device)
