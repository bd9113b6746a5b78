"""The lowest rung: hand-made features and a linear model, chosen by cross-validation inside the budget."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from carryover.compare.ladder.rung import Cost, Fitted, Resources, Rung, Style
from carryover.compare.ladder.task import RungTask
from carryover.errors import NothingToLearn

if TYPE_CHECKING:
    from carryover.compare.ladder.calibration import Calibration

_MORE_EXAMPLES = 256
_EXAMPLES_FOR_MEMORY = 1000
_PREDICTED = 8


class Features(Rung):
    """Hand-made features and a linear model; which ones, `carryover.classical.feature_models` says for each input."""

    name = family = mode = "features"
    cost = Cost(beforehand=0, trained=1)
    style = Style(light="#565d6b", dark="#b3bac7", marker="o", line="-")
    sentence = "Hand-made features and a linear model; no raw text."
    usual = True
    baseline = 1

    def fits(self, task: str) -> bool:
        from carryover.tasks import TASKS  # NumPy: not for who only asks for help

        return TASKS[task].by_features

    def fit(self, task: RungTask, train: Sequence[Any], seed: int, resources: Resources) -> Fitted:
        from carryover.classical.train import fit_features
        from carryover.transfer.settings import FitSettings

        started = time.perf_counter()
        asked: dict[str, Any] = {"multi_label": task.multi_label, "metric": task.metric, "class_weights": task.class_weights}
        predictor = fit_features(task.kind, train, FitSettings(seed=seed, **asked), self.name)
        seconds = time.perf_counter() - started
        model = predictor.model
        parameters = int(model.parameter_count())
        return Fitted(model.predict, seconds, parameters, parameters, {"chosen": str(model.chosen)})

    def forecast(self, calibration: Calibration, budgets: Sequence[int]) -> tuple[float, float]:
        largest = max(budgets)
        fixed, each = self._pace(calibration, largest)
        return sum(fixed + each * labels for labels in budgets), self._mib(calibration, largest)

    def _pace(self, calibration: Calibration, labels: int) -> tuple[float, float]:
        """Seconds whatever the budget, and seconds a labelled example, where the largest budget has `labels` examples."""
        task = replace(calibration.task, metric="auto", class_weights="none")

        def run(examples: list[Any]) -> float:
            started = time.perf_counter()
            try:
                fitted = self.fit(task, examples, 0, Resources())
                fitted.predict([example.input.content for example in examples[:_PREDICTED]])
            except NothingToLearn:  # told by the cells themselves; then there is no time to speak of
                pass
            return time.perf_counter() - started

        few, more = calibration.sample(labels), calibration.sample(labels, most=_MORE_EXAMPLES)
        run(few)  # the first call also pays for imports
        short = run(few)
        if len(more) < 2 * len(few):
            return 0.0, short / len(few)
        # With many classes most of the time is theirs, however few examples each has.
        long = run(more)
        each = max(long - short, 0.1 * long) / (len(more) - len(few))
        return max(0.0, long - each * len(more)), each

    def _mib(self, calibration: Calibration, labels: int) -> float:
        """MiB of a process that fits `labels` examples, measured from this one, which has fitted a few."""
        from carryover.classical.feature_models import feature_model
        from carryover.experiments.process import PeakMemory

        sample = [example.input.content for example in calibration.sample(labels, most=_EXAMPLES_FOR_MEMORY)]
        kinds = len({label for example in calibration.train for label in (example.gold or ())})
        task = calibration.task
        metric = _metric(task, [example.gold or () for example in calibration.train])
        model = feature_model(type(sample[0]), multi_label=task.multi_label, metric=metric)
        return PeakMemory().read() + float(model.foretold_mib(sample, kinds, labels))


def _metric(task: RungTask, targets: Sequence[tuple[str, ...]]) -> str:
    """The metric that decides between candidates."""
    if task.metric != "auto":
        return task.metric
    from carryover.tasks import TASKS  # NumPy: not for who only asks for help

    return TASKS[task.kind].metric_of(targets, multi_label=task.multi_label) or "accuracy"
