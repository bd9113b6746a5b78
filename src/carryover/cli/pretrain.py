"""`carryover pretrain`: learn a language model from raw text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from carryover.cli import options
from carryover.cli.options import Given, filling
from carryover.cli.output import given_words, print_document, print_lines, suggest_again, suggest_next
from carryover.errors import UsageError
from carryover.pretraining.architecture import Architecture
from carryover.pretraining.settings import PretrainSettings
from carryover.setting import RUN


def pretrain(
    asked: Annotated[Given, filling(PretrainSettings)],
    model: Annotated[Given, filling(Architecture)],
    out: options.Out,
    find_rate: Annotated[
        bool,
        typer.Option(
            "--find-rate",
            help="Train nothing that is kept: raise the learning rate for some steps, draw the loss, suggest a rate.",
            rich_help_panel=RUN,
        ),
    ] = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    watch: options.Watch = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a language model on raw text and keep the best by held-out perplexity.

    If it is killed or interrupted, the same command continues and ends with the same weights. For several processes:
    torchrun --nproc-per-node N -m carryover pretrain …
    """
    from carryover.pretraining.evaluation import line_of_figures
    from carryover.pretraining.pretrain import pretrain as run_pretraining
    from carryover.pretraining.recipes import build_objective
    from carryover.training.watching import watching

    wanted = _settings(asked, model)
    objective = build_objective(wanted.objective)
    if dry_run:
        from carryover.pretraining.calibration import estimate
        from carryover.training.launched import started_processes

        if (count := started_processes()) > 1:
            raise UsageError(f"--dry-run measures one process, and {count} were started", repair="leave torchrun out")
        forecast: dict[str, Any] = estimate(wanted)
        print_document(forecast) if as_json else print_lines(forecast["lines"])
        suggest_again()
        return
    if find_rate:
        _find_rate(wanted, out, as_json, quiet)
        return
    with watching(watch):
        result = run_pretraining(wanted, out, quiet=quiet)
    if result.process:
        return  # the leading process tells
    if as_json:
        print_document(result.to_json())
    else:
        print_lines(
            [
                f"{result.folder}: {result.record['parameters']:,} parameters after {result.steps:,} steps, seed {wanted.seed}",
                objective.held_out_line(result.record["held_out"]),
                *(
                    f"  {file['text']}: {line_of_figures(objective, file)}"
                    for file in result.record["held_out"].get("files", [])
                ),
                *_begun_with(result.record),
            ]
        )
    if following := objective.after_training(out, wanted):
        suggest_next(["carryover", *following])


def _find_rate(wanted: PretrainSettings, out: Path, as_json: bool, quiet: bool) -> None:
    from carryover.pretraining.find_rate import find_rate, with_rate, write_rate_test

    found = find_rate(wanted, quiet=quiet)
    write_rate_test(found, wanted, out)
    print_document(found.to_json()) if as_json else print_lines([*found.lines(), f"page: {out / 'find-rate.html'}"])
    suggest_next(["carryover", *with_rate(given_words, found.suggested)])


def _settings(asked: Given, model: Given) -> PretrainSettings:
    """The settings that were asked for, those of the model to begin with among them."""
    from carryover.pretraining.recipes import build_objective

    begin_with = asked.pop("begin_with", None)
    if begin_with is None:
        objective = build_objective(asked.get("objective", PretrainSettings.objective))
        asked.setdefault("steps", objective.usual_steps(asked.get("input", PretrainSettings.input)))
        return PretrainSettings(**asked, model=_model(objective.model_options, model))
    from carryover.pretraining.initial_model import continued

    spaces = {"keep-spaces": True} if asked.pop("keep_spaces", False) else {}
    return continued(begin_with, **asked, model=_own({**model, **spaces}, begin_with))


_PARTS = {
    "heads": ("transformer",),
    "horizon": ("transformer",),
    "kernel": ("tcn",),
    "cells": ("lstm", "gru", "transformer"),
}
"""Options of some stacks only."""


def _model(fields: Mapping[str, str], given: dict[str, Any]) -> dict[str, Any]:
    """Fields of the model's configuration; `fields` are those that the objective has options for.

    Raises UsageError for an option that objective or stack have no use for.
    """
    from carryover.pretraining.recipes import names_with_option

    for name in given:
        if name not in fields:
            others = " or ".join(names_with_option(name))
            raise UsageError(
                f"--{_spelled(name, given)} is for --objective {others}", repair="leave it out, or choose that objective"
            )
    kind = given.get("stack", "lstm")
    for name in given:
        stacks = _PARTS.get(name, (kind,))
        if kind not in stacks:
            raise UsageError(
                f"--{name} is for --stack {' or '.join(stacks)}, and the stack is {kind}",
                repair="leave it out, or choose that stack",
            )
    return {fields[name]: value for name, value in given.items()}


def _own(given: dict[str, Any], begin_with: Path) -> dict[str, Any]:
    """What may differ from the model to begin with. Raises UsageError for the rest."""
    for name in given:
        if name not in ("dropout", "samples"):
            raise UsageError(
                f"--{_spelled(name, given)} is fixed by the model to begin with, {begin_with}", repair="leave it out"
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
    from carryover.encoders.proof import moved_line

    lines.append(moved_line(start["proof"]["moved"]))
    if "earlier_text" in start:
        names = [name for name in start["earlier_text"]["before"] if name.endswith("perplexity")]
        for when in ("before", "after"):
            figures = ", ".join(f"{name.replace('_', ' ')} {start['earlier_text'][when][name]:.2f}" for name in names)
            lines.append(f"the held-out lines stored with it, {when}: {figures}")
    return lines
