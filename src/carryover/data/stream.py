"""Batches for truncated back-propagation through time, each a pure function of (seed, epoch, step).

The corpus is cut at line borders into `batch_size` lanes of about equal length, and each lane into blocks of about
`block_tokens` tokens, which it reads in an order drawn from (seed, epoch), in chunks of `steps` tokens (the last chunk of a
block may be shorter). A lane carries its recurrent state from step to step; a new block starts from a fresh one.

A fresh state always meets the border of a line, forward `<s>` and backward `</s>`: a model that reads the middle of a line
from zeros may run into a state that it never leaves (`benchmarks/stuck_state.py`). A piece of a line that is longer than a
block, and so is cut, is read with such a border in front of it, and without its last word, whose successor is predicted
by the next piece.

The backward model reads the same blocks reversed as a whole. So its chunk at step s is of the same block and length as the
forward one, but from the block's other end.

Since a batch depends on nothing but three numbers, a resumed run asks for step k and gets it, and the order does not depend
on how many processes share the lanes: each asks for its `part` of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carryover.data.coding import TokenBatch
from carryover.data.order import digest, permutation
from carryover.data.shards import Shards
from carryover.data.vocabulary import Vocabulary
from carryover.errors import UsageError
from carryover.sequence import Sequence

NO_LOSS = -1
"""Target of a position that is not scored."""


@dataclass(frozen=True, eq=False)
class LanguageModelBatch:
    """What a language model, or both directions of one, read and predict in one step.

    `backward` and `backward_targets` are None where the stream goes forward only. `forward` and `backward` have the same lengths [B] (0 for a lane that has run out) and, for character input, share one
    table of the batch's distinct words. Targets are softmax ids [B, T], `NO_LOSS` where nothing is predicted.
    `fresh` [B] is true where the carried state must be reset before this batch. `tokens` counts forward targets.
    Where processes share the lanes, B are those of this one; `begins` is whether any lane of the whole batch is fresh, and
    the `digest`s of what each process reads add up, modulo 2⁶⁴, to that of the whole batch.
    """

    forward: TokenBatch
    forward_targets: Tensor
    backward: TokenBatch | None
    backward_targets: Tensor | None
    fresh: Tensor
    tokens: int
    begins: bool = True
    digest: int = 0

    def to(self, device: torch.device | str) -> LanguageModelBatch:
        """The same batch on a device; the shared table of words is moved once."""
        forward = self.forward.to(device)
        backward = None if self.backward is None else self.backward.to(device)
        if backward is not None and forward.characters is not None:
            backward = replace(backward, characters=forward.characters)
        return LanguageModelBatch(
            forward,
            self.forward_targets.to(device),
            backward,
            None if self.backward_targets is None else self.backward_targets.to(device),
            self.fresh.to(device),
            self.tokens,
            self.begins,
            self.digest,
        )


class LanguageModelStream:
    """Random access to the batches of an epoch.

    Parameters
    ----------
    shards : the tokenised corpus.
    batch_size : number of lanes B.
    steps : tokens T of a chunk, the length of truncated back-propagation.
    block_tokens : size of the blocks that are shuffled. No line is split unless it alone is longer.
    shuffle : `False` keeps the blocks in the order of the text, whatever seed and epoch.
    round_words_to : round the number of distinct words up to a multiple, so that shapes repeat (compiled models).
    part : the lanes that are read here, of 0 … batch_size − 1; all of them by default.
    both_ways : `False` leaves out what goes backward; what goes forward is the same either way.

    In an epoch every token but the line borders `<s>` is a forward target once, and every token but `</s>` a backward target
    once. Not scored are: forward what follows `</s>`, backward what follows `<s>`, for there one line ends and an unrelated
    one begins. Raises UsageError when a size is not positive.
    """

    def __init__(
        self,
        shards: Shards,
        *,
        batch_size: int,
        steps: int,
        block_tokens: int = 2048,
        shuffle: bool = True,
        round_words_to: int = 1,
        part: range | None = None,
        both_ways: bool = True,
    ) -> None:
        sizes = {"batch_size": batch_size, "steps": steps, "block_tokens": block_tokens, "round_words_to": round_words_to}
        for name, size in sizes.items():
            if size < 1:
                raise UsageError(f"{name} is {size}", repair="it must be 1 or more")
        self.shards = shards
        self.batch_size, self.steps, self.shuffle, self.round_words_to = batch_size, steps, shuffle, round_words_to
        self.part = range(batch_size) if part is None else part
        self.both_ways = both_ways
        lane_starts = lane_borders(shards, batch_size, block_tokens)  # [B]
        self.block_starts = block_borders(shards, block_tokens, lane_starts)  # [blocks + 1]
        self._cut = np.append(shards.ids[self.block_starts[:-1]] != Vocabulary.BEGIN_ID, False)  # [blocks + 1]
        self._chunks = -(-np.diff(self.block_starts) // steps)  # [blocks]
        self._lane_of = np.searchsorted(lane_starts, self.block_starts[:-1], side="right") - 1  # [blocks]
        self._lane_chunks = np.bincount(self._lane_of, self._chunks, minlength=batch_size).astype(np.int64)  # [B]
        self._steps_per_epoch = int(self._lane_chunks.max())
        self._latest_order: tuple[tuple[int, int], _Order] | None = None

    def steps_per_epoch(self) -> int:
        """Number of batches S."""
        return self._steps_per_epoch

    def batch(self, seed: int, epoch: int, step: int) -> LanguageModelBatch:
        """Batch number `step` of an epoch. Raises IndexError outside 0 … steps_per_epoch() − 1."""
        whole = self._rows(seed, epoch, step)
        rows = whole.part(self.part)
        real = np.arange(self.steps) < rows.lengths[:, None]  # [B, T]
        read = self._read(rows)
        ahead = read[0]
        last = np.arange(self.steps) == rows.lengths[:, None] - 1
        scored = real & ~(last & rows.ends_ahead[:, None])
        forward_targets = self._targets(ahead, scored & (ahead[:, :-1] != Vocabulary.END_ID))
        sides = self._token_batches(np.stack([side[:, :-1] * real for side in read]), rows.lengths)
        backward, backward_targets = None, None
        if self.both_ways:
            behind, backward = read[1], sides[1]
            scored = real & ~(last & rows.ends_behind[:, None])
            backward_targets = torch.from_numpy(self._targets(behind, scored & (behind[:, :-1] != Vocabulary.BEGIN_ID)))
        return LanguageModelBatch(
            sides[0],
            torch.from_numpy(forward_targets),
            backward,
            backward_targets,
            torch.from_numpy(rows.fresh),
            int((forward_targets != NO_LOSS).sum()),
            bool(whole.fresh.any()),
            digest(np.column_stack([np.array(self.part), *rows.columns(), *read]), epoch, step),
        )

    def _read(self, rows: _Rows) -> list[NDArray[np.int64]]:
        """What is read and one token more, to be predicted: forward and, if asked for, backward [B, T + 1] types, 0 in the
        padding."""
        found = [np.zeros((len(self.part), self.steps + 1), dtype=np.int64) for _ in range(1 + self.both_ways)]
        for row in np.flatnonzero(rows.lengths).tolist():
            length, start, stop = int(rows.lengths[row]), int(rows.forward_starts[row]), int(rows.backward_stops[row])
            types = self.shards.read(start, min(start + length + 1, self.shards.tokens))
            found[0][row, : len(types)] = types
            if self.both_ways:
                types = self.shards.read(max(stop - length - 1, 0), stop)[::-1]
                found[1][row, : len(types)] = types
        for side, border in zip(found, (Vocabulary.BEGIN_ID, Vocabulary.END_ID), strict=False):
            side[rows.fresh, 0] = border
        return found

    def _rows(self, seed: int, epoch: int, step: int) -> _Rows:
        """Which part of the corpus each lane reads."""
        if not 0 <= step < self._steps_per_epoch:
            raise IndexError(f"step {step} of an epoch of {self._steps_per_epoch}: ask for 0 to {self._steps_per_epoch - 1}")
        order = self._order(seed, epoch)
        present = step < self._lane_chunks  # [B]
        chunks = np.cumsum(self._lane_chunks) - self._lane_chunks + step
        places = np.searchsorted(order.chunk_ends, np.where(present, chunks, 0), side="right")
        blocks = order.blocks[places]
        offsets = (chunks - order.chunk_ends[places] + self._chunks[blocks]) * self.steps
        starts, stops = self.block_starts[blocks], self.block_starts[blocks + 1]
        cut_before, cut_after = self._cut[blocks], self._cut[blocks + 1]
        lengths = np.where(present, np.minimum(self.steps, stops - starts - offsets), 0)
        finishes = present & (offsets + lengths == stops - starts)
        return _Rows(
            lengths=lengths,
            forward_starts=starts + offsets - cut_before,
            backward_stops=stops - offsets + cut_after,
            fresh=present & (offsets == 0),
            ends_ahead=finishes & cut_after & ~cut_before,
            ends_behind=finishes & cut_before & ~cut_after,
        )

    def _order(self, seed: int, epoch: int) -> _Order:
        if self._latest_order is None or self._latest_order[0] != (seed, epoch):
            blocks = permutation(len(self._chunks), seed, epoch) if self.shuffle else np.arange(len(self._chunks))
            blocks = blocks[np.argsort(self._lane_of[blocks], kind="stable")]
            self._latest_order = (seed, epoch), _Order(blocks, np.cumsum(self._chunks[blocks]))
        return self._latest_order[1]

    def _targets(self, types: NDArray[np.int64], scored: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Softmax ids [B, T] of the types [B, T + 1] one step further."""
        return np.where(scored, self.shards.softmax_ids(types[:, 1:]), NO_LOSS)

    def _token_batches(self, types: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[TokenBatch]:
        """The directions [D, B, T] of types as an encoder reads them."""
        characters = None
        if self.shards.kind == "characters":
            distinct, index = np.unique(np.append(types.ravel(), Vocabulary.PAD_ID), return_inverse=True)
            index = index[:-1].reshape(types.shape)
            rows = -(-len(distinct) // self.round_words_to) * self.round_words_to
            table = np.zeros((rows, self.shards.characters.shape[1]), dtype=np.int64)
            table[: len(distinct)] = self.shards.characters[distinct]
            characters = torch.from_numpy(table)  # [U, 50]
        else:
            index = self.shards.softmax_ids(types)
        borders = (types == Vocabulary.BEGIN_ID) | (types == Vocabulary.END_ID)
        words = lengths - borders.sum(axis=2)  # [D, B]
        real = torch.from_numpy(lengths)
        return [
            TokenBatch(Sequence(torch.from_numpy(side), real), characters, None, torch.from_numpy(count))
            for side, count in zip(index, words, strict=True)
        ]


@dataclass(frozen=True)
class _Order:
    """Blocks in the order of one epoch, lane by lane, and the number of chunks up to and including each, [blocks]."""

    blocks: NDArray[np.int64]
    chunk_ends: NDArray[np.int64]


@dataclass(frozen=True)
class _Rows:
    """Each lane's part of the corpus, [B]: `lengths` tokens on from `forward_starts`, or back from `backward_stops`.

    The first token of a `fresh` lane is read as the border of a line. What follows the last one is not predicted where a line
    `ends_ahead` or `ends_behind`, cut, and its next piece predicts that.
    """

    lengths: NDArray[np.int64]
    forward_starts: NDArray[np.int64]
    backward_stops: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    ends_ahead: NDArray[np.bool_]
    ends_behind: NDArray[np.bool_]

    def columns(self) -> tuple[NDArray[np.int64], ...]:
        return self.lengths, self.forward_starts, self.backward_stops, self.fresh.astype(np.int64)

    def part(self, lanes: range) -> _Rows:
        """Those of some neighbouring lanes."""
        some = slice(lanes.start, lanes.stop)
        return _Rows(**{name: rows[some] for name, rows in vars(self).items()})


def lane_borders(shards: Shards, lanes: int, block_tokens: int) -> NDArray[np.int64]:
    """Positions where the lanes begin, [lanes]: of the places that cut the text evenly, the nearest beginnings of lines.

    Inside a line only where that is longer than a block and is cut anyway. A text of few lines leaves lanes empty: they
    begin where the next one does.
    """
    even = np.arange(lanes) * shards.tokens // lanes
    nearest = np.zeros_like(even)
    for ends in shards.line_end_chunks():
        after = np.searchsorted(ends, even)
        for place in (after - 1, after):
            found = ends[np.clip(place, 0, len(ends) - 1)]
            nearest = np.where(abs(found - even) < abs(nearest - even), found, nearest)
    return np.where(abs(nearest - even) > block_tokens // 2, even, nearest)


def block_borders(shards: Shards, block_tokens: int, lane_starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions where blocks begin, then the number of tokens, [blocks + 1].

    As many whole lines of a lane as fit make a block. A line longer than a block is cut into pieces of `block_tokens`, and
    its last piece begins the block of the lines that follow.
    """
    cuts = np.append(lane_starts, shards.tokens)
    borders, last_end = [0], 0
    for ends in shards.line_end_chunks():
        while last_end < ends[-1]:
            lane_end = int(cuts[np.searchsorted(cuts, borders[-1], side="right")])
            limit = min(borders[-1] + block_tokens, lane_end)
            fitting = int(np.searchsorted(ends, limit, side="right"))
            if fitting:
                last_end = max(last_end, int(ends[fitting - 1]))
            if fitting == len(ends):
                break  # the lines of the next chunk may fit as well
            borders.append(last_end if last_end > borders[-1] else limit)
    return np.array([*borders, shards.tokens], dtype=np.int64)
