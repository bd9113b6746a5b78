from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from carryover.data.shards import Shards, build_shards
from carryover.embeddings.skipgram import SkipgramSettings, context_pairs, pair_gradients, pair_loss, train_skipgram
from carryover.embeddings.vectors import WordVectors
from carryover.errors import BadData

SMALL = SkipgramSettings(size=16, window=2, epochs=8, sample=64, batch_size=256, subsample=1.0)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Two worlds that never meet: animals eat, machines compute."""
    random = np.random.default_rng(0)
    worlds = (["cat", "dog", "cow", "eats", "sleeps"], ["laptop", "server", "robot", "computes", "stores"])
    lines = [(i, " ".join(random.choice(worlds[i % 2], size=6))) for i in range(800)]
    return build_shards(lines, "words", tmp_path_factory.mktemp("skipgram") / "shards", tokenize=str.split)


def test_hand_written_gradients_are_those_of_the_loss() -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(size, 5, dtype=torch.float64, requires_grad=True) for size in (7, 7, 4)]
    centre, context, negatives = tensors
    (pair_loss(centre, context, negatives, 0.3) * 7).backward()
    for tensor, expected in zip(tensors, pair_gradients(*(t.detach() for t in tensors), 0.3), strict=True):
        torch.testing.assert_close(tensor.grad, expected)


def test_pairs_equal_the_plain_double_loop() -> None:
    ids = np.array([10, 11, 12, 13, 14, 15, 16])
    lines = np.array([0, 0, 0, 0, 1, 1, 1])
    centres, contexts = context_pairs(ids, lines, 3, np.random.default_rng(5))
    reach = np.random.default_rng(5).integers(1, 4, size=len(ids))
    expected = [
        (ids[i], ids[j])
        for i in range(len(ids))
        for j in range(len(ids))
        if i != j and abs(i - j) <= reach[i] and lines[i] == lines[j]
    ]
    assert sorted(zip(centres.tolist(), contexts.tolist(), strict=True)) == sorted(expected)


def test_words_of_one_world_are_nearest_to_each_other(shards: Shards) -> None:
    vectors = train_skipgram(shards, SMALL)
    assert {word for word, _ in vectors.nearest("cat", 4)} == {"dog", "cow", "eats", "sleeps"}
    assert not vectors.array[:4].any()


def test_same_seed_same_bytes_and_another_seed_other_bytes(shards: Shards) -> None:
    quick = dataclasses.replace(SMALL, epochs=1)
    first, again = train_skipgram(shards, quick), train_skipgram(shards, quick)
    other = train_skipgram(shards, dataclasses.replace(quick, seed=1))
    assert first.array.tobytes() == again.array.tobytes() != other.array.tobytes()


def test_vectors_survive_saving_and_a_changed_byte_does_not(shards: Shards, tmp_path: Path) -> None:
    vectors = train_skipgram(shards, dataclasses.replace(SMALL, epochs=1))
    vectors.save(tmp_path / "vectors")
    loaded = WordVectors.load(tmp_path / "vectors")
    assert loaded.vocabulary == vectors.vocabulary
    np.testing.assert_array_equal(loaded.array, vectors.array)
    file = tmp_path / "vectors" / "vectors.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(BadData, match=r"vectors\.safetensors"):
        WordVectors.load(tmp_path / "vectors")


def test_unknown_word_is_named(shards: Shards) -> None:
    with pytest.raises(KeyError, match="zebra"):
        train_skipgram(shards, dataclasses.replace(SMALL, epochs=1)).nearest("zebra")
