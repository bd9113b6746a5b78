"""What configurations of models have in common: checks that name the wrong field, and JSON."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any, Self

from carryover.errors import UsageError


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
                near = get_close_matches(name, known, n=1)
                raise UsageError(
                    f"unknown field {name!r} in {cls.__qualname__}",
                    repair=f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}",
                )
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
        value = getattr(self, name)
        if value not in choices:
            near = get_close_matches(str(value), choices, n=1)
            raise UsageError(
                f"{name} is {value!r} but must be one of {', '.join(choices)}",
                repair=f"did you mean {near[0]!r}?" if near else "choose one of them",
            )

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
