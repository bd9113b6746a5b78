"""Where an option's value comes from when the flag is absent: environment, `carryover.toml`, the user's file, default.

Both files hold one table a command, with the long option names without dashes:

    [pretrain]
    size = "small"
    batch_size = 32
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from carryover.errors import UsageError, nearest


def user_file() -> Path:
    """The user's own defaults: `$CARRYOVER_CONFIG`, else `config.toml` in the platform's configuration folder."""
    if "CARRYOVER_CONFIG" in os.environ:
        return Path(os.environ["CARRYOVER_CONFIG"])
    from platformdirs import user_config_path

    return user_config_path("carryover") / "config.toml"


def read_defaults(options: dict[str, dict[str, str]], folder: Path) -> dict[str, dict[str, Any]]:
    """Defaults per command from the user's file, overlaid by `carryover.toml` in `folder`.

    `options` holds for every command the parameter behind each option name. Raises UsageError naming file and nearest spelling for an unknown
    table or key, and for a file that is not TOML.
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
            _known(path, "command", command, set(options))
            if not isinstance(values, dict):
                raise UsageError(f"{command} must be a table of options", path=path, repair=f"write [{command}]")
            for key, value in values.items():
                name = key.replace("-", "_")
                _known(path, f"option of [{command}]", name, set(options[command]))
                merged.setdefault(command, {})[options[command][name]] = _as_written(path, f"{command}.{key}", value)
    return merged


def _as_written(path: Path, name: str, value: Any) -> Any:
    """A value as the command line would have it: a list is a list of values with commas between them."""
    if isinstance(value, list) and all(isinstance(one, str | int) for one in value):
        return ",".join(str(one) for one in value)
    if not isinstance(value, str | int | float):
        raise UsageError(f"{name} is a {type(value).__name__}", path=path, repair="write a text, a number, true or false")
    return value


def _known(path: Path, what: str, name: str, names: set[str]) -> None:
    if name not in names:
        raise UsageError(f"{name!r} is no {what}", path=path, repair=nearest(name, sorted(names)))
