"""Skip-gram with negative sampling (Mikolov et al. 2013, "Distributed Representations of Words and Phrases", eq. 4).

For a centre word w and a word c of its context the objective is

    log σ(u_c · v_w) + k · E_{n ~ P} log σ(−u_n · v_w),    P(n) ∝ count(n)^0.75

with input vectors v and output vectors u. Frequent words are thrown out beforehand with probability
1 − sqrt(t / f(w)), and the window shrinks at random per centre word, so near words count more.

The k negatives of the pairs of one batch are one shared sample of S words weighted k / S: the same expectation as
separate draws, and the gradient becomes two matrix products. `pair_loss` is the plain form and the test of the fast one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from carryover.ambient import default_torch_state
from carryover.data.shards import Shards
from carryover.data.vocabulary import Vocabulary
from carryover.embeddings.vectors import WordVectors
from carryover.errors import BadData
from carryover.progress import Progress

SPECIAL = 4
"""The first ids of every vocabulary are padding, unknown, begin and end: they get no vector."""


@dataclass(frozen=True, kw_only=True)
class SkipgramSettings:
    """`size` of a vector, context `window` to either side, `negatives` k, shared `sample` S, subsampling threshold t."""

    size: int = 100
    window: int = 5
    negatives: int = 5
    sample: int = 64
    epochs: int = 3
    subsample: float = 1e-3
    learning_rate: float = 0.1
    batch_size: int = 4096
    chunk_tokens: int = 100_000
    seed: int = 0


def pair_loss(centre: Tensor, context: Tensor, negatives: Tensor, weight: float) -> Tensor:
    """Mean negative objective of pairs: centre, context [N, D], negatives [S, D] shared, each weighted `weight`."""
    positive = torch.nn.functional.logsigmoid((centre * context).sum(1))
    negative = torch.nn.functional.logsigmoid(-centre @ negatives.T).sum(1) * weight
    return -(positive + negative).mean()


def pair_gradients(centre: Tensor, context: Tensor, negatives: Tensor, weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the *sum* over pairs of `pair_loss` by centre, context and negatives, by hand."""
    positive = torch.sigmoid((centre * context).sum(1, keepdim=True)) - 1  # [N, 1]
    negative = torch.sigmoid(centre @ negatives.T) * weight  # [N, S]
    return (
        torch.addmm(positive * context, negative, negatives),
        positive * centre,
        negative.T @ centre,
    )


def context_pairs(
    ids: np.ndarray, lines: np.ndarray, window: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """All (centre, context) pairs of a chunk: `ids` [n] word ids, `lines` [n] the line of each.

    Each centre draws its own window from 1 … window; a context never crosses the border of a line.
    """
    reach = random.integers(1, window + 1, size=len(ids))
    centres, contexts = [], []
    for distance in range(1, window + 1):
        if distance >= len(ids):
            break
        near = lines[:-distance] == lines[distance:]
        forward = near & (reach[:-distance] >= distance)
        backward = near & (reach[distance:] >= distance)
        centres += [ids[:-distance][forward], ids[distance:][backward]]
        contexts += [ids[distance:][forward], ids[:-distance][backward]]
    if not centres:
        return np.empty(0, ids.dtype), np.empty(0, ids.dtype)
    return np.concatenate(centres), np.concatenate(contexts)


def _chunks(shards: Shards, size: int, keep: np.ndarray, random: np.random.Generator) -> Iterator[tuple[np.ndarray, ...]]:
    vocabulary_size = len(shards.vocabulary)
    for start in range(0, shards.tokens, size):
        ids = shards.read(start, min(start + size, shards.tokens)).astype(np.int64)
        lines = np.cumsum(ids == Vocabulary.BEGIN_ID)
        stays = (ids >= SPECIAL) & (ids < vocabulary_size)
        stays[stays] = random.random(int(stays.sum())) < keep[ids[stays]]
        yield ids[stays], lines[stays], np.array(len(ids))


@default_torch_state(gradients=True)
def train_skipgram(shards: Shards, settings: SkipgramSettings | None = None, *, quiet: bool = True) -> WordVectors:
    """Vectors of the words of `shards`, by Adagrad on summed pair gradients. Raises BadData when no word is left.

    The result depends on the shards and the settings only (single process, fixed number of threads).
    """
    settings = settings or SkipgramSettings()
    counts = shards.counts[: len(shards.vocabulary)].copy()
    counts[:SPECIAL] = 0
    total = int(counts.sum())
    if total == 0:
        raise BadData(
            "the raw text holds no word of the vocabulary",
            path=shards.folder,
            repair="give more text or a larger vocabulary",
        )
    share = counts / total
    with np.errstate(divide="ignore"):
        keep = np.where(share > 0, np.minimum(1.0, np.sqrt(settings.subsample / np.maximum(share, 1e-300))), 0.0)
    noise = torch.from_numpy(counts**0.75)
    random = np.random.default_rng([settings.seed, 1])
    generator = torch.Generator().manual_seed(settings.seed)
    vocabulary_size = len(counts)
    inputs = (torch.rand(vocabulary_size, settings.size, generator=generator) - 0.5) / settings.size
    outputs = torch.zeros(vocabulary_size, settings.size)
    squares = [torch.full_like(inputs, 1e-6), torch.full_like(outputs, 1e-6)]
    weight = settings.negatives / settings.sample
    with Progress("static vectors", shards.tokens * settings.epochs, "tokens", quiet=quiet) as progress:
        for epoch in range(settings.epochs):
            for ids, lines, seen in _chunks(shards, settings.chunk_tokens, keep, random):
                done = progress.done / max(1, shards.tokens * settings.epochs)
                rate = settings.learning_rate * max(1.0 - done, 1e-2)
                centres, contexts = context_pairs(ids, lines, settings.window, random)
                order = random.permutation(len(centres))
                losses = []
                for start in range(0, len(order), settings.batch_size):
                    batch = order[start : start + settings.batch_size]
                    centre, context = torch.from_numpy(centres[batch]), torch.from_numpy(contexts[batch])
                    sampled = torch.multinomial(noise, settings.sample, replacement=True, generator=generator)
                    losses.append(_update(inputs, outputs, squares, centre, context, sampled, weight, rate))
                progress.advance(int(seen), epoch=epoch + 1, loss=float(np.mean(losses)) if losses else 0.0)
    # All words share a large part that tells them from noise only (Mu and Viswanath 2018); without it and at unit scale the
    # vectors enter a network as its own beginning vectors would.
    words = inputs[SPECIAL:]
    words -= words.mean(0)
    words /= words.square().mean().sqrt().clamp(min=1e-8)
    inputs[:SPECIAL] = 0
    return WordVectors(shards.vocabulary, inputs.numpy())


def _update(
    inputs: Tensor,
    outputs: Tensor,
    squares: list[Tensor],
    centre: Tensor,
    context: Tensor,
    sampled: Tensor,
    weight: float,
    rate: float,
) -> float:
    v, u, n = inputs[centre], outputs[context], outputs[sampled]
    by_centre, by_context, by_sampled = pair_gradients(v, u, n, weight)
    _adagrad(inputs, squares[0], centre, by_centre, rate)
    _adagrad(outputs, squares[1], torch.cat([context, sampled]), torch.cat([by_context, by_sampled]), rate)
    return float(pair_loss(v[:256], u[:256], n, weight))


def _adagrad(table: Tensor, squares: Tensor, rows: Tensor, gradients: Tensor, rate: float) -> None:
    """One Adagrad step on the rows that occur; the gradients of a row that occurs often are summed first."""
    distinct, place = rows.unique(return_inverse=True)
    summed = torch.zeros(len(distinct), table.shape[1]).index_add_(0, place, gradients)
    squares[distinct] += summed.square()
    table[distinct] -= rate * summed / squares[distinct].sqrt()
