"""`carryover predict`: labels for new text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from carryover.cli import options
from carryover.cli.options import Given, filling
from carryover.cli.output import print_document, print_rows, print_text, say_when_waiting
from carryover.data.columns import Columns
from carryover.data.schemes import AUTO
from carryover.errors import UsageError
from carryover.progress import say
from carryover.setting import DATA, OUTPUT, RESULT


def predict(
    model: Annotated[Path, typer.Argument(help="Folder of a trained task.")],
    columns: Annotated[Given, filling(Columns, "text_column", otherwise="as in training")],
    reading: Annotated[Given, filling(Columns, "format", "on_error")],
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE|-]",
            help="A table or a file of columns, known by its name; any other file is one text a line. Default: standard input.",
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text", help="A text in place of a file; may be given several times.", metavar="TEXT", rich_help_panel=DATA
        ),
    ] = None,
    scheme: Annotated[
        str,
        typer.Option(
            "--scheme",
            help="Span scheme to write the tags in: bioes, bmes, … auto: as in training.",
            metavar="SCHEME",
            rich_help_panel=RESULT,
        ),
    ] = AUTO,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities",
            help="Print the probability of each answer too. With --out or --keep-rows: of every label.",
            rich_help_panel=RESULT,
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Write all rows of FILE with their answers into a .csv, .tsv, .jsonl, .parquet, .conllu or .conll file.",
            metavar="FILE",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    keep_rows: Annotated[
        bool,
        typer.Option(
            "--keep-rows",
            help="Print FILE in its own format, all columns kept, with the answers.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    answer_column: Annotated[
        str,
        typer.Option("--answer-column", help="Name of the column of the answers.", metavar="NAME", rich_help_panel=OUTPUT),
    ] = "prediction",
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    r"""Predict for every line, in order: `label TAB text` for a classifier, `word TAB tag` lines for a tagger.

    Each row is one line: in a cell a tab is written \t, a line break \n or \r, a backslash \\, a comma in a label \,.
    With --out or --keep-rows every row keeps its other columns. An answer never depends on the other lines.
    """
    from carryover.devices import choose_device
    from carryover.encoders.loading import load
    from carryover.transfer import answers
    from carryover.transfer.predictions import items_to_predict, prediction_cells, prediction_rows, require_task

    if text and source is not None:
        raise UsageError("--text and FILE are both given", repair="give one of them")
    if keep_rows and (out is not None or as_json):
        raise UsageError(
            f"--keep-rows prints the file, and {'--out' if out is not None else '--json'} is given",
            repair="give one of them",
        )
    source = source or "-"
    if out is not None:
        answers.check_out(out, source)
    predictor = require_task(load(model, device=choose_device(device)), model)
    predictor.task.write_in(scheme)
    if text:
        items = answers.text_items(predictor, text)
    else:
        say_when_waiting(source)
        items = items_to_predict(predictor, source, **columns, **reading, rejects=answers.rejected_file(source))
    how: dict[str, Any] = {"column": answer_column, "every": probabilities}
    if out is not None:
        answers.write_answers(predictor, items, out, **how)
        say(f"{out}: {len(items.examples):,} rows with their answers")
        if as_json:
            print_document({"schema": "carryover.predict-file/1", "out": str(out), "rows": len(items.examples)})
        return
    if keep_rows:
        print_text([answers.written(predictor, items, None, **how)])
        return
    rows = prediction_rows(predictor, items.examples)
    if as_json:
        print_document({"schema": "carryover.predict/1", "labels": list(predictor.task.answers), "predictions": list(rows)})
    else:
        print_rows(prediction_cells(predictor, rows, probabilities=probabilities))
