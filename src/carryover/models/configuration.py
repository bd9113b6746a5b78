"""What configurations of models have in common: checks that name the wrong field, and JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from types import UnionType
from typing import Any, ClassVar, Self, get_args, get_origin, get_type_hints

from carryover.errors import UsageError, nearest


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A frozen set of named options that is written to JSON and read back."""

    types: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        cls.types = declared_types(cls)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Inverse of `to_json`. Raises UsageError for a field that is unknown, missing or of another type than declared."""
        known = [field.name for field in fields(cls)]
        for name in content:
            if name not in known:
                repair = nearest(name, known, otherwise=f"known are {', '.join(known)}")
                raise UsageError(f"unknown field {name!r} in {cls.__qualname__}", repair=repair)
        needed = [field.name for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING]
        if missing := [name for name in needed if name not in content]:
            raise UsageError(f"{cls.__qualname__} has no {', '.join(missing)}", repair="add what is missing")
        check_types(cls.types, content)
        return cls(**content)

    def nest(self, name: str, kind: type[ModelConfig]) -> None:
        """Make the field a `kind` where it came from JSON as a dictionary."""
        value = getattr(self, name)
        if isinstance(value, dict):
            object.__setattr__(self, name, kind.from_json(value))

    def check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        """Raise UsageError unless the field is one of `choices`."""
        check_field(name, getattr(self, name), choices)

    def check_positive(self, *names: str) -> None:
        """Raise UsageError for a field below 1; None passes."""
        for name in names:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}", repair="give a whole number of at least 1")

    def check_at_least(self, name: str, least: float) -> None:
        """Raise UsageError for a field below that."""
        if not getattr(self, name) >= least:
            raise UsageError(f"{name} is {getattr(self, name)}", repair=f"give a number of at least {least:g}")

    def check_probability(self, name: str) -> None:
        """Raise UsageError unless the field lies in [0, 1)."""
        value = getattr(self, name)
        if not 0 <= value < 1:
            raise UsageError(f"{name} is {value}", repair="give a probability of at least 0 and below 1")


def check_field(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise UsageError, with the nearest spelling, unless the field's value is one of `choices`."""
    choices = list(choices)
    if value not in choices:
        repair = nearest(value, choices, otherwise="choose one of them")
        raise UsageError(f"{name} is {value!r} but must be one of {', '.join(choices)}", repair=repair)


LARGEST = 2**31 - 1
"""Of a whole number in a configuration: more is a size or a count of nothing that fits a machine."""


def declared_types(owner: Callable[..., Any]) -> dict[str, Any]:
    """The types that a class or a function declares, by name. For when a module is read: annotations are evaluated."""
    return get_type_hints(owner)


def check_types(declared: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Raise UsageError for a value from JSON that is not of the type declared for its name; see `declared_types`.

    Numbers must be finite and whole where they count, and true is no number. What is not declared is not looked at.
    """
    for name, value in content.items():
        if name in declared and not _is_a(value, declared[name]):
            wanted = getattr(declared[name], "__name__", None) or str(declared[name])
            words = {"int": f"a whole number of at most {LARGEST}", "float": "a finite number", "bool": "true or false"}
            raise UsageError(f"{name} is {str(value)[:60]!r}", repair=f"give {words.get(wanted, wanted)}")


def _is_a(value: object, wanted: Any) -> bool:
    parts = get_args(wanted)
    if isinstance(wanted, UnionType):
        return any(_is_a(value, part) for part in parts)
    if get_origin(wanted) is tuple:
        if type(value) not in (list, tuple):
            return False
        kinds = [parts[0]] * len(value) if parts[-1] is Ellipsis else parts  # type: ignore[arg-type]
        return len(kinds) == len(value) and all(map(_is_a, value, kinds))  # type: ignore[arg-type, call-overload]
    if wanted is int:
        return type(value) is int and abs(value) <= LARGEST
    if wanted is float:
        return _is_a(value, int) or (type(value) is float and math.isfinite(value))
    return type(value) is wanted if wanted in (bool, str, type(None)) else True
