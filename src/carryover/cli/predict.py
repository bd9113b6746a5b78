"""`carryover predict`: labels for new text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carryover.cli import options
from carryover.cli.options import Given, filling
from carryover.cli.output import print_document, print_rows, say_when_waiting, suggest_next
from carryover.data.columns import Columns
from carryover.data.schemes import AUTO
from carryover.setting import RESULT


def predict(
    model: Annotated[Path, typer.Argument(help="Folder of a trained task.")],
    columns: Annotated[Given, filling(Columns, "text_column", otherwise="as in training")],
    reading: Annotated[Given, filling(Columns, "format")],
    source: Annotated[
        str,
        typer.Argument(
            metavar="[FILE|-]",
            help="A table or a file of columns, known by its name; any other file is one text a line. Default: standard input.",
        ),
    ] = "-",
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
        bool, typer.Option("--probabilities", help="Print the probability of each answer too.", rich_help_panel=RESULT)
    ] = False,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    r"""Predict for every line, in order: `label TAB text` for a classifier, `word TAB tag` lines for a tagger.

    Each row is one line: in a cell a tab is written \t, a line break \n or \r, a backslash \\, a comma in a label \,.
    An answer never depends on the other lines.
    """
    from carryover.devices import choose_device
    from carryover.encoders.loading import load
    from carryover.transfer.predictions import items_to_predict, prediction_cells, prediction_rows, require_task

    predictor = require_task(load(model, device=choose_device(device)), model)
    predictor.task.write_in(scheme)
    say_when_waiting(source)
    items = items_to_predict(predictor, source, **columns, **reading)
    rows = prediction_rows(predictor, items)
    if as_json:
        print_document({"schema": "carryover.predict/1", "labels": list(predictor.task.answers), "predictions": list(rows)})
    else:
        print_rows(prediction_cells(predictor, rows, probabilities=probabilities))
    suggest_next(["carryover", "evaluate", model, "--test", "TEST" if source == "-" else options.beside(source, "test")])
