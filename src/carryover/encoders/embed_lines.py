"""Contextual vectors of a stream of lines: computed chunk by chunk, in order, in memory that does not grow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as ListOf
from dataclasses import dataclass

import torch
from torch import Tensor

from carryover.ambient import default_torch_state
from carryover.devices import autocast
from carryover.encoders.encoder import LONG, Choose, Encoder, every_layer
from carryover.errors import UsageError, refuse_string
from carryover.forking import computing
from carryover.layers.base import State, map_state, same_width

LAYERS = ("mix", "top", "all")
POOLS = ("mean", "max")
LINES_AT_ONCE = 256
FEWEST_STEPS = 32
"""Words of a piece at least, of however many lines side by side."""

Item = str | ListOf[str]
"""A running text, or a sentence that is already cut into words."""


@dataclass(frozen=True, eq=False)
class EmbeddedLine:
    """The words of a line and their vectors: [words, D], or [words, L+1, D] when all layers are kept; pooled [D], [L+1, D].

    `cut` of the words are longer than what a model of characters reads of a word; their ends are not seen. `pieces` says
    how many times the model was called for a line too long to be read at once; its vectors are those of the whole line.
    """

    words: list[str]
    vectors: Tensor
    cut: int = 0
    pieces: int = 1


def embed_lines(
    encoder: Encoder,
    lines: Iterable[Item],
    *,
    layers: str = "mix",
    pool: str | None = None,
    carry_rows: int | None = None,
    precision: str = "float32",
) -> Iterator[EmbeddedLine]:
    """Vectors of every line, in order; an empty line has no words. A line is a running text or a sentence as words.

    `layers` is "mix" (mean over all), "top", "all" or the number of one, 0 the tokens. `pool` "mean" or "max" makes one
    vector a line of those of its words. With `carry_rows` that many lines at a time are a batch of `embed_carrying`: line i
    continues from line i − `carry_rows`. With `precision` "bfloat16" products are of numbers rounded to 8 bits: faster where
    the processor has them, and near the exact vectors. What comes out is float32. Raises UsageError for a choice that
    does not exist.
    """
    refuse_string("lines", lines)
    check_choice(encoder, layers, pool)
    if carry_rows is not None and carry_rows < 1:
        raise UsageError(f"a batch of {carry_rows} lines cannot be read", repair="give at least 1")
    if carry_rows is not None and not encoder.carries_state:
        raise UsageError(f"{encoder.description} has no state to carry", repair="leave it out")
    read: list[list[str]] = []  # the batch whose vectors come next

    def batches() -> Iterator[list[list[str]]]:
        for chunk in _chunks(lines, carry_rows or LINES_AT_ONCE):
            read[:] = [words_of(encoder, line) for line in chunk]
            yield read

    def chosen(vectors: Tensor) -> Tensor:
        return choose_layers(vectors.float(), layers)

    computed: Iterator[list[Tensor]]
    if carry_rows is None:
        computed = (encoder.embed(batch, choose=chosen, precision=precision) for batch in batches())
    else:
        computed = embed_carrying(encoder, batches(), precision, chosen)
    for found in computed:
        for words, vectors in zip(read, found, strict=True):
            pieces = pieces_of(words, None if carry_rows is None else steps_of(len(read)))
            yield EmbeddedLine(words, pool_words(vectors, pool), cut_words(encoder, words), pieces)


def words_of(encoder: Encoder, item: Item) -> list[str]:
    """The words of an item, a running text cut as in pretraining."""
    return encoder.tokenize(item) if isinstance(item, str) else list(item)


def cut_words(encoder: Encoder, words: ListOf[str]) -> int:
    """How many of the words are read only in part."""
    return encoder.coder.count_cut(words)


def pieces_of(words: ListOf[str], steps: int | None = None) -> int:
    """In how many pieces a line is read, of `steps` words where there are others beside it."""
    return 1 if len(words) <= LONG else math.ceil((len(words) + 2) / (steps or LONG))


def steps_of(rows: int) -> int:
    """Words that are read at once of each of a number of long lines side by side."""
    return max(FEWEST_STEPS, LONG // max(1, rows))


def embed_carrying(
    encoder: Encoder,
    batches: Iterable[ListOf[ListOf[str]]],
    precision: str = "float32",
    choose: Choose = every_layer,
) -> Iterator[list[Tensor]]:
    """All layers' vectors of batches of sentences, [words, L+1, 2P] each, as the published programs compute them.

    They never reset the state of their LSTMs: row b of a batch continues from row b of the last batch that had one, forward
    from the sentence's end, backward from its beginning, and only the first batch begins with zeros. So the vectors depend
    on all that was read before, and on how it was cut into batches; `Encoder.embed` knows neither. Long sentences are read
    in pieces, and `choose` makes of [words, L+1, …] what is kept, as there.
    """
    state: State | None = None
    held = 0  # rows of the state
    device = encoder.device
    for sentences in batches:
        with computing(), default_torch_state(), torch.inference_mode(), autocast(precision, str(device)):
            rows = len(sentences)
            if rows > held:
                new = encoder.initial_state(rows - held)
                state = new if state is None else _one_below_the_other(state, new)
                held = rows
            batch = encoder.batch(sentences).to(device)
            mine, others = _rows(state, 0, rows), _rows(state, rows, None)
            steps = steps_of(rows) if rows * batch.index.time > LONG else None
            found, mine = encoder.advance(batch, mine, steps=steps, choose=choose)
            state = _one_below_the_other(mine, others)
        yield [vectors.clone() for vectors in found]  # outside, so that a caller can train on them


def _rows(state: State, first: int, stop: int | None) -> State:
    return map_state(lambda part: part[first:stop], state)


def _one_below_the_other(first: State, second: State) -> State:
    """The rows of both; of two caches that have grown differently the result is as wide as the wider."""
    return map_state(lambda *parts: torch.cat(same_width(*parts)), first, second)


def check_choice(encoder: Encoder, layers: str, pool: str | None) -> None:
    """Raise UsageError for layers or a way of pooling that there is not."""
    if layers not in LAYERS and not (layers.isascii() and layers.isdigit()):
        raise UsageError(
            f"layers {layers!r} is unknown", repair=f"use one of {', '.join(LAYERS)}, or a layer's number from 0, the tokens"
        )
    if layers.isdigit() and int(layers) >= encoder.layer_count:
        last = encoder.layer_count - 1
        raise UsageError(f"there is no layer {layers}", repair=f"the model has 0 (the tokens) to {last} (the top)")
    if pool is not None and pool not in POOLS:
        raise UsageError(f"pool {pool!r} is unknown", repair=f"use one of {', '.join(POOLS)}, or leave it out")


def choose_layers(vectors: Tensor, layers: str) -> Tensor:
    """[words, L+1, 2P] → [words, 2P], or the same for "all"."""
    if layers == "all":
        return vectors
    if layers == "mix":
        return vectors.mean(1)
    return vectors[:, -1 if layers == "top" else int(layers)]


def pool_words(vectors: Tensor, pool: str | None) -> Tensor:
    """[words, …] → […], zeros where there is no word; without a way of pooling the same."""
    if pool is None:
        return vectors
    if not len(vectors):
        return vectors.new_zeros(vectors.shape[1:])
    return vectors.mean(0) if pool == "mean" else vectors.amax(0)


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
