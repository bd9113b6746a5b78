"""Ways to poison an artefact. Each takes a folder with a sound one and spoils it, as a forger or a bad disk would."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from carryover import storage

Poison = Callable[[Path], None]
DOCUMENTS = ("config.json", "tokenizer.json", "labels.json", "record.json")
MARK = "the-poison-ran"


class Bomb:
    """A pickle of this runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {MARK}",))


CONTENTS = {
    "pickle": pickle.dumps(Bomb()),
    "empty": b"",
    "binary": bytes(range(256)) * 4,
    "list": b"[1, 2, 3]",
    "text": json.dumps(f"__import__('os').system('touch {MARK}')").encode(),
    "deep": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "long number": b'{"schema": ' + b"9" * 20_000 + b"}",
    "not utf-8": b'{"schema": "\xff\xfe"}',
    "null": b"null",
    "empty object": b"{}",
}

CONFIGS: dict[str, Any] = {
    "cells": 10**12,
    "projection": -1,
    "layers": 10**9,
    "highway_layers": 10**9,
    "filters": [[1, 10**13]],
    "character_size": "8",
    "dropout": "nan",
    "input": "pickle",
    "softmax": "__import__('os')",
    "vocabulary_size": 10**15,
    "cutoffs": [3, 2, 1],
    "projection_clip": float("nan"),
    "unknown": {"__class__": "os.system"},
    "residual": [],
    "samples": None,
}


def forge(folder: Path) -> None:
    """Make the manifest agree with what is there."""
    (folder / storage.MANIFEST).unlink(missing_ok=True)
    storage.write_manifest(folder)


def replace(name: str, content: bytes, forged: bool = True) -> Poison:
    def poison(folder: Path) -> None:
        (folder / name).stat()
        (folder / name).write_bytes(content)
        if forged:
            forge(folder)

    return poison


def change(name: str, *path: str, value: Any) -> Poison:
    """Set one entry of a JSON document."""

    def poison(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        place = content
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        (folder / name).write_text(json.dumps(content))
        forge(folder)

    return poison


def retarget(name: str, target: str) -> Poison:
    """A link in the place of a file."""

    def poison(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(target)

    return poison


def relist(name: str) -> Poison:
    """An entry for a file elsewhere in the manifest."""

    def poison(folder: Path) -> None:
        manifest = json.loads((folder / storage.MANIFEST).read_text())
        manifest["files"][name] = {"sha256": "0" * 64, "size": 3}
        (folder / storage.MANIFEST).write_text(json.dumps(manifest))

    return poison


def reshape(function: Callable[[dict[str, Any]], Any], name: str = "model.safetensors") -> Poison:
    """Change the tensors and store them soundly."""

    def poison(folder: Path) -> None:
        tensors = storage.load_tensors(folder / name)
        function(tensors)
        storage.save_tensors(folder / name, tensors)
        forge(folder)

    return poison


def directory(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()


def fifo(folder: Path) -> None:
    (folder / "record.json").unlink()
    os.mkfifo(folder / "record.json")


def legacy(folder: Path) -> None:
    """Other formats beside nothing: they must not be fallen back to."""
    (folder / "model.safetensors").unlink()
    for name in ("model.bin", "pytorch_model.bin", "model.pt", "model.pkl", "model.joblib"):
        (folder / name).write_bytes(CONTENTS["pickle"])
    forge(folder)


def half_next(folder: Path) -> None:
    """A forged move that has not been finished."""
    (folder / "config.json").stat()
    following = folder / ".next"
    following.mkdir()
    for place in folder.iterdir():
        if place.is_file():
            shutil.copy(place, following)
    (following / "config.json").write_bytes(CONTENTS["pickle"])
    forge(following)


def header(size: int) -> bytes:
    return struct.pack("<Q", size) + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' + bytes(4)


def entries(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """All numbers, texts and truths of a JSON value with the way to each."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inner is None:
        yield path, value
        return
    for key, one in inner:
        yield from entries(one, (*path, key))


def misfits(value: Any) -> list[Any]:
    """What can stand in the place of a value of a configuration and does not fit it, or is far from all that was meant."""
    if isinstance(value, bool):
        return [1, "false", float("nan")]
    if isinstance(value, int | float):
        return [10**9, 10**20, -1, 0, 0.5, float("nan"), float("inf"), "8", True, None, []]
    return ["pickle", 7, ["lstm"], None]


def poisons_of(sound: Path) -> Iterator[tuple[str, Poison]]:
    """Those that the content of one artefact decides: every value of its configuration, its labels and its record."""
    if not (sound / "config.json").is_file():
        yield "vectors of another type", reshape(lambda t: t.update(vectors=t["vectors"].int()), "vectors.safetensors")
        yield "vectors of one axis", reshape(lambda t: t.update(vectors=t["vectors"].flatten()), "vectors.safetensors")
        yield "vectors of three axes", reshape(lambda t: t.update(vectors=t["vectors"][..., None]), "vectors.safetensors")
        yield "vectors of NaN", reshape(lambda t: t.update(vectors=t["vectors"] * float("nan")), "vectors.safetensors")
        yield "vectors too few", reshape(lambda t: t.update(vectors=t["vectors"][:-1]), "vectors.safetensors")
        yield "no vectors", reshape(lambda t: t.update(others=t.pop("vectors")), "vectors.safetensors")
        for what, content in CONTENTS.items():
            yield f"vocabulary is {what}", replace("vocabulary.json", content)
            yield f"vectors are {what}", replace("vectors.safetensors", content)
        return
    config = json.loads((sound / "config.json").read_text())["config"]
    for path, value in entries(config):
        for misfit in misfits(value):
            yield f"config {'.'.join(map(str, path))} {misfit}", change("config.json", "config", *path, value=misfit)
    for value in (None, 7, "x", [1], {"forward_perplexity": "low"}, {"forward_perplexity": None, "backward_perplexity": -1},
                  {"forward_perplexity": float("nan"), "backward_perplexity": 3.0}, {}):  # fmt: skip
        yield f"record heldout_check {value}", change("record.json", "heldout_check", value=value)
    for entry in ("settings", "corpus", "columns", "plan", "versions", "mix", "proof_lines", "seconds"):
        for value in ("x", [[1]], float("nan")):
            yield f"record {entry} {value}", change("record.json", entry, value=value)
    labels = json.loads((sound / "labels.json").read_text())
    if labels is not None:
        many = [f"B-{number}" for number in range(200_000)]
        for value in (many, ["one"], [], labels["labels"] * 2, [*labels["labels"][:-1], 7], "abc", {"a": 1}):
            yield f"labels {str(value)[:30]}", change("labels.json", "labels", value=value)
        yield "pooling a million times", change("config.json", "config", "task", "pooling", value="+".join(["mean"] * 10**6))
    for number in (0, -1):
        yield (
            f"weights of NaN {number}",
            reshape(lambda tensors, number=number: tensors[sorted(tensors)[number]].fill_(float("nan"))),
        )


def poisons() -> Iterator[tuple[str, Poison]]:
    """Those that need not know the artefact, by name."""
    for name in (*DOCUMENTS, storage.MANIFEST):
        for what, content in CONTENTS.items():
            yield f"{name} is {what}", replace(name, content, forged=name != storage.MANIFEST)
    for what in ("pickle", "empty", "binary"):
        yield f"weights are {what}", replace("model.safetensors", CONTENTS[what])
        yield f"weights are {what}, not forged", replace("model.safetensors", CONTENTS[what], forged=False)
    for size in (0, 1, 2**31, 2**63, 2**64 - 1):
        yield f"header of {size}", replace("model.safetensors", header(size))
    for field, value in CONFIGS.items():
        yield f"config {field}", change("config.json", "config", field, value=value)
    for kind in ("../../task", "os.system", "", 7, None, "tasks", "bilm\0", "x" * 100_000):
        yield f"kind {str(kind)[:10]!r}", change("config.json", "kind", value=kind)
    for schema in ("carryover.artefact/2", "carryover.artefact/-1", "carryover.artefact/99999999999", 1, "pickle/1"):
        yield f"schema {schema}", change("config.json", "schema", value=schema)
    for entry in ("kind", "vocabulary", "tokenizer", "subwords", "schema"):
        for value in (None, "os.system", [[["a"]]], {"kind": "pickle", "tokens": 3}):
            yield f"tokenizer {entry} {str(value)[:9]}", change("tokenizer.json", entry, value=value)
    for name in ("../../../etc/passwd", "/etc/passwd", "..", "/dev/zero", "a/../../b"):
        yield f"manifest lists {name}", relist(name)
    for name in ("model.safetensors", "config.json", "heldout.txt", storage.MANIFEST):
        for target in ("/etc/passwd", "/dev/zero", "../outside.json", "loop"):
            yield f"{name} links to {target}", retarget(name, name if target == "loop" else target)
    yield "tensor missing", reshape(lambda tensors: tensors.__delitem__(sorted(tensors)[0]))
    yield "tensor too many", reshape(lambda tensors: tensors.update(evil=tensors[sorted(tensors)[0]]))
    yield "tensor transposed", reshape(lambda tensors: tensors.update({"output.weight": tensors["output.weight"].t()}))
    yield "tensor of another type", reshape(lambda tensors: tensors.update({"output.bias": tensors["output.bias"].int()}))
    yield "tensors of another type", reshape(lambda tensors: tensors.update({k: v.double() for k, v in tensors.items()}))
    yield "weights are a folder", directory
    yield "record is a pipe", fifo
    yield "only other formats", legacy
    yield "a forged half move", half_next
