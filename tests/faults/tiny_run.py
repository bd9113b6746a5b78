"""A training run of milliseconds with everything that makes resuming hard: carried state, dropout, moments, best models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from carryover import storage
from carryover.data.order import permutation
from carryover.layers.base import detach_state
from carryover.storage.artefact import save_artefact
from carryover.training.job import Job, LoopSettings
from carryover.training.loop import LoopResult, TrainingLoop
from carryover.training.optimisers import build_optimiser
from carryover.training.run_folder import open_run
from carryover.training.schedules import Schedule
from carryover.training.stopping import StopRequest

ROWS, STEPS, VOCABULARY = 3, 5, 11


class TinyModel(nn.Module):
    """An embedding, a GRU cell and a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 6)
        self.cell = nn.GRUCell(6, 6)
        self.dropout = nn.Dropout(0.3)
        self.output = nn.Linear(6, VOCABULARY)

    def forward(self, words: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        logits = []
        for step in range(words.shape[1]):
            state = self.cell(self.dropout(self.embedding(words[:, step])), state)
            logits.append(self.output(state))
        return torch.stack(logits, dim=1), state


@dataclass
class TinyStream:
    """Batches that are a pure function of (seed, epoch, step)."""

    batches: int = 10

    def steps_per_epoch(self) -> int:
        return self.batches

    def batch(self, seed: int, epoch: int, step: int) -> Tensor:
        words = permutation(ROWS * (STEPS + 1), seed, epoch, step) % VOCABULARY
        return torch.from_numpy(words).view(ROWS, STEPS + 1)


def tiny_objective(model: TinyModel, batch: Tensor, state: Any, *, step_seed: int) -> tuple[Tensor, Any, dict[str, float]]:
    logits, last = model(batch[:, :-1], state[0])
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
    return loss, detach_state((last,)), {"tokens": ROWS * STEPS}


def evaluate(model: TinyModel) -> dict[str, float]:
    model.eval()
    torch.rand(3)  # disturbs the random state on purpose: measuring must not change the training
    with torch.no_grad():
        logits, _ = model(TinyStream().batch(99, 0, 0)[:, :-1], torch.zeros(ROWS, 6))
        return {"perplexity": float(logits.logsumexp(-1).mean().exp())}


def run(
    out: Path,
    *,
    objective: Callable[..., Any] = tiny_objective,
    score: Callable[[TinyModel], dict[str, float]] = evaluate,
    stop: StopRequest | None = None,
    publish: bool = False,
    **changes: Any,
) -> LoopResult:
    """Run or continue in `out` with `LoopSettings` changed by `changes`."""
    torch.manual_seed(5)
    model = TinyModel()
    settings = LoopSettings(
        seed=7,
        epochs=2,
        schedule=Schedule(kind="cosine", peak=0.05, total=20, warm_up=2),
        evaluate_steps=5,
        log_steps=3,
        checkpoint_steps=4,
    )
    settings = replace(settings, **changes)
    stream = TinyStream()
    job = Job(
        model=model,
        objective=objective,
        stream=stream,
        optimiser=build_optimiser(model, "adam", learning_rate=0.05),
        initial_state=lambda: (torch.zeros(ROWS, 6),),
        evaluate=lambda: score(model),
        amount=stream.batches * ROWS * STEPS * settings.epochs,
    )
    with open_run(out) as folder:
        folder.check_settings({"epochs": settings.epochs, "seed": settings.seed}, may_grow=("epochs",))
        result = TrainingLoop(job, settings, folder, stop=stop, quiet=True).run()
        if publish:
            save_artefact(
                out,
                kind="tiny",
                config={"rows": ROWS},
                tensors=storage.load_tensors(result.best_folder / "model.safetensors"),
                tokenizer={},
                labels=None,
                record={"steps": result.state.step},
                card="# Tiny\n",
                files={"heldout.txt": b"a line\n"},
            )
        return result
