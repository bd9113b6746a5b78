"""Files and folders are whole or absent, and a changed byte is noticed."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from carryover import storage
from carryover.errors import BadData, InputMissing
from carryover.storage import files
from damage import one_bit_flipped


def names(folder: Path) -> list[str]:
    return sorted(place.name for place in folder.iterdir())


def make(folder: Path, content: str) -> None:
    with storage.atomic_folder(folder) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "a.txt").write_text(content)
        (temporary / "inner" / "b.bin").write_bytes(content.encode() * 3)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    storage.atomic_write(tmp_path / "deep" / "file", "Zoë")
    storage.atomic_write(tmp_path / "deep" / "file", b"second")
    assert (tmp_path / "deep" / "file").read_bytes() == b"second"
    assert names(tmp_path / "deep") == ["file"]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    if not exchange:  # as on systems that cannot swap two folders in one step
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    make(tmp_path / "folder", "one")
    make(tmp_path / "folder", "two")
    assert (tmp_path / "folder" / "inner" / "b.bin").read_bytes() == b"twotwotwo"
    assert names(tmp_path) == ["folder"]
    storage.verify_manifest(tmp_path / "folder")


def test_an_error_leaves_the_old_folder(tmp_path: Path) -> None:
    make(tmp_path / "folder", "one")
    with pytest.raises(KeyError), storage.atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "a.txt").write_text("half")
        raise KeyError
    assert (tmp_path / "folder" / "a.txt").read_text() == "one"
    assert names(tmp_path) == ["folder"]


def test_a_death_between_two_renames_is_repaired(tmp_path: Path) -> None:
    make(tmp_path / "folder", "one")
    dead = f".folder.replaced-{files.temporary_name(Path('x')).name.split('-')[1]}-{2**22 + 7}-00000000"
    (tmp_path / "folder").rename(tmp_path / dead)
    storage.recover_folder(tmp_path / "folder")
    assert (tmp_path / "folder" / "a.txt").read_text() == "one"


def test_only_what_the_dead_left_is_swept(tmp_path: Path) -> None:
    mine = files.temporary_name(tmp_path / "x")
    dead = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{2**22 + 7}-"))
    elsewhere = mine.with_name(mine.name.replace(mine.name.split("-")[1], "ffffffff"))
    for place in (mine, dead, elsewhere):
        place.mkdir()
    (tmp_path / ".hidden.partial").write_text("not ours")
    storage.sweep(tmp_path)
    assert set(names(tmp_path)) == {mine.name, elsewhere.name, ".hidden.partial"}


def test_every_single_byte_flip_is_noticed(tmp_path: Path) -> None:
    make(tmp_path / "folder", "some text that is long enough to matter")
    for _ in one_bit_flipped(tmp_path / "folder", 500, random.Random(0)):
        with pytest.raises((BadData, InputMissing)):
            storage.verify_manifest(tmp_path / "folder")
    storage.verify_manifest(tmp_path / "folder")


@pytest.mark.parametrize("damage", ["missing", "longer", "shorter", "emptied"])
def test_what_is_damaged_is_named(tmp_path: Path, damage: str) -> None:
    make(tmp_path / "folder", "text")
    place = tmp_path / "folder" / "inner" / "b.bin"
    if damage == "missing":
        place.unlink()
    else:
        place.write_bytes({"longer": place.read_bytes() + b"x", "shorter": place.read_bytes()[:-1], "emptied": b""}[damage])
    with pytest.raises(BadData, match=r"inner/b\.bin"):
        storage.verify_manifest(tmp_path / "folder")


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "inner/../../outside"])
def test_a_manifest_reaches_nothing_outside(tmp_path: Path, name: str) -> None:
    make(tmp_path / "folder", "text")
    (tmp_path / "outside").write_text("secret")
    manifest = tmp_path / "folder" / storage.MANIFEST
    content = json.loads(manifest.read_text())
    content["files"][name] = {"sha256": "0" * 64, "size": 6}
    manifest.write_text(json.dumps(content))
    with pytest.raises(BadData, match="outside the folder"):
        storage.verify_manifest(tmp_path / "folder")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,\n "b": }', r"file\.json:2: is not JSON"),
        (b"", r"is not JSON"),
        (b'{"a": "\xff"}', "is not UTF-8"),
        (b"[" * 100_000, "cannot be read|can be read|not JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not JSON that can be read"),
    ],
)
def test_bad_json_is_one_clear_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(BadData, match=message):
        storage.read_json(tmp_path / "file.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"gone\.json: cannot be read"):
        storage.read_json(tmp_path / "gone.json")


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRYOVER_CACHE", str(tmp_path))
    assert storage.cache_folder() == tmp_path
    monkeypatch.delenv("CARRYOVER_CACHE")
    assert storage.cache_folder().name == "carryover"


def test_crash_points_cost_nothing_and_kill_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CARRYOVER_CRASH_AT", raising=False)
    storage.crash_point("here")
    monkeypatch.setenv("CARRYOVER_CRASH_AT", "there:1")
    storage.crash_point("here")
    killed = []
    monkeypatch.setattr(os, "kill", lambda process, number: killed.append(number))
    monkeypatch.setattr(os, "_exit", lambda code: killed.append(code))
    monkeypatch.setenv("CARRYOVER_CRASH_AT", "elsewhere:2")
    storage.crash_point("elsewhere")
    assert killed == []
    storage.crash_point("elsewhere")
    assert killed == [9, 137]
