"""The one training loop: any objective over any stream of batches, continued exactly where it was killed.

Nothing random is carried from step to step. The batch of step k is a pure function of (seed, epoch, position), and the
random numbers of step k (dropout, sampled words) come from a generator seeded with (seed, k). So a checkpoint needs the
weights, the optimiser's moments, the recurrent state carried between chunks and a few counts, and a run that continues
from it takes the very steps that the uninterrupted run takes. Where processes share the run (`processes`), each goes through
the same loop over its part of the batches, and only the leader writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from carryover import storage
from carryover.data.order import random_bits
from carryover.devices import autocast
from carryover.errors import BadData, TrainingFailed, UsageError
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
from carryover.training.job import Job, LoopSettings
from carryover.training.keeping import BestOnDisk, LoopState
from carryover.training.optimisers import clip_gradients, optimiser_tensors, restore_optimiser, set_learning_rate
from carryover.training.processes import OneProcess, Processes
from carryover.training.report import write_report
from carryover.training.run_folder import MetricsLog, RunFolder
from carryover.training.stopping import StopRequest
from carryover.training.watching import Watcher, is_watched

_SECONDS_BETWEEN_REPORTS = 20.0


@dataclass(frozen=True)
class LoopResult:
    """How a run ended: `stopped_by` is "epochs" (or the job's word for it), "patience", "rate", "time limit" or "deadline"."""

    state: LoopState
    stopped_by: str
    resumed_from: int | None
    folder: RunFolder | None

    @property
    def best_folder(self) -> Path:
        """Where the best weights are, of a run that keeps them on the disk."""
        assert self.folder is not None
        return self.folder.best_model(self.state.best_step)


class TrainingLoop:
    """One session of a run. `run` continues from the newest checkpoint of `folder`, or begins.

    Without a folder nothing is stored, and nothing continues.
    """

    def __init__(
        self,
        job: Job,
        settings: LoopSettings,
        folder: RunFolder | None,
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
        self.total = self.per_epoch * settings.epochs if settings.steps is None else settings.steps
        self.carried: State = ()
        self.keeper = job.keeper or BestOnDisk(job.model, folder, job.decides, writes=self.processes.leads)
        self._place = job.place or (lambda step: divmod(step, self.per_epoch))
        self._trained = dict(job.model.named_parameters() if job.trained is None else job.trained)
        self._saved_step = -1
        self._earlier_seconds = 0.0
        self._reported = -math.inf
        self._watcher = Watcher(job.decides) if is_watched() and not quiet and self.processes.leads else None

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
        if self.processes.leads and self.folder is not None:
            self.metrics = MetricsLog(self.folder.metrics_file, self.state.metrics_bytes)
        self._note_time(event="start", at=time.time(), step=self.state.step, session=self.state.sessions)
        reason: str | None = None
        try:
            with (
                Progress(self.job.label, self.job.amount, self.job.unit, self.quiet, done=self.state.tokens) as progress,
                self._gently(),
            ):
                reason = self._steps(began, progress)
            rate = progress.rate()
        finally:
            if self.metrics is not None:
                self.metrics.close()
            if self.state.step != resumed:
                self._report(reason, at_once=True)
        self._note_time(
            event="end", at=time.time(), step=self.state.step, seconds=self.state.seconds, tokens_per_second=round(rate, 1)
        )
        return LoopResult(self.state, reason, resumed, self.folder)

    def _note_time(self, **entries: Any) -> None:
        if self.processes.leads and self.folder is not None:
            self.folder.note_time(**entries, **({"processes": self.processes.size} if self.processes.size > 1 else {}))

    def _report(self, reason: str | None = None, *, at_once: bool = False) -> None:
        """Draw `report.html` from the logs, now or where the last one is old."""
        now = time.monotonic()
        if not self.processes.leads or self.folder is None or not self.folder.settings_file.is_file():
            return
        if reason is None and self._saved_step < 0:
            return  # it may fail yet, and leave nothing
        if at_once or now - self._reported >= _SECONDS_BETWEEN_REPORTS:
            job = self.job
            write_report(
                self.folder, label=job.label, unit=job.unit, decides=job.decides, stopped_by=reason, clip=self.settings.clip
            )
            self._reported = now

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
            if stop is not None and state.step < self.total and self.folder is not None:
                self._save()
                raise stop(
                    f"stopped after {self.job.step_name} {state.step} of {self.total} and saved",
                    repair="run the same command again to continue",
                )
            if due:
                self._save()

    def _one_step(self, step: int) -> dict[str, float]:
        settings, job = self.settings, self.job
        epoch, position = self._place(step)
        seeds = random_bits(2, settings.seed, step + job.first_seed)
        torch.manual_seed(int(seeds[0] >> 1))
        rate = settings.schedule.rate(step) * self.state.rate_scale
        set_learning_rate(job.optimiser, rate)
        batch = job.stream.batch(settings.seed, epoch, position)
        if settings.device != "cpu":
            batch = batch.to(settings.device)
        job.model.train()
        job.before_step(step)
        job.optimiser.zero_grad(set_to_none=True)
        with autocast(settings.precision, settings.device):
            loss, carried, figures = job.objective(job.model, batch, self.carried, step_seed=int(seeds[1] >> 33))
        update = self.processes.backward(job.model, loss, figures, 0 if job.digest is None else job.digest(batch))
        value = update.loss
        norm = clip_gradients(job.model, settings.clip)
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise TrainingFailed(
                f"not finite at {job.step_name} {step} (epoch {epoch}, batch {position}): loss {value:g}, gradient norm {norm:g}, "
                f"learning rate {rate:g}{self._unharmed()}",
                path=None if self.folder is None else self.folder.out,
                repair="lower the learning rate or the clipping norm"
                + ("" if self.folder is None else ", in another output folder"),
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

    def _unharmed(self) -> str:
        """What is left of the run when it fails, as the end of a sentence."""
        if self.folder is None:
            return ""
        kept = checkpoint_folders(self.folder.checkpoints)
        return f"; the last good checkpoint is {f'{kept[-1].name}, unharmed' if kept else 'none yet'}"

    def _why_end(self) -> str | None:
        if self.state.step >= self.total:
            return self.job.finished_by
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
        if self._watcher is not None:
            self._watcher.trained(sums["loss"] / max(sums["weight"], 1.0))
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
        state, decides = self.state, self.job.decides
        figures = self.job.evaluate()
        state.evaluated_at = state.step
        if figures is None:
            self.keeper.consider(state, None)
            return
        figure = figures[decides]
        if math.isnan(figure):
            raise TrainingFailed(
                f"the held-out {decides} is not a number after {self.job.step_name} {state.step}",
                path=None if self.folder is None else self.folder.out,
                repair="lower the learning rate",
            )
        self.keeper.consider(state, figures)
        if self.settings.annealing is not None:
            state.held_out.append(figure)
            state.rate_scale = self.settings.annealing.scale(state.held_out)
        self._measured(step=state.step, held_out=figures, best_step=state.best_step)
        progress.advance(0, **{f"held_out_{decides}": figure})
        self._note_time(event="measured", step=state.step, seconds=round(state.seconds, 3), amount=state.tokens)
        self._report()
        if self._watcher is not None:
            self._watcher.measured(state.step, figure)

    # ------------------------------------------------------------------ saving

    def _checkpoint_is_due(self) -> bool:
        every = self.settings.checkpoint_steps
        if every is not None:
            return self.state.step % every == 0
        return time.monotonic() - self._saved_at >= self.settings.checkpoint_seconds

    def _save(self) -> None:
        if self.folder is None or self._saved_step == self.state.step:
            return
        carried = self.processes.gather(self.carried)
        if self.metrics is not None:
            self._write_checkpoint(self.folder, carried, self.metrics)
        self._saved_step, self._saved_at = self.state.step, time.monotonic()

    def _write_checkpoint(self, folder: RunFolder, carried: State, metrics: MetricsLog) -> None:
        self.state.metrics_bytes = metrics.length()
        job = self.job
        stored: Mapping[str, Tensor] = job.model.state_dict() if job.trained is None else self._trained
        tensors = {f"model/{name}": tensor.detach() for name, tensor in stored.items()}
        names = {parameter: name for name, parameter in self._trained.items()}
        tensors |= {f"optimiser/{name}": tensor for name, tensor in optimiser_tensors(job.optimiser, names).items()}
        tensors |= {f"carried/{number:04d}": tensor for number, tensor in enumerate(state_tensors(carried))}
        tensors |= {f"kept/{name}": tensor for name, tensor in self.keeper.tensors().items()}
        content: dict[str, Any] = {"loop": asdict(self.state)}
        content |= {"identity": dict(job.identity)} if job.identity else {}
        content |= {"keeper": kept} if (kept := self.keeper.to_json()) else {}
        save_checkpoint(folder.checkpoints, self.state.step, tensors, content)
        self.keeper.prune(self.state)

    def _restore(self) -> int | None:
        """Load the newest checkpoint into model, optimiser and counts; the step it was taken at, or None."""
        self.carried = self.job.initial_state()
        found = None if self.folder is None else self._newest(self.folder)
        if found is None or self.folder is None:
            return None
        content = self.job.upgrade(found.state)
        for name, value in self.job.identity.items():
            if content["identity"].get(name) != value:
                raise UsageError(
                    f"the checkpoint was made with another {name} ({content['identity'].get(name)}, now {value})",
                    path=self.folder.out,
                    repair="repeat the command that started it, or choose another folder",
                )
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimiser": {}, "carried": {}, "kept": {}}
        for name, tensor in found.tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = tensor
        self._fill(parts["model"], self.folder)
        restore_optimiser(self.job.optimiser, parts["optimiser"], self._trained.items())
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
        self.state = LoopState(**content["loop"])
        self.state.sums = {**LoopState().sums, **self.state.sums}  # an earlier version kept fewer
        self.keeper.restore(parts["kept"], content.get("keeper", {}))
        self._saved_step = found.step
        if not self.quiet:
            say(f"continuing from {self.job.step_name} {found.step} of {self.total} ({self.folder.out})")
        return found.step

    def _fill(self, tensors: dict[str, Tensor], folder: RunFolder) -> None:
        """Put stored tensors into the model, or into the part of it that is trained. Raises BadData where they do not fit."""
        try:
            if self.job.trained is None:
                self.job.model.load_state_dict(tensors)
                return
            if odd := sorted(set(self._trained) ^ set(tensors)):
                raise RuntimeError(f"they disagree about the tensor {odd[0]!r}")
            with torch.no_grad():
                for name, parameter in self._trained.items():
                    parameter.copy_(tensors[name])
        except RuntimeError as error:
            raise BadData(
                f"the checkpoint is not of this model: {error}", path=folder.checkpoints, repair="choose another folder"
            ) from error

    def _newest(self, folder: RunFolder) -> Checkpoint | None:
        """The checkpoint to continue from, which the leader finds and all read."""
        if self.processes.leads:
            storage.sweep(folder.best)
            found = load_newest_checkpoint(folder.checkpoints)
            self.processes.broadcast(None if found is None else found.step)
            return found
        step = self.processes.receive()
        return None if step is None else load_checkpoint(checkpoint_folder(folder.checkpoints, step))

    @contextmanager
    def _gently(self) -> Iterator[None]:
        self.stop.gentle = self.folder is not None
        try:
            yield
        finally:
            self.stop.gentle = False


def _perplexity(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf
