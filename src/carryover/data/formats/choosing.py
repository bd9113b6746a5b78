"""The one table of formats: what each holds, and how it is recognised: by option, by the file's name, or by how the file begins."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from carryover.data.formats.opening import BadLine, FilePath, inner_suffix, open_bytes, scan_lines
from carryover.data.formats.text import FASTTEXT
from carryover.errors import BadData, UsageError, nearest

READINGS = {"texts": "labelled texts", "tags": "tagged sentences", "raw": "running text"}


@dataclass(frozen=True)
class Format:
    """What a format is called in a sentence, the suffixes that mean it, and which of `READINGS` it has."""

    called: str
    suffixes: tuple[str, ...]
    readings: tuple[str, ...]


FORMATS = {
    "text": Format("plain text", (), ("texts", "raw")),
    "tsv": Format("a TSV table", (".tsv", ".tab"), ("texts", "raw")),
    "csv": Format("a CSV table", (".csv",), ("texts", "raw")),
    "jsonl": Format("JSON rows", (".jsonl", ".ndjson", ".json"), ("texts", "tags", "raw")),
    "parquet": Format("a Parquet table", (".parquet", ".pq"), ("texts", "raw")),
    "label-first": Format("label-first lines", (), ("texts", "raw")),
    "conll": Format("CoNLL columns", (".conll", ".iob", ".iob2", ".bio", ".bioes", ".bmes"), ("tags", "raw")),
    "conllu": Format("CoNLL-U", (".conllu", ".conllup"), ("tags", "raw")),
}
"""All formats by their names on the command line."""

_TABLES_OF_TAGS = (".tsv", ".tab")  # of tagged sentences these are columns
_OPEN = ("", ".txt", ".text")  # suffixes that say nothing of what is in a text
_LOOKED_AT = 5  # lines


def is_builtin(path: FilePath) -> bool:
    """Whether the name asks for built-in data. Raises UsageError for a name that begins so and does not exist."""
    if not str(path).startswith("builtin:"):
        return False
    from carryover.data.builtin import parse_name

    parse_name(str(path))
    return True


def choose_format(path: FilePath, format: str | None, reading: str, *, otherwise: str) -> str:
    """The format asked for, else what the name's suffix means, else what the content looks like, else `otherwise`.

    The content is asked only where the suffix says nothing (none, `.txt`, `.text`), and knows JSON objects, CoNLL-U,
    Parquet and lines of fastText. Raises UsageError for a format that is unknown or has no such `reading`.
    """
    known = [name for name, one in FORMATS.items() if reading in one.readings]
    if format is not None:
        if format not in FORMATS:
            hint = nearest(format, known, otherwise="")
            listed = f"the formats are {', '.join(known)}"
            raise UsageError(
                f"format {format!r} is unknown here", path=path, repair=f"{hint} {listed}".strip() if hint else listed
            )
        return _checked(path, format, reading, known, "its format")
    suffix = inner_suffix(path)
    if reading == "tags" and suffix in _TABLES_OF_TAGS:
        return "conll"
    meant = [name for name, one in FORMATS.items() if suffix in one.suffixes]
    if meant:
        return _checked(path, meant[0], reading, known, f"its suffix {suffix}")
    found = _looks_like(path) if suffix in _OPEN else None
    return otherwise if found is None else _checked(path, found, reading, known, "its beginning")


def _checked(path: FilePath, format: str, reading: str, known: list[str], by: str) -> str:
    if format in known:
        return format
    raise UsageError(
        f"is {FORMATS[format].called} by {by}, which holds no {READINGS[reading]}",
        path=path,
        repair=f"give another file, or say what it is with --format {'|'.join(known)}",
    )


def holds_tags(path: FilePath, format: str | None) -> bool:
    """Whether a labelled file holds tagged sentences, as far as format or suffix tell."""
    suffix = inner_suffix(path)
    meant = [format] if format else [name for name, one in FORMATS.items() if suffix in one.suffixes]
    return any(name in ("conll", "conllu") for name in meant)


def is_wordy(path: FilePath, format: str | None) -> bool:
    """Whether nothing but the content could say that the file is more than lines of text."""
    return format is None and inner_suffix(path) in _OPEN


def _looks_like(path: FilePath) -> str | None:
    """The format that the first lines show beyond doubt."""
    if Path(path).is_dir():
        return None
    try:
        with open_bytes(path) as stream:
            if stream.peek(4)[:4] == b"PAR1":  # type: ignore[attr-defined]
                return "parquet"
        lines = [line for _, line in islice(scan_lines(path), 50) if isinstance(line, BadLine) or line.strip()]
    except BadData:
        return None  # whoever reads it says what is wrong, and where
    first = [line for line in lines[:_LOOKED_AT] if isinstance(line, str)]
    if not first:
        return None
    if all(line.startswith("{") and _is_object(line) for line in first):
        return "jsonl"
    if all(line.startswith(FASTTEXT) for line in first):
        return "label-first"
    words = [line.split("\t") for line in lines if isinstance(line, str) and not line.startswith("#")]
    if first[0].startswith("# global.columns") or (
        words and all(len(row) == 10 for row in words) and words[0][0][:1] == "1"
    ):
        return "conllu"
    return None


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
