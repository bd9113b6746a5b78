"""What a comparison recommends, trained on all labels: `best/` beside its report."""

from __future__ import annotations

from importlib import import_module

from carryover.compare.result import BEST_FOLDER, CompareResult
from carryover.errors import UsageError
from carryover.progress import say
from carryover.storage import remove_folder
from carryover.transfer.plan import FITTED, FITTING, CarryPlan
from carryover.transfer.train import TaskRunResult, train_task


def train_best(result: CompareResult, *, quiet: bool = False) -> TaskRunResult | None:
    """Train the recommended rung on all training examples with the settings of the comparison; None where it recommends nothing.

    The same call continues a stopped training. A model that is there from an earlier recommendation is replaced. Raises what
    `train_task` raises.
    """
    rung = result.analysis.recommended_rung()
    if rung is None:
        if not quiet:
            say("no rung is recommended, so no model is kept")
        return None
    folder = result.folder / BEST_FOLDER
    if not quiet:
        say(f"training {rung} on all labels into {folder}")
    try:
        return _trained(result, rung, quiet)
    except UsageError:
        if not folder.is_dir():
            raise
    say(f"{folder}: replaced, for it was trained with other settings")
    remove_folder(folder)
    return _trained(result, rung, quiet)


def _trained(result: CompareResult, rung: str, quiet: bool) -> TaskRunResult:
    wanted, folder = result.task_run(rung), result.folder / BEST_FOLDER
    if wanted.carry_mode in FITTED:
        module, _, name = FITTING.partition(":")
        trained: TaskRunResult = getattr(import_module(module), name)(wanted, folder, quiet=quiet)
        return trained
    vectors = None
    if CarryPlan(mode=wanted.carry_mode).kind.uses_vectors and wanted.encoder is not None:
        from carryover.embeddings.vectors import WordVectors

        stored = WordVectors.load(wanted.encoder)
        vectors = stored.vocabulary, stored.array
    return train_task(wanted, folder, vectors=vectors, quiet=quiet)
