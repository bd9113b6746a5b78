"""What all rungs with a neural encoder share: part of the budget is held out to stop early, the rest is learned from."""

from __future__ import annotations

import tempfile
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carryover.compare.ladder.rung import Fitted, Resources, Rung
from carryover.compare.ladder.task import RungTask
from carryover.transfer.plan import MODES, CarryPlan

if TYPE_CHECKING:
    from carryover.compare.ladder.calibration import Calibration

HELD_OUT_SHARE = 0.2
FEWEST_HELD_OUT = 4
_FEW, _MORE = 3, 9


def split_budget(train: Sequence[Any], seed: int) -> tuple[list[Any], list[Any]]:
    """The part of a budget that is learned from, and the part held out for early stopping (stratified)."""
    from carryover.data.splits import stratified_split

    count = len(train)
    held_out = min(max(round(HELD_OUT_SHARE * count), FEWEST_HELD_OUT), count // 2)
    share = held_out / count
    kept, stopped = stratified_split(train, (1 - share, share), seed)
    return [train[i] for i in kept], [train[i] for i in stopped]


class NeuralRung(Rung):
    """A rung that `carryover train` can train, too: what it carries over is a `CarryPlan`."""

    @property
    def has_placement(self) -> bool:
        return MODES[self.mode].own_parts

    def plan(self, placement: str = CarryPlan.placement) -> CarryPlan:
        """What it carries over and what it trains; `placement` counts where there is a task LSTM."""
        placed: dict[str, Any] = {"placement": placement} if self.has_placement else {}
        return CarryPlan(mode=self.mode, **placed, **self.plan_options)

    def fitting_options(self, fitting: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in fitting.items() if name != "scheme"}  # that follows from the examples

    @abstractmethod
    def material(self, resources: Resources) -> dict[str, Any]:
        """What was made beforehand, as `fit_task` takes it. Read from disk once a process; a fit works on its own copy."""

    @abstractmethod
    def substitute(self, calibration: Calibration) -> dict[str, Any]:
        """The same for a calibration, which may take something untrained of the same size."""

    def fit(self, task: RungTask, train: Sequence[Any], seed: int, resources: Resources) -> Fitted:
        from carryover.transfer.fit import FitSettings, fit_task

        kept, held_out = split_budget(train, seed)
        asked = {"multi_label": task.multi_label, "metric": task.metric, "class_weights": task.class_weights}
        settings = FitSettings(**{**asked, **resources.fitting, "seed": seed})  # names were checked with the plan
        material = self.material(resources)
        started = time.perf_counter()
        fit = fit_task(
            task.kind,
            kept,
            held_out,
            plan=self.plan(resources.placement),
            settings=settings,
            device=resources.device,
            quiet=True,
            **material,
        )
        seconds = time.perf_counter() - started
        notes: dict[str, Any] = {
            "epochs": fit.epochs_run,
            "held_out_score": None if fit.dev_score is None else fit.dev_score["main"],
            "held_out_examples": len(held_out),
            "carried_over": fit.proof.to_json(),
        }
        return Fitted(fit.predictor.predict, seconds, fit.parameters, fit.trainable, notes)

    def forecast(self, calibration: Calibration, budgets: Sequence[int]) -> tuple[float, float]:
        from carryover.transfer.fit import FitSettings
        from carryover.transfer.learners import usual_settings

        plan = self.plan(calibration.placement)
        usual = usual_settings(
            calibration.task.kind, plan, calibration.encoder(self.encoder) if plan.uses_encoder else None, calibration.train
        )
        settings: Any = FitSettings(**calibration.fitting).resolve(plan, usual)
        fixed, update, predict = self._pace(calibration)
        words, seconds = calibration.mean_words, 0.0
        for labels in budgets:
            batches = max(1.0, labels * words / settings.token_budget)
            updates = max(settings.epochs * batches, settings.least_updates)
            held_out = settings.evaluations * HELD_OUT_SHARE * labels * predict
            seconds += fixed + updates * update + held_out + calibration.test_examples * predict
        return seconds, 0.0

    def _pace(self, calibration: Calibration) -> tuple[float, float, float]:
        """Seconds whatever the budget, seconds an update, seconds to predict an example."""
        from carryover.transfer.fit import FitSettings, fit_task

        sample = calibration.sample(calibration.smallest)
        material = self.substitute(calibration)
        kept, held_out = split_budget(sample, 0)
        kind, spent = calibration.task.kind, []
        with tempfile.TemporaryDirectory() as cache:
            for updates in (_FEW, _MORE):
                few = {"epochs": 1, "least_updates": updates, "evaluations": 1}
                options: dict[str, Any] = {"multi_label": calibration.task.multi_label, **calibration.fitting, **few}
                started = time.perf_counter()
                fit = fit_task(
                    kind,
                    kept,
                    held_out,
                    plan=self.plan(calibration.placement),
                    settings=FitSettings(**options),
                    device=calibration.device,
                    cache_folder=Path(cache),
                    **material,
                )
                spent.append((fit.updates, time.perf_counter() - started))
        (fewer, first), (more, second) = spent
        update = max(second - first, 0.1 * second) / max(1, more - fewer)
        started = time.perf_counter()
        fit.predictor.predict([example.input.content for example in sample])
        predict = (time.perf_counter() - started) / len(sample)
        return max(0.0, second - more * update), update, predict
