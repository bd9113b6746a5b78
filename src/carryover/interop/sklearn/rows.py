"""What people hand to an estimator, as one value a row: lists, arrays, series, a single column of a table.

Shapes are taken or refused as scikit-learn does, so that there are as many answers as rows. Nothing here needs pandas: a table
is whatever turns into a NumPy array.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set, Sized
from collections.abc import Sequence as ListOf
from typing import Any, Protocol, runtime_checkable

import numpy as np
from sklearn.utils.validation import column_or_1d

from carryover.errors import UsageError


@runtime_checkable
class TurnsIntoArray(Protocol):
    """An array, a series, a table."""

    def __array__(self, dtype: Any = None) -> np.ndarray: ...


def rows_of(values: Any, name: str) -> list[Any]:
    """One value a row, of a list, an array [n] or [n, 1], a series, or a table of one column.

    Raises TypeError for a string, a mapping, a set and what can be read only once, ValueError for another shape.
    """
    if isinstance(values, str | bytes):
        raise TypeError(f"{name} is one string: give a list of texts, even for one")
    if not is_list(values):
        raise TypeError(f"{name} is a {type(values).__name__}: give a list or an array")
    array = as_array(values)
    if array is None:
        return list(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{name} should be a 1d array, got an array of shape {array.shape} instead: give one column, as in {name}['text']"
        )
    return array.tolist()


def is_list(values: Any) -> bool:
    """Whether values have an order and a number, and can be read again: no string, mapping, set or iterator."""
    return isinstance(values, Sized) and not isinstance(values, str | bytes | Mapping | Set)


def as_array(values: Any) -> np.ndarray | None:
    """An array, series or table as an array, with strings as objects; None for a list."""
    return np.asarray(values) if isinstance(values, TurnsIntoArray) else None


def labels_of(y: Any) -> np.ndarray:
    """One label a row, an array [n] of their own type, as scikit-learn reads a target (with its warning for a column).

    Raises TypeError as `rows_of` does, ValueError for another shape and a missing label, UsageError for several types.
    """
    if not is_list(y):
        raise TypeError(f"y is a {type(y).__name__}: give a list or an array of labels")
    values = as_array(y)
    if values is None:
        check_labels(y)
        values = np.asarray(y)
    labels = column_or_1d(values, warn=True)
    check_labels(labels.tolist())
    return np.array(labels.tolist()) if labels.dtype == object else labels


def collections_of(y: Any) -> list[tuple[Any, ...]]:
    """The labels of each row, where a row may have several. Raises as `labels_of`, and ValueError for a table of numbers."""
    if not is_list(y):
        raise TypeError(f"y is a {type(y).__name__}: give a list of collections of labels")
    array = as_array(y)
    if array is not None and array.ndim != 1 and array.dtype.kind not in "OUS":
        raise ValueError(
            f"y is an array of {array.dtype} of shape {array.shape}: give a collection of labels for each row, as "
            "MultiLabelBinarizer.inverse_transform does"
        )
    found = list(y) if array is None else array.tolist()
    for number, labels in enumerate(found):
        if isinstance(labels, str | bytes) or not isinstance(labels, Iterable):
            raise UsageError(
                f"y holds {labels!r} in row {number} where a collection of labels is needed", repair="give lists or sets"
            )
    rows = [tuple(labels) for labels in found]
    check_labels([label for row in rows for label in row])
    return rows


def check_labels(labels: ListOf[Any]) -> None:
    """Raise ValueError for a label that is missing, UsageError for strings beside labels of another type."""
    for number, label in enumerate(labels):
        if is_missing(label):
            raise ValueError(f"Input y contains NaN: label {number} is {label!r}; leave that row out, or give it a label")
    if len({isinstance(label, str) for label in labels}) > 1:
        raise UsageError("y holds strings and other labels", repair="give labels of one type")


def is_missing(value: Any) -> bool:
    """Whether a value stands for none: None, NaN, pandas' NA and NaT (whose comparison with itself is not true)."""
    if value is None:
        return True
    try:
        return not bool(value == value)
    except (TypeError, ValueError):  # pandas' NA is neither true nor false; an array of several is no label
        return type(value).__name__ == "NAType"


def texts_of(X: Any, *, words_too: bool = False) -> list[Any]:
    """One text a row (or, with `words_too`, a text or a list of words). Raises as `rows_of`, TypeError for what is no text."""
    found = rows_of(X, "X")
    for number, text in enumerate(found):
        sound = isinstance(text, str) or (
            words_too and isinstance(text, list | tuple) and all(isinstance(word, str) for word in text)
        )
        if not sound:
            what = f"missing ({text!r})" if is_missing(text) else type(text).__name__
            raise TypeError(f"text {number} is {what}: give strings{' or lists of words' if words_too else ''}")
    return [str(text) if isinstance(text, str) else text for text in found]


def sentences_of(X: Any, what: str = "word") -> list[tuple[str, ...]]:
    """The words (or tags) of each sentence. Raises TypeError for a sentence that is a string and for what is no word."""
    name = "X" if what == "word" else "y"
    if not is_list(X):
        raise TypeError(f"{name} is a {type(X).__name__}: give a list of sentences, each a list of {what}s")
    array = as_array(X)
    found = []
    for number, sentence in enumerate(list(X) if array is None else array.tolist()):
        if isinstance(sentence, str):
            raise TypeError(f"sentence {number} is a string: give a list of {what}s")
        if is_missing(sentence) or not isinstance(sentence, Iterable):
            raise TypeError(f"sentence {number} is {type(sentence).__name__}: give a list of {what}s")
        words = tuple(sentence)
        for place, word in enumerate(words):
            if not isinstance(word, str):
                raise TypeError(f"{what} {place} of sentence {number} is {type(word).__name__}: give strings")
        found.append(tuple(str(word) for word in words))
    return found
