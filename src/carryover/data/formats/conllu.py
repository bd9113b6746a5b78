"""Universal Dependencies treebanks (CoNLL-U) through the `conllu` library, with the checks it does not make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from carryover.data.examples import Example, Source, Words
from carryover.data.formats.opening import BadLine, FilePath, scan_lines
from carryover.data.formats.text import Faulty, ReadResult, Tagged, collect
from carryover.errors import BadData, UsageError

FIELDS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
LABELS = ("lemma", "upos", "xpos", "feats", "deprel", "deps", "misc")
_MAY_BE_EMPTY = ("feats", "deps", "misc")  # "_" says that a word has none, not that nobody looked

_Lines = list[tuple[int, str]]


def read_conllu(
    path: FilePath, *, label_column: str | int | None = None, on_error: str = "stop", require_labels: bool = True
) -> ReadResult[Tagged]:
    """Sentences of a treebank with one field of every word as its tag ("upos" by default; a number counts from 0).

    Multi-word ranges (`3-4`) and empty nodes (`8.1`) are passed over: the syntactic words remain. Every sentence is
    validated: ten columns, ids in order, heads within the sentence, no cycle, at least one root; heads may be left out
    altogether. Raises UsageError for an unknown field, BadData, InputMissing.
    """
    return _read(path, (_field(label_column),), on_error, require_labels, _MAY_BE_EMPTY)


def read_conllu_fields(
    path: FilePath, fields: Sequence[str | int], *, on_error: str = "stop", require_labels: bool = True
) -> ReadResult[Tagged]:
    """The same with several fields of every word, tabs between them. A word may lack its lemma, as the second part of one that
    is written in two has none."""
    names = tuple(map(_field, fields))
    return _read(path, names, on_error, require_labels, (*_MAY_BE_EMPTY, "lemma"))


def _read(
    path: FilePath, fields: tuple[str, ...], on_error: str, require_labels: bool, may_be_empty: tuple[str, ...]
) -> ReadResult[Tagged]:
    result = collect(_sentences(path, fields), path, on_error)
    cells = [tag.split("\t") for sentence in result.examples for tag in sentence.gold or ()]
    empty = [field for place, field in enumerate(fields) if all(row[place] == "_" for row in cells)]
    if empty:
        if require_labels:
            raise BadData(f"the field {empty[0]!r} is empty in the whole file", path=path, repair="choose another field")
        bare = [replace(sentence, gold=None) for sentence in result.examples]
        return ReadResult(bare, result.rejected, result.rows)
    filled = [(place, field) for place, field in enumerate(fields) if field not in may_be_empty]
    if require_labels and filled:
        checked = (_tagged_throughout(sentence, filled, path) for sentence in result.examples)
        complete = collect(checked, path, on_error)
        return ReadResult(complete.examples, result.rejected + complete.rejected, result.rows)
    return result


def field_of(label_column: str | int | None) -> int:
    """The place of a label field among the ten columns. Raises UsageError for an unknown one."""
    return FIELDS.index(_field(label_column))


def field_name(label_column: str | int | None) -> str:
    """Its name."""
    return _field(label_column)


def _field(label_column: str | int | None) -> str:
    if label_column is None:
        return "upos"
    if isinstance(label_column, str) and label_column.isascii() and label_column.isdigit():
        label_column = int(label_column)
    if isinstance(label_column, int):
        label_column = FIELDS[label_column] if 0 <= label_column < len(FIELDS) else str(label_column)
    if label_column in LABELS:
        return label_column
    close = get_close_matches(label_column.lower(), LABELS, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UsageError(f"CoNLL-U has no label field {label_column!r}", repair=f"{hint}the fields are {', '.join(LABELS)}")


def _tagged_throughout(sentence: Tagged, fields: list[tuple[int, str]], path: FilePath) -> Tagged | Faulty:
    for token, tag in zip(sentence.input.tokens, sentence.gold or (), strict=True):
        cells = tag.split("\t")
        lacking = next((field for place, field in fields if cells[place] == "_" and token != "_"), None)
        if lacking is not None:
            fault = BadData(
                f"{token!r} has no {lacking}",
                path=path,
                line=sentence.source.line,
                repair="fill it in or leave the sentence out",
            )
            return Faulty(fault, sentence.input.shown)
    return sentence


def _sentences(path: FilePath, fields: tuple[str, ...]) -> Iterator[Tagged | Faulty]:
    lines: list[tuple[int, str | BadLine]] = []
    for number, line in scan_lines(path):
        if isinstance(line, BadLine) or line.strip():
            lines.append((number, line))
        elif lines:
            yield _sentence(path, lines, fields)
            lines = []
    if any(isinstance(line, BadLine) or not line.startswith("#") for _, line in lines):
        yield _sentence(path, lines, fields)  # comments at the end of the file belong to nothing


def _sentence(path: FilePath, block: list[tuple[int, str | BadLine]], fields: tuple[str, ...]) -> Tagged | Faulty:
    raw = "\n".join(line.text if isinstance(line, BadLine) else line for _, line in block)
    lines: _Lines = []
    try:
        for number, line in block:
            if isinstance(line, BadLine):
                raise line
            lines.append((number, line))
        words = _words(path, lines)
        parsed = _parse(path, raw, lines[0][0])
        nodes = [node for node in parsed if isinstance(node["id"], int)]
        _check_tree(path, nodes, words)
    except BadData as error:
        return Faulty(error, raw)
    places = [FIELDS.index(field) for field in fields]
    cells = [line.split("\t") for _, line in words]
    tokens, tags = tuple(node["form"] for node in nodes), tuple("\t".join(one[place] for place in places) for one in cells)
    return Example(Words(tokens), tags, Source(str(path), words[0][0]))


def _words(path: FilePath, lines: _Lines) -> _Lines:
    """The lines of the syntactic words, after checking columns and ids of all lines."""
    words: _Lines = []
    covered = 0  # last word of the latest range
    for number, line in lines:
        if line.startswith("#"):
            if words:
                raise BadData("a comment inside a sentence", path=path, line=number, repair="put it before the first word")
            continue
        cells = line.split("\t")
        if len(cells) != len(FIELDS):
            raise BadData(
                f"{len(cells)} columns where CoNLL-U has 10", path=path, line=number, repair="use tabs; _ for empty"
            )
        if any(not cell.strip() or cell != cell.strip() or "  " in cell for cell in cells):
            name = next(f for f, c in zip(FIELDS, cells, strict=True) if not c.strip() or c != c.strip() or "  " in c)
            raise BadData(
                f"the field {name} is empty or has blanks at its ends", path=path, line=number, repair="write _ for empty"
            )
        identity, expected = cells[0], len(words) + 1
        if _is_number(identity):
            if int(identity) != expected:
                raise BadData(
                    f"the id is {identity}, not {expected}", path=path, line=number, repair="number the words 1, 2, 3, …"
                )
            words.append((number, line))
        elif "-" in identity:
            low, _, high = identity.partition("-")
            fits = _is_number(low) and _is_number(high) and int(low) == expected <= int(high) and expected > covered
            if not fits:
                raise BadData(
                    f"the range {identity} does not begin at the next word {expected}", path=path, line=number,
                    repair="put it before its first word; ranges must not overlap",
                )  # fmt: skip
            covered = int(high)
        elif not (all(_is_number(part) for part in identity.split(".")) and identity.startswith(f"{len(words)}.")):
            raise BadData(
                f"the id {identity!r} is neither {expected}, a range nor an empty node", path=path, line=number,
                repair=f"use {expected}, {expected}-{expected + 1} or {len(words)}.1",
            )  # fmt: skip
    if not words:
        raise BadData("a sentence without words", path=path, line=lines[0][0], repair="remove its comments")
    if covered > len(words):
        raise BadData(
            f"a range ends at word {covered} of {len(words)}", path=path, line=words[-1][0], repair="shorten the range"
        )
    return words


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 8


def _parse(path: FilePath, raw: str, line: int) -> Any:
    import conllu

    def head(cells: list[str], place: int) -> int | None:
        return None if cells[place] == "_" else int(cells[place]) if _is_number(cells[place]) else -1

    def as_is(cells: list[str], place: int) -> str:
        return cells[place]

    parsers: dict[str, Any] = {"head": head, "xpos": as_is, "misc": as_is, "feats": as_is}
    try:
        parsed = conllu.parse(raw, field_parsers=parsers)
    except Exception as error:  # conllu raises many kinds
        raise BadData(
            f"the sentence cannot be read ({error})", path=path, line=line, repair="see the CoNLL-U format"
        ) from error
    if len(parsed) != 1:
        raise BadData("the sentence cannot be read", path=path, line=line, repair="see the CoNLL-U format")
    return parsed[0]


def _check_tree(path: FilePath, nodes: list[Any], words: _Lines) -> None:
    """Heads are all there or none; within the sentence; without a cycle; at least one root."""
    if len(nodes) != len(words):
        raise BadData("the sentence cannot be read", path=path, line=words[0][0], repair="see the CoNLL-U format")
    heads = [node["head"] for node in nodes]
    for node, (line, text) in zip(nodes, words, strict=True):
        if not isinstance(node["form"], str) or not node["form"]:
            raise BadData("the form is empty", path=path, line=line, repair="write the word")
        feats = node["feats"]
        if feats != "_" and not all(0 < one.find("=") < len(one) - 1 for one in feats.split("|")):
            raise BadData(f"the features {feats!r} are not Name=Value|…", path=path, line=line, repair="write _ for none")
        if all(head is None for head in heads):
            continue
        if node["head"] is None or not 0 <= node["head"] <= len(nodes):
            given = text.split("\t")[FIELDS.index("head")]
            raise BadData(
                f"the head of word {node['id']} is {given}", path=path, line=line, repair=f"use 0 (root) to {len(nodes)}"
            )
    if heads[0] is not None:
        _check_reachable(path, heads, words)


def _check_reachable(path: FilePath, heads: list[int], words: _Lines) -> None:
    """Every word must lead to the root; following heads through known words costs linear time."""
    fine = {0}
    for start in range(1, len(heads) + 1):
        way: list[int] = []
        on_way: set[int] = set()
        word = start
        while word not in fine and word not in on_way:
            way.append(word)
            on_way.add(word)
            word = heads[word - 1]
        if word not in fine:
            raise BadData(
                f"the heads of words {', '.join(map(str, way[way.index(word) :][:8]))} form a cycle",
                path=path,
                line=words[word - 1][0],
                repair="give one of them another head",
            )
        fine.update(way)
