"""Options that several verbs share, spelled and explained once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from carryover.errors import UsageError

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random; the same seed gives the same numbers.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N. auto takes a GPU when there is one.")]
Task = Annotated[str, typer.Option("--task", help="classify (one text, one or more labels) or tag (a label a token).")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, estimate time and memory, do nothing.")]
TextColumn = Annotated[
    str, typer.Option("--text-column", help="Column of the text: a name, or a number from 0 for files without header.")
]
LabelColumn = Annotated[
    str | None,
    typer.Option("--label-column", help="Column of the label: a name, or a number from 0 for files without header."),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="text, tsv, csv, jsonl, parquet, label-first, conll or conllu; default: by the file's name, else its beginning.",
    ),
]
RawColumn = Annotated[
    str,
    typer.Option("--raw-column", help="Column of the text where --raw is a table or JSON rows: a name, or a number from 0."),
]
RawFormat = Annotated[
    str | None,
    typer.Option("--raw-format", help="Format of --raw: text, or one of those of --format; default: by the file's name."),
]
OnError = Annotated[
    str, typer.Option("--on-error", help="stop at the first bad row, or skip bad rows and write them to a rejects file.")
]
MultiLabel = Annotated[
    str | None, typer.Option("--multi-label", help="Separator between the labels of a text, for several labels a text.")
]
Coarse = Annotated[
    str | None,
    typer.Option("--coarse", help="Keep of each label what stands before this sign: with ':' NUM:dist is read as NUM."),
]
Scheme = Annotated[
    str,
    typer.Option(
        "--scheme",
        help="Span scheme of the tags: iob1, iob2, bioes, bilou, bmes, bmewo; plain: they are no spans; auto: by the file.",
    ),
]
Metric = Annotated[
    str,
    typer.Option(
        "--metric",
        help="accuracy, macro_f1, micro_f1 or span_f1. auto: span_f1 for span tags, macro_f1 where more than two thirds of "
        "the examples have one label or texts have several, else accuracy.",
    ),
]
ClassWeights = Annotated[
    str,
    typer.Option("--class-weights", help="balanced: rare classes weigh as much as frequent ones in the loss; or none."),
]
TimeLimit = Annotated[
    str | None, typer.Option("--time-limit", help="Stop after this long: seconds, or 90s, 15m, 2h. What is done is kept.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder for everything the run makes; the same command continues it.")]

Placement = Annotated[
    str,
    typer.Option(
        "--elmo-placement", help="Where the mixed layers join the task's own LSTM: input, output or both (frozen)."
    ),
]

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str | None) -> float | None:
    """`90`, `90s`, `15m`, `1.5h` in seconds. Raises UsageError for anything else."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text)
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"time limit {text!r} is not a time above 0", repair="write 90, 90s, 15m or 2h")
    return float(match[1]) * _UNITS[match[2]]


_SIGNS = {r"\\n": r"\n", r"\\t": r"\t"}


def sign(text: str) -> str:
    r"""A text as it is written on a command line: `\n` is the end of a line and `\t` a tab, also several of them; `\\n` and `\\t`
    are these two signs themselves; anything else is what it is, such as `\` and `\section`."""
    if re.fullmatch(r"(\\[nt])+", text):
        return text.replace(r"\n", "\n").replace(r"\t", "\t")
    return _SIGNS.get(text, text)


def beside(source: str, part: str) -> str:
    """A name for a file like `source` with another part of the data, as a hint: `TEST.tsv.gz`, `builtin:grammar/test`."""
    if source.startswith("builtin:"):
        name, mark, sizes = source.partition("?")
        return f"{name.partition('/')[0]}/{part}{mark}{sizes}"
    return part.upper() + "".join(Path(source).suffixes[-2:])


def sources(text: str) -> tuple[str, ...]:
    """Names of files with commas between them; a file whose own name has commas is found as it is. Raises UsageError."""
    if Path(text).exists():
        return (text,)
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise UsageError(f"{text!r} names no file at one of its commas", repair="write one.txt,two.txt")
    return names


def of_reading(
    text_column: str,
    label_column: str | None,
    format: str | None,
    multi_label: str | None,
    coarse: str | None,
    scheme: str,
) -> list[str]:
    """The options that say how a labelled file is read, for another command about the same file."""
    given = {
        "--text-column": None if text_column == "text" else text_column,
        "--label-column": label_column,
        "--format": format,
        "--multi-label": multi_label,
        "--coarse": coarse,
        "--scheme": None if scheme == "auto" else scheme,
    }
    return [word for name, value in given.items() if value is not None for word in (name, value)]


def column(text: str | None) -> Any:
    """A column by number (files without a header) or by name."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else text
