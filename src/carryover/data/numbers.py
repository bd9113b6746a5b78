"""Labels that are numbers, such as how similar two texts are."""

from __future__ import annotations

import math
from collections.abc import Iterable


def as_number(label: str) -> float | None:
    """The number that a label is written as; None where it is none, or not finite."""
    try:
        number = float(label)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def are_numbers(labels: Iterable[str]) -> bool:
    """Whether labels are numbers of which at least one is not whole: whole ones may as well be names of classes."""
    numbers = [as_number(label) for label in labels]
    return None not in numbers and any(number is not None and not number.is_integer() for number in numbers)


def written_number(number: float) -> str:
    """A number as an answer has it, with six digits."""
    return f"{number:.6g}"
