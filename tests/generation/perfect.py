"""A fake perfect model: the distribution after every prefix is what a function says, so that every answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence as ListOf
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from carryover.sequence import Sequence

ROOM = 40

Distribution = Callable[[tuple[int, ...]], ListOf[float]]


class Prefix(NamedTuple):
    """Ids read so far [B, ROOM] and how many they are [B]."""

    ids: Tensor
    length: Tensor


class Perfect:
    """Log-probabilities of the token after each prefix, as `distribution` gives the probabilities."""

    def __init__(self, distribution: Distribution) -> None:
        self.distribution = distribution
        self.batch_sizes: list[int] = []

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> Prefix:
        return Prefix(torch.zeros(batch_size, ROOM, dtype=torch.int64), torch.zeros(batch_size, dtype=torch.int64))

    def step(self, x: Sequence, state: Prefix, /) -> tuple[Sequence, Prefix]:
        self.batch_sizes.append(x.batch_size)
        prefixes = [row[:length].tolist() for row, length in zip(state.ids, state.length.tolist(), strict=True)]
        rows = []
        for prefix, new in zip(prefixes, x.rows(), strict=True):
            logs = [self._logs((*prefix, *new[: step + 1].tolist())) for step in range(len(new))]
            prefix.extend(new.tolist())
            rows.append(torch.stack(logs))
        ids = torch.zeros_like(state.ids)
        for row, prefix in enumerate(prefixes):
            ids[row, : len(prefix)] = torch.tensor(prefix, dtype=torch.int64)
        return Sequence.pad(rows), Prefix(ids, torch.tensor([len(prefix) for prefix in prefixes]))

    def _logs(self, prefix: tuple[int, ...]) -> Tensor:
        probabilities = self.distribution(prefix)
        return torch.tensor([math.log(p) if p else -math.inf for p in probabilities], dtype=torch.float64)


def always(*probabilities: float) -> Perfect:
    """The same distribution whatever came before."""
    return Perfect(lambda prefix: probabilities)


def chain(table: dict[int, ListOf[float]]) -> Perfect:
    """The distribution depends on the last token."""
    return Perfect(lambda prefix: table[prefix[-1]])


def scrambled(size: int) -> Perfect:
    """A distribution that depends on the whole prefix in no simple way."""

    def distribution(prefix: tuple[int, ...]) -> list[float]:
        mixed = 17
        for number in prefix:
            mixed = (mixed * 31 + number + 7) % 10_007
        generator = torch.Generator().manual_seed(mixed)
        return torch.softmax(2 * torch.randn(size, generator=generator, dtype=torch.float64), 0).tolist()

    return Perfect(distribution)


def every_ending(
    model: Perfect, prompt: tuple[int, ...], stop: int, longest: int
) -> list[tuple[tuple[int, ...], float, bool]]:
    """All continuations of at most `longest` tokens as (tokens without stop, log-probability, stopped), by trying them."""
    size = len(model.distribution(prompt))
    found = []
    for length in range(longest + 1):
        for tokens in product([number for number in range(size) if number != stop], repeat=length):
            whole, nats = prompt, 0.0
            for number in tokens:
                nats += math.log(model.distribution(whole)[number])
                whole = (*whole, number)
            if length < longest:
                found.append((tokens, nats + math.log(model.distribution(whole)[stop]), True))
            else:
                found.append((tokens, nats, False))
    return found
