"""The readers a person calls: labelled texts, tagged sentences, running text, from files and from the built-in data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from carryover.data.examples import Example, Source, Text, Words
from carryover.data.formats import tables
from carryover.data.formats.cells import label_cell, text_cell
from carryover.data.formats.choosing import FORMATS, choose_format, is_builtin
from carryover.data.formats.columns import read_columns, to_iob2
from carryover.data.formats.conllu import read_conllu
from carryover.data.formats.folders import read_files
from carryover.data.formats.opening import FilePath, scan_lines
from carryover.data.formats.spooling import STANDARD_INPUT
from carryover.data.formats.text import (
    Faulty,
    LabelledText,
    ReadResult,
    Rejected,
    Tagged,
    check_on_error,
    check_unicode,
    collect,
    label_first_examples,
    looks_label_first,
    plain_examples,
)
from carryover.data.formats.word_stream import raw_lines
from carryover.data.schemes import SCHEMES, Like, scheme_name
from carryover.errors import BadData, UsageError
from carryover.escaping import one_json

__all__ = [
    "SCHEMES", "TAG_FORMATS", "TEXT_FORMATS", "ReadResult", "Rejected",
    "is_builtin", "read_raw", "read_tagged", "read_texts", "write_rejected",
]  # fmt: skip

TEXT_FORMATS = tuple(name for name, one in FORMATS.items() if "texts" in one.readings)
TAG_FORMATS = tuple(name for name, one in FORMATS.items() if "tags" in one.readings)


def read_texts(
    path: FilePath,
    *,
    text_column: str | int = "text",
    label_column: str | int = "label",
    format: str | None = None,
    on_error: str = "stop",
    multi_label: str | None = None,
    coarse: str | None = None,
    require_labels: bool = True,
) -> ReadResult[LabelledText]:
    """Labelled texts of a TSV, CSV, JSONL, Parquet or label-first file, or lines without labels; .gz and .xz of each.

    Numbers as columns (from 0) say that there is no header. `multi_label` is what separates several labels in a cell;
    without it a row has exactly one. `coarse` keeps of each label the part before that sign (`NUM:dist` → `NUM`). With
    `require_labels=False` the label column may be absent or empty. The format follows from the name, else from how the file
    begins (see `choosing`); other `.txt` files are label-first when labels are required (tab separated when they have tabs),
    else plain lines. `on_error="skip"` sets faulty rows aside
    in `rejected` instead of raising at the first.

    Raises InputMissing, BadData (with line and repair), UsageError, ExtraMissing.
    """
    check_on_error(on_error)
    if "" in (multi_label, coarse):
        raise UsageError("the separator of labels is empty", repair='give one such as "," or "|"')
    if is_builtin(path):
        from carryover.data import builtin

        examples = builtin.classified(str(path).removeprefix("builtin:"))
        return ReadResult(examples, [], len(examples))
    result = _read_texts(path, text_column, label_column, format, on_error, multi_label, require_labels)
    if coarse is None:
        return result
    return replace(result, examples=[_coarser(example, coarse) for example in result.examples])


def _coarser(example: LabelledText, separator: str) -> LabelledText:
    if example.gold is None:
        return example
    return replace(example, gold=tuple(dict.fromkeys(label.split(separator)[0] or label for label in example.gold)))


def _read_texts(
    path: FilePath,
    text_column: str | int,
    label_column: str | int,
    format: str | None,
    on_error: str,
    multi_label: str | None,
    require_labels: bool,
) -> ReadResult[LabelledText]:
    given = format
    format = choose_format(path, format, "texts", otherwise="") or _usual_format(path, require_labels)
    if format == "text":
        if require_labels:
            raise UsageError("plain text has no labels", path=path, repair="give a TSV, CSV, JSONL or label-first file")
        return collect(plain_examples(path), path, on_error)
    if format == "label-first":
        if not require_labels:
            multi_label = multi_label or ","  # however many there are, they are passed over
        if given is None:
            looks_label_first(path, collect(label_first_examples(path, multi_label), path, "skip").examples)
        return collect(label_first_examples(path, multi_label), path, on_error)
    columns = [tables.Column.of(text_column), tables.Column.of(label_column, optional=not require_labels)]
    if isinstance(columns[0].name, int) and isinstance(columns[1].name, str) and not require_labels:
        columns = columns[:1]  # a file without a header has no column of that name
    records = tables.read_records(path, columns, format)
    return collect(_text_examples(path, records, columns, multi_label, require_labels), path, on_error)


def read_tagged(
    path: FilePath,
    *,
    label_column: str | int | None = None,
    format: str | None = None,
    on_error: str = "stop",
    require_labels: bool = True,
    scheme: str | None = None,
    like: Like = None,
) -> ReadResult[Tagged]:
    """Tagged sentences of a CoNLL column file, a CoNLL-U treebank or JSONL rows {"tokens": […], "tags": […]}.

    `label_column`: the number of a column (default: the last), the field of a treebank (default: "upos"), or the key of
    the tags in JSONL (default: "tags"). Span tags (see `carryover.data.schemes`) are detected over the whole file, validated, and
    handed out as IOB2. `scheme` names their scheme instead, or "plain" where tags are no spans; `like` is the scheme of the
    training data, see `find_scheme`. What is not CoNLL-U or JSON rows is columns.

    Raises InputMissing, BadData (with line and repair), UsageError.
    """
    check_on_error(on_error)
    scheme_name(scheme)
    if is_builtin(path):
        from carryover.data import builtin

        sentences = builtin.tagged(str(path).removeprefix("builtin:"))
        return to_iob2(ReadResult(sentences, [], len(sentences)), path, on_error, scheme, [], like)
    format = choose_format(path, format, "tags", otherwise="conll")
    if format == "conllu":
        trees = read_conllu(path, label_column=label_column, on_error=on_error, require_labels=require_labels)
        return to_iob2(trees, path, on_error, scheme, [], like)
    if format == "jsonl":
        key = "tags" if label_column is None else str(label_column)
        result = collect(json_sentences(path, (key,), require_labels), path, on_error)
        return to_iob2(result, path, on_error, scheme, [], like)
    if isinstance(label_column, str):
        if not (label_column.isascii() and label_column.isdigit()):
            raise UsageError(
                f"column {label_column!r}: the columns of a CoNLL file have no names", path=path,
                repair="give the number of the tag's column, from 0, or nothing for the last",
            )  # fmt: skip
        label_column = int(label_column)
    return read_columns(
        path, label_column=label_column, on_error=on_error, require_labels=require_labels, scheme=scheme, like=like
    )


def read_raw(
    path: FilePath, *, exact: bool = False, column: str | int = "text", format: str | None = None
) -> Iterator[tuple[int, str]]:
    """Running text as (line number, line); an empty string at blank lines, which separate documents. Streams.

    A folder or a pattern such as `thesis/**/*.tex` is read file by file in the order of their names, a blank line between
    them (see `folders`). `exact` keeps the white space around a line, such as the indentation of code. Of tables the text is
    in `column`, of tagged sentences the words are the text (see `word_stream`); `format` says what all the files are.

    Raises InputMissing, UsageError, and BadData with file and line at the first one that is no UTF-8 text.
    """
    if is_builtin(path):
        from carryover.data import builtin

        yield from enumerate(builtin.raw_lines(str(path).removeprefix("builtin:")), start=1)
    else:
        yield from read_files(
            path, lambda file: raw_lines(file, exact=exact, format=format, text_column=column), exact=exact
        )


def write_rejected(path: str | Path, rejected: Iterable[Rejected]) -> None:
    """The rows set aside, as JSONL with path, line, reason and text. Raises CannotWrite, DiskFault."""
    from carryover.storage import atomic_write

    atomic_write(Path(path), "".join(one_json(asdict(one)) + "\n" for one in rejected))


def _usual_format(path: FilePath, require_labels: bool) -> str:
    """Format of a file of texts that neither name nor beginning tell."""
    if not require_labels:
        return "text"
    if str(path) == STANDARD_INPUT:
        raise UsageError(
            "standard input has no file name to infer the format from", repair=f"name one of {', '.join(TEXT_FORMATS)}"
        )
    for _, line in scan_lines(path):
        if isinstance(line, str) and line.strip():
            return "tsv" if "\t" in line else "label-first"
    return "label-first"


def _text_examples(
    path: FilePath,
    records: Iterator[tables.Record | Faulty],
    columns: list[tables.Column],
    multi_label: str | None,
    require_labels: bool,
) -> Iterator[LabelledText | Faulty]:
    for record in records:
        if isinstance(record, Faulty):
            yield record
            continue
        text, label = (*record.cells, None)[:2]
        try:
            seen = Text(text_cell(text, columns[0].name))
            yield Example(seen, label_cell(label, multi_label, require_labels), Source(str(path), record.line))
        except BadData as error:
            yield Faulty(BadData(error.message, path=path, line=record.line, repair=error.repair), record.raw)


def json_sentences(path: FilePath, keys: tuple[str, ...], require_labels: bool) -> Iterator[Tagged | Faulty]:
    """Rows {"tokens": […], key: […], …}, the tags of all `keys` of a word with tabs between them."""
    for line, value, raw in tables.read_objects(path):
        if isinstance(value, BadData):
            yield Faulty(value, raw)
            continue
        try:
            yield _json_sentence(path, value, keys, require_labels, line)
        except BadData as error:
            yield Faulty(BadData(error.message, path=path, line=line, repair=error.repair), raw)


def _json_sentence(path: FilePath, value: dict[str, Any], keys: tuple[str, ...], require_labels: bool, line: int) -> Tagged:
    for name in ("tokens", *keys) if require_labels else ("tokens",):
        if name not in value:
            raise tables.missing_column(name, list(value), path, line)
    lists: list[tuple[str, ...]] = []
    for name in ("tokens", *keys):
        cells = value.get(name) or []
        if not isinstance(cells, list) or not all(isinstance(cell, str) and cell.strip() for cell in cells):
            raise BadData(f"{name!r} is not a list of strings that are not empty", repair='write ["word", "word"]')
        for cell in cells:
            check_unicode(cell)
        lists.append(tuple(cells))
    tokens, *tags = lists
    if not tokens:
        raise BadData("the sentence has no tokens", repair="remove the row")
    for key, cells in zip(keys, tags, strict=True):
        if len(tokens) != len(cells) and (cells or require_labels):
            raise BadData(f"{len(tokens)} tokens but {len(cells)} {key}", repair="give one tag for each token")
        if len(keys) > 1 and any("\t" in cell for cell in cells):
            raise BadData(f"a cell of {key!r} holds a tab", repair="leave tabs out of tags")
    gold = tuple("\t".join(cells) for cells in zip(*tags, strict=True)) if all(tags) else None
    return Example(Words(tokens), gold, Source(str(path), line))
