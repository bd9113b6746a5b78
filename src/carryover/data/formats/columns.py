"""Tagged sentences in columns (CoNLL): one word a line, a blank line between sentences; span schemes made IOB2."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from carryover.data.examples import Example, Source, Words
from carryover.data.formats.opening import BadLine, FilePath, scan_lines
from carryover.data.formats.text import Faulty, ReadResult, Tagged, collect
from carryover.data.schemes import Like, Scheme, find_scheme
from carryover.errors import BadData

_BLANKS = re.compile("[ \t]+")  # not \s: a non-breaking space may be part of a word


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
    path: FilePath,
    *,
    label_column: int | None = None,
    on_error: str = "stop",
    require_labels: bool = True,
    scheme: str | None = None,
    like: Like = None,
) -> ReadResult[Tagged]:
    """Sentences of a column file: the word in column 0, the tag in `label_column` (the last one by default).

    Columns are parted by tabs, or by runs of blanks in a file without tabs. `-DOCSTART-` lines and comments are passed
    over; a comment begins with `#` before the first word of a sentence and does not have the shape of a word's line.
    Every row of the file must have the same number of columns. A faulty line makes its whole sentence faulty.
    """
    result, blocks, labelled = _read(path, (label_column,), on_error, require_labels)
    if not labelled:
        return result
    return to_iob2(result, path, on_error, scheme, [[number for number, _ in block.lines] for block in blocks], like)


def read_column_cells(
    path: FilePath, label_columns: Iterable[int], *, on_error: str = "stop", require_labels: bool = True
) -> ReadResult[Tagged]:
    """The same with the cells of several columns as they are, tabs between them."""
    return _read(path, tuple(label_columns), on_error, require_labels)[0]


def _read(
    path: FilePath, label_columns: tuple[int | None, ...], on_error: str, require_labels: bool
) -> tuple[ReadResult[Tagged], list[_Block], bool]:
    """Sentences, their lines, and whether there are tags."""
    blocks = _blocks(path)
    shapes = [("\t" in line) for block in blocks for line in block.raw.split("\n") if not line.startswith("#")]
    tabs = 2 * sum(shapes) > len(shapes)
    blocks = _without_comments(path, blocks, tabs)
    width = _width(blocks, tabs)
    found = [_place(path, width, label_column, require_labels) for label_column in label_columns]
    places = tuple(place for place in found if place is not None)
    sentences = (_sentence(path, block, tabs, width, places) for block in blocks)
    return collect(sentences, path, on_error), blocks, bool(places)


def _blocks(path: FilePath) -> list[_Block]:
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


def _without_comments(path: FilePath, blocks: list[_Block], tabs: bool) -> list[_Block]:
    """Blocks without the comments before their first word.

    A word may be `#` or begin with it. With tabs, a comment is a `#` line without one. With blanks, it is a `#` line whose
    number of columns is not that of the file, or one with a blank after its `#` whose last column is no tag of a word. Where
    nothing is between `#` and the next letter, the line has the shape of a word's: it is a word if other words have its tag,
    and otherwise a faulty line, for it could be either.
    """
    words = [line for block in blocks for line in _after_head(block)]
    width = _most_common(len(split_columns(line, tabs)) for line in words)
    tags = {split_columns(line, tabs)[-1] for line in words}
    tags |= _tags_of_hashtags(blocks, tabs, width)

    def judge(number: int, line: str | BadLine) -> str | BadLine | None:
        """The line as it is, or as a fault, None for a comment."""
        if not isinstance(line, str) or not line.startswith("#"):
            return line
        if tabs:
            return line if "\t" in line else None
        cells = split_columns(line, tabs)
        if len(cells) != width or (cells[0] == "#" and width > 1 and cells[-1] not in tags):
            return None
        if width == 1 or cells[-1] in tags:
            return line
        fault = BadLine(
            f"{cells[0]!r} may be a word or a comment: no other word has the tag {cells[-1]!r}",
            path=path,
            line=number,
            repair="correct the tag, or write a blank after the # of a comment",
        )
        fault.text = line
        return fault

    kept = []
    for block in blocks:
        start, lines = 0, list(block.lines)
        while start < len(lines) and isinstance(line := lines[start][1], str) and line.startswith("#"):
            judged = judge(lines[start][0], line)
            if judged is not None:
                lines[start] = lines[start][0], judged
                break
            start += 1
        if start < len(lines):
            kept.append(_Block(lines[start:]))
    return kept


def _after_head(block: _Block) -> list[str]:
    """The lines of a block that are words for certain: from the first that does not begin with `#` on."""
    lines = [line for _, line in block.lines if isinstance(line, str)]
    head = next((place for place, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return lines[head:]


def _tags_of_hashtags(blocks: list[_Block], tabs: bool, width: int) -> set[str]:
    """Last columns that several different words with a `#` in front have, at the head of sentences."""
    found: dict[str, set[str]] = {}
    for block in blocks:
        for _, line in block.lines:
            if not isinstance(line, str) or not line.startswith("#"):
                break
            cells = split_columns(line, tabs)
            if len(cells) == width and cells[0] != "#":
                found.setdefault(cells[-1], set()).add(cells[0])
    return {tag for tag, words in found.items() if len(words) > 1}


def _width(blocks: list[_Block], tabs: bool) -> int:
    return _most_common(
        len(split_columns(line, tabs)) for block in blocks for _, line in block.lines if isinstance(line, str)
    )


def _most_common(numbers: Iterable[int]) -> int:
    counts = Counter(numbers)
    return max(counts, key=lambda one: (counts[one], one), default=0)


def _place(path: FilePath, width: int, label_column: int | None, require_labels: bool) -> int | None:
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


def _sentence(path: FilePath, block: _Block, tabs: bool, width: int, places: tuple[int, ...]) -> Tagged | Faulty:
    tokens: list[str] = []
    tags: list[str] = []
    for number, line in block.lines:
        if isinstance(line, BadLine):
            return Faulty(line, block.whole)
        cells = split_columns(line, tabs)
        empty = next((place for place in places if len(cells) == width and not cells[place].strip()), None)
        wrong = None
        if len(cells) != width:
            wrong = f"{len(cells)} columns where the file has {width}", "one word a line, the same columns in each"
        elif not cells[0].strip():
            wrong = "the word is empty", "write the word in the first column"
        elif empty is not None:
            wrong = f"the tag of {cells[0]!r} is empty", f"write the tag in column {empty}"
        if wrong is not None:
            return Faulty(BadData(wrong[0], path=path, line=number, repair=wrong[1]), block.whole)
        tokens.append(cells[0].strip())
        tags.append("\t".join(cells[place].strip() for place in places))
    gold = tuple(tags) if places else None
    return Example(Words(tuple(tokens)), gold, Source(str(path), block.first))


def to_iob2(
    result: ReadResult[Tagged],
    path: FilePath,
    on_error: str,
    scheme: str | None,
    lines: list[list[int]],
    like: Like = None,
) -> ReadResult[Tagged]:
    """The same sentences with span tags as IOB2; tags that name no spans stay as they are.

    `lines`: for each sentence of the file, the line of every word, the sentence known by the first of them. `scheme` and `like`
    as in `find_scheme`. A tag that is not allowed in its place makes its sentence faulty: BadData when `on_error` is
    "stop", else it is set aside. Raises UsageError for an unknown scheme.
    """
    tags = [sentence.gold or () for sentence in result.examples]
    found = find_scheme(tags, scheme, like)
    if found is None:
        return result
    distinct = set().union(*tags)
    known = sum(found.knows(tag) for tag in distinct)
    if isinstance(like, Scheme) and (
        found.typed != like.typed or (known <= (found.outside in distinct) and len(distinct) > 1)
    ):
        raise BadData(
            f"its tags are {', '.join(sorted(distinct)[:5])}, those of the training data are {like}", path=path,
            repair="give a file with the same kind of tags, or name its column with --label-column",
        )  # fmt: skip
    word_lines = {numbers[0]: numbers for numbers in lines if numbers}

    def convert() -> Iterator[Tagged | Faulty]:
        for sentence, own in zip(result.examples, tags, strict=True):
            fault = found.first_fault(own)
            if fault is None:
                yield replace(sentence, gold=found.to_iob2(own))
                continue
            place, message = fault
            repair = f"correct it, or name the scheme of the file, which looks like {found.name}, with --scheme"
            if not found.knows(own[place]):
                message = f"{known} of {len(distinct)} tags look like {found.name}, {own[place]!r} does not"
                repair = "correct it, or give --scheme plain"
            numbers = word_lines.get(sentence.source.line, [])
            line = numbers[place] if place < len(numbers) else sentence.source.line
            raw = "\n".join(f"{token}\t{tag}" for token, tag in zip(sentence.input.tokens, own, strict=True))
            yield Faulty(BadData(message, path=path, line=line or None, repair=repair), raw)

    converted = collect(convert(), path, on_error)
    rejected = sorted(result.rejected + converted.rejected, key=lambda one: one.line)
    return ReadResult(converted.examples, rejected, result.rows, found)
