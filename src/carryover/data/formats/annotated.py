"""Sentences with several labels a word: fields of a treebank, columns of a CoNLL file, or keys of JSONL rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as ListOf
from dataclasses import replace

from carryover.data.formats.choosing import choose_format, is_builtin
from carryover.data.formats.columns import read_column_cells
from carryover.data.formats.conllu import field_name, read_conllu_fields
from carryover.data.formats.opening import FilePath
from carryover.data.formats.reading import json_sentences
from carryover.data.formats.text import Faulty, ReadResult, Tagged, check_on_error, collect
from carryover.data.label_columns import BETWEEN, LabelColumn, joined_cells
from carryover.errors import BadData, UsageError

Spelling = Callable[[str, str], str]
"""The one spelling of a cell, given the name of its column. Raises ValueError for what cannot be in it."""


def read_annotated(
    path: FilePath,
    columns: ListOf[LabelColumn],
    *,
    format: str | None = None,
    on_error: str = "stop",
    require_labels: bool = True,
    spelling: Spelling = lambda _, cell: cell,
) -> ReadResult[Tagged]:
    """Sentences whose words have a cell in each of `columns`, as `joined_cells` writes them; without `require_labels` the words alone.

    A column that is given by its number has, in a treebank, the name of its field. Raises InputMissing, UsageError for a column
    that there cannot be, BadData with file and line.
    """
    check_on_error(on_error)
    if is_builtin(path):
        raise UsageError(f"{path} has one column of tags", repair="leave --label-column out, or give a file")
    format = choose_format(path, format, "tags", otherwise="conll")
    columns = columns if require_labels else ()
    names = [column.name for column in columns]
    if format == "conllu":
        fields = [column.place for column in columns]
        names = [field_name(column.place) if column.name.isdigit() else column.name for column in columns]
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise UsageError(f"the field {repeated!r} is named twice", path=path, repair="name every field once")
        result = read_conllu_fields(path, fields, on_error=on_error, require_labels=require_labels)
    elif format == "jsonl":
        keys = tuple(str(column.place) for column in columns)
        result = collect(json_sentences(path, keys, require_labels), path, on_error)
    else:
        places = [_number(column, path) for column in columns]
        result = read_column_cells(path, places, on_error=on_error, require_labels=require_labels)
    if not require_labels:
        bare = [replace(sentence, gold=None) for sentence in result.examples]
        return ReadResult(bare, result.rejected, result.rows)
    spelt = collect(_spelt(result.examples, names, spelling, path), path, on_error)
    rejected = sorted(result.rejected + spelt.rejected, key=lambda one: one.line)
    return ReadResult(spelt.examples, rejected, result.rows)


def _number(column: LabelColumn, path: FilePath) -> int:
    if isinstance(column.place, int):
        return column.place
    raise UsageError(
        f"column {column.place!r}: the columns of a CoNLL file have no names",
        path=path,
        repair=f"write {column.name}=NUMBER, the columns counted from 0",
    )


def _spelt(sentences: ListOf[Tagged], names: list[str], spelling: Spelling, path: FilePath) -> Iterator[Tagged | Faulty]:
    known: dict[str, str] = {}

    def word(tag: str) -> str:
        if tag not in known:
            cells = tag.split(BETWEEN)
            known[tag] = joined_cells(names, map(spelling, names, cells))
        return known[tag]

    for sentence in sentences:
        try:
            yield sentence if sentence.gold is None else replace(sentence, gold=tuple(map(word, sentence.gold)))
        except ValueError as error:
            fault = BadData(str(error), path=path, line=sentence.source.line or None, repair="write _ for none")
            yield Faulty(fault, sentence.input.shown)
