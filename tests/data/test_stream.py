"""The fast stream equals one written out in plain Python, and an epoch reads every token exactly once."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from itertools import pairwise, zip_longest
from pathlib import Path

import numpy as np
import pytest
import torch

from carryover.data import shard_passes
from carryover.data.order import digest, permutation
from carryover.data.shards import Shards, build_shards
from carryover.data.stream import NO_LOSS, LanguageModelBatch, LanguageModelStream
from carryover.data.vocabulary import Vocabulary
from carryover.errors import UsageError

BEGIN, END = Vocabulary.BEGIN_ID, Vocabulary.END_ID


def corpus(folder: Path, lines: int, *, seed: int = 0, longest: int = 12, kind: str = "characters") -> Shards:
    draw = random.Random(seed)
    text = [" ".join(f"w{draw.randrange(60)}" for _ in range(draw.randint(1, longest))) for _ in range(lines)]
    return build_shards(enumerate(text, 1), kind, folder, tokenize=str.split, vocabulary_size=30)


# ---- The reference: lists and loops -------------------------------------------------------------------------------------


def plain_lanes(shards: Shards, lanes: int, block_tokens: int) -> list[tuple[int, int]]:
    """(start, stop) of each lane: from the line border nearest to an even cut, or the cut itself far inside a long line."""
    starts = []
    for lane in range(lanes):
        even = lane * shards.tokens // lanes
        nearest = min(shards.line_offsets.tolist(), key=lambda border: (abs(border - even), border))
        starts.append(nearest if abs(nearest - even) <= block_tokens // 2 else even)
    return list(pairwise([*starts, shards.tokens]))


def plain_blocks(shards: Shards, lane: tuple[int, int], block_tokens: int) -> list[tuple[int, int]]:
    """(start, stop) of each block of a lane: whole lines while they fit, a longer line in pieces."""
    blocks: list[tuple[int, int]] = []
    borders = {border for border in shards.line_offsets.tolist() if lane[0] < border < lane[1]}
    start = stop = lane[0]
    for line_stop in sorted(borders | {lane[1]}):
        if line_stop - start > block_tokens and stop > start:
            blocks.append((start, stop))
            start = stop
        while line_stop - start > block_tokens:
            blocks.append((start, start + block_tokens))
            start += block_tokens
        stop = line_stop
    return [*blocks, (start, stop)] if stop > start else blocks


def plain_epoch(shards: Shards, *, lanes: int, steps: int, block_tokens: int, seed: int, epoch: int) -> list[list[dict]]:
    """For each step and lane what it reads and predicts, in softmax ids."""
    ids = shards.ids.tolist()

    def softmax_of(number: int) -> int:
        return number if number < len(shards.vocabulary) else Vocabulary.UNKNOWN_ID

    blocks = [
        (lane, start, stop)
        for lane, ends in enumerate(plain_lanes(shards, lanes, block_tokens))
        for start, stop in plain_blocks(shards, ends, block_tokens)
    ]
    chunks: list[list[dict]] = [[] for _ in range(lanes)]
    for number in permutation(len(blocks), seed, epoch):
        lane, start, stop = blocks[number]
        cut_before, cut_after = ids[start] != BEGIN, ids[stop - 1] != END
        ahead = [*([BEGIN] if cut_before else []), *ids[start:stop]]
        behind = [*([END] if cut_after else []), *ids[start:stop][::-1]]
        places = [
            {
                "forward": ahead[j],
                "forward_targets": NO_LOSS if ahead[j] == END or j + 1 == len(ahead) else softmax_of(ahead[j + 1]),
                "backward": behind[j],
                "backward_targets": NO_LOSS if behind[j] == BEGIN or j + 1 == len(behind) else softmax_of(behind[j + 1]),
            }
            for j in range(stop - start)
        ]
        for j in range(0, len(places), steps):
            part = places[j : j + steps]
            chunks[lane].append({**{name: [place[name] for place in part] for name in part[0]}, "fresh": j == 0})
    nothing: dict = {"forward": [], "forward_targets": [], "backward": [], "backward_targets": [], "fresh": False}
    return [list(rows) for rows in zip_longest(*chunks, fillvalue=nothing)]


def spelled(batch: LanguageModelBatch, direction: str, shards: Shards) -> list[list[int]]:
    """The types a batch reads, found through its table of characters."""
    tokens = getattr(batch, direction)
    numbers = {tuple(row): number for number, row in enumerate(shards.characters.tolist())}
    return [[numbers[tuple(tokens.characters[i].tolist())] for i in row] for row in tokens.index.rows()]


# ---- Tests --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "longest", "lanes", "steps", "block_tokens"),
    [(40, 12, 3, 5, 32), (40, 12, 4, 64, 32), (1, 3, 8, 4, 100), (9, 60, 2, 7, 16), (25, 5, 1, 1, 7), (30, 40, 5, 8, 1)],
)
def test_equals_the_plain_stream(
    tmp_path: Path, lines: int, longest: int, lanes: int, steps: int, block_tokens: int
) -> None:
    shards = corpus(tmp_path / "shards", lines, longest=longest)
    stream = LanguageModelStream(shards, batch_size=lanes, steps=steps, block_tokens=block_tokens)
    for seed, epoch in [(0, 0), (5, 3)]:
        expected = plain_epoch(shards, lanes=lanes, steps=steps, block_tokens=block_tokens, seed=seed, epoch=epoch)
        assert stream.steps_per_epoch() == len(expected)
        for step, rows in enumerate(expected):
            batch = stream.batch(seed, epoch, step)
            assert spelled(batch, "forward", shards) == [row["forward"] for row in rows]
            assert spelled(batch, "backward", shards) == [row["backward"] for row in rows]
            for name in ("forward_targets", "backward_targets"):
                padded = [row[name] + [NO_LOSS] * (steps - len(row[name])) for row in rows]
                assert getattr(batch, name).tolist() == padded
            assert batch.fresh.tolist() == [row["fresh"] for row in rows]
            assert batch.tokens == sum(target != NO_LOSS for row in rows for target in row["forward_targets"])


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("lanes", "longest"), [(1, 12), (3, 12), (16, 12), (3, 90)])
def test_a_fresh_state_meets_the_border_of_a_line(tmp_path: Path, shuffle: bool, lanes: int, longest: int) -> None:
    """A lane that began inside a line would read from a state that training has not shown the model."""
    shards = corpus(tmp_path / "shards", 150, longest=longest, kind="words")
    stream = LanguageModelStream(shards, batch_size=lanes, steps=7, block_tokens=32, shuffle=shuffle)
    begun = 0
    for epoch in (0, 1):
        for step in range(stream.steps_per_epoch()):
            batch = stream.batch(0, epoch, step)
            assert batch.backward is not None
            begun += int(batch.fresh.sum())
            assert (batch.forward.index.values[batch.fresh, 0] == BEGIN).all()
            assert (batch.backward.index.values[batch.fresh, 0] == END).all()
    assert begun >= 2 * max(lanes, shards.tokens // 32)


@pytest.mark.parametrize("block_tokens", [2048, 32, 5])
def test_every_token_is_predicted_exactly_once_each_way(tmp_path: Path, block_tokens: int) -> None:
    shards = corpus(tmp_path / "shards", 80, longest=30)
    stream = LanguageModelStream(shards, batch_size=4, steps=9, block_tokens=block_tokens)
    seen: dict[str, Counter[int]] = {"forward_targets": Counter(), "backward_targets": Counter()}
    for step in range(stream.steps_per_epoch()):
        batch = stream.batch(1, 2, step)
        for name, counter in seen.items():
            counter.update(getattr(batch, name).flatten().tolist())
    softmax = Counter(shards.softmax_ids(shards.ids).tolist())
    for name, border in (("forward_targets", BEGIN), ("backward_targets", END)):
        del seen[name][NO_LOSS]
        assert seen[name] == softmax - Counter({border: softmax[border]}), name


def test_both_directions_share_one_table_of_distinct_words(tmp_path: Path) -> None:
    shards = corpus(tmp_path / "shards", 50)
    batch = LanguageModelStream(shards, batch_size=3, steps=8, block_tokens=20).batch(0, 0, 0)
    table = batch.forward.characters
    assert table is not None
    assert table is batch.backward.characters
    assert table.dtype == torch.int64 and table.shape[1] == 50
    assert not table[0].any() and table[1:].any(dim=1).all()
    assert len(torch.unique(table, dim=0)) == len(table)
    for tokens in (batch.forward, batch.backward):
        assert not tokens.index.values[~tokens.index.mask].any()
        borders = ((tokens.index.values == tokens.index.values[0, 0]) & tokens.index.mask).sum(dim=1)
        assert (tokens.word_lengths <= tokens.index.lengths - borders).all()
    moved = batch.to("cpu")
    assert moved.forward.characters is moved.backward.characters
    rounded = LanguageModelStream(shards, batch_size=3, steps=8, block_tokens=20, round_words_to=64).batch(0, 0, 0)
    assert rounded.forward.characters is not None
    assert len(rounded.forward.characters) == 64
    assert torch.equal(rounded.forward.characters[: len(table)], table)


@pytest.mark.parametrize("kind", ["words", "characters"])
def test_what_goes_forward_is_the_same_alone(tmp_path: Path, kind: str) -> None:
    shards = corpus(tmp_path / "shards", 60, kind=kind)
    sizes: dict = {"batch_size": 4, "steps": 9, "block_tokens": 32}
    both, alone = LanguageModelStream(shards, **sizes), LanguageModelStream(shards, **sizes, both_ways=False)
    assert both.steps_per_epoch() == alone.steps_per_epoch()
    for step in range(both.steps_per_epoch()):
        wanted, found = both.batch(3, 1, step), alone.batch(3, 1, step)
        assert found.backward is None and found.backward_targets is None
        if kind == "characters":
            assert spelled(found, "forward", shards) == spelled(wanted, "forward", shards)
        else:
            assert torch.equal(found.forward.index.values, wanted.forward.index.values)
        assert torch.equal(found.forward.index.lengths, wanted.forward.index.lengths)
        assert torch.equal(found.forward.word_lengths, wanted.forward.word_lengths)
        assert torch.equal(found.forward_targets, wanted.forward_targets)
        assert torch.equal(found.fresh, wanted.fresh)
        assert (found.tokens, found.begins) == (wanted.tokens, wanted.begins)
        moved = found.to("cpu")
        assert moved.backward is None and torch.equal(moved.forward_targets, found.forward_targets)


def test_words_are_read_by_their_ids(tmp_path: Path) -> None:
    shards = corpus(tmp_path / "shards", 20, kind="words")
    batch = LanguageModelStream(shards, batch_size=2, steps=50, block_tokens=100, shuffle=False).batch(0, 0, 0)
    assert batch.forward.characters is None
    ids = batch.forward.index.values[0]
    assert ids.tolist() == shards.ids[:50].tolist()
    assert batch.forward_targets[0, :-1].tolist() == [
        NO_LOSS if here == END else after for here, after in zip(ids[:-1].tolist(), ids[1:].tolist(), strict=True)
    ]
    words = [number for number in ids.tolist() if number not in (BEGIN, END)]
    assert batch.forward.word_lengths[0] == len(words)


def test_a_batch_depends_on_seed_epoch_and_step_only(tmp_path: Path) -> None:
    shards = corpus(tmp_path / "shards", 200)
    one = LanguageModelStream(shards, batch_size=2, steps=8, block_tokens=24)
    steps = list(range(one.steps_per_epoch()))
    in_order = [one.batch(7, 1, step) for step in steps]
    other = LanguageModelStream(Shards.open(tmp_path / "shards"), batch_size=2, steps=8, block_tokens=24)
    for step in reversed(steps):
        other.batch(0, 0, 0)
        again = other.batch(7, 1, step)
        assert torch.equal(again.forward.index.values, in_order[step].forward.index.values)
        assert torch.equal(again.forward_targets, in_order[step].forward_targets)
        assert torch.equal(again.backward_targets, in_order[step].backward_targets)


def test_epochs_and_seeds_are_ordered_differently_unless_asked_not_to(tmp_path: Path) -> None:
    shards = corpus(tmp_path / "shards", 200)

    def targets(shuffle: bool, seed: int, epoch: int) -> list[list[int]]:
        stream = LanguageModelStream(shards, batch_size=2, steps=16, block_tokens=24, shuffle=shuffle)
        return [stream.batch(seed, epoch, step).forward_targets.tolist() for step in range(stream.steps_per_epoch())]

    assert targets(True, 0, 0) == targets(True, 0, 0)
    assert targets(True, 0, 0) != targets(True, 0, 1)
    assert targets(True, 0, 0) != targets(True, 1, 0)
    assert targets(True, 0, 1) != targets(True, 1, 0)
    assert targets(False, 0, 0) == targets(False, 1, 5)


def test_wrong_use_is_named(tmp_path: Path) -> None:
    shards = corpus(tmp_path / "shards", 5)
    with pytest.raises(UsageError, match="steps is 0"):
        LanguageModelStream(shards, batch_size=2, steps=0)
    stream = LanguageModelStream(shards, batch_size=2, steps=8)
    with pytest.raises(IndexError, match=f"step {stream.steps_per_epoch()} of an epoch"):
        stream.batch(0, 0, stream.steps_per_epoch())


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_passes, "BUFFER", 1024)

    def peak(lines: int) -> int:
        shards = corpus(tmp_path / f"{lines}", lines)
        tracemalloc.start()
        try:
            stream = LanguageModelStream(shards, batch_size=8, steps=16, block_tokens=256)
            for step in range(stream.steps_per_epoch()):
                stream.batch(0, 0, step)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(300)
    small, large = peak(1500), peak(15_000)
    # What may grow is the table of blocks: a few numbers for each, however long it is.
    more_blocks = (15_000 - 1500) * 8 // 256
    assert large < small + 80 * more_blocks, f"{small} bytes at 1×, {large} at 10×"
    assert large < 15_000 * 8 * 4 / 4, "a quarter of the corpus would fit into that"


@pytest.mark.parametrize("parts", [[5], [3, 2], [2, 1, 1, 1], [5, 0]])
def test_parts_of_the_lanes_make_up_the_batch(tmp_path: Path, parts: list[int]) -> None:
    """What processes that share the lanes read is the whole batch, and so say their digests, taken together."""
    shards = corpus(tmp_path / "shards", 40)
    whole = LanguageModelStream(shards, batch_size=5, steps=8, block_tokens=24)
    ends = [sum(parts[:number]) for number in range(len(parts) + 1)]
    streams = [
        LanguageModelStream(shards, batch_size=5, steps=8, block_tokens=24, part=range(start, stop))
        for start, stop in pairwise(ends)
    ]
    digests = []
    for step in range(whole.steps_per_epoch()):
        want, found = whole.batch(2, 1, step), [stream.batch(2, 1, step) for stream in streams]
        for name in ("forward_targets", "backward_targets", "fresh"):
            assert torch.equal(torch.cat([getattr(one, name) for one in found]), getattr(want, name))
        assert want.forward.characters is not None
        read = torch.cat([one.forward.characters[one.forward.index.values] for one in found])  # type: ignore[index]
        assert torch.equal(read, want.forward.characters[want.forward.index.values])
        assert sum(one.tokens for one in found) == want.tokens
        assert {one.begins for one in found} == {want.begins} == {bool(want.fresh.any())}
        assert sum(one.digest for one in found) % 2**64 == want.digest
        digests.append(want.digest)
    assert len(set(digests)) == len(digests)
    others = [whole.batch(3, 1, step).digest for step in range(whole.steps_per_epoch())]
    assert not set(others) & set(digests), "another order is another digest"


def test_a_digest_tells_every_number_and_key() -> None:
    rows = np.arange(12).reshape(3, 4)
    changed = rows.copy()
    changed[1, 2] += 1
    assert digest(rows, 1, 2) == digest(rows[::-1], 1, 2) == sum(digest(row[None], 1, 2) for row in rows) % 2**64
    assert len({digest(rows, 1, 2), digest(rows, 2, 1), digest(changed, 1, 2), digest(rows[:2], 1, 2)}) == 4
    assert digest(rows[:0], 1, 2) == 0
