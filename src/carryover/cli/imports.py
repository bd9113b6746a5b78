"""`carryover import`: a model in somebody else's format becomes one of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carryover.cli import options
from carryover.cli.output import print_document, print_lines, suggest_next
from carryover.errors import UsageError, nearest
from carryover.progress import say
from carryover.setting import DATA, MODEL, OUTPUT

# What each format is read from: what must be given, what may be.
FORMATS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "elmo": (("options", "weights"), ()),
    "elmo --folder": (("folder",), ("options",)),
    "allennlp": (("archive",), ("options",)),
}


def import_published(
    format: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT",
            help="elmo: options.json and HDF5 weights as published, or the folder of a model of ELMoForManyLangs; "
            "allennlp: the ELMo inside a model.tar.gz.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="Folder of the model that is made. It is safe to run the same command again.",
            metavar="FOLDER",
            rich_help_panel=OUTPUT,
        ),
    ],
    options_file: Annotated[
        Path | None,
        typer.Option(
            "--options",
            help="ELMo's options.json; with --archive or --folder only if these lack it.",
            metavar="FILE",
            rich_help_panel=DATA,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="elmo: the HDF5 file of the weights.", metavar="FILE", rich_help_panel=DATA),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            help="elmo: a model of ELMoForManyLangs, with encoder.pkl and char.dic.",
            metavar="FOLDER",
            rich_help_panel=DATA,
        ),
    ] = None,
    archive: Annotated[
        Path | None, typer.Option("--archive", help="allennlp: the model.tar.gz.", metavar="FILE", rich_help_panel=DATA)
    ] = None,
    tokenizer: Annotated[
        str,
        typer.Option(
            "--tokenizer", help="words (by rule) or whitespace (for text that is tokenized already).", rich_help_panel=MODEL
        ),
    ] = "words",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a model folder from published files, for embed, train and compare. Nothing in the files is executed."""
    given = {"options": options_file, "weights": weights, "archive": archive, "folder": folder}
    sources = _sources("elmo --folder" if format == "elmo" and folder is not None else format, given)
    if format == "allennlp":
        from carryover.interop.elmo.allennlp_archive import import_allennlp

        result = import_allennlp(sources["archive"], out, options=sources.get("options"), tokenizer=tokenizer)
    elif "folder" in sources:
        from carryover.interop.elmo.many_langs import import_many_langs

        result = import_many_langs(sources["folder"], out, options=sources.get("options"), tokenizer=tokenizer)
    else:
        from carryover.interop.elmo.published import import_elmo

        result = import_elmo(sources["options"], sources["weights"], out, tokenizer=tokenizer)
    if as_json:
        print_document(result.to_json())
    else:
        print_lines([f"{out}: {result.record['parameters']:,} parameters read, all of them placed"])
    if not quiet:
        say("the files hold no output layer: the model gives vectors but cannot be scored as a language model")
        if result.ignored:
            say(f"ignored, not part of ELMo: {', '.join(result.ignored[:10])}{' …' if len(result.ignored) > 10 else ''}")
        for remark in result.remarks:
            say(remark)
    suggest_next(["carryover", "embed", out, "TEXTS.txt", "--out", "vectors.safetensors"])


def _sources(format: str, given: dict[str, Path | None]) -> dict[str, Path]:
    """What the format is read from. Raises UsageError for an unknown format and for a file too few or too many."""
    if format not in FORMATS:
        raise UsageError(f"cannot import {format!r}", repair=nearest(format, ("allennlp", "elmo")))
    needed, allowed = FORMATS[format]
    repair = f"give {' and '.join(f'--{name}' for name in needed)}"
    for name in needed:
        if given[name] is None:
            raise UsageError(f"import {format} needs --{name}", repair=repair)
    for name, path in given.items():
        if path is not None and name not in (*needed, *allowed):
            raise UsageError(f"import {format} reads no --{name}", repair=repair)
    return {name: path for name, path in given.items() if path is not None}
