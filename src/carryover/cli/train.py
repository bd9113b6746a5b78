"""`carryover train`: a task from labelled examples, alone or on top of a pretrained model."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from carryover.cli import options
from carryover.cli.options import Given, filling
from carryover.cli.output import print_document, print_lines, suggest_again, suggest_next
from carryover.data.columns import Columns
from carryover.errors import UsageError
from carryover.transfer.plan import FITTED, FITTING, CarryPlan
from carryover.transfer.settings import FitSettings, TaskRun

if TYPE_CHECKING:  # loads PyTorch
    from carryover.transfer.initial_encoder import Vectors


def train(
    asked: Annotated[Given, filling(TaskRun)],
    plan: Annotated[Given, filling(CarryPlan)],
    fitting: Annotated[Given, filling(FitSettings)],
    columns: Annotated[Given, filling(Columns)],
    out: options.Out,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    watch: options.Watch = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a classifier or tagger, keep the weights that score best on the development examples, and store them.

    Prints the carry-over proof: what was loaded, that it still scores as stored, how far each layer moved. If it is killed or
    interrupted, the same command continues.
    """
    from carryover.training.watching import watching
    from carryover.transfer.train import train_task

    fitting["multi_label"] = "multi_label" in columns
    wanted = TaskRun(**asked, plan=plan, fitting=fitting, columns=Columns(**columns))
    if wanted.carry_mode in FITTED:
        _fit(wanted, out, dry_run, as_json, quiet)
        return
    vectors = _vectors(wanted)
    if dry_run:
        from carryover.transfer.calibration import estimate_task

        forecast: dict[str, Any] = estimate_task(wanted, vectors)
        print_document(forecast) if as_json else print_lines(forecast["lines"])
        suggest_again()
        return
    with watching(watch):
        result = train_task(wanted, out, vectors=vectors, quiet=quiet)
    if as_json:
        print_document(result.to_json())
    else:
        # While it trained, the proof already stood on standard error.
        proof = result.proof_lines() if quiet or result.fitted is None else []
        print_lines([*proof, *result.mix_lines(), *result.lines()])
    suggest_next(["carryover", "evaluate", out, "--test", options.beside(wanted.train, "test")])


def _fit(wanted: TaskRun, out: Path, dry_run: bool, as_json: bool, quiet: bool) -> None:
    """A mode without encoder and gradients: it takes seconds."""
    if dry_run:
        raise UsageError(f"mode {wanted.carry_mode} is fitted in seconds and has no estimate", repair="leave --dry-run out")
    module, _, name = FITTING.partition(":")
    result = getattr(import_module(module), name)(wanted, out, quiet=quiet)
    print_document(result.to_json()) if as_json else print_lines(result.lines())
    suggest_next(["carryover", "evaluate", out, "--test", options.beside(wanted.train, "test")])


def _vectors(wanted: TaskRun) -> Vectors | None:
    """The word vectors that the mode carries over. Raises UsageError where none are given."""
    from carryover.transfer.plan import CarryPlan

    if not CarryPlan(mode=wanted.carry_mode).kind.uses_vectors:
        return None
    if wanted.encoder is None:
        raise UsageError(
            f"mode {wanted.carry_mode} needs word vectors, but none were given", repair="give their folder with --encoder"
        )
    from carryover.embeddings.vectors import WordVectors

    stored = WordVectors.load(wanted.encoder)
    return stored.vocabulary, stored.array
