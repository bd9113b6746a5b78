"""`carryover embed`: contextual vectors of text."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from carryover.cli import options
from carryover.cli.options import Given, filling
from carryover.cli.output import print_document, print_json_lines, print_lines, say_when_waiting, suggest_next
from carryover.data.columns import Columns
from carryover.errors import UsageError
from carryover.progress import say
from carryover.setting import OUTPUT, RESULT, RUN


def embed(
    model: Annotated[Path, typer.Argument(help="Folder of a pretrained model.")],
    columns: Annotated[Given, filling(Columns, "text_column", "format")],
    source: Annotated[str, typer.Argument(metavar="[FILE|-]", help="Texts or sentences. Default: standard input.")] = "-",
    layers: Annotated[
        str,
        typer.Option(
            "--layers",
            help="mix (mean of all layers), top, all (each layer kept), or the number of a layer (0: tokens).",
            rich_help_panel=RESULT,
        ),
    ] = "mix",
    pool: Annotated[
        str | None,
        typer.Option("--pool", help="mean or max: one vector per line. Default: one per word.", rich_help_panel=RESULT),
    ] = None,
    carry_state: Annotated[
        bool,
        typer.Option(
            "--carry-state",
            help="Start each line from the state after the lines before, as the published ELMo programs do.",
            rich_help_panel=RESULT,
        ),
    ] = False,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size",
            help="With --carry-state: number of lines read side by side. Each continues from the line this many lines before.",
            rich_help_panel=RESULT,
        ),
    ] = 1,
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="float32; bfloat16 (faster if the processor has it; vectors at cosine 0.9999 of the exact ones); "
            "auto: bfloat16 on a GPU that has it.",
            rich_help_panel=RUN,
        ),
    ] = "float32",
    device: options.Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="A .safetensors, .npz, .hdf5 or .parquet file. Default: JSON lines on standard output.",
            metavar="FILE",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Turn every line of text into one vector per word, or with --pool into one vector.

    The vectors of a line never depend on other lines, unless --carry-state is given. With --out, the same command continues
    after an interruption. If the file is finished already, the command reports that and stops, unless it reads a stream.
    """
    from carryover.data.formats.word_stream import read_items
    from carryover.data.long_words import say_cut
    from carryover.devices import choose_device, choose_precision
    from carryover.encoders.embed_lines import embed_lines
    from carryover.encoders.loading import load_encoder
    from carryover.encoders.vector_files import Reread, save_embedded

    if batch_size != 1 and not carry_state:
        raise UsageError(
            f"--batch-size is {batch_size} without --carry-state",
            repair="leave it out: lines do not depend on each other and are read many at a time",
        )
    device = choose_device(device)
    precision = choose_precision(precision, device)
    encoder = load_encoder(model, device=device)
    if not encoder.reads_words:
        raise UsageError(f"is {encoder.description}, and embed reads text", path=model, repair="give a model of text")
    say_when_waiting(source)
    read = partial(read_items, source, **columns)
    lines = read()
    choice: dict[str, Any] = {
        "layers": layers,
        "pool": pool,
        "carry_rows": batch_size if carry_state else None,
        "precision": precision,
    }
    kept = {"layers": layers, "pool": pool, "precision": precision}
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
        # What is no stream can be read again, to see whether the file is there already.
        again = Reread(read) if Path(source).is_file() or source.startswith("builtin:") else lines
        summary = save_embedded(out, encoder, again, **choice, quiet=quiet)
        if as_json:
            print_document({"schema": "carryover.embed/1", "file": str(out), **kept, **summary})
        else:
            print_lines([f"{out}: {summary['words']:,} words of {summary['lines']:,} lines, {summary['size']} values each"])
        _say_long_lines(summary["long_lines"])
        say_cut(source, summary["cut_words"], summary["words"], encoder.coder.word_limit)
        suggest_next(following)
        return
    cut = long = words = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal cut, long, words
        for line in embed_lines(encoder, lines, **choice):
            cut += line.cut
            words += len(line.words)
            long += line.pieces > 1
            yield {"words": line.words, "vector" if pool else "vectors": line.vectors.tolist()}

    if as_json:
        document = {"schema": "carryover.embed/1", "layers": layers, "precision": precision, "lines": list(rows())}
        print_document({**document, "cut_words": cut, "long_lines": long})
    else:
        print_json_lines(rows())
    _say_long_lines(long)
    say_cut(source, cut, words, encoder.coder.word_limit)
    suggest_next(following)


def _say_long_lines(lines: int) -> None:
    from carryover.encoders.encoder import LONG

    if lines:
        say(f"lines longer than {LONG:,} words, read in pieces that carry their state on, so nothing is lost: {lines:,}")
