"""`carryover predict`: labels for new text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carryover.cli import options
from carryover.cli.output import print_document, print_rows, say_when_waiting, suggest_next


def predict(
    model: Annotated[Path, typer.Argument(help="Folder of a trained task.")],
    source: Annotated[
        str,
        typer.Argument(
            metavar="[FILE|-]", help="A table or columns by its name, else one text a line; - or nothing: standard input."
        ),
    ] = "-",
    text_column: Annotated[
        str | None, typer.Option("--text-column", help="Column of the text in a table; default: as in training.")
    ] = None,
    format: options.Format = None,
    scheme: Annotated[
        str, typer.Option("--scheme", help="Span scheme to write the tags in: bioes, bmes, …; default: as in training.")
    ] = "auto",
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also the probability of the answer.")] = False,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    r"""Predict for every line, in order: `label TAB text` for a classifier, `word TAB tag` lines for a tagger.

    A row is one line: within a cell a tab is \t, a line break \n or \r, a backslash \\, a comma in a label \,.
    An answer never depends on the lines beside it.
    """
    from carryover.devices import choose_device
    from carryover.encoders.loading import load
    from carryover.transfer.predictions import items_to_predict, prediction_cells, prediction_rows, require_task

    predictor = require_task(load(model, device=choose_device(device)), model)
    predictor.task.write_in(scheme)
    say_when_waiting(source)
    items = items_to_predict(predictor, source, text_column=options.column(text_column), format=format)
    rows = prediction_rows(predictor, items)
    if as_json:
        print_document({"schema": "carryover.predict/1", "labels": list(predictor.task.answers), "predictions": list(rows)})
    else:
        print_rows(prediction_cells(rows, probabilities=probabilities))
    suggest_next(["carryover", "evaluate", model, "--test", "TEST" if source == "-" else options.beside(source, "test")])
