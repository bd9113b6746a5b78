"""Where an option's value comes from when the flag is absent: environment, `carryover.toml`, the user's file, default.

Both files hold one table a command, with the long option names without dashes:

    [pretrain]
    size = "small"
    batch_size = 32
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from carryover.errors import UsageError, nearest


@dataclass(frozen=True)
class Entry:
    """What a table may hold: the parameter of the verb behind the name, its flag, and the type of its value.

    `kind` is `int`, `float`, `bool` or `str`; a text may be written as a number or as a list too.
    """

    parameter: str
    flag: str
    kind: type


_WRITE = {int: "a whole number", float: "a number", bool: "true or false", str: "a text, a number or a list of these"}


def user_file() -> Path:
    """The user's own defaults: `$CARRYOVER_CONFIG`, else `config.toml` in the platform's configuration folder."""
    if "CARRYOVER_CONFIG" in os.environ:
        return Path(os.environ["CARRYOVER_CONFIG"])
    from platformdirs import user_config_path

    return user_config_path("carryover") / "config.toml"


def read_defaults(verbs: Mapping[str, Callable[[], Mapping[str, Entry]]], folder: Path) -> dict[str, dict[str, Any]]:
    """Defaults per command from the user's file, overlaid by `carryover.toml` in `folder`.

    `verbs` makes for every command the entries of its table by their names, only where a file has that table. Raises UsageError naming the file and the nearest
    spelling of an unknown table or key, naming a value of the wrong type, and for a file that is not TOML.
    """
    merged: dict[str, dict[str, Any]] = {}
    for path in (user_file(), folder / "carryover.toml"):
        if not path.is_file():
            continue
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise UsageError(f"cannot be read as TOML: {error}", path=path, repair="correct the file there") from error
        for command, values in tables.items():
            if command not in verbs:
                raise UsageError(f"{command!r} is not a command", path=path, repair=nearest(command, sorted(verbs)))
            if not isinstance(values, dict):
                raise UsageError(f"{command} must be a table of options", path=path, repair=f"write [{command}]")
            merged.setdefault(command, {}).update(_table(path, command, values, verbs[command]()))
    return merged


def _table(path: Path, command: str, values: dict[str, Any], entries: Mapping[str, Entry]) -> dict[str, Any]:
    """The values of one table by the parameters that take them. Raises UsageError for the first that cannot be taken."""
    from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, create_model

    kinds = {
        int: Annotated[int, BeforeValidator(_not_truth)],
        float: Annotated[float, BeforeValidator(_not_truth)],
        bool: bool,
        str: Annotated[str, BeforeValidator(_as_written)],
    }
    # The underscore keeps names such as json apart from those that pydantic's models have themselves.
    fields: dict[str, Any] = {f"{name}_": (kinds[entry.kind], None) for name, entry in entries.items()}
    strict = ConfigDict(extra="forbid", protected_namespaces=())
    model: type[BaseModel] = create_model(command, __config__=strict, **fields)
    written = {key.replace("-", "_"): key for key in values}
    try:
        found = model.model_validate({f"{name}_": values[key] for name, key in written.items()})
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        name = str(wrong["loc"][0]).removesuffix("_")
        if wrong["type"] == "extra_forbidden":
            known = nearest(name, sorted(entries))
            raise UsageError(f"{name!r} is not an option of [{command}]", path=path, repair=known) from error
        value, entry = wrong["input"], entries[name]
        shown = repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
        raise UsageError(
            f"{command}.{written[name]} is {shown}",
            path=path,
            repair=f"write {_WRITE[entry.kind]}, which {entry.flag} takes",
        ) from error
    return {entries[name].parameter: getattr(found, f"{name}_") for name in written}


def _not_truth(value: Any) -> Any:
    """true is no number."""
    if isinstance(value, bool):
        raise ValueError
    return value


def _as_written(value: Any) -> Any:
    """A value as the command line would have it: a list is a list of values with commas between them."""
    if isinstance(value, list) and all(isinstance(one, str | int) for one in value):
        return ",".join(str(one) for one in value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
