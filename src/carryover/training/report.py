"""`report.html` of a run: curves of loss and score, learning rate, gradient norm and speed, and what was kept and why.

It is drawn from the logs of the run folder alone, so the curves of a run that was killed and continued are whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from carryover import storage
from carryover.errors import CarryoverError
from carryover.pages import page
from carryover.pages.line_chart import Line, Mark, line_chart, short_number
from carryover.progress import duration
from carryover.training.run_folder import RunFolder

REPORT = "report.html"
_ENDED = {
    "updates": "all updates were done",
    "epochs": "all epochs were done",
    "patience": "the held-out figure did not improve any more (--patience)",
    "rate": "the learning rate was used up",
    "time limit": "the time limit was reached",
    "deadline": "the time of this session was up",
}


def write_report(
    folder: RunFolder, *, label: str, unit: str, decides: str, stopped_by: str | None = None, clip: float | None = None
) -> None:
    """Draw the logs of a run. `decides` is the held-out figure that chose the weights; `stopped_by` None: the run goes on.

    Raises CannotWrite, DiskFault.
    """
    rows = read_log(folder.metrics_file)
    content = _content(folder, rows, label, unit, decides, stopped_by, clip)
    storage.atomic_write(folder.out / REPORT, page.render("carryover.training", "report.html.jinja", content))


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log that are whole; none where there is no log. A run that was killed may leave half a line."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _content(
    folder: RunFolder,
    rows: list[dict[str, Any]],
    label: str,
    unit: str,
    decides: str,
    stopped_by: str | None,
    clip: float | None,
) -> dict[str, Any]:
    steps = [row for row in rows if "loss" in row]
    held = [row for row in rows if "held_out" in row]
    times = read_log(folder.times_file)
    best = held[-1].get("best_step") if held else None
    chosen: dict[str, Any] = next((row["held_out"] for row in held if row["step"] == best), {})
    marks = [] if best is None else [Mark(f"kept: step {best:,}", float(best))]
    last = rows[-1]["step"] if rows else 0
    sessions = sum(row.get("event") == "start" for row in times)
    seconds = next((row["seconds"] for row in reversed(times) if "seconds" in row), None)
    facts = [f"{last:,} steps", f"{held[-1].get('epoch', steps[-1]['epoch']) if held and steps else 0:.3g} epochs"]
    facts += [] if seconds is None else [duration(seconds)]
    facts += [f"{sessions} sessions"] if sessions > 1 else []
    title = decides.replace("_", " ")
    kept = (
        f"The weights of step {best:,}: held-out {title} {chosen[decides]:.4g}."
        if best is not None and decides in chosen
        else "The newest weights: nothing was held out to choose by."
    )
    ended = (
        "The run has not ended." if stopped_by is None else f"The run ended because {_ENDED.get(stopped_by, stopped_by)}."
    )
    return {
        "label": label,
        "folder": str(folder.out.name),
        "facts": facts,
        "kept": kept,
        "lines": [ended, *_doubts(steps, held, decides, best, clip)],
        "charts": _charts(steps, held, times, unit, decides, marks, clip),
        "settings": _settings(folder),
    }


def _charts(
    steps: list[dict[str, Any]],
    held: list[dict[str, Any]],
    times: list[dict[str, Any]],
    unit: str,
    decides: str,
    marks: list[Mark],
    clip: float | None,
) -> list[dict[str, Any]]:
    from markupsafe import Markup

    found: list[tuple[str, str, str]] = []
    at = [float(row["step"]) for row in steps]
    measured = [float(row["step"]) for row in held]

    def figure(name: str) -> list[float]:
        return [_number(row["held_out"].get(name)) for row in held]

    losses = [Line("training loss", at, [_number(row["loss"]) for row in steps])]
    if any("loss" in row["held_out"] for row in held):
        losses.append(Line("held-out loss", measured, figure("loss"), marked=True))
    found.append(
        ("Loss", line_chart(losses, x_title="step", y_title="loss, nats", marks=marks),
         "Training loss is the mean since the line before. Where it falls and the held-out figure gets worse, the model learns by heart.")
    )  # fmt: skip
    if decides != "loss":
        names = [name for name in (held[0]["held_out"] if held else ()) if name == decides or name.endswith(f"_{decides}")]
        lines = [Line(f"held-out {name.replace('_', ' ')}", measured, figure(name), marked=True) for name in names]
        if decides == "perplexity":
            lines.append(Line("training perplexity", at, [math.exp(min(_number(row["loss"]), 50)) for row in steps]))
        wide = [value for line in lines for value in line.y if math.isfinite(value) and value > 0]
        spread = bool(wide) and max(wide) > 20 * min(wide)
        chart = line_chart(lines, x_title="step", y_title=decides.replace("_", " "), marks=marks, logarithmic=spread)
        found.append(
            (
                f"Held-out {decides.replace('_', ' ')}",
                chart,
                "It decides which weights are kept." + (" Logarithmic scale." if spread else ""),
            )
        )
    rates = line_chart(
        [Line("learning rate", at, [_number(row["learning_rate"]) for row in steps])],
        x_title="step",
        y_title="learning rate",
    )
    found.append(("Learning rate", rates, "The highest rate of the parameter groups."))
    norms = [Line("gradient norm", at, [_number(row["gradient_norm"]) for row in steps])]
    if clip is not None and at:
        norms.append(Line(f"clip at {clip:g}", [at[0], at[-1]], [clip, clip]))
    found.append(
        ("Gradient norm", line_chart(norms, x_title="step", y_title="norm", logarithmic=True),
         "Mean norm of all gradients before they are clipped, on a logarithmic scale. Rising without end: lower the learning rate.")
    )  # fmt: skip
    speeds = _speeds(times)
    if speeds.x:
        found.append(
            (
                "Speed",
                line_chart([speeds], x_title="step", y_title=f"{unit} a second"),
                "Between two measurements, these left out.",
            )
        )
    return [{"title": title, "svg": Markup(svg), "told": told} for title, svg, told in found if svg]


def _speeds(times: list[dict[str, Any]]) -> Line:
    """What was done a second between two notes of one session."""
    x, y = [], []
    before: dict[str, Any] | None = None
    for row in times:
        if row.get("event") == "start":
            before = None
        elif {"step", "seconds", "amount"} <= set(row):
            if before is not None and row["seconds"] > before["seconds"]:
                x.append(float(row["step"]))
                y.append((row["amount"] - before["amount"]) / (row["seconds"] - before["seconds"]))
            before = row
    return Line("speed", x, y)


def _doubts(
    steps: list[dict[str, Any]], held: list[dict[str, Any]], decides: str, best: int | None, clip: float | None
) -> list[str]:
    """What a reader of the curves should notice."""
    found = []
    if best is not None and held and best == held[-1]["step"] and len(held) > 2:
        found.append("The best weights are the last ones: longer training may help.")
    elif best is not None and held and len(held) > 2 and best <= held[-1]["step"] / 3:
        found.append(
            "The best weights came early: the model then learned the training examples by heart, or the rate is too high."
        )
    if clip is not None and steps:
        share = sum(_number(row["gradient_norm"]) > clip for row in steps) / len(steps)
        found.append(f"The mean gradient norm was above the clip ({clip:g}) in {share:.0%} of the lines of the log.")
    return found


def _settings(folder: RunFolder) -> list[tuple[str, str]]:
    try:
        stored = storage.read_json(folder.settings_file).get("settings", {})
    except CarryoverError:
        return []
    return [(name, short(value)) for name, value in sorted(stored.items()) if value is not None]


def short(value: Any) -> str:
    """A value of a setting in one line."""
    if isinstance(value, float):
        return short_number(value)
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list | Mapping) else str(value)
    return text if len(text) <= 200 else text[:199] + "…"


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
