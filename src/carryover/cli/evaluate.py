"""`carryover evaluate`: the score of a trained task on labelled examples, or of a pretrained model on raw data."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carryover.cli import options, output
from carryover.cli.options import Given, filling
from carryover.cli.output import print_document, print_lines, suggest_next
from carryover.data.columns import Columns
from carryover.data.metric_names import metric_title
from carryover.data.schemes import AUTO
from carryover.errors import GateNotMet, UsageError
from carryover.progress import say
from carryover.setting import DATA, OUTPUT, RESULT, sources

if TYPE_CHECKING:
    from carryover.transfer.evaluation.examination import Examination


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
    errors: Annotated[
        Path | None,
        typer.Option(
            "--errors",
            help="Write what was answered wrong, the surest mistakes first, into a .csv, .tsv, .jsonl or .parquet file.",
            metavar="FILE",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            help="Write a page: confusions, label by label, reliability, the surest mistakes in their text.",
            metavar="FILE.html",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    all_labels: Annotated[
        bool, typer.Option("--all-labels", help="Print a row for every label, however many.", rich_help_panel=OUTPUT)
    ] = False,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Score a trained task (accuracy and macro-F1, or precision, recall and F1 of spans, in all and per label, with confusions and
    calibration) or a pretrained model (on each file and on all together: perplexity, or the error of a model of series).

    With --on-error skip, bad rows are written to TEST.rejected.jsonl in the working folder, and a label that was not in the
    training data counts as missed.
    """
    from carryover.devices import choose_device
    from carryover.encoders.loading import load
    from carryover.transfer.evaluation.lines import examination_lines, warning_lines
    from carryover.transfer.predicting import Predictor
    from carryover.transfer.predictions import evaluation_document, examine_task

    device = choose_device(device)
    for place, option in ((errors, "--errors"), (report, "--report")):
        _check_place(place, option, test)
    found = load(model, device=device)
    if not isinstance(found, Predictor):
        for_tasks = {"--label-column": "label_column" in columns, "--scheme": reading.get("scheme", AUTO) != AUTO}
        for_tasks |= {"--errors": errors is not None, "--report": report is not None}
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
    examined = examine_task(
        found,
        test,
        **{"on_error": Columns.on_error, **columns, **reading},
        rejects=Path(Path(test).name + ".rejected.jsonl"),
    )
    _write(examined, errors, report, test)
    if as_json:
        print_document(evaluation_document(examined, model, test))
    else:
        wide = shutil.get_terminal_size((100, 24)).columns
        print_lines(examination_lines(examined, width=wide, every_label=all_labels))
    for line in warning_lines(examined):
        say(f"carryover: warning: {line}")
    scores = examined.scores
    if require is not None and scores["main"] < require:
        raise GateNotMet(
            f"{metric_title(scores['main_name'])} {scores['main']:.4f} is below the required {require:g}",
            repair="train longer or with more labels, or lower --require",
        )
    if errors is None and examined.mistakes:
        suggest_next(["carryover", "evaluate", model, "--test", test, "--errors", "errors.csv", "--report", "errors.html"])


def _check_place(place: Path | None, option: str, test: str) -> None:
    """Raise UsageError for a file that cannot be written to, before anything is computed."""
    if place is None:
        return
    from carryover.transfer.answers import format_of

    if option == "--report" and place.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{option} is {str(place)!r}, which is no name of a page", repair="end the name in .html")
    if option == "--errors":
        format_of(place)
    if place.exists() and Path(test).exists() and place.samefile(test):
        raise UsageError(f"{option} is the test file", path=place, repair="give another name")
    if not place.parent.is_dir():
        raise UsageError(f"{option} is in a folder that does not exist", path=place, repair="make the folder")


def _write(examined: Examination, errors: Path | None, report: Path | None, test: str) -> None:
    from carryover.storage import atomic_write

    if errors is not None:
        from carryover.transfer.answers import write_table
        from carryover.transfer.evaluation.mistakes import mistake_table

        write_table(mistake_table(examined), errors)
        say(f"{errors}: {len(examined.mistakes):,} of {len(examined.examples):,} examples have a mistake")
    if report is not None:
        from carryover.transfer.evaluation.page import examination_page

        command = "carryover " + shlex.join(output.given_words)
        atomic_write(report, examination_page(examined, test=test, command=command))
        say(f"page: {report}")


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
