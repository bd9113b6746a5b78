"""The table: ours beside the published numbers, as text, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from carryover.bench.published import LOSS
from carryover.bench.replication import ReplicationResult
from carryover.bench.run import Row
from carryover.experiments.seeds import mean, spread
from carryover.storage import atomic_write

SCHEMA = "carryover.bench/1"
HEAD = ("task", "scored by", "model", "parameters", "published size", "seeds", "ours", "spread", "published", "state")
SOURCE = "Published: Bai, Kolter, Koltun 2018, arXiv 1803.01271, table 1."
LEGEND = (
    "ours: mean over seeds on the test part; spread: standard deviation over seeds (n − 1), – for a single seed. "
    "Accuracy: higher is better; all else: lower is better."
)
NAMES = {"lstm": "LSTM", "gru": "GRU", "elman": "RNN (Elman)", "tcn": "TCN"}


def summary(row: Row) -> dict[str, Any]:
    """A row as JSON: numbers as they were measured, and what is unfinished.

    Where the weights of the last step are scored, after a rate that never falls, `late_held_out` has the lowest and the
    highest held-out loss of the last fifth of the epochs: how much of the number is the moment at which it was taken.
    """
    full = [result for result in row.results if not result.shortened]
    scores = [result.result for result in full]
    return {
        "task": row.entry.task,
        "length": row.entry.length,
        "model": row.model,
        "metric": row.entry.metric.name,
        "lower_is_better": row.entry.metric.lower_is_better,
        "published": row.published,
        "published_parameters": row.entry.parameters,
        "parameters": row.results[0].parameters if row.results else None,
        "seeds": [result.cell.seed for result in full],
        "results": scores,
        "mean": mean(scores) if scores else None,
        "spread": spread(scores),
        "late_held_out": [_late(result) for result in full] if row.entry.metric == LOSS else None,
        "seconds": [result.seconds for result in full],
        "trials": [
            {"seed": result.cell.seed, "epochs": result.settings["epochs"], "result": result.result}
            for result in row.results
            if result.shortened
        ],
        "unfinished": [{"seed": seed, **progress} for seed, progress in sorted(row.progress.items())],
        "unpublished_settings": list(row.entry.recipes[row.model].ours),
    }


def lines_of(row: Row) -> tuple[str, ...]:
    """A row as texts, one for each of `HEAD`."""
    found = summary(row)
    digits = row.entry.metric.digits

    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:{digits}}"

    return (
        row.entry.title,
        row.entry.metric.name,
        NAMES[row.model],
        "–" if found["parameters"] is None else f"{found['parameters']:,}",
        f"≈ {row.entry.parameters:,}",
        str(len(found["seeds"])),
        number(found["mean"]),
        number(found["spread"]),
        number(found["published"]),
        _state(row, found),
    )


def plain_table(rows: Sequence[Row]) -> str:
    """Aligned columns without decoration."""
    body = [HEAD, *map(lines_of, rows)]
    widths = [max(len(line[column]) for line in body) for column in range(len(HEAD))]
    left = (0, 1, 2, 9)
    lines = [
        "  ".join(
            text.ljust(width) if column in left else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in body
    ]
    return "\n".join([*lines, "", LEGEND, SOURCE])


def markdown_table(rows: Sequence[Row]) -> str:
    """The same as Markdown."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---|---|---|" + "---:|" * 6 + "---|"]
    lines += ["| " + " | ".join(text.replace("|", "\\|") for text in lines_of(row)) + " |" for row in rows]
    return "\n".join([*lines, "", LEGEND, "", SOURCE, ""])


def to_json(rows: Sequence[Row]) -> dict[str, Any]:
    return {"schema": SCHEMA, "source": SOURCE, "rows": [summary(row) for row in rows]}


def write_tables(rows: Sequence[Row], out: Path) -> None:
    """`table.md` and `results.json` in `out`, each whole or not at all. Raises CannotWrite, DiskFault."""
    atomic_write(out / "table.md", "# Sequence models\n\n" + markdown_table(rows))
    atomic_write(out / "results.json", json.dumps(to_json(rows), ensure_ascii=False, allow_nan=False, indent=1))


def _late(result: ReplicationResult) -> list[float]:
    measured = [entry["held_out"]["loss"] for entry in result.curve if "held_out" in entry]
    late = measured[-max(2, len(measured) // 5) :]
    return [min(late), max(late)] if late else []


def _range(low: float, high: float) -> str:
    ends = f"{low:.3g}", f"{high:.3g}"
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _state(row: Row, found: dict[str, Any]) -> str:
    parts = [f"{_range(low, high)} held out, last fifth" for low, high in filter(None, found["late_held_out"] or ())]
    parts += [f"trial of {trial['epochs']} epochs: {trial['result']:{row.entry.metric.digits}}" for trial in found["trials"]]
    for seed, progress in sorted(row.progress.items()):
        if "error" in progress:
            parts.append(f"seed {seed} failed: {progress['error']}")
            continue
        at = f"seed {seed} at epoch {progress.get('epoch', 0):.1f} of {progress['epochs']}"
        held_out = progress.get("held_out", {}).get("loss")
        parts.append(at + ("" if held_out is None else f", held-out loss {held_out:.4g}"))
    return "; ".join(parts)
