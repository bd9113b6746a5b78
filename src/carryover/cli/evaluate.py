"""`carryover evaluate`: the score of a trained task on labelled examples, or of a language model on text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from carryover.cli import options
from carryover.cli.output import print_document, print_lines, suggest_next
from carryover.data.metric_names import metric_title
from carryover.errors import GateNotMet, UsageError
from carryover.progress import say


def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of a trained task or of a pretrained language model.")],
    test: Annotated[
        str, typer.Option("--test", help="Labelled examples; for a language model text, or several: a.txt,b.txt.")
    ],
    text_column: Annotated[str | None, typer.Option("--text-column", help="Default: as in training.")] = None,
    label_column: Annotated[str | None, typer.Option("--label-column", help="Default: as in training.")] = None,
    format: options.Format = None,
    scheme: options.Scheme = "auto",
    on_error: options.OnError = "stop",
    require: Annotated[
        float | None,
        typer.Option("--require", help="Leave with exit code 4 when the main score is below this, the perplexity above it."),
    ] = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Score a trained task: accuracy and macro-F1, or precision, recall and F1 of spans, in all and per label; or a
    pretrained language model: its perplexity on each text and on all together.

    With --on-error skip bad rows are written to TEST.rejected.jsonl in the working folder, and a label that was never
    trained counts as one that was missed.
    """
    from carryover.devices import choose_device
    from carryover.encoders.loading import load
    from carryover.transfer.predictions import evaluate_task, score_lines
    from carryover.transfer.predictor import TaskPredictor

    device = choose_device(device)
    found = load(model, device=device)
    if not isinstance(found, TaskPredictor):
        for_tasks = {"--label-column": label_column, "--scheme": None if scheme == "auto" else scheme}
        given = [name for name, value in for_tasks.items() if value is not None]
        if given:
            raise UsageError(
                f"{given[0]} is for a trained task, and this is a language model", path=model, repair="leave it out"
            )
        how = {"device": device, "raw_column": options.column(text_column), "raw_format": format}
        _language_model(found, model, options.sources(test), require, how, as_json)
        return
    if require is not None and not 0 <= require <= 1:
        raise UsageError(f"--require is {require:g}", repair="give a score from 0 to 1")
    scores: dict[str, Any] = evaluate_task(
        found,
        model,
        test,
        text_column=options.column(text_column),
        label_column=options.column(label_column),
        format=format,
        scheme=scheme,
        on_error=on_error,
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


def _language_model(
    found: Any, folder: Path, files: tuple[str, ...], require: float | None, how: dict[str, Any], as_json: bool
) -> None:
    from carryover.pretraining.evaluation import evaluate_language_model, perplexity_lines

    if require is not None and not require >= 1:
        raise UsageError(f"--require is {require:g}", repair="give a perplexity of at least 1")
    document = evaluate_language_model(found, folder, files, **how)
    print_document(document) if as_json else print_lines(perplexity_lines(document))
    for doubt in document["doubts"]:
        say(f"carryover: warning: {doubt}")
    for note in document["notes"]:
        say(f"note: {note}")
    perplexity = document["together"]["perplexity"]
    if require is not None and not perplexity <= require:
        raise GateNotMet(
            f"the perplexity {perplexity:.2f} is above the required {require:g}",
            repair="pretrain longer or on more text, or raise --require",
        )
    if document["objective"] == "lm":
        suggest_next(["carryover", "generate", folder, "--prompt", "The"])
    else:
        suggest_next(["carryover", "embed", folder, files[0], "--out", "vectors.safetensors"])
