"""`carryover doctor`: look at the data before spending time on it."""

from __future__ import annotations

from typing import Annotated

import typer

from carryover.cli import options
from carryover.cli.options import Given, filling
from carryover.cli.output import print_document, print_lines, suggest_next
from carryover.data.columns import Columns
from carryover.pretraining.settings import PretrainSettings
from carryover.setting import DATA

_COLUMNS = (
    "text_column", "label_column", "format", "multi_label", "coarse", "scheme", "series_column", "time_column", "missing",
)  # fmt: skip
FEWEST_FOR_NEXT = 10
"""Training examples; with fewer the next command would have nothing to hold out."""


def doctor(
    columns: Annotated[Given, filling(Columns, *_COLUMNS)],
    text: Annotated[Given, filling(PretrainSettings, "raw_column", "raw_format")],
    raw: Annotated[str | None, typer.Option("--raw", help="Unlabelled text.", metavar="TEXT", rich_help_panel=DATA)] = None,
    train: Annotated[
        str | None, typer.Option("--train", help="Labelled training examples.", metavar="FILE", rich_help_panel=DATA)
    ] = None,
    dev: Annotated[
        str | None, typer.Option("--dev", help="Labelled development examples.", metavar="FILE", rich_help_panel=DATA)
    ] = None,
    test: Annotated[
        str | None, typer.Option("--test", help="Labelled test examples.", metavar="FILE", rich_help_panel=DATA)
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="classify or tag. Default: by the file's name.", metavar="TASK", rich_help_panel=DATA),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Find what would spoil a result: faulty rows, duplicates, test lines in the training or raw text, labels that look alike,
    are skewed or unseen in training, characters that are not seen, unknown words.

    Shows the first cases of each finding with their lines, and all of them with --json. The exit code is 65 if a finding is an
    error: training would stop at it, or its result would be wrong.
    """
    from carryover.data.doctor import examine
    from carryover.data.formats.spooling import is_stream
    from carryover.errors import BadData

    report = examine(raw=raw, train=train, dev=dev, test=test, task=task, **text, **columns)
    if as_json:
        print_document(report.to_json())
    else:
        print_lines(report.lines())
    if report.errors:
        one = report.errors == 1
        raise BadData(
            f"{report.errors} {'finding is an error' if one else 'findings are errors'}",
            repair="correct the errors first, or leave faulty rows out with --on-error skip",
        )
    if any(path is not None and is_stream(path) for path in (raw, train, dev, test)):
        return  # a command with a stream in it cannot be given again
    if train is not None and report.task is not None:
        if report.figures["train"]["rows"] < FEWEST_FOR_NEXT:
            return
        verb, files = ("train", {"dev": dev}) if raw is None else ("compare", {"test": test, "raw": raw})
        words = ["carryover", verb, "--task", report.task, "--train", train]
        for name, path in files.items():
            words += [] if path is None else [f"--{name}", path]
        words += options.of_reading(columns)
        suggest_next([*words, "--out", f"runs/{'task' if raw is None else 'compare'}"])
    elif raw is not None:
        suggest_next(["carryover", "pretrain", "--raw", raw, "--objective", "bilm", "--size", "small", "--out", "runs/lm"])
