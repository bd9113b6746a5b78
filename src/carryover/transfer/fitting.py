"""The job of fitting a task, for the training loop: its batches, its loss, its thawing layers, and the weights it keeps."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from collections.abc import Sequence as ListOf
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, final

import torch
from torch import Tensor

from carryover.data.buckets import BucketSampler
from carryover.encoders.batching import batches_by_length
from carryover.encoders.vector_cache import Representations
from carryover.tasks import Labels
from carryover.tasks.heads.head import Head
from carryover.training.job import Job, LoopSettings
from carryover.training.keeping import Keeper, LoopState
from carryover.training.schedules import Schedule
from carryover.transfer.plan import CarryPlan, Thaw, parameter_groups
from carryover.transfer.predictor import PREDICTION_TOKENS, TaskModel
from carryover.transfer.settings import FitSettings

_LOGS = 100  # lines of the metrics log in a whole run


@dataclass(frozen=True)
class Part:
    """Examples as the model reads them: to train on, or held out.

    `sentences` and `ready` have `each` entries for every example, side by side.
    """

    gold: list[Labels]
    sentences: list[tuple[str, ...]]
    targets: list[Tensor]
    ready: Representations | None
    each: int

    @classmethod
    def of(cls, head: Head, examples: ListOf[Any], sentences: list[tuple[str, ...]], ready: Representations | None) -> Part:
        gold = [head.task.gold(example) for example in examples]
        return cls(gold, sentences, [head.encode(example) for example in examples], ready, head.task.sentences_of_one)

    def __len__(self) -> int:
        return len(self.gold)

    @property
    def lengths(self) -> list[int]:
        """Words of every example."""
        words = [len(sentence) for sentence in self.sentences]
        return [sum(words[start : start + self.each]) for start in range(0, len(words), self.each)]

    def rows(self, positions: ListOf[int]) -> list[int]:
        """Where the sentences of these examples stand."""
        return [self.each * position + number for position in positions for number in range(self.each)]


@dataclass(frozen=True)
class HeldOut:
    """The latest measurement: the task's scores, the mean loss, and how many answers were scored."""

    score: dict[str, Any]
    loss: float
    answers: int


class Fitting:
    """A task's model with its labelled examples, as the training loop sees them: `job` and `loop_settings`.

    A stream of batches of similar length (`BucketSampler`), each epoch in another order and perhaps in another number.
    """

    def __init__(
        self,
        model: TaskModel,
        plan: CarryPlan,
        settings: FitSettings,
        *,
        train: Part,
        dev: Part,
        identity: Mapping[str, str],
        quiet: bool,
    ) -> None:
        self.model, self.plan, self.settings, self.train, self.dev, self.quiet = model, plan, settings, train, dev, quiet
        assert settings.token_budget and settings.epochs and settings.least_updates and settings.learning_rate
        lengths = [max(1, words) for words in train.lengths]
        self.sampler = BucketSampler(lengths, token_budget=settings.token_budget, seed=settings.seed)
        self._epochs = [self.sampler.epoch(0)]
        self.updates = max(settings.epochs * len(self._epochs[0]), settings.least_updates)
        self.thaw = Thaw(plan, model.encoder.groups(), self.updates)
        layers = self.thaw.layers
        tuned = {id(parameter) for layer in layers for parameter in layer.parameters.values()}
        rest = [parameter for parameter in model.parameters() if parameter.requires_grad]
        wanted = tuned | {id(parameter) for parameter in rest}
        self.trained = {name: p for name, p in model.named_parameters() if id(p) in wanted}
        groups = parameter_groups(plan, rest, layers, weight_decay=settings.weight_decay)
        self.optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
        self.held_out: HeldOut | None = None
        self.keeper = LatestOfTheBest(self)
        self.identity = {
            "task": _digest(model.head.to_json()),
            "plan": _digest(plan.to_json()),
            "settings": _digest(settings.deciding()),
            "training examples": _digest(train.sentences, train.gold),
            "held-out examples": _digest(dev.sentences, dev.gold),
            **identity,
        }

    def job(self) -> Job:
        """Seed 0 is for the weights that a model begins with, so the first update draws from seed 1."""
        return Job(
            model=self.model,
            objective=self._loss,
            stream=self,
            optimiser=self.optimiser,
            evaluate=self._evaluate,
            amount=self.updates,
            decides="score",
            label="training",
            unit="updates",
            keeper=self.keeper,
            trained=self.trained,
            before_step=self.thaw.at,
            place=self.place,
            identity=self.identity,
            upgrade=_as_of_one_loop,
            first_seed=1,
            step_name="update",
            finished_by="updates",
        )

    def loop_settings(self) -> LoopSettings:
        settings = self.settings
        assert settings.learning_rate
        return LoopSettings(
            seed=settings.seed,
            steps=self.updates,
            schedule=Schedule(
                kind="slanted-triangular" if self.plan.slanted_triangular else "constant",
                peak=settings.learning_rate,
                total=self.updates,
            ),
            clip=settings.clip,
            patience=settings.patience,
            evaluate_steps=max(1, self.updates // settings.evaluations),
            log_steps=max(1, self.updates // _LOGS),
            checkpoint_seconds=settings.checkpoint_seconds,
            checkpoint_steps=settings.checkpoint_updates,
            time_limit=settings.time_limit,
        )

    # ------------------------------------------------------------------ batches

    def steps_per_epoch(self) -> int:
        return len(self._epochs[0])

    def place(self, update: int) -> tuple[int, int]:
        """Epoch and batch of an update."""
        while update >= sum(map(len, self._epochs)):
            self._epochs.append(self.sampler.epoch(len(self._epochs)))
        begins = [0, *accumulate(map(len, self._epochs))]
        epoch = next(number for number, end in enumerate(begins[1:]) if update < end)
        return epoch, update - begins[epoch]

    def epochs_after(self, updates: int) -> float:
        """How often the examples have been read after a number of updates."""
        epoch, position = self.place(updates)
        return epoch + position / len(self._epochs[epoch])

    def batch(self, seed: int, epoch: int, step: int) -> Any:
        return self._batch(self.train, self._epochs[epoch][step])

    def _batch(self, part: Part, positions: list[int]) -> tuple[list[tuple[str, ...]], Tensor, Any]:
        """Sentences, targets and, where there are any, ready-made vectors."""
        device = self.model.device
        rows = part.rows(positions)
        ready = None if part.ready is None else part.ready.batch(rows, device)
        targets = self.model.head.stack([part.targets[position] for position in positions]).to(device)
        return [part.sentences[row] for row in rows], targets, ready

    def _loss(self, model: TaskModel, batch: Any, state: Any, *, step_seed: int) -> tuple[Tensor, Any, dict[str, float]]:
        loss = model.loss(*batch)
        if self.plan.mix_l2:
            for mix in model.mixtures().values():
                loss = loss + self.plan.mix_l2 * mix.layer_weights.square().sum()
        return loss, state, {"tokens": 1}

    # ------------------------------------------------------------------ measuring

    @torch.no_grad()
    def _evaluate(self) -> dict[str, float] | None:
        """Score and mean loss of the held-out examples, if there are any."""
        if not len(self.dev):
            return None
        self.held_out = self._score_held_out()
        return {"score": float(self.held_out.score["main"]), "loss": self.held_out.loss}

    def _score_held_out(self) -> HeldOut:
        """Draws no random numbers."""
        self.model.eval()
        head = self.model.head
        found: list[Labels] = [()] * len(self.dev)
        loss, weights = 0.0, 0
        for positions in batches_by_length(self.dev.lengths, PREDICTION_TOKENS):
            sentences, targets, ready = self._batch(self.dev, positions)
            hidden = self.model.hidden(sentences, ready)
            weight = head.weight(targets)
            loss += float(head.loss(hidden, targets)) * weight
            weights += weight
            for position, labels in zip(positions, head.answers(hidden, sentences), strict=True):
                found[position] = labels
        return HeldOut(head.task.score(self.dev.gold, found), loss / max(weights, 1), weights)


@final
class LatestOfTheBest(Keeper):
    """Keeps the weights unless they are clearly worse than the best so far.

    Clearly: by more than the standard error of the best score. The best of many noisy scores on a few examples is mostly
    luck, while weights late in the schedule, where the rate has fallen, are reliably good; so of those that the held-out
    examples cannot tell apart the latest are kept. Without held-out examples the last are.

    Attributes
    ----------
    score : of the kept weights, None without held-out examples.
    update : after which the kept weights were reached.
    history : update, score and loss of each measurement.
    """

    def __init__(self, fitting: Fitting) -> None:
        self.fitting = fitting
        self.score: dict[str, Any] | None = None
        self.update = 0
        self.history: list[list[float]] = []
        self._kept: dict[str, Tensor] = {}

    def consider(self, state: LoopState, figures: dict[str, float] | None) -> None:
        found = self.fitting.held_out
        if figures is None or found is None:
            self._keep(state.step)
            return
        now = figures["score"]
        self.history.append([state.step, now, figures["loss"]])
        before = None if state.best is None else state.best["score"]
        state.waited = 0 if before is None or now > before else state.waited + 1
        if before is None or now > before:
            state.best, state.best_step = figures, state.step
        best = now if before is None else max(now, before)
        if now >= best - standard_error(best, found.answers):
            self.score = found.score
            self._keep(state.step)

    def _keep(self, update: int) -> None:
        self._kept = {name: parameter.detach().clone() for name, parameter in self.fitting.trained.items()}
        self.update = update

    def put_back(self) -> None:
        """The kept weights into the model; nothing of it is trained from here on."""
        with torch.no_grad():
            for name, parameter in self.fitting.trained.items():
                parameter.copy_(self._kept[name])
        for parameter in self.fitting.model.parameters():
            parameter.requires_grad_(False)

    def tensors(self) -> dict[str, Tensor]:
        return self._kept

    def to_json(self) -> dict[str, Any]:
        return {"score": self.score, "update": self.update, "history": self.history}

    def restore(self, tensors: Mapping[str, Tensor], content: Mapping[str, Any]) -> None:
        self._kept = {name: tensor.to(self.fitting.model.device) for name, tensor in tensors.items()}
        self.score, self.update, self.history = content["score"], content["update"], content["history"]


def standard_error(score: float, answers: int) -> float:
    """Of a share of right answers: √(p (1 − p) / n)."""
    return math.sqrt(max(score * (1 - score), 0.0) / max(answers, 1))


def _as_of_one_loop(state: dict[str, Any]) -> dict[str, Any]:
    """The state of a checkpoint that was stored when tasks had a separate loop, as the loop stores it now."""
    if "counts" not in state:
        return state
    counts = state["counts"]
    best = None if counts["best"] is None else {"score": counts["best"], "loss": math.nan}
    loop = LoopState(
        step=counts["update"],
        tokens=counts["update"],
        seconds=counts["seconds"],
        waited=counts["waited"],
        evaluated_at=max(0, counts["evaluated_at"]),
        best=best,
    )
    kept = {"score": counts["kept_score"], "update": counts["kept_update"], "history": counts["history"]}
    return {**state, "loop": asdict(loop), "keeper": kept}


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=list).encode()).hexdigest()[:16]
