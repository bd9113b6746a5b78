"""`carryover embed`: contextual vectors of text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from carryover.cli import options
from carryover.cli.output import print_document, print_lines, say_when_waiting, suggest_next
from carryover.errors import UsageError


def embed(
    model: Annotated[Path, typer.Argument(help="Folder of a pretrained language model.")],
    source: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="One text a line; - or nothing reads standard input.")
    ] = "-",
    layers: Annotated[
        str, typer.Option("--layers", help="mix (mean of all layers), top, or all (every layer kept).")
    ] = "mix",
    out: Annotated[
        Path | None, typer.Option("--out", help="A .safetensors file; without it JSON lines on standard output.")
    ] = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Turn every line of text into one vector a word. A line's vectors never depend on the lines beside it."""
    from carryover.data.opening import read_lines
    from carryover.training.devices import choose_device
    from carryover.training.embedding import embed_lines, save_embedded
    from carryover.training.loading import LanguageModel, load

    encoder = load(model, device=choose_device(device))
    if not isinstance(encoder, LanguageModel):
        raise UsageError("this is a task model and has no vectors to give", path=model, repair="give a pretrained model")
    say_when_waiting(source)
    embedded = embed_lines(encoder, (text for _, text in read_lines(source)), layers=layers)
    following = [
        "carryover",
        "train",
        "--task",
        "classify",
        "--train",
        "TRAIN.tsv",
        "--encoder",
        model,
        "--out",
        "runs/task",
    ]
    if out is not None:
        summary = save_embedded(out, embedded, layers=layers, quiet=quiet)
        if as_json:
            print_document({"schema": "carryover.embed/1", "file": str(out), "layers": layers, **summary})
        else:
            print_lines([f"{out}: {summary['words']:,} words of {summary['lines']:,} lines, {summary['size']} values each"])
        suggest_next(following)
        return
    rows = ({"words": line.words, "vectors": line.vectors.tolist()} for line in embedded)
    if as_json:
        print_document({"schema": "carryover.embed/1", "layers": layers, "lines": list(rows)})
    else:
        print_lines(json.dumps(row, ensure_ascii=False) for row in rows)
    suggest_next(following)
