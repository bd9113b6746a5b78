"""`carryover compare`: is pretraining worth it on my data, which kind, and how many labels does it save?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from carryover.cli import options
from carryover.cli.output import print_document, print_lines, suggest_again, suggest_next
from carryover.pretraining.settings import PretrainSettings


def compare(
    task: options.Task,
    train: Annotated[str, typer.Option("--train", help="Labelled examples: a file, or builtin:NAME.")],
    out: options.Out,
    test: Annotated[
        str | None, typer.Option("--test", help="Labelled test examples; without it a fifth of --train is set aside.")
    ] = None,
    raw: Annotated[str | None, typer.Option("--raw", help="Unlabelled text to learn from: a file, or builtin:NAME.")] = None,
    valid: Annotated[str | None, typer.Option("--valid", help="Raw text held out in pretraining.")] = None,
    raw_column: options.RawColumn = "text",
    raw_format: options.RawFormat = None,
    encoder: Annotated[
        Path | None, typer.Option("--encoder", help="A pretrained language model, instead of pretraining one here.")
    ] = None,
    rungs: Annotated[
        str, typer.Option("--rungs", help="Some of features,static,scratch,frozen,head,top-1,full; default: all that apply.")
    ] = "",
    budgets: Annotated[str, typer.Option("--budgets", help="Numbers of labelled examples, and all: 50,100,200,all.")] = "",
    seeds: Annotated[int, typer.Option("--seeds", help="How many seeds each cell is repeated with.")] = 5,
    seed: options.Seed = 0,
    text_column: options.TextColumn = "text",
    label_column: options.LabelColumn = None,
    format: options.Format = None,
    multi_label: options.MultiLabel = None,
    coarse: options.Coarse = None,
    scheme: options.Scheme = "auto",
    metric: options.Metric = "auto",
    class_weights: options.ClassWeights = "none",
    size: Annotated[
        str, typer.Option("--size", help="Size of the language model: tiny, small, medium, original.")
    ] = PretrainSettings.size,
    pretrain_time: Annotated[str | None, typer.Option("--pretrain-time", help="Most time for pretraining: 10m, 2h.")] = None,
    elmo_placement: options.Placement = "input",
    time_limit: options.TimeLimit = None,
    jobs: Annotated[int | None, typer.Option("--jobs", help="Cells at once; default: one a core.")] = None,
    on_error: options.OnError = "stop",
    device: options.Device = "auto",
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare ways of using raw text on a labelled task, over label budgets and seeds, and say which pays.

    Ends with a table, a verdict in sentences and a page with learning curves. Finished cells are kept: the same command
    continues after an interruption, and a longer --budgets, --seeds or --rungs adds to what is there.
    """
    from carryover.compare.plan import ComparePlan, parse_budgets, parse_rungs
    from carryover.compare.run import compare as run_comparison
    from carryover.compare.run import estimate
    from carryover.compare.table import print_table
    from carryover.devices import choose_device

    pretraining: dict[str, Any] = {"size": size}
    if pretrain_time is not None:
        pretraining["time_limit"] = options.seconds(pretrain_time)
    plan = ComparePlan(
        task=task,
        train=train,
        test=test,
        raw=raw,
        valid=valid,
        raw_column=options.column(raw_column),
        raw_format=raw_format,
        encoder=encoder,
        rungs=parse_rungs(rungs) if rungs else (),
        budgets=parse_budgets(budgets) if budgets else (),
        seeds=seeds,
        seed=seed,
        text_column=options.column(text_column),
        label_column=options.column(label_column),
        format=format,
        multi_label=multi_label,
        coarse=coarse,
        scheme=scheme,
        on_error=on_error,
        metric=metric,
        class_weights=class_weights,
        time_limit=options.seconds(time_limit),
        jobs=jobs,
        device=str(choose_device(device)),
        pretraining=pretraining,
        placement=elmo_placement,
    )
    if dry_run:
        forecast = estimate(plan, out)
        print_document(forecast) if as_json else print_lines(forecast["lines"])
        suggest_again()
        return
    result = run_comparison(plan, out, quiet=quiet)
    if as_json:
        print_document(result.to_json())
    else:
        print_table(result, sys.stdout)
        print_lines(["", f"page: {result.page}"])
    suggest_next(result.next_command())
    if result.exit_code:
        raise typer.Exit(result.exit_code)
