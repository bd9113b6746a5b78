"""Each rung as one function of the same shape: labelled examples in, predictions for the test examples out.

All labels a rung may look at are in `train`, the budget. Neural rungs hold a fifth of it out (at least four examples) to
stop early; the features rung cross-validates inside it. Test examples are read only to predict them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carryover.compare.cells import NOT_LEARNED, CellOutcome, needs_encoder
from carryover.compare.problem import content, gold
from carryover.compare.resources import Resources
from carryover.data.majority import majority_answers
from carryover.data.metric_names import metric_of_labels
from carryover.errors import NothingToLearn

if TYPE_CHECKING:
    from carryover.encoders.language_model import LanguageModel
    from carryover.transfer.plan import CarryPlan

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
    metric: str = "auto",
    class_weights: str = "none",
) -> CellOutcome:
    """Fit `rung` on `train` and predict `test`. Deterministic: the same arguments give the same predictions.

    `metric` decides what is kept in early stopping and chosen by cross-validation. Where `train` holds nothing to learn from
    (one label only, no span, no word) the rung answers the most frequent label, as any model would that was fitted on it, and
    notes why. Raises TrainingFailed when training diverges.
    """
    options = {"multi_label": multi_label, "metric": metric, "class_weights": class_weights}
    try:
        if rung == "features":
            return _features(task, train, test, seed, options)
        return _neural(rung, task, train, test, seed, resources, options)
    except NothingToLearn as reason:
        predictions, milliseconds = timed_prediction(lambda examples: majority_answers(train, examples), list(test))
        return CellOutcome(predictions, 0.0, milliseconds, 0, 0, notes={NOT_LEARNED: reason.message})


def split_budget(train: Sequence[Any], seed: int) -> tuple[list[Any], list[Any]]:
    """The part of a budget that is learned from, and the part held out for early stopping (stratified)."""
    from carryover.data.splits import stratified_split

    count = len(train)
    held_out = min(max(round(HELD_OUT_SHARE * count), FEWEST_HELD_OUT), count // 2)
    share = held_out / count
    kept, stopped = stratified_split(train, (1 - share, share), seed)
    return [train[i] for i in kept], [train[i] for i in stopped]


def feature_model(task: str, *, multi_label: bool = False, metric: str = "accuracy", class_weights: str = "none") -> Any:
    """The model of hand-made features for a task, not fitted. A tagger chooses its passes by accuracy, whatever the metric."""
    if task == "tag":
        from carryover.classical.tag_features import FeatureTagger

        return FeatureTagger()
    from carryover.classical.text_features import FeatureClassifier

    return FeatureClassifier(multi_label=multi_label, metric=metric, class_weights=class_weights)


def _features(task: str, train: Sequence[Any], test: Sequence[Any], seed: int, options: Mapping[str, Any]) -> CellOutcome:
    inputs, targets = [content(example, task) for example in train], [gold(example, task) for example in train]
    started = time.perf_counter()
    metric = options["metric"]
    if metric == "auto":
        metric = metric_of_labels(targets, multi_label=options["multi_label"])
    model = feature_model(task, **{**options, "metric": metric}).fit(inputs, targets, seed)
    notes = {"chosen": str(model.chosen)}
    seconds = time.perf_counter() - started
    predictions, milliseconds = timed_prediction(model.predict, [content(example, task) for example in test])
    parameters = int(model.parameter_count())
    return CellOutcome(predictions, seconds, milliseconds, parameters, parameters, notes=notes)


def _neural(
    rung: str,
    task: str,
    train: Sequence[Any],
    test: Sequence[Any],
    seed: int,
    resources: Resources,
    fixed: Mapping[str, Any],
) -> CellOutcome:
    from carryover.transfer.fit import FitSettings, fit_task

    kept, held_out = split_budget(train, seed)
    settings = FitSettings(**{**fixed, **resources.fitting, "seed": seed})  # names were checked with the plan
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
    from carryover.transfer.plan import CarryPlan

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
    from carryover.encoders.loading import load

    model: LanguageModel = load(Path(folder), device=device)
    return model


@lru_cache(maxsize=1)
def _load_vectors(folder: str) -> tuple[Any, Any]:
    from carryover.embeddings.vectors import WordVectors

    vectors = WordVectors.load(Path(folder))
    return vectors.vocabulary, vectors.array
