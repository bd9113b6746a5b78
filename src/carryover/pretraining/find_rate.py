"""A learning-rate range test: how high the rate may be before the loss stops falling. Nothing of the training is kept.

The rate rises by the same factor at each step from `lowest` to `highest` (L. N. Smith, "Cyclical learning rates for training
neural networks", WACV 2017, section 3.3, with the exponential rise and smoothed loss that became customary). The test ends where the
smoothed loss is above four times its least value or not finite. Suggested is a tenth of the rate at which the smoothed loss is least.
"""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from carryover import storage
from carryover.ambient import default_torch_state
from carryover.data.order import random_bits
from carryover.devices import autocast, choose_device, choose_precision
from carryover.errors import TrainingFailed, UsageError
from carryover.pages import page
from carryover.pages.line_chart import Line, Mark, line_chart, short_number
from carryover.pretraining.initial_model import read_initial_model
from carryover.pretraining.optimiser import objective_and_optimiser
from carryover.pretraining.recipes import build_objective
from carryover.pretraining.settings import PretrainSettings
from carryover.progress import Progress
from carryover.training.optimisers import clip_gradients, set_learning_rate

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 100
SMOOTHING = 0.9
DIVERGED = 4.0
FEWEST = 10


@dataclass(frozen=True)
class RateTest:
    """Rates and losses step by step, and the rate that follows from them."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggested: float
    best: float

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": "carryover.find-rate/1",
            "suggested": self.suggested,
            "least_loss_at": self.best,
            "rates": list(self.rates),
            "losses": list(self.losses),
            "smoothed": list(self.smoothed),
        }

    def lines(self) -> list[str]:
        return [
            f"the loss was least at the rate {short_number(self.best)}, after {len(self.rates)} steps of a rising rate; "
            f"suggested: --learning-rate {short_number(self.suggested)}"
        ]


@default_torch_state(gradients=True)
def find_rate(wanted: PretrainSettings, *, steps: int = STEPS, quiet: bool = False) -> RateTest:
    """Train what `wanted` says for some steps with a rising rate. The same arguments give the same losses.

    Raises UsageError for too few steps, InputMissing, BadData for the raw data, TrainingFailed where even the lowest rate diverges.
    """
    if steps < FEWEST:
        raise UsageError(f"{steps} steps are too few to find a rate", repair=f"give at least {FEWEST}")
    objective = build_objective(wanted.objective)
    start = None if wanted.begin_with is None else read_initial_model(wanted.begin_with)
    device = choose_device(wanted.device)
    precision = choose_precision(wanted.precision, device)
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(random_bits(1, wanted.seed, 0)[0] >> 1))
        draft = objective.draft(wanted, Path(folder), None if start is None else start.coder)
        config = objective.config(wanted, draft.in_size)
        model = objective.build(config).to(device)
        trained, optimiser = objective_and_optimiser(
            objective, config, model, wanted, learning_rate=LOWEST, precision=precision
        )
        state = objective.initial_state(model, draft.rows, device)
        rates, losses, smoothed = list[float](), list[float](), list[float]()
        with Progress("finding a learning rate", steps, "steps", quiet) as progress:
            for step in range(steps):
                rate = LOWEST * (HIGHEST / LOWEST) ** (step / (steps - 1))
                set_learning_rate(optimiser, rate)
                epoch, place = divmod(step, draft.batches.steps_per_epoch())
                batch = draft.batches.batch(wanted.seed, epoch, place).to(device)
                torch.manual_seed(int(random_bits(1, wanted.seed, step + 1)[0] >> 1))
                optimiser.zero_grad(set_to_none=True)
                with autocast(precision, device):
                    loss, state, _ = trained(model, batch, state, step_seed=step)
                loss.backward()
                norm = clip_gradients(model, wanted.clip)
                value = float(loss.detach())
                if not (math.isfinite(value) and math.isfinite(norm)):
                    break
                optimiser.step()
                rates.append(rate)
                losses.append(value)
                smoothed.append(value if not smoothed else SMOOTHING * smoothed[-1] + (1 - SMOOTHING) * value)
                progress.advance(1, loss=value, learning_rate=rate)
                if smoothed[-1] > DIVERGED * min(smoothed):
                    break
    if len(rates) < FEWEST:
        raise TrainingFailed("the loss is not finite at the lowest rates already", repair="look at the raw data")
    best = rates[min(range(len(smoothed)), key=lambda place: smoothed[place])]
    return RateTest(tuple(rates), tuple(losses), tuple(smoothed), float(f"{best / 10:.2g}"), best)


def write_rate_test(found: RateTest, wanted: PretrainSettings, out: Path) -> None:
    """`find-rate.json` and the picture `find-rate.html` in a folder, which is made. Raises CannotWrite, DiskFault."""
    from markupsafe import Markup

    logs = [math.log10(rate) for rate in found.rates]
    lines = [Line("smoothed loss", logs, found.smoothed), Line("loss", logs, found.losses)]
    marks = [Mark("suggested", math.log10(found.suggested))]
    content = {
        "label": f"{wanted.objective}, size {wanted.size}",
        "suggested": short_number(found.suggested),
        "best": short_number(found.best),
        "chart": Markup(line_chart(lines, x_title="learning rate, power of ten", y_title="loss, nats", marks=marks)),
    }
    with storage.writing(out):
        out.mkdir(parents=True, exist_ok=True)
    storage.atomic_write(out / "find-rate.json", json.dumps(found.to_json(), indent=1))
    storage.atomic_write(out / "find-rate.html", page.render("carryover.pretraining", "find_rate.html.jinja", content))


def with_rate(words: list[str], rate: float) -> list[str]:
    """The command line that was given, to pretrain with this rate."""
    kept = [word for word in words if word != "--find-rate"]
    for place, word in enumerate(kept):
        if word == "--learning-rate":
            del kept[place : place + 2]
            break
    return [*kept, "--learning-rate", short_number(rate)]
