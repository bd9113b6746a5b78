"""The training loop: any objective over any stream of batches, continued exactly where it was killed.

Nothing random is carried from step to step. The batch of step k is a pure function of (seed, epoch, position), and the
random numbers of step k (dropout, sampled words) come from a generator seeded with (seed, k). So a checkpoint needs the
weights, the optimiser's moments, the recurrent state carried between chunks and a few counts, and a run that continues
from it takes the very steps that the uninterrupted run takes. Where processes share the run (`processes`), each goes through
the same loop over its part of the batches, and only the leader writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from carryover import storage
from carryover.data.order import random_bits
from carryover.devices import autocast
from carryover.errors import BadData, TrainingFailed
from carryover.layers.base import State, map_state, state_tensors
from carryover.progress import Progress, say
from carryover.training.checkpoint import (
    Checkpoint,
    checkpoint_folder,
    checkpoint_folders,
    load_checkpoint,
    load_newest_checkpoint,
    save_checkpoint,
)
from carryover.training.optimisers import clip_gradients, optimiser_tensors, restore_optimiser, set_learning_rate
from carryover.training.processes import OneProcess, Processes
from carryover.training.run_folder import MetricsLog, RunFolder
from carryover.training.schedules import Annealing, Schedule
from carryover.training.stopping import StopRequest


class Stream(Protocol):
    """Batches by number; see `carryover.data.stream.LanguageModelStream`."""

    def steps_per_epoch(self) -> int: ...

    def batch(self, seed: int, epoch: int, step: int) -> Any: ...


class Objective(Protocol):
    """Batch and carried state in; mean loss, new state (without history) and figures out, `tokens` among them.

    `targets`, the number the loss is a mean over, is needed among them where processes share the batch. `states`, how many
    carried states were looked at, and `clipped_states`, how many of those were at their clip, go to the metrics log.
    """

    def __call__(self, model: Any, batch: Any, state: Any, *, step_seed: int) -> tuple[Tensor, Any, dict[str, float]]: ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is trained on what.

    `initial_state` makes the state before the first step (`()` where nothing is carried). `evaluate` returns held-out
    figures; the one named by `decides` says which model is best, lower is better. `tokens` is the size of an epoch, and
    `unit` what they are called in the progress line. `digest` tells what a batch holds (see `carryover.data.order.digest`);
    the metrics log then tells it of what was read. `part` are the rows of the carried state that are here, None all of them.
    """

    model: nn.Module
    objective: Objective
    stream: Stream
    optimiser: torch.optim.Optimizer
    initial_state: Callable[[], State]
    evaluate: Callable[[], dict[str, float]]
    tokens: int
    decides: str = "perplexity"
    label: str = "pretraining"
    unit: str = "tokens"
    digest: Callable[[Any], int] | None = None
    part: range | None = None


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How a job is run. Times are in seconds, None is without limit; `evaluate_steps` and `log_steps` are intervals.

    `time_limit` is for all sessions of the run together and ends it; `deadline`, a moment of `time.monotonic`, ends this
    session only, without a measurement that an uninterrupted run would not make. `annealing` divides the schedule's rate
    when held-out figures stop falling, and when it has left `least_share` of it or less, the run ends.
    """

    seed: int = 0
    epochs: int = 1
    schedule: Schedule
    clip: float | None = 1.0
    patience: int | None = None
    evaluate_steps: int = 1000
    log_steps: int = 50
    checkpoint_seconds: float = 120.0
    checkpoint_steps: int | None = None
    time_limit: float | None = None
    deadline: float | None = None
    annealing: Annealing | None = None
    least_share: float = 0.0
    device: str = "cpu"
    precision: str = "float32"


@dataclass
class LoopState:
    """Counts and sums that a checkpoint stores beside the tensors. `best` is None before the first evaluation.

    `held_out` are the deciding figures of all evaluations and `rate_scale` what annealing made of the rate: both stay as
    they are where there is no annealing. `read` is the sum, modulo 2⁶⁴, of the digests of the batches since the last line
    of the metrics log.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    sessions: int = 0
    waited: int = 0
    evaluated_at: int = 0
    metrics_bytes: int = 0
    best: dict[str, float] | None = None
    best_step: int = 0
    held_out: list[float] = field(default_factory=list)
    rate_scale: float = 1.0
    read: int = 0
    sums: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("loss", "weight", "norm", "steps", "states", "clipped_states"), 0.0)
    )


@dataclass(frozen=True)
class LoopResult:
    """How a run ended: `stopped_by` is "epochs", "patience", "rate", "time limit" or "deadline"."""

    state: LoopState
    stopped_by: str
    best_folder: Path
    resumed_from: int | None


class TrainingLoop:
    """One session of a run. `run` continues from the newest checkpoint of `folder`, or begins."""

    def __init__(
        self,
        job: Job,
        settings: LoopSettings,
        folder: RunFolder,
        *,
        stop: StopRequest | None = None,
        quiet: bool = False,
        processes: Processes | None = None,
    ) -> None:
        self.job, self.settings, self.folder, self.quiet = job, settings, folder, quiet
        self.stop = stop or StopRequest(quiet)
        self.processes = processes or OneProcess()
        self.state = LoopState()
        self.per_epoch = job.stream.steps_per_epoch()
        self.total = self.per_epoch * settings.epochs
        self.carried: State = ()
        self._names = {parameter: name for name, parameter in job.model.named_parameters()}
        self._saved_step = -1
        self._earlier_seconds = 0.0

    def run(self) -> LoopResult:
        """Train until the epochs are done, nothing improves any more, annealing has used up the rate, the time is up, or a
        signal asks to stop.

        Raises TrainingFailed on a loss or gradient that is not finite, `stopping.Interrupted` and `stopping.Terminated`
        after saving, DiskFault and CannotWrite while saving; the last good checkpoint is intact in every case.
        """
        began = self._saved_at = time.monotonic()
        resumed = self._restore()
        self._earlier_seconds = self.state.seconds
        self.state.sessions += 1
        self.metrics: MetricsLog | None = None
        if self.processes.leads:
            self.metrics = MetricsLog(self.folder.metrics_file, self.state.metrics_bytes)
        self._note_time(event="start", at=time.time(), step=self.state.step, session=self.state.sessions)
        total_tokens = self.job.tokens * self.settings.epochs
        try:
            with (
                Progress(self.job.label, total_tokens, self.job.unit, self.quiet, done=self.state.tokens) as progress,
                self._gently(),
            ):
                reason = self._steps(began, progress)
            rate = progress.rate()
        finally:
            if self.metrics is not None:
                self.metrics.close()
        self._note_time(
            event="end", at=time.time(), step=self.state.step, seconds=self.state.seconds, tokens_per_second=round(rate, 1)
        )
        return LoopResult(self.state, reason, self._best_folder(self.state.best_step), resumed)

    def _note_time(self, **entries: Any) -> None:
        if self.processes.leads:
            self.folder.note_time(**entries, **({"processes": self.processes.size} if self.processes.size > 1 else {}))

    # ------------------------------------------------------------------ steps

    def _steps(self, began: float, progress: Progress) -> str:
        state = self.state
        while True:
            reason = self._why_end()
            if reason is not None:
                if reason != "deadline" and (state.evaluated_at != state.step or state.best is None):
                    self._evaluate(progress)
                self._save()
                return reason
            figures = self._one_step(state.step)
            state.step += 1
            state.seconds = self._earlier_seconds + time.monotonic() - began
            mean = state.sums["loss"] / max(state.sums["weight"], 1.0)
            progress.advance(int(figures["tokens"]), **self._training_figure(mean))
            if state.step % self.settings.log_steps == 0:
                self._log()
            if state.step % self.settings.evaluate_steps == 0 or state.step == self.total:
                self._evaluate(progress)
            seconds = self._earlier_seconds + time.monotonic() - began
            stop, state.seconds, due = self.processes.all_equal(self.stop.pending, seconds, self._checkpoint_is_due())
            if stop is not None and state.step < self.total:
                self._save()
                raise stop(
                    f"stopped after step {state.step} of {self.total} and saved",
                    repair="run the same command again to continue",
                )
            if due:
                self._save()

    def _one_step(self, step: int) -> dict[str, float]:
        settings, job = self.settings, self.job
        epoch, position = divmod(step, self.per_epoch)
        seeds = random_bits(2, settings.seed, step)
        torch.manual_seed(int(seeds[0] >> 1))
        rate = settings.schedule.rate(step) * self.state.rate_scale
        set_learning_rate(job.optimiser, rate)
        batch = job.stream.batch(settings.seed, epoch, position)
        if settings.device != "cpu":
            batch = batch.to(settings.device)
        job.model.train()
        job.optimiser.zero_grad(set_to_none=True)
        with autocast(settings.precision, settings.device):
            loss, carried, figures = job.objective(job.model, batch, self.carried, step_seed=int(seeds[1] >> 33))
        update = self.processes.backward(job.model, loss, figures, 0 if job.digest is None else job.digest(batch))
        value = update.loss
        norm = clip_gradients(job.model, settings.clip)
        if not (math.isfinite(value) and math.isfinite(norm)):
            kept = checkpoint_folders(self.folder.checkpoints)
            raise TrainingFailed(
                f"not finite at step {step} (epoch {epoch}, batch {position}): loss {value:g}, gradient norm {norm:g}, "
                f"learning rate {rate:g}; the last good checkpoint is "
                + (f"{kept[-1].name}, unharmed" if kept else "none yet"),
                path=self.folder.out,
                repair="lower the learning rate or the clipping norm, in another output folder",
            )
        job.optimiser.step()
        self.carried = carried
        sums, tokens = self.state.sums, update.tokens
        self.state.tokens += tokens
        self.state.read = (self.state.read + update.digest) % 2**64
        sums["loss"] += value * tokens
        sums["weight"] += tokens
        sums["norm"] += norm
        sums["steps"] += 1
        sums["states"] += update.states
        sums["clipped_states"] += update.clipped_states
        return {**figures, "tokens": tokens}

    def _why_end(self) -> str | None:
        if self.state.step >= self.total:
            return "epochs"
        if self.settings.patience is not None and self.state.waited >= self.settings.patience:
            return "patience"
        if self.state.rate_scale <= self.settings.least_share:
            return "rate"
        if self.settings.time_limit is not None and self.state.seconds >= self.settings.time_limit:
            return "time limit"
        if self.settings.deadline is not None and time.monotonic() >= self.settings.deadline:
            return "deadline"
        return None

    # ------------------------------------------------------------------ measuring

    def _training_figure(self, mean_loss: float) -> dict[str, float]:
        if self.job.decides == "perplexity":
            return {"training_perplexity": _perplexity(mean_loss)}
        return {"training_loss": mean_loss}

    def _log(self) -> None:
        sums, step = self.state.sums, self.state.step
        self._measured(
            step=step,
            epoch=round(step / self.per_epoch, 6),
            tokens=self.state.tokens,
            loss=sums["loss"] / max(sums["weight"], 1.0),
            gradient_norm=sums["norm"] / max(sums["steps"], 1.0),
            learning_rate=self.settings.schedule.rate(step - 1) * self.state.rate_scale,
            **({"clipped_share": sums["clipped_states"] / sums["states"]} if sums["states"] else {}),
            **({} if self.job.digest is None else {"read": f"{self.state.read:016x}"}),
        )
        for name in sums:
            sums[name] = 0.0
        self.state.read = 0

    def _measured(self, **entries: Any) -> None:
        if self.metrics is not None:
            self.metrics.add(**entries)

    def _evaluate(self, progress: Progress) -> None:
        state = self.state
        figures = self.job.evaluate()
        decides = self.job.decides
        figure = figures[decides]
        if math.isnan(figure):
            raise TrainingFailed(
                f"the held-out {decides} is not a number after step {state.step}",
                path=self.folder.out,
                repair="lower the learning rate",
            )
        state.evaluated_at = state.step
        better = state.best is None or figure < state.best[decides]
        if better:
            state.best, state.best_step, state.waited = figures, state.step, 0
            self._save_best()
        else:
            state.waited += 1
        if self.settings.annealing is not None:
            state.held_out.append(figure)
            state.rate_scale = self.settings.annealing.scale(state.held_out)
        self._measured(step=state.step, held_out=figures, best_step=state.best_step)
        progress.advance(0, **{f"held_out_{decides}": figure})

    def _save_best(self) -> None:
        if not self.processes.leads:
            return
        self.folder.check_present()
        with storage.atomic_folder(self._best_folder(self.state.step)) as temporary:
            storage.save_tensors(temporary / "model.safetensors", self.job.model.state_dict())

    def _best_folder(self, step: int) -> Path:
        return self.folder.best / f"step-{step:09d}"

    # ------------------------------------------------------------------ saving

    def _checkpoint_is_due(self) -> bool:
        every = self.settings.checkpoint_steps
        if every is not None:
            return self.state.step % every == 0
        return time.monotonic() - self._saved_at >= self.settings.checkpoint_seconds

    def _save(self) -> None:
        if self._saved_step == self.state.step:
            return
        carried = self.processes.gather(self.carried)
        if self.metrics is not None:
            self._write_checkpoint(carried, self.metrics)
        self._saved_step, self._saved_at = self.state.step, time.monotonic()

    def _write_checkpoint(self, carried: State, metrics: MetricsLog) -> None:
        self.state.metrics_bytes = metrics.length()
        tensors = {f"model/{name}": tensor for name, tensor in self.job.model.state_dict().items()}
        for name, tensor in optimiser_tensors(self.job.optimiser, self._names).items():
            tensors[f"optimiser/{name}"] = tensor
        for number, tensor in enumerate(state_tensors(carried)):
            tensors[f"carried/{number:04d}"] = tensor
        save_checkpoint(self.folder.checkpoints, self.state.step, tensors, {"loop": asdict(self.state)})
        self._prune_best()

    def _prune_best(self) -> None:
        """Best models stay as long as a kept checkpoint refers to them."""
        wanted = {self._best_folder(self.state.best_step).name}
        for place in checkpoint_folders(self.folder.checkpoints):
            wanted.add(f"step-{storage.read_json(place / 'state.json')['loop']['best_step']:09d}")
        for place in checkpoint_folders(self.folder.best):
            if place.name not in wanted:
                storage.crash_point("prune")
                storage.remove_folder(place)

    def _restore(self) -> int | None:
        """Load the newest checkpoint into model, optimiser and counts; the step it was taken at, or None."""
        found = self._newest()
        self.carried = self.job.initial_state()
        if found is None:
            return None
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimiser": {}, "carried": {}}
        for name, tensor in found.tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = tensor
        try:
            self.job.model.load_state_dict(parts["model"])
        except RuntimeError as error:
            raise BadData(
                f"the checkpoint is not of this model: {error}", path=self.folder.checkpoints, repair="choose another folder"
            ) from error
        restore_optimiser(self.job.optimiser, parts["optimiser"], self.job.model.named_parameters())
        stored = [parts["carried"][name] for name in sorted(parts["carried"])]
        if len(stored) != len(state_tensors(self.carried)):
            raise BadData(
                f"the checkpoint carries {len(stored)} state tensors, the model {len(state_tensors(self.carried))}",
                path=self.folder.checkpoints,
                repair="choose another folder",
            )
        left = iter(stored)
        here = slice(None) if self.job.part is None else slice(self.job.part.start, self.job.part.stop)
        self.carried = map_state(lambda old: next(left)[here].to(old.device), self.carried)
        self.state = LoopState(**found.state["loop"])
        self.state.sums = {**LoopState().sums, **self.state.sums}  # an earlier version kept fewer
        self._saved_step = found.step
        if not self.quiet:
            say(f"continuing from step {found.step} of {self.total} ({self.folder.out})")
        return found.step

    def _newest(self) -> Checkpoint | None:
        """The checkpoint to continue from, which the leader finds and all read."""
        if self.processes.leads:
            storage.sweep(self.folder.best)
            found = load_newest_checkpoint(self.folder.checkpoints)
            self.processes.broadcast(None if found is None else found.step)
            return found
        step = self.processes.receive()
        return None if step is None else load_checkpoint(checkpoint_folder(self.folder.checkpoints, step))

    @contextmanager
    def _gently(self) -> Iterator[None]:
        self.stop.gentle = True
        try:
            yield
        finally:
            self.stop.gentle = False


def _perplexity(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf
