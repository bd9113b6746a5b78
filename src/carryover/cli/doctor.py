"""`carryover doctor`: look at the data before spending time on it."""

from __future__ import annotations

from typing import Annotated

import typer

from carryover.cli import options
from carryover.cli.output import print_document, print_lines, suggest_next


def doctor(
    raw: Annotated[str | None, typer.Option("--raw", help="Unlabelled text.")] = None,
    raw_column: options.RawColumn = "text",
    raw_format: options.RawFormat = None,
    train: Annotated[str | None, typer.Option("--train", help="Labelled training examples.")] = None,
    dev: Annotated[str | None, typer.Option("--dev", help="Labelled development examples.")] = None,
    test: Annotated[str | None, typer.Option("--test", help="Labelled test examples.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="classify or tag; default: by the file's name.")] = None,
    text_column: options.TextColumn = "text",
    label_column: options.LabelColumn = None,
    format: options.Format = None,
    multi_label: options.MultiLabel = None,
    coarse: options.Coarse = None,
    as_json: options.Json = False,
) -> None:
    """Find what would spoil a result: duplicates, test lines in the training or raw text, unknown words, skewed labels."""
    from carryover.data.doctor import examine

    report = examine(
        raw=raw,
        raw_column=options.column(raw_column),
        raw_format=raw_format,
        train=train,
        dev=dev,
        test=test,
        task=task,
        text_column=options.column(text_column),
        label_column=options.column(label_column),
        format=format,
        multi_label=multi_label,
        coarse=coarse,
    )
    if as_json:
        print_document(report.to_json())
    else:
        print_lines(report.lines())
    if raw is not None:
        suggest_next(["carryover", "pretrain", "--raw", raw, "--objective", "bilm", "--size", "small", "--out", "runs/lm"])
    elif train is not None:
        suggest_next(["carryover", "train", "--task", task or "TASK", "--train", train, "--out", "runs/task"])
