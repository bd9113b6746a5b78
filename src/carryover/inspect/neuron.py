"""Which neuron fires where (Karpathy, Johnson, Fei-Fei 2015, "Visualizing and understanding recurrent networks").

A unit is one number of a layer's output. Units that follow a property of the text are found on one part of it and tested on the
rest, so that of some thousand units the one that fits by chance is not taken for one that knows something.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryover.encoders.encoder import Encoder, Reading
from carryover.errors import BadData, UsageError, nearest

FOUND_ON = 0.5
"""Share of the text on which units are found; the rest tests them."""
FEWEST = 20
"""Pieces with and without the property that both parts must hold."""


def _inside(pattern: str) -> Callable[[str], list[bool]]:
    compiled = re.compile(pattern, re.DOTALL)

    def mark(text: str) -> list[bool]:
        found = [False] * len(text)
        for match in compiled.finditer(text):
            found[match.start() : match.end()] = [True] * (match.end() - match.start())
        return found

    return mark


PROPERTIES: Mapping[str, Callable[[str], list[bool]]] = {
    "quote": _inside(r"[\"“][^\"”\n]*[\"”]"),
    "bracket": _inside(r"[(\[{][^)\]}\n]*[)\]}]"),
    "url": _inside(r"(?:https?://|www\.)\S+"),
    "upper": _inside(r"[^\W\d_a-zß-öø-ÿ]"),
    "digit": _inside(r"\d"),
    "space": _inside(r"[ \t]"),
    "vowel": _inside(r"(?i)[aeiou]"),
    "word-end": _inside(r"\w(?!\w)"),
    "line-start": _inside(r"(?m)^.{1,10}"),
    "line-end": _inside(r"(?m).{1,10}$"),
}
"""What a unit may follow: inside quotes, brackets or a web address, capitals, digits, …; places of characters by name."""


@dataclass(frozen=True)
class Unit:
    """One number of a layer (0 the embedding). `found` and `tested` are areas under the ROC curve on the two parts of the text: how
    often a piece with the property has the larger value than one without; `sign` −1 where it has the smaller one."""

    layer: int
    number: int
    found: float
    tested: float
    sign: int

    @property
    def name(self) -> str:
        return f"{self.layer}:{self.number}"

    def to_json(self) -> dict[str, Any]:
        return {"unit": self.name, "found": self.found, "tested": self.tested, "sign": self.sign}


def property_of(name: str | None, pattern: str | None) -> Callable[[str], list[bool]]:
    """What marks the characters of a text. Raises UsageError for an unknown name and a faulty pattern."""
    if pattern is not None:
        try:
            return _inside(pattern)
        except re.error as error:
            raise UsageError(f"--pattern {pattern!r} is no regular expression: {error}", repair="correct it") from None
    if name is None or name not in PROPERTIES:
        raise UsageError(
            f"property {name!r} is unknown", repair=nearest(str(name), PROPERTIES, otherwise=f"use {', '.join(PROPERTIES)}")
        )
    return PROPERTIES[name]


def marked_pieces(reading: Reading, mark: Callable[[str], list[bool]]) -> NDArray[np.bool_]:
    """[T]: whether the last character of each piece, spaces behind it left out, has the property; empty pieces have not."""
    text = "".join(reading.pieces)
    marks = [*mark(text), False]
    found, place = [], 0
    for piece in reading.pieces:
        inner = len(piece.rstrip()) or len(piece)
        found.append(marks[place + inner - 1] if piece else False)
        place += len(piece)
    return np.array(found, dtype=bool)


def area(values: NDArray[Any], marks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The area under the ROC curve of each column of `values` [T, U], ties counted half."""
    from scipy.stats import rankdata

    positive = int(marks.sum())
    ranks = rankdata(values, axis=0)
    above = ranks[marks].sum(axis=0) - positive * (positive + 1) / 2
    return np.asarray(above / (positive * (len(marks) - positive)))


def find_units(reading: Reading, mark: Callable[[str], list[bool]], count: int = 5) -> list[Unit]:
    """The units that follow a property best on the first part of the text, with what they do on the rest.

    Raises BadData where a part holds too few pieces with the property or without it.
    """
    marks = marked_pieces(reading, mark)
    cut = round(FOUND_ON * len(marks))
    for part in (marks[:cut], marks[cut:]):
        if min(part.sum(), len(part) - part.sum()) < FEWEST:
            raise BadData(
                f"a half of the text has {part.sum()} pieces with the property and {len(part) - part.sum()} without",
                repair=f"give a longer text: each half needs {FEWEST} of both",
            )
    size = reading.vectors.shape[2]
    values = reading.vectors.reshape(len(marks), -1).numpy()
    first = area(values[:cut], marks[:cut])
    order = np.argsort(-np.abs(first - 0.5), kind="stable")[:count]
    second = area(values[cut:][:, order], marks[cut:])
    found = []
    for place, column in enumerate(order.tolist()):
        sign = 1 if first[column] >= 0.5 else -1
        own, other = (value if sign > 0 else 1 - value for value in (float(first[column]), float(second[place])))
        layer, number = divmod(column, size)
        found.append(Unit(layer, number, own, other, sign))
    return found


def unit_of(text: str, reading: Reading) -> tuple[int, int]:
    """`LAYER:NUMBER`. Raises UsageError with the range for one that is not there."""
    layers, size = reading.vectors.shape[1:]
    layer, colon, number = text.partition(":")
    if not colon or not layer.isdigit() or not number.isdigit() or int(layer) >= layers or int(number) >= size:
        raise UsageError(
            f"--unit is {text!r}", repair=f"give LAYER:NUMBER, layers 0 to {layers - 1}, numbers 0 to {size - 1}"
        )
    return int(layer), int(number)


def unit_values(reading: Reading, layer: int, number: int) -> NDArray[np.float32]:
    """[T]: how far each value is from the middle one, scaled so that the farthest is 1 or −1."""
    values = reading.vectors[:, layer, number].numpy().astype(np.float32)
    values = values - np.median(values)
    largest = float(np.abs(values).max(initial=0.0))
    return values / largest if largest > 0 else values


def read_text(encoder: Encoder, text: str, *, most: int = 0) -> Reading:
    """The text as the model reads it. Raises UsageError for a model that reads no text, BadData for an empty text."""
    if not encoder.reads_words:
        raise UsageError(f"this is {encoder.description}, which reads no text", repair="give a model of text")
    if not text.strip():
        raise BadData("the text is empty", repair="give some text")
    return encoder.read(text, most=most)
