"""What rungs see of a labelled example, and what they are held against."""

from __future__ import annotations

from typing import Any


def gold(example: Any, task: str) -> tuple[str, ...]:
    """What an example is labelled with."""
    return tuple(example.gold or ())


def content(example: Any, task: str) -> Any:
    """What a rung gets to see: the text, or the tokens."""
    return example.input.tokens if task == "tag" else example.input.text
