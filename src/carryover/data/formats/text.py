"""What readers hand out, and the formats that are nothing but lines: running text, plain examples, label-first lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from carryover.data.examples import Example, Labels, Source, Text, Words
from carryover.data.formats.opening import BadLine, FilePath, scan_lines
from carryover.data.schemes import Scheme
from carryover.errors import BadData, UsageError


@dataclass(frozen=True)
class Rejected:
    """A row left out because it is faulty: where, why, and the row."""

    path: str
    line: int
    reason: str
    text: str


E = TypeVar("E")
Tagged = Example[Words, Labels]
"""Words and one tag for each, None when unlabelled; its line is where the sentence begins."""
LabelledText = Example[Text, Labels]
"""A text and its labels: one for ordinary classification, none to many for multi-label, None when unlabelled."""

_WORD = re.compile(r"([^ \t]*)\s*")
FASTTEXT = "__label__"
"""What labels begin with in the files of fastText."""


@dataclass(frozen=True)
class ReadResult(Generic[E]):
    """Everything a file held: rows == len(examples) + len(rejected).

    `scheme` is the span scheme the tags had in the file, None when they name no spans; the examples hold IOB2 then.
    """

    examples: list[E]
    rejected: list[Rejected] = field(default_factory=list)
    rows: int = 0
    scheme: Scheme | None = None


@dataclass(frozen=True)
class Faulty:
    """In place of an example: the error, and the row it stands for."""

    error: BadData
    text: str

    def rejected(self, path: FilePath) -> Rejected:
        reason = self.error.message if self.error.repair is None else f"{self.error.message}; {self.error.repair}"
        return Rejected(str(path), self.error.line or 0, reason, self.text)


def collect(items: Iterable[E | Faulty], path: FilePath, on_error: str) -> ReadResult[E]:
    """All examples of a file. A faulty row raises its error, or is set aside when `on_error` is "skip".

    Raises BadData also when nothing usable is left.
    """
    check_on_error(on_error)
    examples: list[E] = []
    rejected: list[Rejected] = []
    for item in items:
        if not isinstance(item, Faulty):
            examples.append(item)
        elif on_error == "stop":
            raise item.error
        else:
            rejected.append(item.rejected(path))
    if not examples:
        if not rejected:
            raise BadData("the file holds no examples", path=path, repair="is it the right file?")
        first = rejected[0]
        raise BadData(
            f"none of the {len(rejected)} rows can be used; the first: {first.reason}",
            path=path,
            line=first.line or None,
            repair="name the right columns and format, or correct the rows",
        )
    return ReadResult(examples, rejected, len(examples) + len(rejected))


def check_on_error(on_error: str) -> None:
    """Raise UsageError unless it is "stop" or "skip"."""
    if on_error not in ("stop", "skip"):
        raise UsageError(f"on_error={on_error!r} is unknown", repair='use "stop" or "skip"')


def check_unicode(text: str) -> None:
    """Raise BadData for a text that cannot be written as UTF-8 or holds a zero."""
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise BadData("the text holds half of a surrogate pair", repair="write the character itself or both halves")
    if "\0" in text:
        raise BadData("the text holds a zero character", repair="remove it")


def plain_examples(path: FilePath) -> Iterator[LabelledText | Faulty]:
    """Every line that is not blank as an example without labels."""
    for number, line in scan_lines(path):
        if isinstance(line, BadLine):
            yield Faulty(line, line.text)
        elif line.strip():
            yield Example(Text(line), None, Source(str(path), number))


def label_first_examples(path: FilePath, multi_label: str | None) -> Iterator[LabelledText | Faulty]:
    """`LABEL the text`: the label ends at the first white space. `multi_label` separates several labels.

    Labels that begin with `__label__`, as fastText writes them, may be several: all of them at the beginning of the line.
    """
    for number, line in scan_lines(path):
        if isinstance(line, BadLine):
            yield Faulty(line, line.text)
            continue
        found, text = _leading_labels(line.strip())
        if not found[0]:
            continue
        wrong = None
        if not text:
            wrong = f"no text after the label {found[-1]!r}", "write LABEL, a space, the text"
        elif len(found) > 1 and multi_label is None:
            shown = ", ".join(found[:4]) + (", …" if len(found) > 4 else "")
            wrong = f"the line has {len(found)} labels ({shown})", "keep one, or allow several with --multi-label ,"
        if wrong is not None:
            yield Faulty(BadData(wrong[0], path=path, line=number, repair=wrong[1]), line)
            continue
        labels = found if multi_label is None else [part for one in found for part in split_labels(one, multi_label)]
        yield Example(Text(text), tuple(dict.fromkeys(labels)), Source(str(path), number))


def _leading_labels(line: str) -> tuple[list[str], str]:
    """The first word of a line, or where that is a label of fastText all of them in front, and the text behind."""
    found: list[str] = []
    place = 0
    while not found or (found[-1].startswith(FASTTEXT) and line.startswith(FASTTEXT, place)):
        word = _WORD.match(line, place)
        assert word is not None  # it matches nothing at all, too
        found.append(word[1])
        place = word.end()
    return found, line[place:]


def split_labels(cell: str, separator: str) -> tuple[str, ...]:
    """The labels of one cell, each once, in their order; an empty cell has none."""
    parts = (part.strip() for part in cell.split(separator))
    return tuple(dict.fromkeys(part for part in parts if part))


def looks_label_first(path: FilePath, examples: list[LabelledText]) -> None:
    """Refuse running text that was taken for label-first lines because of the file's name. Raises BadData.

    Told by the number of different labels: half the lines of a short file, a tenth (and more than 100) of a long one.
    """
    labels = {label for example in examples for label in example.gold or ()}
    if len(examples) >= 20 and len(labels) > min(len(examples) / 2, max(100, len(examples) / 10)):
        raise BadData(
            f"this looks like text without labels: {len(labels)} different first words in {len(examples)} lines",
            path=path,
            repair="give a TSV, CSV or JSONL file with a label column, or say format=label-first",
        )
