"""What configurations of models have in common: checks that name the wrong field, and JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Self

from carryover.errors import UsageError, nearest


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A frozen set of named options that is written to JSON and read back."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Inverse of `to_json`. Raises UsageError for a field that this version does not know or that is missing."""
        known = [field.name for field in fields(cls)]
        for name in content:
            if name not in known:
                repair = nearest(name, known, otherwise=f"known are {', '.join(known)}")
                raise UsageError(f"unknown field {name!r} in {cls.__qualname__}", repair=repair)
        needed = [field.name for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING]
        if missing := [name for name in needed if name not in content]:
            raise UsageError(f"{cls.__qualname__} has no {', '.join(missing)}", repair="add what is missing")
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

    def check_probability(self, name: str) -> None:
        """Raise UsageError unless the field lies in [0, 1)."""
        value = getattr(self, name)
        if not 0 <= value < 1:
            raise UsageError(f"{name} is {value}", repair="give a probability from 0 up to but without 1")


def check_field(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise UsageError, with the nearest spelling, unless the field's value is one of `choices`."""
    choices = list(choices)
    if value not in choices:
        repair = nearest(value, choices, otherwise="choose one of them")
        raise UsageError(f"{name} is {value!r} but must be one of {', '.join(choices)}", repair=repair)
