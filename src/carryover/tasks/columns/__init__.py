"""Columns of a treebank as things to classify: plain tags, features by their attributes, lemmas by edit rules."""

from __future__ import annotations

from carryover.tasks.columns.column import Column, Pairs
from carryover.tasks.columns.features import Features
from carryover.tasks.columns.lemmas import Lemmas
from carryover.tasks.columns.tags import Tags

__all__ = ["COLUMNS", "Column", "Pairs", "column_class"]

COLUMNS: dict[str, type[Column]] = {"feats": Features, "lemma": Lemmas}
"""The columns that are more than a tag, by their names in CoNLL-U: the only table of them."""


def column_class(name: str) -> type[Column]:
    """How a column of this name is learned."""
    return COLUMNS.get(name.lower(), Tags)
