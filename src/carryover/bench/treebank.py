"""Running text as one long row of words or characters: what comes next."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast, final

import torch
import torch.nn.functional as F
from torch import Tensor

from carryover.bench.workload import Batch, Part, Workload
from carryover.data.formats.opening import read_lines
from carryover.errors import BadData, InputMissing
from carryover.layers.base import State, detach_state
from carryover.models.sequence_model import SequenceModel
from carryover.sequence import Sequence

END = "<eos>"
_HELD_OUT: tuple[Part, ...] = ("valid", "test")
_PARTS: tuple[Part, ...] = ("train", *_HELD_OUT)
_LANES = 10  # of a measurement
_MEASURED_STEPS = 200


@final
class RunningText(Workload):
    """The text cut into `lanes` of equal length side by side (the rest of less than a lane is left out, in training only).

    With `history` 0 a window of `steps` tokens a lane continues where the one before it ended, the state carried and its
    past cut off. Otherwise a window holds `history` tokens before those it is scored on, and no state: for layers that see
    a bounded way back. A measurement carries the state in both cases and scores every token but the first of a lane.

    Words: those of a line and `<eos>`. Characters: the line without blanks before it, and its end. The vocabulary is that
    of all three files, as the authors' implementation has it. Raises InputMissing, BadData for a text too short.
    """

    reads = "ids"
    keeps_best = True

    def __init__(self, files: dict[Part, Path], *, characters: bool, lanes: int, steps: int, history: int) -> None:
        self.characters, self.steps, self.history = characters, steps, history
        texts = {part: _symbols(path, characters) for part, path in files.items()}
        places = {symbol: place for place, symbol in enumerate(dict.fromkeys(s for text in texts.values() for s in text))}
        self.in_size = self.out_size = len(places)
        ids = {part: torch.tensor([places[symbol] for symbol in text]) for part, text in texts.items()}
        width = len(ids["train"]) // lanes
        if width < steps + history + 1 or min(len(ids["valid"]), len(ids["test"])) < 2:
            short = min(files, key=lambda part: len(ids[part]))
            raise BadData(
                f"holds {len(ids[short]):,} {'characters' if characters else 'words'}, too few to train and measure on",
                path=files[short],
                repair=f"give at least {lanes * (steps + history + 1):,} to train on and 2 to measure",
            )
        self.lanes: dict[Part, Tensor] = {"train": ids["train"][: lanes * width].view(lanes, width)}
        for held_out in _HELD_OUT:
            self.lanes[held_out] = _filled_up(ids[held_out], min(_LANES, len(ids[held_out]) // 2))

    def items(self) -> int:
        return self.steps_per_epoch() * self.steps * len(self.lanes["train"])

    def steps_per_epoch(self) -> int:
        return (self.lanes["train"].shape[1] - 1 - self.history) // self.steps

    def batch(self, seed: int, epoch: int, step: int) -> Batch:
        start = step * self.steps
        window = self.lanes["train"][:, start : start + self.history + self.steps + 1]
        return Batch(Sequence.of(window[:, :-1]), window[:, self.history + 1 :], begins=step == 0)

    def initial_state(self, model: SequenceModel, device: str) -> State:
        return () if self.history else model.initial_state(len(self.lanes["train"]), device=device)

    def loss(self, model: SequenceModel, batch: Batch, carried: State) -> tuple[Tensor, State, int]:
        if self.history:
            scores = self._scored(model, batch.inputs)
        else:
            if batch.begins:
                carried = self.initial_state(model, str(batch.targets.device))
            outputs, state = model.step(batch.inputs, carried)
            scores, carried = outputs.values, detach_state(state)
        loss = F.cross_entropy(scores.flatten(0, 1), batch.targets.flatten())
        return loss, carried, batch.targets.numel()

    def _scored(self, model: SequenceModel, ids: Sequence) -> Tensor:
        """Scores [B, steps, V] of what follows the last `steps` of the ids; no others are computed."""
        assert model.input_layer is not None
        hidden = model.layer(model.input_layer(ids)).values[:, self.history :]
        return cast(Tensor, model.output(hidden))

    def measure(self, model: SequenceModel, part: Part, device: str) -> dict[str, float]:
        model.eval()
        lanes = self.lanes[part].to(device)
        total, count = 0.0, 0
        with torch.no_grad():
            state = model.initial_state(len(lanes), device=device)
            for start in range(0, lanes.shape[1] - 1, _MEASURED_STEPS):
                window = lanes[:, start : start + _MEASURED_STEPS + 1].clamp(min=0)
                targets = lanes[:, start + 1 : start + _MEASURED_STEPS + 1]
                outputs, state = model.step(Sequence.of(window[:, : targets.shape[1]]), state)
                scores = outputs.values.flatten(0, 1)
                total += float(F.cross_entropy(scores, targets.flatten(), reduction="sum", ignore_index=-1))
                count += int((targets >= 0).sum())
        return {"loss": total / count}

    def result(self, figures: dict[str, float]) -> float:
        """Perplexity of words, bits per character of characters."""
        return figures["loss"] / math.log(2) if self.characters else math.exp(figures["loss"])


def treebank_files(folder: Path) -> dict[Part, Path]:
    """`ptb.train.txt`, `ptb.valid.txt` and `ptb.test.txt` of a folder, each perhaps .gz or .xz. Raises InputMissing."""
    found: dict[Part, Path] = {}
    for part in _PARTS:
        names = [f"ptb.{part}.txt{ending}" for ending in ("", ".gz", ".xz")]
        there = [folder / name for name in names if (folder / name).is_file()]
        if not there:
            raise InputMissing(
                "there is no such file", path=folder / names[0], repair="put Mikolov's files of the Penn Treebank there"
            )
        found[part] = there[0]
    return found


def _symbols(path: Path, characters: bool) -> list[str]:
    symbols: list[str] = []
    for _, line in read_lines(path):
        symbols += [*line.lstrip(), "\n"] if characters else [*line.split(), END]
    return symbols


def _filled_up(ids: Tensor, count: int) -> Tensor:
    """All ids in `count` lanes, the last one filled up with −1."""
    width = -(-len(ids) // count)
    return F.pad(ids, (0, count * width - len(ids)), value=-1).view(count, width)
