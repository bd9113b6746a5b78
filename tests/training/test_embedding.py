"""Contextual vectors of lines: the right ones, alone or among others, in memory that does not grow, whole on the disk."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from carryover.errors import BadData, DiskFault, UsageError
from carryover.storage import faults, load_tensors
from carryover.training import embedding
from carryover.training.embedding import embed_lines, save_embedded
from task_material import classified, language_model

LINES = [example.text for example in classified(30)]


@pytest.fixture(scope="module")
def encoder() -> Any:
    return language_model()


@pytest.mark.parametrize("layers", ["mix", "top", "all"])
def test_the_vectors_are_those_of_the_model(encoder: Any, layers: str) -> None:
    for line in embed_lines(encoder, LINES[:5], layers=layers):
        (every,) = encoder.embed([line.words])
        wanted = {"mix": every.mean(1), "top": every[:, -1], "all": every}[layers]
        assert torch.allclose(line.vectors, wanted, atol=1e-6) and line.vectors.shape == wanted.shape


def test_words_and_order(encoder: Any) -> None:
    lines = [*LINES, "", "Don't stop."]
    found = list(embed_lines(encoder, lines))
    assert [one.words for one in found] == [encoder.coder.tokenize(line) for line in lines]
    assert [len(one.vectors) for one in found] == [len(one.words) for one in found]
    assert len(found[-2].vectors) == 0 and len(found[-1].words) == 4


def test_a_line_is_the_same_alone_and_among_others(encoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(embed_lines(encoder, LINES))
    alone = [next(embed_lines(encoder, [line])) for line in LINES]
    monkeypatch.setattr(embedding, "LINES_AT_ONCE", 7)
    in_parts = list(embed_lines(encoder, LINES))
    for one, other, third in zip(whole, alone, in_parts, strict=True):
        # To the last bit with models of a useful size; in one of eight numbers a product may be summed otherwise.
        assert torch.allclose(one.vectors, other.vectors, atol=1e-6) and torch.allclose(
            one.vectors, third.vectors, atol=1e-6
        )


def test_it_reads_no_further_than_it_gives(encoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream without end can be embedded."""
    monkeypatch.setattr(embedding, "LINES_AT_ONCE", 4)
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "the boat"

    stream = embed_lines(encoder, endless())
    for count in range(1, 10):
        assert next(stream).words == ["the", "boat"]
        assert taken <= 4 * -(-count // 4)


@pytest.mark.parametrize("layers", ["mix", "all"])
def test_the_file_holds_everything(encoder: Any, tmp_path: Path, layers: str) -> None:
    lines = [LINES[0], "", LINES[1], "Zoë 1917 \u2028 x"]
    summary = save_embedded(tmp_path / "v.safetensors", embed_lines(encoder, lines, layers=layers), layers=layers)
    stored = load_file(tmp_path / "v.safetensors")
    words = json.loads(bytes(stored["words"].tolist()).decode())
    assert words == [encoder.coder.tokenize(line) for line in lines]
    assert stored["lengths"].tolist() == [len(row) for row in words]
    pieces = stored["vectors"].split(stored["lengths"].tolist())
    for piece, line in zip(pieces, embed_lines(encoder, lines, layers=layers), strict=True):
        assert torch.equal(piece, line.vectors)
    assert summary == {"lines": 4, "words": sum(map(len, words)), "size": encoder.model.out_size, "cut_words": 0}
    assert load_tensors(tmp_path / "v.safetensors").keys() == stored.keys(), "our own reader takes it too"


def test_lines_without_words_only(encoder: Any, tmp_path: Path) -> None:
    save_embedded(tmp_path / "v.safetensors", embed_lines(encoder, ["", " "]), layers="mix")
    assert load_file(tmp_path / "v.safetensors")["vectors"].shape == (0, encoder.model.out_size)


def test_refusals_leave_nothing(encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="layers 'last' is unknown; use one of mix, top, all"):
        list(embed_lines(encoder, LINES, layers="last"))
    with pytest.raises(UsageError, match=r"v\.npy: cannot write vectors as \.npy; use \.safetensors"):
        save_embedded(tmp_path / "v.npy", embed_lines(encoder, LINES), layers="mix")
    with pytest.raises(BadData, match="no line of text"):
        save_embedded(tmp_path / "v.safetensors", [], layers="mix")

    def broken() -> Iterator[str]:
        yield LINES[0]
        raise BadData("is not UTF-8", path="x", line=2)

    with pytest.raises(BadData, match="x:2: is not UTF-8"):
        save_embedded(tmp_path / "v.safetensors", embed_lines(encoder, broken()), layers="mix")

    def full(file: Any, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(faults, "write_some", full)
    with pytest.raises(DiskFault):
        save_embedded(tmp_path / "v.safetensors", embed_lines(encoder, LINES), layers="mix")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_for_temporary_files_names_it(encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __enter__(self) -> Full:
            return self

        def __exit__(self, *given: object) -> None:
            pass

        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(embedding.tempfile, "TemporaryFile", Full)
    with pytest.raises(DiskFault, match="No space left on device"):
        save_embedded(tmp_path / "v.safetensors", embed_lines(encoder, LINES), layers="mix")


def test_an_older_file_is_replaced_whole(encoder: Any, tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    path.write_bytes(b"old")
    save_embedded(path, embed_lines(encoder, LINES[:2]), layers="top")
    assert load_file(path)["lengths"].shape == (2,)
    assert [place.name for place in tmp_path.iterdir()] == ["v.safetensors"]
