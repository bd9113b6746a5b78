"""Tagged sentences in columns (CoNLL): one word a line, a blank line between sentences; span schemes made IOB2."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from carryover.data.formats.opening import BadLine, Source, scan_lines
from carryover.data.formats.text import Faulty, ReadResult, TaggedSentence, collect
from carryover.errors import BadData, UsageError

SCHEMES = ("IOB1", "IOB2", "BIOES", "BILOU")

_BLANKS = re.compile("[ \t]+")  # not \s: a non-breaking space may be part of a word
_SPAN_TAG = re.compile(r"O|[BIESLU]-.+")
_END_AS = {"L": "E", "U": "S"}  # BILOU in terms of BIOES


@dataclass(frozen=True)
class _Block:
    """The lines of one sentence: (number, text or fault) each."""

    lines: list[tuple[int, str | BadLine]]

    @property
    def first(self) -> int:
        return self.lines[0][0]

    @property
    def raw(self) -> str:
        return "\n".join(line for _, line in self.lines if isinstance(line, str))

    @property
    def whole(self) -> str:
        """As `raw`, with what can be shown of the lines that are no text."""
        return "\n".join(line.text if isinstance(line, BadLine) else line for _, line in self.lines)


def read_columns(
    path: Source,
    *,
    label_column: int | None = None,
    on_error: str = "stop",
    require_labels: bool = True,
    scheme: str | None = None,
) -> ReadResult[TaggedSentence]:
    """Sentences of a column file: the word in column 0, the tag in `label_column` (the last one by default).

    Columns are parted by tabs, or by runs of blanks in a file without tabs. `-DOCSTART-` lines and comments are passed
    over; a comment begins with `#` before the first word of a sentence and does not have the shape of a word's line.
    Every row of the file must have the same number of columns. A faulty line makes its whole sentence faulty.
    """
    blocks = _blocks(path)
    shapes = [("\t" in line) for block in blocks for line in block.raw.split("\n") if not line.startswith("#")]
    tabs = 2 * sum(shapes) > len(shapes)
    blocks = _without_comments(blocks, tabs)
    width = _width(blocks, tabs)
    place = _place(path, width, label_column, require_labels)
    sentences = (_sentence(path, block, tabs, width, place) for block in blocks)
    result = collect(sentences, path, on_error)
    if place is None:
        return result
    return to_iob2(result, path, on_error, scheme, [[number for number, _ in block.lines] for block in blocks])


def _blocks(path: Source) -> list[_Block]:
    blocks: list[_Block] = []
    lines: list[tuple[int, str | BadLine]] = []

    def close() -> None:
        if lines:
            blocks.append(_Block(list(lines)))
            lines.clear()

    for number, line in scan_lines(path):
        if isinstance(line, str) and (not line.strip(" \t\r") or line.startswith("-DOCSTART-")):
            close()
        else:
            lines.append((number, line))
    close()
    return blocks


def split_columns(line: str, tabs: bool) -> list[str]:
    """The cells of a line, parted by tabs or by runs of blanks."""
    return line.split("\t") if tabs else _BLANKS.split(line.strip(" \t"))


def _without_comments(blocks: list[_Block], tabs: bool) -> list[_Block]:
    """Blocks without the comments before their first word.

    A word may be `#` or begin with it. With tabs, a comment is a `#` line without one. With blanks, it is a `#` line whose
    number of columns is not that of the file, or whose last column is no tag of any other line.
    """
    ordinary = [line for block in blocks for line in block.raw.split("\n") if line and not line.startswith("#")]
    width = _most_common(len(split_columns(line, tabs)) for line in ordinary)
    tags = {split_columns(line, tabs)[-1] for line in ordinary}

    def is_comment(line: str | BadLine) -> bool:
        if not isinstance(line, str) or not line.startswith("#"):
            return False
        if tabs:
            return "\t" not in line
        cells = split_columns(line, tabs)
        return len(cells) != width or (width > 1 and cells[-1] not in tags)

    kept = []
    for block in blocks:
        start = 0
        while start < len(block.lines) and is_comment(block.lines[start][1]):
            start += 1
        if start < len(block.lines):
            kept.append(_Block(block.lines[start:]))
    return kept


def _width(blocks: list[_Block], tabs: bool) -> int:
    return _most_common(
        len(split_columns(line, tabs)) for block in blocks for _, line in block.lines if isinstance(line, str)
    )


def _most_common(numbers: Iterable[int]) -> int:
    counts = Counter(numbers)
    return max(counts, key=lambda one: (counts[one], one), default=0)


def _place(path: Source, width: int, label_column: int | None, require_labels: bool) -> int | None:
    """Column of the tags, None for a file of words alone. Raises BadData when there is no such column."""
    if width == 0:
        return None
    if label_column is None:
        label_column = width - 1
    if 0 < label_column < width:
        return label_column
    if not require_labels and width == 1:
        return None
    if width == 1:
        raise BadData("there is only one column, so no tags", path=path, repair="add the tag after each word")
    raise BadData(
        f"no tag column {label_column}: the file has {width} columns",
        path=path,
        repair=f"use 1 to {width - 1}; 0 is the word",
    )


def _sentence(path: Source, block: _Block, tabs: bool, width: int, place: int | None) -> TaggedSentence | Faulty:
    tokens: list[str] = []
    tags: list[str] = []
    for number, line in block.lines:
        if isinstance(line, BadLine):
            return Faulty(line, block.whole)
        cells = split_columns(line, tabs)
        wrong = None
        if len(cells) != width:
            wrong = f"{len(cells)} columns where the file has {width}", "one word a line, the same columns in each"
        elif not cells[0].strip():
            wrong = "the word is empty", "write the word in the first column"
        elif place is not None and not cells[place].strip():
            wrong = f"the tag of {cells[0]!r} is empty", f"write the tag in column {place}"
        if wrong is not None:
            return Faulty(BadData(wrong[0], path=path, line=number, repair=wrong[1]), block.whole)
        tokens.append(cells[0].strip())
        if place is not None:
            tags.append(cells[place].strip())
    return TaggedSentence(tuple(tokens), tuple(tags), block.first)


def to_iob2(
    result: ReadResult[TaggedSentence], path: Source, on_error: str, scheme: str | None, lines: list[list[int]]
) -> ReadResult[TaggedSentence]:
    """The same sentences with span tags as IOB2; tags that name no spans stay as they are.

    `lines`: for each sentence of the file, the line of every word, the sentence known by the first of them. `scheme`
    overrides detection. A tag that cannot stand where it stands makes its sentence faulty: BadData when `on_error` is
    "stop", else it is set aside. Raises UsageError for an unknown scheme.
    """
    if scheme is not None and scheme not in SCHEMES:
        raise UsageError(f"span scheme {scheme!r} is unknown", repair=f"use one of {', '.join(SCHEMES)}")
    tags = [sentence.tags for sentence in result.examples]
    scheme = scheme or detect_scheme(tags)
    if scheme is None:
        return result
    word_lines = {numbers[0]: numbers for numbers in lines if numbers}

    def convert() -> Iterator[TaggedSentence | Faulty]:
        for sentence in result.examples:
            fault = first_fault(sentence.tags, scheme)
            if fault is None:
                yield replace(sentence, tags=tuple(as_iob2(sentence.tags, scheme)))
                continue
            place, message = fault
            numbers = word_lines.get(sentence.line, [])
            line = numbers[place] if place < len(numbers) else sentence.line
            raw = "\n".join(f"{token}\t{tag}" for token, tag in zip(sentence.tokens, sentence.tags, strict=True))
            repair = f"the file's tags are {scheme}; mend the tag, or name another scheme ({', '.join(SCHEMES)})"
            yield Faulty(BadData(message, path=path, line=line, repair=repair), raw)

    converted = collect(convert(), path, on_error)
    rejected = sorted(result.rejected + converted.rejected, key=lambda one: one.line)
    return ReadResult(converted.examples, rejected, result.rows, scheme)


def detect_scheme(sentences: list[tuple[str, ...]]) -> str | None:
    """The span scheme of a whole file's tags, None when they are no span tags.

    BIOES and BILOU have tags of their own. Between IOB1 and IOB2 the beginnings decide: IOB2 begins a span with B always,
    IOB1 only where a span of the same type ends just before. A single I after O among many B is thus a fault of an IOB2
    file and not a sign of IOB1.
    """
    distinct = set().union(*sentences) if sentences else set()
    if not all(_SPAN_TAG.fullmatch(tag) for tag in distinct) or not any(tag != "O" for tag in distinct):
        return None
    letters = {tag[0] for tag in distinct}
    if letters & {"L", "U"}:
        return "BILOU"
    if letters & {"E", "S"}:
        return "BIOES"
    begin_with_b = begin_with_i = 0
    for tags in sentences:
        previous = "O"
        for tag in tags:
            begins = tag != "O" and (previous == "O" or previous[2:] != tag[2:])
            begin_with_b += begins and tag[0] == "B"
            begin_with_i += begins and tag[0] == "I"
            previous = tag
    return "IOB1" if begin_with_i > begin_with_b else "IOB2"


def first_fault(tags: tuple[str, ...], scheme: str) -> tuple[int, str] | None:
    """Place and description of the first tag that cannot stand where it stands, None when all can."""
    allowed = "BI" if scheme.startswith("IOB") else "BIES" if scheme == "BIOES" else "BILU"
    previous = "O"
    for place, tag in enumerate((*tags, "O")):
        letter, type_ = tag[0] if tag else "", tag[2:]
        if tag != "O" and (tag[1:2] != "-" or not type_ or letter not in allowed):
            return place, f"{tag!r} is no tag of {scheme}"
        letter, before = _END_AS.get(letter, letter), _END_AS.get(previous[0], previous[0])
        same = previous[2:] == type_ and previous != "O"
        if scheme == "IOB2" and letter == "I" and not same:
            return place, f"{tag} cannot follow {previous}: a span begins with B-{type_}"
        if scheme == "IOB1" and letter == "B" and not same:
            return place, f"{tag} cannot follow {previous}: B only parts two neighbouring spans of one type"
        if scheme in ("BIOES", "BILOU"):
            continues = letter in ("I", "E")
            is_open = before in ("B", "I")
            if continues and not (is_open and same):
                return place, f"{tag} cannot follow {previous}: no {type_} span is open"
            if is_open and not continues:
                where = place if place < len(tags) else place - 1
                follows = tag if place < len(tags) else "the end of the sentence"
                return where, f"{follows} cannot follow {previous}: the span has no end"
        previous = tag
    return None


def as_iob2(tags: tuple[str, ...], scheme: str) -> list[str]:
    """Valid tags of a scheme as IOB2."""
    converted: list[str] = []
    previous = "O"
    for tag in tags:
        if tag == "O":
            converted.append(tag)
        elif scheme in ("BIOES", "BILOU"):
            letter = _END_AS.get(tag[0], tag[0])
            converted.append(("B-" if letter in ("B", "S") else "I-") + tag[2:])
        else:
            begins = tag[0] == "B" or previous == "O" or previous[2:] != tag[2:]
            converted.append(("B-" if begins else "I-") + tag[2:])
        previous = tag
    return converted
