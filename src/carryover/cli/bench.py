"""`carryover bench`: a published table, reproduced cell by cell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from carryover.cli import options
from carryover.cli.options import Given, filling
from carryover.cli.output import given_words, print_document, print_lines, suggest_again, suggest_next
from carryover.errors import UsageError, nearest
from carryover.pretraining.settings import PretrainSettings
from carryover.progress import duration, say
from carryover.setting import DATA, MODEL, OUTPUT, RUN, TRAINING

TABLES = ("sequence-models",)


def bench(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="sequence-models: LSTM, GRU, Elman network and TCN (Bai et al. 2018).")
    ],
    out: options.Out,
    limits: Annotated[Given, filling(PretrainSettings, "time_limit")],
    task: Annotated[
        str,
        typer.Option(
            "--task",
            help="Some of adding,copy-memory,sequential-mnist,permuted-mnist,jsb-chorales,nottingham,ptb-words,"
            "ptb-characters, or all.",
            metavar="NAMES",
            rich_help_panel=DATA,
        ),
    ] = "all",
    length: Annotated[
        str,
        typer.Option(
            "--length",
            help="adding: 200,600; copy-memory: 500,1000. Default: all of them.",
            metavar="NUMBERS",
            rich_help_panel=DATA,
        ),
    ] = "",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Folder of the files that are not made here: MNIST, music, Penn Treebank.",
            metavar="FOLDER",
            rich_help_panel=DATA,
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", help="Some of lstm,gru,elman,tcn, or all.", metavar="NAMES", rich_help_panel=MODEL)
    ] = "all",
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            help="Number of epochs, for a trial; the table marks such results. Default: as published.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    seed: options.Seed = 1,
    seeds: Annotated[int, typer.Option("--seeds", help="Number of seeds, counted from --seed.", rich_help_panel=RUN)] = 1,
    device: options.Device = "auto",
    show: Annotated[
        bool, typer.Option("--show", help="Run nothing. Print the table of the finished cells.", rich_help_panel=OUTPUT)
    ] = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train the models of a published table and show the results next to the published ones.

    A cell is a model, a task and a seed. Finished cells are kept and not run again; a stopped one continues. Several commands
    may work in one folder at once: each cell is held by one of them.
    """
    if table not in TABLES:
        raise UsageError(f"there is no table {table!r}", repair=nearest(table, sorted(TABLES)))
    if seeds < 1 or (epochs is not None and epochs < 1):
        raise UsageError(f"--seeds is {seeds} and --epochs {epochs}", repair="give whole numbers from 1")
    from carryover.bench import run
    from carryover.bench.table import plain_table, to_json, write_tables
    from carryover.devices import choose_device

    tasks = _words(task)
    cells = run.choose_cells(tasks, _numbers(length), _words(model), range(seed, seed + seeds))
    device = choose_device(device)
    if dry_run:
        _forecast(run.estimate(cells, data=data, epochs=epochs, device=device), as_json)
        suggest_again()
        return
    if show:
        rows = run.collect(out)
        print_document(to_json(rows)) if as_json else print_lines(plain_table(rows).splitlines())
        return
    outcome = run.run_cells(
        cells,
        out,
        data=data,
        epochs=epochs,
        device=device,
        **limits,
        skip_missing="all" in tasks,
        quiet=quiet,
    )
    rows = run.collect(out, cells)
    write_tables(rows, out)
    if as_json:
        state: dict[str, Any] = {
            "finished": [result.cell.name for result in outcome.finished],
            "unfinished": [cell.name for cell in outcome.unfinished],
            "failed": outcome.failed,
            "missing_data": outcome.missing,
            "busy": [cell.name for cell in outcome.busy],
        }
        print_document({**to_json(rows), "out": str(out), **state})
    else:
        print_lines(plain_table(rows).splitlines())
    if outcome.unfinished and not quiet:
        say(f"time limit reached: {len(outcome.unfinished)} of {len(cells)} cells are not finished; finished ones are kept")
        suggest_next(["carryover", *given_words])
    elif not quiet:
        suggest_next(["carryover", "bench", table, "--show", "--out", out])
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def _forecast(cells: list[dict[str, Any]], as_json: bool) -> None:
    total = sum(cell["seconds"] for cell in cells)
    if as_json:
        print_document({"schema": "carryover.bench-estimate/1", "cells": cells, "seconds": total})
        return
    print_lines(
        f"{cell['cell']}: {cell['parameters']:,} parameters, {cell['steps']:,} steps, about {duration(cell['seconds'])}"
        for cell in cells
    )
    print_lines([f"all: about {duration(total)} on this machine as it is now, measurements not counted"])


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str) -> list[int]:
    words = _words(text)
    for word in words:
        if not (word.isascii() and word.isdigit()):
            raise UsageError(f"--length {word!r} is not a whole number", repair="write 600, or 200,600")
    return [int(word) for word in words]
