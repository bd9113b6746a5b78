"""A made-up objective that reads no text: the next value of a float series, from windows of it.

A file of numbers, one a line; the last tenth is held out. Nothing but this file and one line of `RECIPES` knows of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn

from carryover.data.order import digest, permutation
from carryover.layers.base import State
from carryover.objectives.objective import AllReduce, Draft, Objective, Request
from carryover.storage import atomic_write, file_digest


class Predictor(nn.Module):
    """[B, T] → [B, T]: a guess of each next value."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.recurrence, self.out = nn.GRU(1, size, batch_first=True), nn.Linear(size, 1)

    def forward(self, values: Tensor) -> Tensor:
        guesses: Tensor = self.out(self.recurrence(values.unsqueeze(-1))[0]).squeeze(-1)
        return guesses


@dataclass(frozen=True)
class Config:
    size: int

    def to_json(self) -> dict[str, Any]:
        return {"size": self.size}


@dataclass(frozen=True)
class WindowBatch:
    values: Tensor
    digest: int

    @property
    def tokens(self) -> int:
        return self.values.shape[0] * (self.values.shape[1] - 1)

    def to(self, device: str, /) -> WindowBatch:
        return WindowBatch(self.values.to(device), self.digest)


@dataclass(frozen=True)
class Windows:
    """Windows [N, T] in an order drawn from (seed, epoch), `rows` a step, of which `part` are read here."""

    windows: np.ndarray
    rows: int
    part: range

    def steps_per_epoch(self) -> int:
        return max(1, len(self.windows) // self.rows)

    def batch(self, seed: int, epoch: int, step: int, /) -> WindowBatch:
        order = permutation(len(self.windows), seed, epoch)[step * self.rows : (step + 1) * self.rows]
        chosen = order[self.part.start : self.part.stop]
        return WindowBatch(torch.from_numpy(self.windows[chosen]), digest(chosen[:, None]))


@dataclass(frozen=True)
class SeriesCorpus:
    train: np.ndarray
    valid: np.ndarray
    fingerprint: str
    valid_fingerprint: str
    coder: None = None
    in_size: int = 1

    @property
    def targets(self) -> int:
        return self.train.shape[0] * (self.train.shape[1] - 1)

    def training_facts(self) -> dict[str, Any]:
        return {"windows": len(self.train)}

    def held_out_facts(self) -> dict[str, Any]:
        return {"windows": len(self.valid)}

    def tokenizer(self) -> dict[str, Any]:
        return {"window": self.train.shape[1]}

    def files(self) -> dict[str, bytes]:
        return {"heldout.json": json.dumps(self.valid[:2].tolist()).encode()}

    def shared(self) -> Any:
        return [self.fingerprint, self.valid_fingerprint]


@final
class NextValue(Objective[SeriesCorpus]):
    """The square of the error of the next value."""

    kind = "next-value"
    decides = "mean_squared_error"
    model_options: ClassVar[Mapping[str, str]] = {"width": "size"}

    def config(self, wanted: Request, in_size: int | None) -> Config:
        return Config(**{"size": 8, **wanted.model})

    def build(self, config: Config) -> Predictor:
        return Predictor(config.size)

    def fingerprints(self, wanted: Request) -> tuple[str, str]:
        found = file_digest(Path(wanted.raw))
        return found, found

    def prepare(
        self, wanted: Request, folder: Path, fingerprints: tuple[str, str], *, quiet: bool, coder: None
    ) -> SeriesCorpus:
        series = np.loadtxt(wanted.raw, dtype=np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(series, wanted.steps)[:: wanted.steps]
        atomic_write(folder / "windows.json", json.dumps(windows.tolist()))
        return self.open(folder, fingerprints)

    def open(self, folder: Path, shared: Any) -> SeriesCorpus:
        windows = np.array(json.loads((folder / "windows.json").read_text()), dtype=np.float32)
        border = len(windows) * 9 // 10
        return SeriesCorpus(windows[:border], windows[border:], *shared)

    def draft(self, wanted: Request, folder: Path, coder: None) -> Draft:
        corpus = self.prepare(wanted, folder, ("", ""), quiet=True, coder=None)
        rows = self.rows(wanted, corpus)
        return Draft(self.batches(wanted, corpus, rows, range(rows)), rows, 1, corpus.targets)

    def rows(self, wanted: Request, corpus: SeriesCorpus) -> int:
        return wanted.batch_size or 4

    def batches(self, wanted: Request, corpus: SeriesCorpus, rows: int, part: range) -> Windows:
        return Windows(corpus.train, rows, part)

    def held_out(self, wanted: Request, corpus: SeriesCorpus, rows: int, part: Callable[[int], range] = range) -> np.ndarray:
        here = part(len(corpus.valid))
        return corpus.valid[here.start : here.stop]

    def initial_state(self, model: Predictor, rows: int, device: str) -> State:
        return ()

    def __call__(
        self, model: Predictor, batch: WindowBatch, state: State, *, step_seed: int
    ) -> tuple[Tensor, State, dict[str, float]]:
        errors = (model(batch.values[:, :-1]) - batch.values[:, 1:]).square()
        return errors.mean(), state, {"tokens": batch.tokens, "targets": batch.tokens}

    @torch.no_grad()
    def evaluate(
        self, model: Predictor, held_out: np.ndarray, corpus: SeriesCorpus, device: str, all_reduce: AllReduce = list
    ) -> dict[str, float]:
        values = torch.from_numpy(held_out).to(device)
        errors = (model.eval()(values[:, :-1]) - values[:, 1:]).square()
        total, count = all_reduce([float(errors.sum()), float(errors.numel())])
        return {"mean_squared_error": total / count, "tokens": int(count)}

    def card(self, config: dict[str, Any], record: dict[str, Any]) -> str:
        return f"# Next value\n\nMean squared error {record['held_out']['mean_squared_error']:.4f}.\n"
