"""Which weights of a run are kept: its counts, and what decides at each measurement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from torch import Tensor, nn

from carryover import storage
from carryover.training.checkpoint import checkpoint_folders
from carryover.training.run_folder import RunFolder


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


class Keeper(ABC):
    """Decides, whenever held-out figures are measured, whether the weights of now are kept.

    What it keeps in memory goes into checkpoints: `tensors` and `to_json` there, `restore` back.
    """

    @abstractmethod
    def consider(self, state: LoopState, figures: dict[str, float] | None) -> None:
        """Note the figures in `state` (`best`, `best_step`, `waited`) and keep the weights if they earn it.

        `figures` are None where nothing is held out.
        """

    def tensors(self) -> dict[str, Tensor]:
        """Weights that are kept in memory."""
        return {}

    def to_json(self) -> dict[str, Any]:
        """What else there is to restore."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor], content: Mapping[str, Any]) -> None:
        """Take back what a checkpoint stored."""
        return

    def prune(self, state: LoopState) -> None:
        """Called after each checkpoint: remove what no checkpoint refers to any more."""
        return


@final
class BestOnDisk(Keeper):
    """Keeps the model with the lowest value of the figure `decides`, each in a folder of the run.

    Only one process of several `writes`.
    """

    def __init__(self, model: nn.Module, folder: RunFolder | None, decides: str, *, writes: bool = True) -> None:
        self.model, self.folder, self.decides, self.writes = model, folder, decides, writes

    def consider(self, state: LoopState, figures: dict[str, float] | None) -> None:
        if figures is None:
            return
        if state.best is None or figures[self.decides] < state.best[self.decides]:
            state.best, state.best_step, state.waited = figures, state.step, 0
            self._save(state.step)
        else:
            state.waited += 1

    def _save(self, step: int) -> None:
        if not self.writes or self.folder is None:
            return
        self.folder.check_present()
        with storage.atomic_folder(self.folder.best_model(step)) as temporary:
            storage.save_tensors(temporary / "model.safetensors", self.model.state_dict())

    def prune(self, state: LoopState) -> None:
        """Best models stay as long as a kept checkpoint refers to them."""
        if self.folder is None:
            return
        wanted = {self.folder.best_model(state.best_step).name}
        for place in checkpoint_folders(self.folder.checkpoints):
            best_step = storage.read_json(place / "state.json")["loop"]["best_step"]
            wanted.add(self.folder.best_model(best_step).name)
        for place in checkpoint_folders(self.folder.best):
            if place.name not in wanted:
                storage.crash_point("prune")
                storage.remove_folder(place)
