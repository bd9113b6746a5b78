"""Each rung as one function of the same shape: labelled examples in, predictions for the test examples out.

All labels a rung may look at are in `train`, the budget. Neural rungs hold a fifth of it out (at least four examples) to
stop early; the features rung cross-validates inside it. Test examples are read only to predict them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carryover.compare.cells import CellOutcome, needs_encoder
from carryover.compare.problem import content, gold
from carryover.compare.resources import Resources
from carryover.errors import BadData, UsageError

if TYPE_CHECKING:
    from carryover.training.carry import CarryPlan
    from carryover.training.loading import LanguageModel

HELD_OUT_SHARE = 0.2
FEWEST_HELD_OUT = 4

Predictions = list[tuple[str, ...]]


def run_rung(
    rung: str,
    task: str,
    train: Sequence[Any],
    test: Sequence[Any],
    seed: int,
    resources: Resources,
    *,
    multi_label: bool = False,
) -> CellOutcome:
    """Fit `rung` on `train` and predict `test`. Deterministic: the same arguments give the same predictions.

    Raises BadData when `train` holds fewer than two labels, TrainingFailed when training diverges.
    """
    if len({label for example in train for label in gold(example, task)}) < 2 and not multi_label:
        raise BadData(f"only one label among the {len(train)} examples of this budget", repair="use a larger budget")
    if rung == "features":
        return _features(task, train, test, seed, multi_label)
    return _neural(rung, task, train, test, seed, resources, multi_label)


def split_budget(train: Sequence[Any], seed: int) -> tuple[list[Any], list[Any]]:
    """The part of a budget that is learned from, and the part held out for early stopping (stratified)."""
    from carryover.data.splits import stratified_split

    count = len(train)
    held_out = min(max(round(HELD_OUT_SHARE * count), FEWEST_HELD_OUT), count // 2)
    share = held_out / count
    kept, stopped = stratified_split(train, (1 - share, share), seed)
    return [train[i] for i in kept], [train[i] for i in stopped]


def feature_model(task: str, multi_label: bool) -> Any:
    """The model of hand-made features for a task, not fitted."""
    if task == "tag":
        from carryover.classical.tag_features import FeatureTagger

        return FeatureTagger()
    from carryover.classical.text_features import FeatureClassifier

    return FeatureClassifier(multi_label=multi_label)


def _features(task: str, train: Sequence[Any], test: Sequence[Any], seed: int, multi_label: bool) -> CellOutcome:
    inputs, targets = [content(example, task) for example in train], [gold(example, task) for example in train]
    started = time.perf_counter()
    model = feature_model(task, multi_label).fit(inputs, targets, seed)
    notes = {"chosen": str(model.chosen)}
    seconds = time.perf_counter() - started
    predictions, milliseconds = timed_prediction(model.predict, [content(example, task) for example in test])
    parameters = int(model.parameter_count())
    return CellOutcome(predictions, seconds, milliseconds, parameters, parameters, notes=notes)


def _neural(
    rung: str, task: str, train: Sequence[Any], test: Sequence[Any], seed: int, resources: Resources, multi_label: bool
) -> CellOutcome:
    from carryover.training.fitting.fit import FitSettings, fit_task

    kept, held_out = split_budget(train, seed)
    options = {**resources.fitting, "seed": seed}
    if multi_label:
        options["multi_label"] = True
    try:
        settings = FitSettings(**options)
    except TypeError as error:
        raise UsageError(f"fitting settings: {error}", repair="check their names") from error
    encoder = _load_encoder(str(resources.encoder), resources.device) if needs_encoder(rung) else None
    vectors = _load_vectors(str(resources.vectors)) if rung == "static" else None
    started = time.perf_counter()
    fit = fit_task(
        task,
        kept,
        held_out,
        plan=carry_plan(rung, resources.placement),
        encoder=encoder,
        vectors=vectors,
        settings=settings,
        device=resources.device,
        quiet=True,
    )
    seconds = time.perf_counter() - started
    predictions, milliseconds = timed_prediction(fit.predictor.predict, [content(example, task) for example in test])
    notes: dict[str, Any] = {
        "epochs": fit.epochs_run,
        "held_out_score": None if fit.dev_score is None else fit.dev_score["main"],
        "held_out_examples": len(held_out),
        "carried_over": fit.proof.to_json(),
    }
    return CellOutcome(predictions, seconds, milliseconds, fit.parameters, fit.trainable, notes=notes)


def carry_plan(rung: str, placement: str = "input") -> CarryPlan:
    """The plan of carrying over that a rung stands for; `placement` counts where the task has an LSTM of its own over it.

    Word vectors are tuned: on English parts of speech (two seeds) fixed ones scored about the same with 50 labelled
    sentences and less than no vectors at all with 400.
    """
    from carryover.training.carry import CarryPlan

    if rung == "static":
        return CarryPlan(mode="static", tune_vectors=True)
    if rung == "frozen":
        return CarryPlan(mode="frozen", placement=placement)
    family, _, layers = rung.partition("-")
    return CarryPlan(mode="top-k", top=int(layers)) if family == "top" else CarryPlan(mode=rung)


def timed_prediction(predict: Callable[[list[Any]], Any], inputs: list[Any]) -> tuple[Predictions, float]:
    """Predictions for all inputs and the milliseconds each took."""
    started = time.perf_counter()
    predictions = [tuple(row) for row in predict(inputs)]
    return predictions, 1000 * (time.perf_counter() - started) / max(1, len(inputs))


# A worker runs many cells: what is carried over is read from disk once a process. Fitting works on its own copy of it.


@lru_cache(maxsize=1)
def _load_encoder(folder: str, device: str) -> LanguageModel:
    from carryover.training.loading import load

    model: LanguageModel = load(Path(folder), device=device)
    return model


@lru_cache(maxsize=1)
def _load_vectors(folder: str) -> tuple[Any, Any]:
    from carryover.embeddings.vectors import WordVectors

    vectors = WordVectors.load(Path(folder))
    return vectors.vocabulary, vectors.array
