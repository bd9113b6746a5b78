"""Tensors on disk: the same bytes for the same tensors, readable by the library, refused when damaged."""

from __future__ import annotations

import json
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from carryover import storage
from carryover.errors import BadData, InputMissing

TENSORS = {
    "weight": torch.arange(12.0).view(3, 4),
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "none": torch.zeros(0, 3),
    "flags": torch.tensor([True, False, True]),
    "transposed": torch.arange(6.0).view(2, 3).t(),
    "big": torch.arange(40_000, dtype=torch.float64),
}


def equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    storage.save_tensors(tmp_path / "t.safetensors", TENSORS, {"who": "me"})
    loaded = storage.load_tensors(tmp_path / "t.safetensors")
    assert set(loaded) == set(TENSORS) and all(equal(loaded[name], TENSORS[name]) for name in TENSORS)


def test_the_library_reads_our_files(tmp_path: Path) -> None:
    storage.save_tensors(tmp_path / "t.safetensors", TENSORS, {"who": "me"})
    theirs = safetensors.torch.load_file(tmp_path / "t.safetensors")
    assert all(equal(theirs[name], TENSORS[name]) for name in TENSORS)
    with safetensors.safe_open(tmp_path / "t.safetensors", "pt") as file:
        assert file.metadata() == {"who": "me"}


def test_equal_tensors_make_equal_bytes_in_any_order(tmp_path: Path) -> None:
    storage.save_tensors(tmp_path / "a", TENSORS)
    storage.save_tensors(tmp_path / "b", dict(reversed(TENSORS.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_loaded_tensors_are_private(tmp_path: Path) -> None:
    storage.save_tensors(tmp_path / "t", {"weight": torch.zeros(1000)})
    loaded = storage.load_tensors(tmp_path / "t")["weight"]
    (tmp_path / "t").write_bytes(b"\xff" * (tmp_path / "t").stat().st_size)
    assert bool((loaded == 0).all())
    loaded.add_(1)  # and may be changed


def poisons() -> dict[str, bytes]:
    sound = safetensors.torch.save({"weight": torch.zeros(2, 2)})

    def headed(header: object, body: bytes = bytes(16)) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + body

    def entry(**changes: object) -> dict[str, object]:
        return {"weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **changes}}

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (print, ("code ran",))

    return {
        "empty": b"",
        "seven bytes": b"1234567",
        "header only": (100).to_bytes(8, "little"),
        "huge header": (2**62).to_bytes(8, "little") + bytes(100),
        "header of 40 MiB": (40 << 20).to_bytes(8, "little") + b" " * (40 << 20),
        "pickle": pickle.dumps(Bomb()),
        "zip": b"PK\x03\x04" + bytes(200),
        "not json": headed(b"{nonsense"),
        "not utf-8": headed(b'{"\xff": 1}'),
        "list": headed([1, 2, 3]),
        "offsets beyond": headed(entry(data_offsets=[0, 1 << 40])),
        "offsets reversed": headed(entry(data_offsets=[16, 0])),
        "offsets negative": headed(entry(data_offsets=[-16, 0])),
        "shape lies": headed(entry(shape=[200, 200])),
        "shape overflows": headed(entry(shape=[2**62, 2**62])),
        "shape negative": headed(entry(shape=[-1, 4])),
        "unknown type": headed(entry(dtype="PICKLE")),
        "no type": headed({"weight": {"shape": [2, 2], "data_offsets": [0, 16]}}),
        "two overlap": headed({**entry(), "other": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}),
        "hole": headed(entry(data_offsets=[16, 32]), bytes(32)),
        "cut short": sound[:-1],
        "longer": sound + b"x",
        "deep": headed(b"[" * 100_000),
    }


@pytest.mark.parametrize("name", list(poisons()))
def test_damaged_and_hostile_files_are_refused(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.safetensors").write_bytes(poisons()[name])
    with pytest.raises(BadData, match=r"model\.safetensors: is not a"):
        storage.load_tensors(tmp_path / "model.safetensors")
    assert "code ran" not in capsys.readouterr().out


def test_random_damage_never_crashes(tmp_path: Path) -> None:
    storage.save_tensors(tmp_path / "sound", TENSORS)
    sound, chosen = (tmp_path / "sound").read_bytes(), random.Random(1)
    head = 8 + int.from_bytes(sound[:8], "little")
    for _ in range(300):
        damaged = bytearray(sound[: chosen.choice([len(sound), chosen.randrange(len(sound))])])
        for _ in range(chosen.randint(1, 4)):
            if damaged:
                damaged[chosen.randrange(min(head, len(damaged)))] = chosen.randrange(256)
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            storage.load_tensors(tmp_path / "damaged")
        except BadData as error:
            assert "damaged" in str(error)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="gone"):
        storage.load_tensors(tmp_path / "gone")


def test_fingerprints_tell_content_types_and_shapes_apart() -> None:
    numbers = torch.arange(4, dtype=torch.int64)
    parts = [
        ("a", "b"), ("ab",), ("a", b"b"), (b"ab",), ("", "ab"), (numbers,), (numbers.view(2, 2),), (numbers.int(),),
        (numbers.double(),), (numbers.bfloat16(),), (numbers, numbers), (),
    ]  # fmt: skip
    assert len({storage.fingerprint(*part) for part in parts}) == len(parts)
    assert storage.fingerprint(numbers) == storage.fingerprint(numbers.numpy()) == storage.fingerprint(np.arange(4))
    assert storage.fingerprint(numbers.view(2, 2).t()) == storage.fingerprint(numbers.view(2, 2).t().contiguous())


def test_loading_takes_the_memory_of_the_tensors(tmp_path: Path) -> None:
    """Not that of the whole file beside them: a checkpoint that could be written can be read on the same machine."""
    size = 96 << 20
    storage.save_tensors(tmp_path / "large.safetensors", {str(n): torch.ones(size // 16) for n in range(4)})
    program = (
        "import resource, sys; from pathlib import Path; import torch, safetensors; from carryover.storage import load_tensors;"
        "highest = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024);"
        "before = highest(); found = load_tensors(Path(sys.argv[1])); print(highest() - before, len(found))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "large.safetensors")], capture_output=True, text=True, check=True
    )
    grown, count = map(int, told.stdout.split())
    assert count == 4 and grown < 1.4 * size
