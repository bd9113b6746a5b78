"""The objective of a model of series: guess the next values from all before them.

    loss = Σ_t ‖x_{t+1} − f(x_1 … x_t)‖² / number of values predicted

over windows of series, in units of the training part's deviation: the negative log likelihood of a Gaussian of fixed width. A
guess of the mean of everything has about 1; the figure `persistence_mse` is that of persistence (the last value repeated), which is the
one to beat.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from collections.abc import Sequence as ListOf
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from carryover.data.examples import Series
from carryover.data.formats.series.reading import SERIES_FORMATS, read_series, series_format
from carryover.data.series_scaler import SeriesScaler
from carryover.data.series_windows import Floats, SeriesWindows, WindowRows, count_targets, divide
from carryover.data.shards import content_fingerprint, texts_fingerprint
from carryover.errors import BadData, UsageError
from carryover.escaping import code_in_markdown, in_markdown
from carryover.layers.base import State
from carryover.models.series import SeriesModel
from carryover.objectives.objective import AllReduce, Draft, Objective, Request, Source
from carryover.objectives.scoring import evaluation_mode
from carryover.progress import duration
from carryover.sequence import Sequence

WINDOW = 256
"""Steps of a window where none are asked for."""
_SAMPLE = 32  # windows that go with a model, to be scored again
_ROWS = 32
_NO_LABELS = "text"  # the column of `Request` where nothing else is asked for


@dataclass(frozen=True, eq=False)
class SeriesCorpus:
    """Series of both parts, standardised [T, C]; `sample` are held-out windows as JSON lines, in the units of the file."""

    train: list[Floats]
    valid: list[Floats]
    scaler: SeriesScaler
    sample: list[str]
    fingerprint: str
    valid_fingerprint: str
    asked: dict[str, Any]

    @property
    def in_size(self) -> int:
        return self.scaler.channels

    @property
    def targets(self) -> int:
        return count_targets(self.train)

    @property
    def coder(self) -> SeriesScaler:
        return self.scaler

    def training_facts(self) -> dict[str, Any]:
        return {"series": len(self.train), "tokens": self.targets, "channels": self.in_size}

    def held_out_facts(self) -> dict[str, Any]:
        return {"series": len(self.valid)}

    def tokenizer(self) -> dict[str, Any]:
        return self.scaler.to_json()

    def files(self) -> dict[str, bytes]:
        return {"heldout.txt": "".join(f"{line}\n" for line in self.sample).encode()}

    def shared(self) -> dict[str, Any]:
        return self.asked


@final
class NextValueObjective(Objective[SeriesCorpus]):
    """A causal model of series that guesses the next values. `steps` are those of a window; nothing is carried from one to the next."""

    kind = "series"
    decides = "mse"
    decides_title = "mean squared error"
    set_aside = "a part of the same series"
    model_options: ClassVar[Mapping[str, str]] = {
        "stack": "stack", "layers": "layers", "width": "size", "kernel": "kernel", "dropout": "dropout",
    }  # fmt: skip

    @classmethod
    def usual_for(cls, raw: Source, format: str | None) -> Mapping[str, Any] | None:
        return {"steps": WINDOW, "epochs": 30, "patience": 4} if _is_series(raw, format) else None

    def usual_steps(self, input: str) -> int:
        return WINDOW

    def config(self, wanted: Request, in_size: int | None) -> SeriesModel.Config:
        given = {**SeriesModel.Config.of_size(wanted.size, in_size=in_size or 1).to_json(), **wanted.model}
        config = SeriesModel.Config.from_json(given)
        if not config.causal:
            raise UsageError("a bidirectional model would see the value that it predicts", repair="set causal to true")
        return config

    def build(self, config: SeriesModel.Config) -> SeriesModel:
        return SeriesModel(config)

    # ------------------------------------------------------------------ corpus

    def fingerprints(self, wanted: Request) -> tuple[str, str]:
        raw = content_fingerprint(wanted.raw)
        return raw, texts_fingerprint(wanted.valid_files) if wanted.valid_files else raw

    def prepare(
        self, wanted: Request, folder: Path, fingerprints: tuple[str, str], *, quiet: bool, coder: Any
    ) -> SeriesCorpus:
        """Files are read again in every session: what is made of them is as large as they are."""
        asked = {
            "raw": str(wanted.raw),
            "held_out": [str(file) for file in wanted.valid_files],
            "share": wanted.held_out_share,
            "column": wanted.raw_column,
            "format": wanted.raw_format,
            "window": wanted.steps,
            "fingerprints": list(fingerprints),
        }
        return self.open(folder, asked)

    def open(self, folder: Path, shared: dict[str, Any]) -> SeriesCorpus:
        series = _read(shared["raw"], shared["column"], shared["format"])
        window = shared["window"]
        if shared["held_out"]:
            train = series
            valid = [one for file in shared["held_out"] for one in _read(file, shared["column"], shared["format"])]
        else:
            try:
                train, valid = divide(series, shared["share"], window)
            except BadData as error:
                raise BadData(error.message, path=shared["raw"], repair=error.repair) from error
        scaler = SeriesScaler.learn(train)
        scaled, held_out = [scaler.scale(one) for one in train], [scaler.scale(one) for one in valid]
        for path, part in ((shared["raw"], scaled), (", ".join(shared["held_out"]) or shared["raw"], held_out)):
            if not count_targets(part):
                raise BadData("no series has two steps: there is nothing to predict", path=path, repair="give longer series")
        sample = [json.dumps(one.values[: window + 1].tolist()) for one in valid if len(one.values) > 1][:_SAMPLE]
        raw, valid_raw = shared["fingerprints"]
        return SeriesCorpus(scaled, held_out, scaler, sample, raw, valid_raw, shared)

    def stand_in(self, wanted: Request) -> tuple[SeriesModel.Config, SeriesScaler]:
        """The file is read whole: its channels decide."""
        scaler = SeriesScaler.learn(_read(wanted.raw, wanted.raw_column, wanted.raw_format))
        return self.config(wanted, scaler.channels), scaler

    def draft(self, wanted: Request, folder: Path, coder: Any) -> Draft:
        corpus = self.prepare(wanted, folder, ("", ""), quiet=True, coder=coder)
        rows = self.rows(wanted, corpus)
        return Draft(self.batches(wanted, corpus, rows, range(rows)), rows, corpus.in_size, corpus.targets)

    def rows(self, wanted: Request, corpus: SeriesCorpus) -> int:
        """As asked for, else 32, fewer where an epoch would have less than four batches; never more than there are windows."""
        count = len(SeriesWindows(corpus.train, steps=wanted.steps, rows=1))
        return min(count, wanted.batch_size or max(1, min(_ROWS, count // 4)))

    def batches(self, wanted: Request, corpus: SeriesCorpus, rows: int, part: range) -> TensorWindows:
        return TensorWindows(SeriesWindows(corpus.train, steps=wanted.steps, rows=rows, part=part))

    def held_out(
        self, wanted: Request, corpus: SeriesCorpus, rows: int, part: Callable[[int], range] = range
    ) -> TensorWindows:
        windows = SeriesWindows(corpus.valid, steps=wanted.steps, rows=rows, part=part(rows), shuffle=False)
        return TensorWindows(windows)

    # ------------------------------------------------------------------ training and measuring

    def initial_state(self, model: SeriesModel, rows: int, device: str) -> State:
        return ()

    def __call__(
        self, model: SeriesModel, batch: WindowBatch, state: Any, *, step_seed: int
    ) -> tuple[Tensor, Any, dict[str, float]]:
        """Mean squared error of the next values; figures `squared_error`, `tokens` and `targets` (both values predicted)."""
        total = squared_error(model(batch.inputs), batch.targets)
        figures = {"squared_error": float(total.detach()), "tokens": batch.tokens, "targets": batch.tokens}
        return total / max(1, batch.tokens), state, figures

    def evaluate(
        self,
        model: SeriesModel,
        held_out: TensorWindows,
        corpus: SeriesCorpus,
        device: str,
        all_reduce: AllReduce = list,
    ) -> dict[str, float]:
        return evaluate_next_value(model, held_out, device=device, all_reduce=all_reduce)

    def check_figures(
        self, model: SeriesModel, corpus: SeriesCorpus, examples: ListOf[Any] | None = None
    ) -> dict[str, float]:
        return lines_next_value(model, corpus.scaler, corpus.sample if examples is None else examples)

    def measure(self, model: SeriesModel, coder: SeriesScaler, files: ListOf[Source], **how: Any) -> dict[str, Any]:
        """Figures of the series of files, read in windows as in training. Raises InputMissing, BadData."""
        series = [one for file in files for one in _read(file, how.get("raw_column", _NO_LABELS), how.get("raw_format"))]
        windows = SeriesWindows([coder.scale(one) for one in series], steps=how["steps"], rows=_ROWS, shuffle=False)
        if not len(windows):
            raise BadData("no series has two steps: there is nothing to predict", path=files[0], repair="give longer series")
        figures = evaluate_next_value(model, TensorWindows(windows), device=how["device"])
        return {"text": ", ".join(map(str, files)), "series": len(series), **figures}

    # ------------------------------------------------------------------ for people

    def card(self, config: dict[str, Any], record: dict[str, Any]) -> str:
        corpus, held_out, versions = record["corpus"], record["held_out"], record["versions"]
        return f"""# Model of series

Predicts the next values of {corpus["channels"]} {"channel" if corpus["channels"] == 1 else "channels"}: {config["layers"]} layers
({config["stack"]}) of {config["size"]} numbers. Pretrained by carryover {versions["carryover"]} on series without labels.

| | |
|---|---|
| held-out mean squared error, in units of the training part's variance | {held_out["mse"]:.4g} |
| of persistence (the last value repeated) | {held_out["persistence_mse"]:.4g} |
| held-out values predicted | {held_out["tokens"]:,} in {held_out["series"]:,} series |
| parameters | {record["parameters"]:,} |
| values in the training part | {corpus["tokens"]:,} in {corpus["series"]:,} series |
| best model after step | {held_out["best_step"]:,} of {record["steps"]:,}, ended by {in_markdown(record["stopped_by"])} |
| time | {duration(record["seconds"])} |

## Use

```
carryover train --task classify --train series.ts --encoder FOLDER --mode frozen --out runs/task
```

## Data

* series: {code_in_markdown(corpus["raw"])}, SHA-256 `{corpus["fingerprint"]}`
* held out: {in_markdown(held_out["text"])}
* the scale of each channel, learned from the training part alone, is in `tokenizer.json`; held-out windows in `heldout.txt`

## Made by

{code_in_markdown(record["command"])} with seed {record["seed"]}; PyTorch {versions["torch"]}, NumPy {versions["numpy"]}, Python
{versions["python"]}. All settings are in `record.json`.
"""

    def details(self, figures: Mapping[str, Any]) -> str:
        return f"{figures['persistence_mse']:.4g} for persistence (the last value repeated)"

    def counted(self, figures: Mapping[str, Any]) -> str:
        return f"{figures['tokens']:,} values in {figures['series']:,} series"

    def after_training(self, out: Path, wanted: Request) -> list[Any]:
        labelled = "TRAIN" + "".join(Path(wanted.raw).suffixes[-2:])
        return ["train", "--task", "classify", "--train", labelled, "--encoder", out, "--out", f"{out}-task"]


@dataclass(frozen=True, eq=False)
class WindowBatch:
    """`inputs` [B, T, C], `targets` [B, T, C] the values one step later."""

    inputs: Sequence
    targets: Tensor
    tokens: int
    digest: int

    @classmethod
    def of(cls, rows: WindowRows, channels: int) -> WindowBatch:
        values = Sequence.pad(
            [torch.from_numpy(np.ascontiguousarray(row)) for row in rows.rows] or [torch.zeros(1, channels)]
        )
        inputs = Sequence(values.values[:, :-1], (values.lengths - 1).clamp(min=0))
        return cls(inputs, values.values[:, 1:], rows.tokens, rows.digest)

    def to(self, device: torch.device | str) -> WindowBatch:
        return WindowBatch(self.inputs.to(device), self.targets.to(device), self.tokens, self.digest)


class TensorWindows:
    """`SeriesWindows` as tensors."""

    def __init__(self, windows: SeriesWindows) -> None:
        self.windows = windows
        self.channels = windows.series[0].shape[1]

    def steps_per_epoch(self) -> int:
        return self.windows.steps_per_epoch()

    def batch(self, seed: int, epoch: int, step: int) -> WindowBatch:
        return WindowBatch.of(self.windows.batch(seed, epoch, step), self.channels)


def squared_error(guesses: Sequence, targets: Tensor) -> Tensor:
    """Sum of squared differences of [B, T, C] over the steps that rows have, a scalar."""
    return ((guesses.values - targets).square() * guesses.mask.unsqueeze(2)).sum()


@torch.no_grad()
def evaluate_next_value(
    model: SeriesModel, windows: TensorWindows, *, device: torch.device | str, all_reduce: AllReduce = list
) -> dict[str, float]:
    """Figures over all windows: `mse`, `persistence_mse` (the guess that nothing changes) and `tokens` (values predicted).

    The model is put into evaluation mode meanwhile. Raises ValueError where there is nothing to predict.
    """
    error = still = values = 0.0
    with evaluation_mode(model):
        for step in range(windows.steps_per_epoch()):
            batch = windows.batch(0, 0, step).to(device)
            error += float(squared_error(model(batch.inputs), batch.targets).double())
            still += float(squared_error(batch.inputs, batch.targets).double())
            values += batch.tokens
    error, still, values = all_reduce([error, still, values])
    if not values:
        raise ValueError("there is no value to predict: give held-out series of at least two steps")
    return {"mse": error / values, "persistence_mse": still / values, "tokens": int(values)}


def lines_next_value(model: SeriesModel, scaler: SeriesScaler, lines: ListOf[str]) -> dict[str, float]:
    """`mse` and `persistence_mse` of windows, each a line of JSON [[value, …], …] with a list for each step, and `lines`.

    Raises BadData for a line that is no such list.
    """
    series = [scaler.scale(_series_of(line)) for line in lines]
    windows = SeriesWindows(series, steps=max(len(one) for one in series), rows=_ROWS, shuffle=False)
    figures = evaluate_next_value(model, TensorWindows(windows), device=next(model.parameters()).device)
    return {"mse": figures["mse"], "persistence_mse": figures["persistence_mse"], "lines": len(lines)}


def _series_of(line: str) -> Series:
    try:
        return Series(np.array(json.loads(line), dtype=np.float64))
    except (ValueError, TypeError) as error:
        raise BadData(f"a held-out window cannot be read ({error})", repair="restore the folder from a copy") from error


def _is_series(raw: Source, format: str | None) -> bool:
    return format in SERIES_FORMATS or (format is None and Path(raw).is_file() and series_format(raw) is not None)


def _read(path: Source, column: str | int, format: str | None) -> list[Series]:
    """The series of a file, labels passed over; gaps are filled by interpolation, which is told."""
    label = "label" if column == _NO_LABELS else column
    found = read_series(path, label_column=label, format=format, missing="interpolate", require_labels=False)
    return [example.input for example in found.examples]
