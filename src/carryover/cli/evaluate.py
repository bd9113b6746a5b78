"""`carryover evaluate`: the score of a trained task on labelled examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from carryover.cli import options
from carryover.cli.output import print_document, print_lines, suggest_next
from carryover.errors import GateNotMet, UsageError


def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of a trained task.")],
    test: Annotated[str, typer.Option("--test", help="Labelled examples.")],
    text_column: Annotated[str | None, typer.Option("--text-column", help="Default: as in training.")] = None,
    label_column: Annotated[str | None, typer.Option("--label-column", help="Default: as in training.")] = None,
    format: options.Format = None,
    on_error: options.OnError = "stop",
    require: Annotated[
        float | None, typer.Option("--require", help="Leave with exit code 4 when the main score is below this.")
    ] = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Score a trained task: accuracy and macro-F1, or precision, recall and F1 of spans, in all and per label.

    With --on-error skip bad rows are written to TEST.rejected.jsonl in the working folder, and a label that was never
    trained counts as one that was missed.
    """
    from carryover.training.devices import choose_device
    from carryover.training.task_use import evaluate_task, score_lines

    if require is not None and not 0 <= require <= 1:
        raise UsageError(f"--require is {require:g}", repair="give a score from 0 to 1")
    scores: dict[str, Any] = evaluate_task(
        model,
        test,
        text_column=options.column(text_column),
        label_column=options.column(label_column),
        format=format,
        on_error=on_error,
        rejects=Path(Path(test).name + ".rejected.jsonl"),
        device=choose_device(device),
    )
    if as_json:
        print_document(scores)
    else:
        print_lines(score_lines(scores))
    if require is not None and scores["scores"]["main"] < require:
        raise GateNotMet(
            f"{scores['scores']['main_name']} {scores['scores']['main']:.4f} is below the required {require:g}",
            repair="train longer or with more labels, or lower --require",
        )
    suggest_next(
        ["carryover", "predict", model, options.beside(test, "new" if not test.startswith("builtin:") else "valid")]
    )
