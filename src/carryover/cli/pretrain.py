"""`carryover pretrain`: learn a language model from raw text."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from carryover.cli import options
from carryover.cli.output import print_document, print_lines, suggest_again, suggest_next
from carryover.errors import UsageError
from carryover.pretraining.settings import PretrainSettings


def pretrain(
    raw: Annotated[
        str,
        typer.Option(
            "--raw",
            help="Text to learn from: a file (also .gz, .xz), a folder, a pattern such as 'src/**/*.py', builtin:pydocs, or -.",
        ),
    ],
    out: options.Out,
    valid: Annotated[
        str | None,
        typer.Option(
            "--valid", help="Held-out text, or several: a.txt,b.txt; else 2 % of the lines of --raw are set aside."
        ),
    ] = None,
    raw_column: options.RawColumn = "text",
    raw_format: options.RawFormat = None,
    begin_with: Annotated[
        Path | None,
        typer.Option("--begin-with", help="Continue from this pretrained or imported model: its size, input and tokenizer."),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective",
            help="bilm: a forward and a backward language model (vectors), the default; lm: one that writes.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", help="tiny (seconds), small (minutes; the default), medium, original (as published)."),
    ] = None,
    input: Annotated[
        str | None,
        typer.Option("--input", help="What the model reads: characters (no unknown words; the default), words or subwords."),
    ] = None,
    keep_spaces: Annotated[
        bool,
        typer.Option(
            "--keep-spaces", help="With --objective lm: words or subwords keep all white space, as code and LaTeX want."
        ),
    ] = False,
    stack: Annotated[
        str | None, typer.Option("--stack", help="With --objective lm: lstm (the default), gru, tcn or transformer.")
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option("--layers", help="Of the stack, for a TCN its levels; default: what the size says, as below."),
    ] = None,
    width: Annotated[
        int | None, typer.Option("--width", help="Features of a token and of what the output layer reads.")
    ] = None,
    cells: Annotated[
        int | None,
        typer.Option("--cells", help="Of an LSTM (bilm: before its projection) or GRU; of a transformer's feed-forward."),
    ] = None,
    heads: Annotated[int | None, typer.Option("--heads", help="With --stack transformer: attention heads.")] = None,
    horizon: Annotated[
        int | None, typer.Option("--horizon", help="With --stack transformer: tokens that a layer sees, itself among them.")
    ] = None,
    kernel: Annotated[int | None, typer.Option("--kernel", help="With --stack tcn: width of the convolutions.")] = None,
    dropout: Annotated[
        float | None, typer.Option("--dropout", help="Probability of dropping a feature in training.")
    ] = None,
    vocabulary_size: Annotated[
        int | None,
        typer.Option("--vocabulary-size", help="Words the model can predict (20000); with --begin-with: count them anew."),
    ] = None,
    minimum_count: Annotated[int, typer.Option("--minimum-count", help="Rarer words are predicted as unknown.")] = (
        PretrainSettings.minimum_count
    ),
    softmax: Annotated[
        str | None, typer.Option("--softmax", help="full, sampled or adaptive; default: what the size says.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", help="Of the sampled softmax: words that a step is scored against (8192).")
    ] = None,
    tied: Annotated[
        bool | None,
        typer.Option(
            "--tied/--untied",
            help="With --objective lm: the weights of the output layer are those of the embedding (the default) or its own.",
        ),
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", help="Passes over the text.")] = PretrainSettings.epochs,
    time_limit: options.TimeLimit = None,
    patience: Annotated[
        int | None, typer.Option("--patience", help="Stop after this many held-out measurements without improvement.")
    ] = PretrainSettings.patience,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Lanes of text read side by side.")] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", help="Tokens of a chunk of truncated back-propagation (20; lm over characters 100)."),
    ] = None,
    optimiser: Annotated[
        str | None,
        typer.Option(
            "--optimiser",
            help="adam, adamw, lazy-adam, adagrad, rmsprop or sgd; default: adam, of a sampled softmax lazy-adam.",
        ),
    ] = None,
    learning_rate: Annotated[float, typer.Option("--learning-rate", help="Highest learning rate.")] = (
        PretrainSettings.learning_rate
    ),
    schedule: Annotated[
        str,
        typer.Option("--schedule", help="constant, linear, cosine, slanted-triangular, inverse-square-root or staircase."),
    ] = PretrainSettings.schedule,
    precision: Annotated[str, typer.Option("--precision", help="auto, float32 or bfloat16.")] = PretrainSettings.precision,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a language model on raw text and keep the best by held-out perplexity.

    Killed or interrupted at any moment, the same command continues and ends with the same weights.
    Several processes: torchrun --nproc-per-node N -m carryover pretrain …
    """
    from carryover.pretraining.evaluation import perplexity_of
    from carryover.pretraining.pretrain import pretrain as run_pretraining
    from carryover.pretraining.settings import usual_steps

    parts: dict[str, Any] = {"stack": stack, "layers": layers, "width": width, "cells": cells, "heads": heads}
    parts |= {"horizon": horizon, "kernel": kernel, "dropout": dropout, "samples": samples, "tied": tied}
    given = {name: value for name, value in parts.items() if value is not None}
    if begin_with is None:
        model = _model(objective, given)
    else:
        model = _own({**given, **({"keep-spaces": True} if keep_spaces else {})}, begin_with)
    named = {"objective": objective, "size": size, "input": input, "vocabulary_size": vocabulary_size, "steps": steps}
    asked: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if begin_with is None:
        asked["keep_spaces"] = keep_spaces
        settings: Callable[..., PretrainSettings] = PretrainSettings
        asked.setdefault("steps", usual_steps(objective or PretrainSettings.objective, input or PretrainSettings.input))
    else:
        from carryover.pretraining.initial_model import continued

        settings = partial(continued, begin_with)
    wanted = settings(
        model=model,
        raw=raw,
        valid=None if valid is None else options.sources(valid),
        raw_column=options.column(raw_column),
        raw_format=raw_format,
        **asked,
        minimum_count=minimum_count,
        softmax=softmax,
        epochs=epochs,
        time_limit=options.seconds(time_limit),
        patience=patience,
        batch_size=batch_size,
        optimiser=optimiser,
        learning_rate=learning_rate,
        schedule=schedule,
        precision=precision,
        seed=seed,
        device=device,
    )
    if dry_run:
        from carryover.pretraining.calibration import estimate
        from carryover.training.launched import started_processes

        if (count := started_processes()) > 1:
            raise UsageError(f"--dry-run measures one process, and {count} were started", repair="leave torchrun out")
        forecast: dict[str, Any] = estimate(wanted)
        print_document(forecast) if as_json else print_lines(forecast["lines"])
        suggest_again()
        return
    result = run_pretraining(wanted, out, quiet=quiet)
    if result.process:
        return  # the leading process tells
    if as_json:
        print_document(result.to_json())
    else:
        print_lines(
            [
                f"{result.folder}: {result.record['parameters']:,} parameters after {result.steps:,} steps, seed {seed}",
                _held_out(result.record["held_out"]),
                *(f"  {file['text']}: {perplexity_of(file)}" for file in result.record["held_out"].get("files", [])),
                *_begun_with(result.record),
            ]
        )
    if wanted.objective == "lm":
        across = ["--across-lines"] if wanted.input == "characters" else []
        suggest_next(["carryover", "generate", out, "--prompt", "The", "--temperature", 0.8, *across])
        return
    arguments = ["--task", "tag", "--train", "TRAIN.conll", "--mode", "frozen", "--encoder"]
    suggest_next(["carryover", "train", *arguments, out, "--out", out.parent / "tagger"])


_PARTS = {
    "heads": ("transformer",),
    "horizon": ("transformer",),
    "kernel": ("tcn",),
    "cells": ("lstm", "gru", "transformer"),
}
"""Options of some stacks only."""


def _model(objective: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """Fields of the model's configuration. Raises UsageError for an option that objective or stack have no use for."""
    for name in ("stack", "tied"):
        if name in given and objective != "lm":
            raise UsageError(
                f"--{_spelled(name, given)} is for --objective lm", repair="leave it out, or choose that objective"
            )
    kind = given.get("stack", "lstm")
    for name in given:
        stacks = _PARTS.get(name, (kind,))
        if kind not in stacks:
            raise UsageError(
                f"--{name} is for --stack {' or '.join(stacks)}, and the stack is {kind}",
                repair="leave it out, or choose that stack",
            )
    return {("size" if objective == "lm" else "projection") if name == "width" else name: given[name] for name in given}


def _own(given: dict[str, Any], begin_with: Path) -> dict[str, Any]:
    """What may differ from the model to begin with. Raises UsageError for the rest."""
    for name in given:
        if name not in ("dropout", "samples"):
            raise UsageError(
                f"--{_spelled(name, given)} is decided by the model to begin with, {begin_with}", repair="leave it out"
            )
    return given


def _spelled(name: str, given: dict[str, Any]) -> str:
    """An option as it was given."""
    if name == "tied":
        return "tied" if given[name] else "untied"
    return f"stack {given[name]}" if name == "stack" else name


def _begun_with(record: dict[str, Any]) -> list[str]:
    """Perplexities before and after, of a run that began with a model."""
    if "begun_with" not in record:
        return []
    start = record["begun_with"]
    lines = [f"before the first step {start['before']['perplexity']:.2f} ({start['output_layer']})"]
    moved = ", ".join(f"{name} {distance:.2%}" for name, distance in start["proof"]["moved"].items())
    lines.append(f"moved: {moved}")
    if "earlier_text" in start:
        names = [name for name in start["earlier_text"]["before"] if name.endswith("perplexity")]
        for when in ("before", "after"):
            figures = ", ".join(f"{name.replace('_', ' ')} {start['earlier_text'][when][name]:.2f}" for name in names)
            lines.append(f"the held-out lines it came with, {when}: {figures}")
    return lines


def _held_out(figures: dict[str, Any]) -> str:
    if "bits_per_character" in figures:
        unknown = f"; {figures['unknown_share']:.2%} of the tokens are unknown" if figures["unknown_share"] else ""
        detail = f"{figures['bits_per_character']:.3f} bits per character{unknown}"
    else:
        detail = f"forward {figures['forward_perplexity']:.2f}, backward {figures['backward_perplexity']:.2f}"
    return f"held-out perplexity {figures['perplexity']:.2f} ({detail})"
