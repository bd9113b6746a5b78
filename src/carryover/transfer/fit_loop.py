"""The updates of fitting a task: batch by batch, scored on held-out examples, saved and continued to the bit."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from collections.abc import Sequence as ListOf
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from carryover.data.buckets import BucketSampler
from carryover.data.order import random_bits
from carryover.encoders.batching import batches_by_length
from carryover.encoders.vector_cache import Representations
from carryover.errors import BadData, TrainingFailed, UsageError
from carryover.progress import Progress, say
from carryover.tasks import Labels, Task
from carryover.training.checkpoint import load_newest_checkpoint, save_checkpoint
from carryover.training.optimisers import clip_gradients, optimiser_tensors, restore_optimiser, set_learning_rate
from carryover.training.schedules import Schedule
from carryover.training.stopping import StopRequest
from carryover.transfer.plan import CarryPlan, Thaw, parameter_groups
from carryover.transfer.predictor import PREDICTION_TOKENS, TaskModel
from carryover.transfer.settings import FitSettings


@dataclass(frozen=True)
class Part:
    """Examples as the model reads them: to train on, or held out."""

    gold: list[Labels]
    sentences: list[tuple[str, ...]]
    targets: list[Tensor]
    ready: Representations | None

    @classmethod
    def of(cls, task: Task, examples: ListOf[Any], sentences: list[tuple[str, ...]], ready: Representations | None) -> Part:
        gold = [task.gold(example) for example in examples]
        return cls(gold, sentences, [task.encode(example) for example in examples], ready)

    def __len__(self) -> int:
        return len(self.sentences)


@dataclass
class Counts:
    """What a checkpoint stores beside tensors."""

    update: int = 0
    epoch: int = 0
    position: int = 0
    waited: int = 0
    evaluated_at: int = -1
    seconds: float = 0.0
    best: float | None = None
    kept_update: int = 0
    kept_score: dict[str, Any] | None = None
    history: list[list[float]] = field(default_factory=list)  # update, score, loss of each evaluation


class FitLoop:
    """One session of one training."""

    def __init__(
        self,
        model: TaskModel,
        plan: CarryPlan,
        settings: FitSettings,
        *,
        train: Part,
        dev: Part,
        identity: dict[str, str],
        quiet: bool,
    ) -> None:
        self.model, self.plan, self.settings, self.train, self.dev, self.quiet = model, plan, settings, train, dev, quiet
        assert settings.token_budget and settings.epochs and settings.least_updates and settings.learning_rate
        lengths = [max(1, len(words)) for words in train.sentences]
        self.sampler = BucketSampler(lengths, token_budget=settings.token_budget, seed=settings.seed)
        self.batches = self.sampler.epoch(0)
        self.updates = max(settings.epochs * len(self.batches), settings.least_updates)
        self.evaluate_every = max(1, self.updates // settings.evaluations)
        self.schedule = Schedule(
            kind="slanted-triangular" if plan.slanted_triangular else "constant",
            peak=settings.learning_rate,
            total=self.updates,
        )
        self.thaw = Thaw(plan, model.encoder.groups(), self.updates)
        layers = self.thaw.layers
        tuned = {id(parameter) for layer in layers for parameter in layer.parameters.values()}
        rest = [parameter for parameter in model.parameters() if parameter.requires_grad]
        wanted = tuned | {id(parameter) for parameter in rest}
        self.trained = {name: p for name, p in model.named_parameters() if id(p) in wanted}
        groups = parameter_groups(plan, rest, layers, weight_decay=settings.weight_decay)
        self.optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
        self.counts = Counts()
        self.kept: dict[str, Tensor] = {}
        self.identity = {
            "task": _digest(model.task.to_json()),
            "plan": _digest(plan.to_json()),
            "settings": _digest(settings.deciding()),
            "training examples": _digest(train.sentences, train.gold),
            "held-out examples": _digest(dev.sentences, dev.gold),
            **identity,
        }

    def run(self, folder: Path | None, stop: StopRequest) -> str:
        """Train to the end, the best weights in place afterwards; why it ended."""
        if folder is not None:
            self._restore(folder)
        counts = self.counts
        earlier, session = counts.seconds, time.monotonic()
        saved_at = session
        stop.gentle = folder is not None
        try:
            with Progress("training", self.updates, "updates", self.quiet, done=counts.update) as progress:
                while not (reason := self._why_end()):
                    loss = self._one_update()
                    counts.update += 1
                    if counts.update % self.evaluate_every == 0 or counts.update == self.updates:
                        self._evaluate()
                    counts.seconds = earlier + time.monotonic() - session
                    progress.advance(1, loss=loss, **({"held_out": counts.best} if counts.best is not None else {}))
                    if folder is None:
                        continue
                    if stop.pending is not None:
                        self._save(folder)
                        raise stop.pending(
                            f"stopped after update {counts.update} of {self.updates} and saved",
                            repair="run the same command again to continue",
                        )
                    if self._save_is_due(saved_at):
                        self._save(folder)
                        saved_at = time.monotonic()
        finally:
            stop.gentle = False
        if counts.evaluated_at != counts.update:
            self._evaluate()
        if folder is not None:
            self._save(folder)
        _fill(self.trained, self.kept)
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        return reason

    # ------------------------------------------------------------------ updates

    def _one_update(self) -> float:
        counts, settings = self.counts, self.settings
        if counts.position == 0:
            self.batches = self.sampler.epoch(counts.epoch)
        positions = self.batches[counts.position]
        torch.manual_seed(update_seed(settings.seed, counts.update + 1))
        set_learning_rate(self.optimiser, self.schedule.rate(counts.update))
        self.model.train()
        self.thaw.at(counts.update)
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.model.loss(*self._batch(self.train, positions))
        if self.plan.mix_l2:
            for mix in self.model.mixtures().values():
                loss = loss + self.plan.mix_l2 * mix.layer_weights.square().sum()
        loss.backward()
        norm = clip_gradients(self.model, settings.clip)
        value = float(loss.detach())
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise TrainingFailed(
                f"not finite at update {counts.update} (epoch {counts.epoch}, batch {counts.position}, examples "
                f"{positions[:5]}): loss {value:g}, gradient norm {norm:g}; the last checkpoint, where one was asked for, "
                "is unharmed",
                repair="lower the learning rate or the clipping norm",
            )
        self.optimiser.step()
        counts.position += 1
        if counts.position == len(self.batches):
            counts.epoch, counts.position = counts.epoch + 1, 0
        return value

    def _batch(self, part: Part, positions: list[int]) -> tuple[list[tuple[str, ...]], Tensor, Any]:
        """Sentences, targets and, where there are any, ready-made vectors."""
        device = self.model.device
        ready = None if part.ready is None else part.ready.batch(positions, device)
        targets = self.model.task.stack([part.targets[position] for position in positions]).to(device)
        return [part.sentences[position] for position in positions], targets, ready

    def _why_end(self) -> str:
        counts, settings = self.counts, self.settings
        if counts.update >= self.updates:
            return "updates"
        if settings.patience is not None and counts.waited >= settings.patience:
            return "patience"
        if settings.time_limit is not None and counts.seconds >= settings.time_limit:
            return "time limit"
        return ""

    # ------------------------------------------------------------------ measuring

    @torch.no_grad()
    def _evaluate(self) -> None:
        """Score the held-out examples and keep the weights unless they are clearly worse than the best so far.

        Clearly: by more than the standard error of the best score. The best of many noisy scores on a few examples is
        mostly luck, while weights late in the schedule, where the rate has fallen, are reliably good; so of those that the
        held-out examples cannot tell apart the latest are kept. Without held-out examples the last are.
        """
        counts = self.counts
        counts.evaluated_at = counts.update
        if not len(self.dev):
            self._keep()
            return
        score, loss, answers = self._score_held_out()
        now = float(score["main"])
        counts.history.append([counts.update, now, loss])
        counts.waited = 0 if counts.best is None or now > counts.best else counts.waited + 1
        counts.best = now if counts.best is None else max(now, counts.best)
        if now >= counts.best - standard_error(counts.best, answers):
            counts.kept_score = score
            self._keep()

    def _score_held_out(self) -> tuple[dict[str, Any], float, int]:
        """Scores, mean loss and the number of answers scored. Draws no random numbers."""
        self.model.eval()
        task = self.model.task
        found: list[Labels] = [()] * len(self.dev)
        loss, weights = 0.0, 0
        for positions in batches_by_length([len(words) for words in self.dev.sentences], PREDICTION_TOKENS):
            sentences, targets, ready = self._batch(self.dev, positions)
            hidden = self.model.hidden(sentences, ready)
            weight = task.weight(targets)
            loss += float(task.loss(hidden, targets)) * weight
            weights += weight
            for position, labels in zip(positions, task.decode(hidden), strict=True):
                found[position] = labels
        return task.score(self.dev.gold, found), loss / max(weights, 1), weights

    def _keep(self) -> None:
        self.kept = {name: parameter.detach().clone() for name, parameter in self.trained.items()}
        self.counts.kept_update = self.counts.update

    # ------------------------------------------------------------------ saving

    def _save_is_due(self, saved_at: float) -> bool:
        every = self.settings.checkpoint_updates
        if every is not None:
            return self.counts.update % every == 0
        return time.monotonic() - saved_at >= self.settings.checkpoint_seconds

    def _save(self, folder: Path) -> None:
        names = {parameter: name for name, parameter in self.trained.items()}
        tensors = {f"model/{name}": parameter.detach() for name, parameter in self.trained.items()}
        tensors |= {f"kept/{name}": tensor for name, tensor in self.kept.items()}
        tensors |= {f"optimiser/{name}": tensor for name, tensor in optimiser_tensors(self.optimiser, names).items()}
        save_checkpoint(folder, self.counts.update, tensors, {"identity": self.identity, "counts": asdict(self.counts)})

    def _restore(self, folder: Path) -> None:
        found = load_newest_checkpoint(folder)
        if found is None:
            return
        for name, value in self.identity.items():
            if found.state["identity"].get(name) != value:
                raise UsageError(
                    f"the checkpoint was made with another {name} ({found.state['identity'].get(name)}, now {value})",
                    path=folder,
                    repair="repeat the command that began it, or choose another folder",
                )
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "kept": {}, "optimiser": {}}
        for name, tensor in found.tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = tensor
        _fill(self.trained, parts["model"])
        self.kept = {name: tensor.to(self.model.device) for name, tensor in parts["kept"].items()}
        restore_optimiser(self.optimiser, parts["optimiser"], self.trained.items())
        self.counts = Counts(**found.state["counts"])
        self.batches = self.sampler.epoch(self.counts.epoch)
        if not self.quiet:
            say(f"continuing from update {found.step} of {self.updates} ({folder})")


def standard_error(score: float, answers: int) -> float:
    """Of a share of right answers: √(p (1 − p) / n)."""
    return math.sqrt(max(score * (1 - score), 0.0) / max(answers, 1))


def update_seed(seed: int, update: int) -> int:
    """Seed of the generator for one update; 0 is for the weights that a model begins with."""
    return int(random_bits(1, seed, update)[0] >> np.uint64(1))


def _fill(parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]) -> None:
    if set(parameters) != set(tensors):
        odd = sorted(set(parameters) ^ set(tensors))[0]
        raise BadData(f"checkpoint and model disagree about the tensor {odd!r}", repair="choose another folder")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=list).encode()).hexdigest()[:16]
