"""Idx and MATLAB files: read exactly, and damaged in every way without anything but a clear error."""

from __future__ import annotations

import gzip
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from bench.tiny_tables import idx, piano_rolls
from carryover.data.formats.idx import read_idx, read_labelled_images
from carryover.data.formats.matlab import read_matlab
from carryover.data.formats.piano_rolls import read_piano_rolls
from carryover.errors import BadData, CarryoverError, InputMissing

MUTANTS = 500
MANY_MUTANTS = 20_000
LONGEST = 5.0  # seconds for one mutant
NAMES = ("traindata", "validdata", "testdata")


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("code", "kind"), [(8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")])
def test_idx_of_every_number(tmp_path: Path, code: int, kind: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(kind)
    path = put(tmp_path / "a", struct.pack(">BBBB3I", 0, 0, code, 3, 2, 3, 4) + array.tobytes())
    found = read_idx(path)
    assert found.dtype == np.dtype(kind).newbyteorder("=") and np.array_equal(found, array)


def test_idx_plain_and_packed_in_parts(tmp_path: Path) -> None:
    images = np.arange(5 * 4).reshape(5, 2, 2)
    labels = np.array([3, 1, 4, 1, 5])
    for part, rows in (("train-part0", slice(0, 2)), ("train-part1", slice(2, 5)), ("t10k", slice(0, 5))):
        put(tmp_path / f"{part}-images-idx3-ubyte.gz", gzip.compress(idx(images[rows])))
        put(tmp_path / f"{part}-labels-idx1-ubyte", idx(labels[rows]))
    train = read_labelled_images(tmp_path, "train")
    assert np.array_equal(train.images, images) and train.labels.tolist() == labels.tolist()
    assert np.array_equal(read_labelled_images(tmp_path, "t10k").images, images)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "begins with nothing"),
        (b"\x89PNG\r\n", "begins with 89 50 4e 47"),
        (b"\0\0\x08\x03\0\0\0\x02", "ends within its header of 3 axes"),
        (idx(np.zeros((2, 3)))[:-1], r"shape \[2, 3\], which is 6 bytes, and holds 5"),
        (idx(np.zeros((2, 3))) + b"x", "and holds more"),
        (struct.pack(">BBBB2I", 0, 0, 14, 2, 1 << 31, 1 << 31), "announces an array of"),
        (struct.pack(">BBBB1I", 0, 0, 8, 1, 3 << 30), "and holds 0"),
        (gzip.compress(idx(np.zeros(9)), mtime=0)[:-9], "damaged or cut short"),
    ],
)
def test_idx_that_is_none(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(BadData, match=words) as caught:
        read_idx(put(tmp_path / "a.idx", content))
    assert caught.value.path == str(tmp_path / "a.idx") and caught.value.repair


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (np.zeros((2, 3, 3)), np.zeros(3), r"\[2\] images and \[3\] labels"),
        (np.zeros((2, 3)), np.zeros(2), "expected bytes and 3 axes"),
        (np.zeros((2, 3, 3)), np.full(2, 10), "a label 10"),
        (np.zeros((0, 3, 3)), np.zeros(0), "no images"),
    ],
)
def test_images_that_do_not_fit(tmp_path: Path, images: np.ndarray, labels: np.ndarray, words: str) -> None:
    put(tmp_path / "train-images-idx3-ubyte", idx(images))
    put(tmp_path / "train-labels-idx1-ubyte", idx(labels))
    with pytest.raises(BadData, match=words):
        read_labelled_images(tmp_path, "train")
    with pytest.raises(InputMissing, match=r"t10k-images-idx3-ubyte\.gz"):
        read_labelled_images(tmp_path, "t10k")


@pytest.mark.parametrize("compressed", [True, False])
def test_piano_rolls_equal_what_scipy_reads(tmp_path: Path, compressed: bool) -> None:
    path = put(tmp_path / "a.mat", piano_rolls(compressed=compressed))
    rolls = read_piano_rolls(path)
    theirs = scipy.io.loadmat(path)
    assert rolls.keys == 12 and [piece.shape for piece in rolls.train] == [(5, 12), (8, 12), (11, 12)]
    for part, name in zip(rolls, NAMES, strict=True):
        for piece, other in zip(part, theirs[name][0], strict=True):
            assert piece.dtype == np.float32 and np.array_equal(piece, other)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kind", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_matlab_numbers_of_every_class(tmp_path: Path, kind: str, compressed: bool) -> None:
    array = np.random.default_rng(0).integers(0, 100, (2, 3, 4)).astype(kind)
    scipy.io.savemat(tmp_path / "a.mat", {"x": array, "small": array[:1, :1, 0], "t": "text"}, do_compression=compressed)
    found = read_matlab(tmp_path / "a.mat", ("x", "small"))
    assert isinstance(found["x"], np.ndarray) and found["x"].dtype == array.dtype
    assert np.array_equal(found["x"], array) and np.array_equal(found["small"], array[:1, :1, 0])


def test_matlab_passes_over_what_nobody_asked_for_and_names_what_lacks(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"t": "text", "s": {"a": 1}, "z": np.array([1j]), "x": np.eye(2)})
    assert set(read_matlab(tmp_path / "a.mat", ("x",))) == {"x"}
    for name, words in (("t", "class 4"), ("s", "class 2"), ("z", "complex"), ("y", "no variable 'y'")):
        with pytest.raises(BadData, match=words):
            read_matlab(tmp_path / "a.mat", (name,))


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([np.zeros((3, 4)), np.zeros((3, 5))], r"piece 1 of traindata, shape \[3, 5\]"),
        ([np.zeros((1, 4))], "at least two moments"),
        ([np.full((3, 4), 2)], "not a matrix of 0 and 1"),
        ([np.zeros((2, 3, 4))], "piece 0 of traindata"),
    ],
)
def test_piano_rolls_that_are_none(tmp_path: Path, pieces: list[np.ndarray], words: str) -> None:
    cells = np.empty((1, len(pieces)), dtype=object)
    for number, piece in enumerate(pieces):
        cells[0, number] = piece
    scipy.io.savemat(tmp_path / "a.mat", dict.fromkeys(NAMES, cells))
    with pytest.raises(BadData, match=words):
        read_piano_rolls(tmp_path / "a.mat")


def test_piano_rolls_of_no_cells_and_of_no_file(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", dict.fromkeys(NAMES, np.eye(3)))
    with pytest.raises(BadData, match="traindata is not a cell array"):
        read_piano_rolls(tmp_path / "a.mat")
    with pytest.raises(InputMissing):
        read_piano_rolls(tmp_path / "b.mat")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b[:100], "header is missing"),
        (lambda b: b[:124] + b"\x00\x02" + b[126:], "version is 0x0200"),
        (lambda b: b[:-3], "cut short|announces"),
        (lambda b: b[:128] + b"\x77" + b[129:], "data type 119"),
        (lambda b: b[:132] + b"\xff\xff\xff\x7f" + b[136:], "announces 2,147,483,647 bytes"),
    ],
)
def test_matlab_files_that_are_none(tmp_path: Path, change: Callable[[bytes], bytes], words: str) -> None:
    with pytest.raises(BadData, match=words):
        read_matlab(put(tmp_path / "a.mat", change(piano_rolls(compressed=False))), NAMES)


READERS: dict[str, tuple[Callable[[], bytes], Callable[[Path], Any]]] = {
    "mat": (lambda: piano_rolls(1, 4, compressed=False), read_piano_rolls),
    "packed mat": (lambda: piano_rolls(1, 4), read_piano_rolls),
    "idx": (lambda: idx(np.arange(60).reshape(3, 4, 5)), read_idx),
    "packed idx": (lambda: gzip.compress(idx(np.arange(60).reshape(3, 4, 5)), mtime=0), read_idx),
}


def mutate(content: bytes, chosen: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chosen.randint(1, 4)):
        place = chosen.randrange(len(changed))
        way = chosen.randrange(4)
        if way == 0:
            changed[place] = chosen.choice([0, 1, 4, 14, 15, 127, 128, 255, chosen.randrange(256)])
        elif way == 1:
            del changed[place : place + chosen.randint(1, 9)]
        elif way == 2:
            changed[place:place] = chosen.randbytes(chosen.randint(1, 9))
        else:
            del changed[place:]
        if not changed:
            break
    return bytes(changed)


def fuzz(reader: str, count: int, folder: Path) -> None:
    make, read = READERS[reader]
    content, chosen = make(), random.Random(reader)
    refused = 0
    for number in range(count):
        path = put(folder / "mutant", mutate(content, chosen))
        began = time.process_time()
        try:
            read(path)
        except CarryoverError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error) and error.repair, (number, error)
        assert time.process_time() - began < LONGEST, number
    assert refused > count // 3


@pytest.mark.parametrize("reader", READERS)
def test_mutants_end_in_a_clear_error(reader: str, tmp_path: Path) -> None:
    fuzz(reader, MUTANTS, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("reader", READERS)
def test_many_mutants(reader: str, tmp_path: Path) -> None:
    fuzz(reader, MANY_MUTANTS, tmp_path)


def test_a_header_that_lies_takes_no_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = put(tmp_path / "a", struct.pack(">BBBB1I", 0, 0, 8, 1, 4_000_000_000) + b"abc")
    tracemalloc.start()
    with pytest.raises(BadData):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_the_published_files_are_read(shared_data: Path) -> None:
    path = shared_data / "polyphonic-music" / "JSB_Chorales.mat"
    rolls = read_piano_rolls(path)
    assert [len(part) for part in rolls] == [229, 76, 77] and rolls.keys == 88
    theirs = scipy.io.loadmat(path)["testdata"][0]
    assert all(np.array_equal(one, other) for one, other in zip(rolls.test, theirs, strict=True))
    rolls = read_piano_rolls(shared_data / "polyphonic-music" / "Nottingham.mat")
    assert [len(part) for part in rolls] == [694, 173, 170]
    images = read_labelled_images(shared_data / "mnist", "train")
    assert images.images.shape == (60_000, 28, 28) and images.labels[:5].tolist() == [5, 0, 4, 1, 9]
