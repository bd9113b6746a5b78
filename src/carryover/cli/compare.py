"""`carryover compare`: is pretraining worth it on my data, which kind, and how many labels does it save?"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from carryover.cli import options
from carryover.cli.options import Given, filling
from carryover.cli.output import print_document, print_lines, suggest_again, suggest_next
from carryover.compare.plan import ComparePlan
from carryover.pretraining.settings import PretrainSettings
from carryover.setting import OUTPUT, RUN, seconds
from carryover.transfer.settings import FitSettings


def compare(
    asked: Annotated[Given, filling(ComparePlan)],
    pretraining: Annotated[Given, filling(PretrainSettings, "size")],
    fitting: Annotated[Given, filling(FitSettings, "stack")],
    out: options.Out,
    pretrain_time: Annotated[
        str | None,
        typer.Option(
            "--pretrain-time", help="Stop pretraining after this time: 10m, 2h.", metavar="TIME", rich_help_panel=RUN
        ),
    ] = None,
    keep_best: Annotated[
        bool,
        typer.Option(
            "--keep-best",
            help="Train the recommended rung on all labels at the end and keep it in the folder best beside the report.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare ways of using raw text on a labelled task, over label budgets and seeds, and say which pays.

    Ends with a table, a verdict in sentences and a page with learning curves. Finished cells are kept: the same command
    continues after an interruption, and more --budgets, --seeds or --rungs add to what is there.
    """
    from carryover.compare.run import compare as run_comparison
    from carryover.compare.run import estimate
    from carryover.compare.table import print_table

    chosen: Given = {"size": PretrainSettings.size, **pretraining}
    if pretrain_time is not None:
        chosen["time_limit"] = seconds(pretrain_time)
    plan = ComparePlan(**asked, pretraining=chosen, fitting=fitting)
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
    if keep_best and not result.missing and not result.failures and result.results:
        from carryover.compare.best import train_best

        trained = train_best(result, quiet=quiet)
        if trained is not None:
            if not as_json:
                print_lines(trained.lines())
            suggest_next(result.after()[1])
            return
    suggest_next(result.next_command())
    if result.exit_code:
        raise typer.Exit(result.exit_code)
