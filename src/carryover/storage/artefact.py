"""The artefact: one folder that holds a trained model whole, and nothing that could run.

`config.json` (what it is), `model.safetensors`, `tokenizer.json`, `labels.json`, `record.json` (how it came about),
`README.md` (a model card with the numbers), perhaps further data files, and `manifest.json` with the SHA-256 of each.

A folder may hold other things besides (the run that made it), and may be the mount point of a volume, so it cannot simply
be exchanged. Writing therefore goes in two moves: the new artefact appears whole as `.next` inside the folder, and from
that instant it is what readers see; then its files are moved to their places and `.next` goes away. Whoever is killed in
between leaves a whole artefact in `.next`, and the next writer finishes the move.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carryover import storage
from carryover.ambient import default_torch_state
from carryover.errors import BadData, Busy, CarryoverError, InputMissing, UsageError, check_schema

if TYPE_CHECKING:
    from torch import Tensor

_SCHEMA = "carryover.artefact/1"
_NEXT = ".next"
_ATTEMPTS = 10
_FILES = ("README.md", "config.json", "labels.json", "model.safetensors", "record.json", "tokenizer.json")


@dataclass(frozen=True)
class Artefact:
    """What a folder holds. `labels` is None for a model without a task; `files` are the names of further data files."""

    kind: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    tokenizer: dict[str, Any]
    labels: dict[str, Any] | None
    record: dict[str, Any]
    folder: Path
    files: dict[str, bytes]


def save_artefact(
    folder: Path,
    *,
    kind: str,
    config: dict[str, Any],
    tensors: Mapping[str, Tensor],
    tokenizer: dict[str, Any],
    labels: dict[str, Any] | None,
    record: dict[str, Any],
    card: str,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write an artefact into `folder`, which a reader sees as it was or as it is now, never in between.

    `config`, `tokenizer`, `labels` and `record` are JSON objects, `card` is the README, `files` further data files by
    name. An earlier artefact there is replaced, anything else stays. Raises UsageError when a file of somebody else is
    in the way, Busy when another process or thread writes there, CannotWrite, DiskFault.
    """
    folder = Path(folder)
    extra = dict(files or {})
    for name in extra:
        if name in (*_FILES, storage.MANIFEST) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
            raise ValueError(f"a further file cannot be named {name!r}: use a plain name that is not {', '.join(_FILES)}")
    with storage.write_lock(folder):
        storage.sweep(folder)
        with suppress(BadData, InputMissing):  # a damaged leftover is not worth finishing: it is replaced below
            storage.verify_manifest(folder / _NEXT)
            _finish(folder)
        known = (*_listed(folder), *_listed(folder / _NEXT))
        strange = [name for name in (*_FILES, *extra) if (folder / name).exists() and name not in known]
        if strange:
            raise UsageError(f"holds a {strange[0]} that is not from carryover", path=folder, repair="choose another folder")
        documents = {
            "config.json": {"schema": _SCHEMA, "kind": kind, "config": config},
            "tokenizer.json": tokenizer,
            "labels.json": labels,
            "record.json": record,
        }
        with storage.atomic_folder(folder / _NEXT) as temporary:
            for name, document in documents.items():
                text = json.dumps(document, indent=1, ensure_ascii=False)
                storage.write_file(temporary / name, [storage.to_bytes(text)])
            storage.save_tensors(temporary / "model.safetensors", tensors)
            storage.write_file(temporary / "README.md", [storage.to_bytes(card)])
            for name, content in extra.items():
                storage.write_file(temporary / name, [content])
        _finish(folder)


@default_torch_state()
def load_artefact(folder: Path) -> Artefact:
    """Read an artefact, every byte verified, into private memory.

    Raises InputMissing when there is none, BadData when it is damaged, of a format this version does not read, or not
    what it claims, Busy when it is replaced faster than it can be read. Nothing in it is ever executed.
    """
    folder = Path(folder)
    _check_presence(folder)
    for attempt in range(_ATTEMPTS):
        place = _place(folder)
        before = _bytes(place / storage.MANIFEST)
        problem: CarryoverError | None = None
        try:
            found = _read(place, folder)
        except CarryoverError as error:
            problem = error
        except OSError as error:
            problem = InputMissing(f"cannot be read: {error}", path=folder, repair="check the folder")
        # A writer may have replaced the artefact meanwhile; then what was read belongs to two of them.
        if _place(folder) == place and _bytes(place / storage.MANIFEST) == before:
            if problem is not None:
                raise problem
            return found
        time.sleep(0.01 * attempt)
    raise Busy("keeps changing while it is read", path=folder, repair="try again when the writer has finished")


def has_artefact(folder: Path) -> bool:
    """Whether there is an artefact to load in `folder`, sound or not."""
    return (Path(folder) / _NEXT).is_dir() or (Path(folder) / storage.MANIFEST).is_file()


def is_artefact_file(path: Path) -> bool:
    """Whether a path is a part of the artefact of its folder."""
    return path.name in (_NEXT, storage.MANIFEST) or path.name in _listed(path.parent)


def _check_presence(folder: Path) -> None:
    if not folder.exists():
        raise InputMissing("does not exist", path=folder, repair="give the folder of a trained model")
    if not folder.is_dir():
        raise InputMissing("is a file, not the folder of a trained model", path=folder, repair="give the folder")
    if not has_artefact(folder):
        if (folder / "run" / "settings.json").is_file():
            raise InputMissing(
                "holds a run that has not finished", path=folder, repair="finish it by repeating the command that started it"
            )
        raise InputMissing("holds no trained model: manifest.json is missing", path=folder, repair="check the path")


def _place(folder: Path) -> Path:
    return folder / _NEXT if (folder / _NEXT).is_dir() else folder


def _read(place: Path, folder: Path) -> Artefact:
    storage.verify_manifest(place)
    listed = _listed(place)
    for name in _FILES:
        if name not in listed:
            raise BadData(f"does not list {name}", path=place / storage.MANIFEST, repair="restore the folder from a copy")
    head = _object(place / "config.json")
    check_schema("the artefact", head.get("schema"), _SCHEMA, path=place / "config.json")
    kind, config = head.get("kind"), head.get("config")
    if not isinstance(kind, str) or not isinstance(config, dict):
        raise BadData("has no kind or no configuration", path=place / "config.json", repair="restore the folder from a copy")
    labels = storage.read_json(place / "labels.json")
    if labels is not None and not isinstance(labels, dict):
        raise BadData(
            f"holds a {type(labels).__name__}, expected an object or null",
            path=place / "labels.json",
            repair="restore it from a copy",
        )
    return Artefact(
        kind=kind,
        config=config,
        tensors=storage.load_tensors(place / "model.safetensors"),
        tokenizer=_object(place / "tokenizer.json"),
        labels=labels,
        record=_object(place / "record.json"),
        folder=folder,
        files={name: (place / name).read_bytes() for name in listed if name not in _FILES},
    )


def _object(path: Path) -> dict[str, Any]:
    value = storage.read_json(path)
    if not isinstance(value, dict):
        raise BadData(f"holds a {type(value).__name__}, expected an object", path=path, repair="restore it from a copy")
    return value


def _listed(folder: Path) -> list[str]:
    """Names in the manifest of a folder; none where there is no readable one."""
    try:
        files = storage.read_json(folder / storage.MANIFEST)["files"]
        return [str(name) for name in files]
    except (CarryoverError, KeyError, TypeError):
        return []


def _bytes(path: Path) -> bytes | None:
    if path.is_symlink():
        return None  # it may lead anywhere; `verify_manifest` judges it
    try:
        return path.read_bytes()
    except OSError:
        return None


def _finish(folder: Path) -> None:
    """Move what is complete in `.next` to its places. Repeating it after a death at any point ends the same."""
    following = folder / _NEXT
    if not following.is_dir():
        return
    new, old = _listed(following), _listed(folder)
    with storage.writing(folder):
        for name in (*new, storage.MANIFEST):
            if (folder / name).exists() and (folder / name).samefile(following / name):
                continue  # moved before a death; and a rename between two names of one file does nothing
            temporary = storage.temporary_name(folder / name)
            try:
                os.link(following / name, temporary)  # the same bytes under a second name, so `.next` stays whole
            except OSError:
                shutil.copyfile(following / name, temporary)
            storage.crash_point("artefact file")
            temporary.replace(folder / name)
        for name in set(old) - set(new):
            (folder / name).unlink(missing_ok=True)
        storage.flush_folder(folder)
        storage.crash_point("artefact pointer")
        storage.remove_folder(following)
