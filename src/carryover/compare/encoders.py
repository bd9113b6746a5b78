"""The pretrained models of a comparison: one without a name, or several by name, so that rungs over each share a table.

    runs/bilm                         the encoder of `frozen` and `full`
    bilm=runs/bilm,lm=runs/lm         those of `frozen:bilm`, `frozen:lm`, `full:bilm`, `full:lm`

What stands behind the colon of a rung is such a name, or a folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path

from carryover.compare.ladder import Rung, parse_rungs, rung_of
from carryover.errors import UsageError, nearest

Folder = str | PathLike[str]
Encoders = Mapping[str, Folder]
"""Name → folder; "" is the one without a name."""

_NAME = re.compile(r"\w[\w.-]*")


def parse_encoders(text: str) -> Path | dict[str, Path]:
    """A folder, or `NAME=FOLDER,NAME=FOLDER`, of which one may be without a name. A folder whose own name has commas or an equals
    sign is found as it is. Raises UsageError for two of one name."""
    parts = text.split(",")
    if Path(text).exists() or (len(parts) == 1 and _name(text) is None):
        return Path(text)
    found: dict[str, Path] = {}
    for part in (part.strip() for part in parts):
        name = _name(part) or ""
        folder = part.partition("=")[2] if name else part
        if not folder:
            raise UsageError(f"--encoder {text!r} has a part without a folder", repair="write NAME=FOLDER,NAME=FOLDER")
        if name in found:
            which = f"two encoders called {name!r}" if name else "two encoders without a name"
            raise UsageError(f"--encoder {text!r} has {which}", repair="write NAME=FOLDER,NAME=FOLDER with different names")
        found[name] = Path(folder)
    return found


def _name(part: str) -> str | None:
    """The name before the first equals sign, None where there is none."""
    name, mark, _ = part.partition("=")
    return name if mark and _NAME.fullmatch(name) else None


def encoders_by_name(given: Folder | Encoders | None) -> dict[str, Path]:
    """What a plan's `encoder` names. Raises UsageError for a name that could not stand behind a rung's colon."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        return {"": Path(given)}
    for name in given:
        if name and not _NAME.fullmatch(name):
            raise UsageError(f"an encoder is called {name!r}", repair="use letters, digits, dots, dashes and underscores")
    return {name: Path(folder) for name, folder in given.items()}


def over_each(rungs: Iterable[str], encoders: Encoders) -> tuple[str, ...]:
    """The rungs, those that carry a pretrained model over and name none once for each of `encoders`, in table order."""
    found: list[str] = []
    for name in rungs:
        rung = rung_of(name)
        if encoders and rung.needs.encoder and not rung.encoder:
            found += [rung.over(encoder).name if encoder else name for encoder in encoders]
        else:
            found.append(name)
    return parse_rungs(found)


def folder_of(encoder: str, encoders: Encoders) -> Path | None:
    """Where the encoder lies that a rung names; None for the one of the comparison where none was given."""
    found = encoders.get(encoder)
    if found is not None:
        return Path(found)
    return Path(encoder) if encoder else None


def check_named(rung: Rung, encoders: Encoders) -> None:
    """Raise UsageError where a rung names neither one of `encoders` nor a folder."""
    if rung.encoder and rung.encoder not in encoders and not Path(rung.encoder).exists():
        names = [name for name in encoders if name]
        raise UsageError(
            f"rung {rung.name}: {rung.encoder!r} is neither the name of an encoder nor a folder",
            repair=nearest(rung.encoder, names) if names else "give --encoder NAME=FOLDER",
        )


def entry(encoder: str, title: str = "encoder") -> str:
    """What a document calls something of an encoder: its title, followed by the name if it has one."""
    return f"{title} {encoder}" if encoder else title


def written(given: Folder | Encoders | None) -> str | None:
    """As `parse_encoders` reads it."""
    if not isinstance(given, Mapping):
        return None if given is None else str(given)
    return ",".join(f"{name}={folder}" if name else str(folder) for name, folder in given.items()) or None
