"""What a cell of a table must hold to be a text or a label."""

from __future__ import annotations

from typing import Any

from carryover.data.formats.text import check_unicode, split_labels
from carryover.errors import BadData

_MISSING = frozenset(("nan", "NaN", "NAN", "<NA>", "null", "NULL", "\\N"))
"""How programs write a cell without a value: pandas, R and databases."""


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and cell != cell)


def text_cell(cell: Any, name: str | int) -> str:
    """A text that is not empty, of the column `name`. Raises BadData without a place: whoever reads the row knows it."""
    if not isinstance(cell, str):
        kind = "missing" if _is_missing(cell) else f"of type {type(cell).__name__}"
        raise BadData(f"the text in column {name!r} is {kind}", repair="give a string")
    if not cell.strip():
        raise BadData("the text is empty", repair="fill it in or remove the row")
    check_unicode(cell)
    return cell


def label_cell(cell: Any, multi_label: str | None, require_labels: bool) -> tuple[str, ...] | None:
    """The labels of a cell, None where it has none and none are required. `multi_label` separates several.

    Raises BadData, likewise without a place, for a cell that is empty or no label.
    """
    if isinstance(cell, list | tuple):
        if multi_label is None:
            raise BadData("the label is a list", repair="say that a text may have several labels (multi_label)")
        return tuple(dict.fromkeys(_label(one) for one in cell))
    missing = _is_missing(cell) or (isinstance(cell, str) and cell.strip() in _MISSING)
    if missing and (require_labels and (multi_label is None or cell is not None)):
        raise _empty_label(cell)
    label = "" if missing else _label(cell)
    if multi_label is not None:
        return split_labels(label, multi_label)
    if not label:
        if require_labels:
            raise _empty_label(cell)
        return None
    return (label,)


def _empty_label(cell: Any) -> BadData:
    name = str(cell).strip() if cell is not None else ""
    if not name:
        return BadData("the label is empty", repair="fill it in or remove the row")
    return BadData(
        f"the label is empty ({name})", repair="fill it in or remove the row; spell a class of that name otherwise"
    )


def _label(cell: Any) -> str:
    """A label as text; numbers and truth values as JSON writes them."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, str):
        check_unicode(cell)
        return cell.strip()
    if _is_missing(cell):
        raise _empty_label(cell)
    if isinstance(cell, int | float):
        return str(cell)
    raise BadData(f"the label is of type {type(cell).__name__}", repair="give a string or a number")
