"""`carryover evaluate`: the score of a trained task on labelled examples, or of a pretrained model on raw data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from carryover.cli import options
from carryover.cli.options import Given, filling
from carryover.cli.output import print_document, print_lines, suggest_next
from carryover.data.columns import Columns
from carryover.data.metric_names import metric_title
from carryover.data.schemes import AUTO
from carryover.errors import GateNotMet, UsageError
from carryover.progress import say
from carryover.setting import DATA, RESULT, sources


def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of a trained task or of a pretrained model.")],
    columns: Annotated[Given, filling(Columns, "text_column", "label_column", otherwise="as in training")],
    reading: Annotated[Given, filling(Columns, "format", "scheme", "on_error")],
    test: Annotated[
        str,
        typer.Option(
            "--test",
            help="Labelled examples. For a pretrained model: raw text or series, or several: a.txt,b.txt.",
            metavar="FILE",
            rich_help_panel=DATA,
        ),
    ],
    require: Annotated[
        float | None,
        typer.Option(
            "--require",
            help="End with exit code 4 if the main score is lower than this, or the perplexity (of series the error) higher.",
            rich_help_panel=RESULT,
        ),
    ] = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Score a trained task (accuracy and macro-F1, or precision, recall and F1 of spans, in all and per label) or a pretrained
    model (on each file and on all together: a language model's perplexity, the error of a model of series).

    With --on-error skip, bad rows are written to TEST.rejected.jsonl in the working folder, and a label that was not in the
    training data counts as missed.
    """
    from carryover.devices import choose_device
    from carryover.encoders.loading import load
    from carryover.transfer.predicting import Predictor
    from carryover.transfer.predictions import evaluate_task, score_lines

    device = choose_device(device)
    found = load(model, device=device)
    if not isinstance(found, Predictor):
        for_tasks = {"--label-column": "label_column" in columns, "--scheme": reading.get("scheme", AUTO) != AUTO}
        given = [name for name, is_given in for_tasks.items() if is_given]
        if given:
            raise UsageError(
                f"{given[0]} is for a trained task, and this is a pretrained model", path=model, repair="leave it out"
            )
        how = {"device": device, "raw_column": columns.get("text_column"), "raw_format": reading.get("format")}
        _pretrained(found, model, sources(test), require, how, as_json)
        return
    if require is not None and not 0 <= require <= 1:
        raise UsageError(f"--require is {require:g}", repair="give a score from 0 to 1")
    scores: dict[str, Any] = evaluate_task(
        found,
        model,
        test,
        **{"on_error": Columns.on_error, **columns, **reading},
        rejects=Path(Path(test).name + ".rejected.jsonl"),
    )
    if as_json:
        print_document(scores)
    else:
        print_lines(score_lines(scores))
    if require is not None and scores["scores"]["main"] < require:
        raise GateNotMet(
            f"{metric_title(scores['scores']['main_name'])} {scores['scores']['main']:.4f} is below the required {require:g}",
            repair="train longer or with more labels, or lower --require",
        )
    suggest_next(
        ["carryover", "predict", model, options.beside(test, "new" if not test.startswith("builtin:") else "valid")]
    )


def _pretrained(
    found: Any, folder: Path, files: tuple[str, ...], require: float | None, how: dict[str, Any], as_json: bool
) -> None:
    from carryover.pretraining.evaluation import evaluate_pretrained, figure_lines, objective_of

    objective = objective_of(found, folder)
    if require is not None and not require >= objective.decides_least:
        raise UsageError(
            f"--require is {require:g}", repair=f"give a {objective.title} of at least {objective.decides_least:g}"
        )
    document = evaluate_pretrained(found, folder, files, **how)
    print_document(document) if as_json else print_lines(figure_lines(document))
    for doubt in document["doubts"]:
        say(f"carryover: warning: {doubt}")
    for note in document["notes"]:
        say(f"note: {note}")
    value = document["together"][objective.decides]
    if require is not None and not value <= require:
        raise GateNotMet(
            f"the {objective.deciding(document['together'])} is above the required {require:g}",
            repair="pretrain longer or on more data, or raise --require",
        )
    if following := objective.after_evaluation(folder, files[0]):
        suggest_next(["carryover", *following])
