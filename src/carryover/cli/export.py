"""`carryover export`: a model of ours in somebody else's format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carryover.cli import options
from carryover.cli.output import print_document, print_lines, suggest_next
from carryover.errors import UsageError, nearest
from carryover.progress import say
from carryover.setting import OUTPUT

FORMATS = ("elmo",)


def export(
    format: Annotated[str, typer.Argument(metavar="FORMAT", help="elmo: options.json and HDF5 weights as published.")],
    model: Annotated[Path, typer.Argument(help="Folder of the model.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="Folder for the files: a new one, or one with an earlier export.",
            metavar="FOLDER",
            rich_help_panel=OUTPUT,
        ),
    ],
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a model in a published format. The files are read back and compared before they replace others."""
    if format not in FORMATS:
        raise UsageError(f"cannot export {format!r}", repair=nearest(format, sorted(FORMATS)))
    from carryover.interop.elmo.published import export_elmo

    found = export_elmo(model, out)
    if as_json:
        print_document(found)
    else:
        print_lines([f"{out}: {found['parameters']:,} parameters in {', '.join(found['files'].values())}"])
    if found["left_out"] and not quiet:
        say("left out, as the format has no place for it: the output layer")
    files = {name: out / file for name, file in found["files"].items()}
    arguments = ["--options", files["options"], "--weights", files["weights"], "--out", "runs/elmo"]
    suggest_next(["carryover", "import", "elmo", *arguments])
