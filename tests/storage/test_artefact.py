"""The artefact: whole or absent for every reader, refused when damaged, foreign or from another version."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from carryover import storage
from carryover.encoders.loading import load
from carryover.errors import BadData, InputMissing, UsageError
from carryover.storage import artefact
from carryover.storage.artefact import load_artefact, save_artefact
from damage import one_bit_flipped


def save(folder: Path, number: int = 1, **changes: Any) -> None:
    parts: dict[str, Any] = {
        "kind": "tiny",
        "config": {"number": number},
        "tensors": {"weight": torch.full((4, 4), float(number))},
        "tokenizer": {"schema": "none", "number": number},
        "labels": {"labels": ["a", "b"]},
        "record": {"number": number},
        "card": f"# Number {number}\n",
    }
    save_artefact(folder, **{**parts, **changes})


def rewrite(folder: Path, name: str, content: Any) -> None:
    """Change a file and make the manifest agree, as a forger would."""
    (folder / name).write_text(json.dumps(content))
    (folder / storage.MANIFEST).unlink()
    storage.write_manifest(folder)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save(tmp_path / "model", files={"heldout.txt": b"one line\n"})
    found = load_artefact(tmp_path / "model")
    assert (found.kind, found.config, found.record) == ("tiny", {"number": 1}, {"number": 1})
    assert found.labels == {"labels": ["a", "b"]} and found.files == {"heldout.txt": b"one line\n"}
    assert torch.equal(found.tensors["weight"], torch.ones(4, 4))
    assert sorted(place.name for place in (tmp_path / "model").iterdir()) == [
        "README.md", "config.json", "heldout.txt", "labels.json", "manifest.json", "model.safetensors", "record.json",
        "tokenizer.json",
    ]  # fmt: skip


def test_a_second_one_replaces_the_first_and_nothing_else(tmp_path: Path) -> None:
    save(tmp_path, files={"heldout.txt": b"one line\n"})
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "run").mkdir()
    save(tmp_path, 2)
    assert load_artefact(tmp_path).config == {"number": 2}
    assert not (tmp_path / "heldout.txt").exists() and (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "run").is_dir()


def test_a_file_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("my project")
    with pytest.raises(UsageError, match=r"holds a README\.md"):
        save(tmp_path)
    assert (tmp_path / "README.md").read_text() == "my project"


def test_equal_models_make_equal_bytes(tmp_path: Path) -> None:
    save(tmp_path / "one")
    save(tmp_path / "two")
    assert (tmp_path / "one" / storage.MANIFEST).read_bytes() == (tmp_path / "two" / storage.MANIFEST).read_bytes()


@pytest.mark.parametrize("moved", range(9))
def test_readers_see_the_new_one_whole_while_it_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    """A writer that dies after moving some of the files: readers, and the next writer, are not disturbed."""
    save(tmp_path, files={"heldout.txt": b"one line\n"})
    count = 0

    def die(name: str) -> None:
        nonlocal count
        if name.startswith("artefact"):
            count += 1
            if count == moved + 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(artefact.storage, "crash_point", die)
        if moved < 8:
            with pytest.raises(KeyboardInterrupt):
                save(tmp_path, 2)
        else:
            save(tmp_path, 2)
    found = load_artefact(tmp_path)
    assert found.config == {"number": 2} and float(found.tensors["weight"][0, 0]) == 2
    save(tmp_path, 3)
    assert load_artefact(tmp_path).config == {"number": 3}
    assert not (tmp_path / ".next").exists()


def test_readers_and_a_writer_at_once(tmp_path: Path) -> None:
    save(tmp_path)
    done = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not done.is_set():
            try:
                found = load_artefact(tmp_path)
                if float(found.tensors["weight"][0, 0]) != found.config["number"] or found.record != found.config:
                    wrong.append(found)
            except Exception as error:
                wrong.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(2, 25):
        save(tmp_path, number)
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []


def test_every_single_byte_flip_is_noticed(tmp_path: Path) -> None:
    flips(tmp_path, 300)


@pytest.mark.slow
def test_ten_thousand_single_byte_flips_are_noticed(tmp_path: Path) -> None:
    flips(tmp_path, 10_000)


def flips(folder: Path, count: int) -> None:
    save(folder)
    for _ in one_bit_flipped(folder, count, random.Random(2)):
        with pytest.raises((BadData, InputMissing)):
            load_artefact(folder)


def test_a_future_version_is_refused_clearly(tmp_path: Path) -> None:
    save(tmp_path)
    rewrite(tmp_path, "config.json", {"schema": "carryover.artefact/7", "kind": "tiny", "config": {}})
    with pytest.raises(BadData, match=r"format version 7, this carryover reads 1; upgrade carryover"):
        load_artefact(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", {"schema": "other/1"}, "schema is 'other/1'"),
        ("config.json", {"schema": ["carryover.artefact/1"]}, "expected 'carryover.artefact/1'"),
        ("config.json", {"schema": "carryover.artefact/1", "kind": 3, "config": {}}, "no kind"),
        ("config.json", {"schema": "carryover.artefact/1", "kind": "tiny"}, "no configuration"),
        ("config.json", [], "expected an object"),
        ("tokenizer.json", "text", "expected an object"),
        ("labels.json", ["a"], "expected an object or null"),
        ("record.json", None, "expected an object"),
    ],
)
def test_a_forged_part_is_refused(tmp_path: Path, name: str, content: Any, message: str) -> None:
    save(tmp_path)
    rewrite(tmp_path, name, content)
    with pytest.raises(BadData, match=message):
        load_artefact(tmp_path)


def test_a_kind_from_elsewhere_is_refused(tmp_path: Path) -> None:
    save(tmp_path)
    with pytest.raises(BadData, match=r"kind 'tiny', this version knows bilm, lm, words, series, task"):
        load(tmp_path)


def test_where_there_is_none_the_message_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="does not exist"):
        load(tmp_path / "gone")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputMissing, match="is a file"):
        load(tmp_path / "file")
    with pytest.raises(InputMissing, match="holds no trained model"):
        load(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "settings.json").write_text("{}")
    with pytest.raises(InputMissing, match="has not finished; finish it by repeating the command"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["../out.txt", "config.json", "manifest.json", "a/b", ".hidden", ""])
def test_further_files_have_plain_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="plain name"):
        save(tmp_path, files={name: b""})
