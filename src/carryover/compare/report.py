"""The page: verdict, curves, tables and method in one HTML file that needs nothing from outside itself."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from carryover.compare.analysis import Analysis
from carryover.compare.figures import NARROW, WIDE, learning_curves
from carryover.compare.findings import Budget, Saving
from carryover.compare.ladder import families, row_of, table_rank
from carryover.compare.result import CompareResult
from carryover.compare.statistics import widening
from carryover.compare.table import amount, costs, largest_cells
from carryover.compare.verdict import duration_text, label_count, median, percent, points, rounded, signed, signed_interval
from carryover.escaping import printable
from carryover.pages import page
from carryover.tasks import TASKS

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATE = "report.html.jinja"


def render(result: CompareResult) -> str:
    """The page as text. The same result gives the same bytes."""
    return page.render("carryover.compare", TEMPLATE, _content(result), filters={"code": _with_code})


def _content(result: CompareResult) -> dict[str, Any]:
    from markupsafe import Markup

    analysis = result.analysis
    finished = bool(result.results)
    headline, sentences = result.verdict[0], result.verdict[1:]
    return {
        "result": result,
        "plan": result.plan,
        "activity": TASKS[result.plan.kind].activity,
        "metric": analysis.metric.title,
        "guessing": "–" if analysis.guessing is None else points(analysis.guessing),
        "confidence": f"{100 * result.plan.confidence:g} %",
        "headline": headline,
        "sentences": sentences,
        # The figures are our own markup; every word in them comes from the fixed names of rungs and from numbers.
        "commands": [printable(shlex.join(words)) for words in result.after()] if finished and not result.missing else [],
        "curves": [Markup(learning_curves(analysis, frame)) for frame in (WIDE, NARROW)] if finished else [],
        "families": families(),
        "rungs": [row_of(rung) for rung in analysis.rows],
        "budgets": [label_count(analysis, budget).removesuffix(" labels") for budget in analysis.budgets],
        "scores": _scores(analysis) if finished else [],
        "others": [{"title": other.metric.title, "rows": _scores(other)} for other in result.others] if finished else [],
        "matrices": [_matrix(analysis, budget) for budget in analysis.budgets],
        "differences": _differences(analysis),
        "baseline": analysis.baseline,
        "reductions": _reductions(analysis),
        "savings": _savings(analysis),
        "costs": [(rung, costs(result, rung)) for rung in sorted(analysis.rungs, key=table_rank)],
        "training": _training(result),
        "trained": {rung: amount(median(cell.trainable for cell in largest_cells(result, rung))) for rung in analysis.rungs},
        "made_once": [(name, duration_text(seconds)) for name, seconds in result.pretraining.items()],
        "choices": _choices(result),
        "versions": _versions(result),
        "cells": [_cell(row) for row in result.cell_rows()],
        "widening": f"{widening(result.plan.seeds, result.plan.confidence):.2f}" if result.plan.seeds > 1 else "",
    }


def _with_code(sentence: str) -> Markup:
    """A sentence of the verdict: text between backticks is a name, everything else is text."""
    from markupsafe import Markup, escape

    return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(sentence))))


def _scores(analysis: Analysis) -> list[dict[str, Any]]:
    best = {budget: analysis.present(budget)[0].rung for budget in analysis.budgets}
    near = {budget: analysis.within_noise(budget) for budget in analysis.budgets}
    table = []
    for rung in analysis.rows:
        cells: list[dict[str, Any]] = []
        for budget in analysis.budgets:
            point = analysis.points.get((rung, budget))
            if point is None:
                cells.append({"mean": "–", "interval": "", "kind": "none", "seeds": 0})
                continue
            kind = "best" if best[budget] == rung else "near" if rung in {p.rung for p in near[budget]} else "below"
            interval = f"{points(point.interval.low)} to {points(point.interval.high)}"
            cells.append({"mean": points(point.score), "interval": interval, "kind": kind, "seeds": len(point.seeds)})
        table.append({"rung": rung, "family": row_of(rung).family, "cells": cells})
    return table


def _matrix(analysis: Analysis, budget: Budget) -> dict[str, Any]:
    """Row less column, and whether the interval leaves 0 out."""
    rungs = [rung for rung in analysis.rows if (rung, budget) in analysis.points]
    rows = []
    for first in rungs:
        cells = []
        for second in rungs:
            difference = None if first == second else analysis.difference(budget, first, second)
            if difference is None:
                cells.append({"text": "", "kind": "self", "title": ""})
                continue
            kind = "same" if not difference.separable else "above" if difference.difference > 0 else "under"
            title = f"{first} minus {second}: {signed(difference.difference)} ({signed_interval(difference.interval)})"
            cells.append({"text": signed(difference.difference), "kind": kind, "title": title})
        rows.append({"rung": first, "cells": cells})
    return {"title": label_count(analysis, budget), "rungs": rungs, "rows": rows}


def _differences(analysis: Analysis) -> list[dict[str, Any]]:
    return [
        {
            "labels": f"{row.labels:,}",
            "first": row.first,
            "second": row.second,
            "difference": signed(row.difference),
            "interval": signed_interval(row.interval),
            "separable": "yes" if row.separable else "no",
            "seeds": len(row.seeds),
        }
        for row in analysis.differences.values()
    ]


def _reductions(analysis: Analysis) -> list[dict[str, Any]]:
    """A row for every rung but the baseline, a cell for every budget: points gained and the share of its errors."""
    table: dict[str, dict[Budget, dict[str, Any]]] = {}
    for row in analysis.reductions:
        kind = "same" if row.interval.contains(0.0) else "above" if row.absolute > 0 else "under"
        table.setdefault(row.rung, {})[row.budget] = {
            "kind": kind,
            "seeds": len(row.seeds),
            "absolute": signed(row.absolute),
            "interval": signed_interval(row.interval),
            "relative": _in_words(row.relative),
            "relative_interval": ""
            if row.relative is None
            else f"{percent(row.relative_low or 0.0)} to {percent(row.relative_high or 0.0)}",
        }
    return [{"rung": rung, "cells": [cells.get(budget) for budget in analysis.budgets]} for rung, cells in table.items()]


def _in_words(relative: float | None) -> str:
    if relative is None:
        return ""
    hundredths = round(100 * relative)
    return f"{abs(hundredths)} % {'more' if hundredths < 0 else 'fewer'} errors"


def _savings(analysis: Analysis) -> list[dict[str, Any]]:
    """A row for every pair of rungs, a cell for every budget of the first."""
    table: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for row in analysis.savings:
        interval = "" if row.low is None else f"{_limit(row, row.low)} to {_limit(row, row.high)}"
        cell = {"middle": _limit(row, row.equivalent), "interval": interval, "supported": row.supported}
        table.setdefault((row.rung, row.reference), {})[row.labels] = cell
    nothing = {"middle": "–", "interval": "", "supported": False}
    return [
        {"rung": rung, "reference": reference, "cells": [cells.get(analysis.labels[b], nothing) for b in analysis.budgets]}
        for (rung, reference), cells in table.items()
    ]


def _limit(saving: Saving, value: float | None) -> str:
    if value is None:
        return f"> {saving.most:,}"
    return f"≤ {saving.least:,}" if value <= saving.least else f"{rounded(value):,}"


def _training(result: CompareResult) -> list[tuple[str, list[str]]]:
    """Median training time of every rung at every budget."""
    table = []
    for rung in sorted(result.analysis.rungs, key=table_rank):
        row = []
        for budget in result.analysis.budgets:
            seconds = [cell.seconds for cell in result.results if (cell.rung, cell.budget) == (rung, budget)]
            row.append(duration_text(median(seconds)) if seconds else "–")
        table.append((rung, row))
    return table


def _choices(result: CompareResult) -> list[tuple[str, str]]:
    """What was chosen inside the budgets, as far as rungs tell: how often each choice was made."""
    counts: dict[tuple[str, str], int] = {}
    for row in result.results:
        if "chosen" in row.notes:
            key = (row.rung, str(row.notes["chosen"]))
            counts[key] = counts.get(key, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (table_rank(item[0][0]), -item[1], item[0][1]))
    return [(rung, f"{choice} ({count} of {_cells(result, rung)} cells)") for (rung, choice), count in ordered]


def _cells(result: CompareResult, rung: str) -> int:
    return sum(row.rung == rung for row in result.results)


def _versions(result: CompareResult) -> str:
    found: dict[str, set[str]] = {}
    for row in result.results:
        for name, version in row.versions.items():
            found.setdefault(name, set()).add(version)
    return ", ".join(f"{name} {_either(versions)}" for name, versions in sorted(found.items()))


def _either(versions: Iterable[str]) -> str:
    return " and ".join(sorted(versions))


def _cell(row: dict[str, Any]) -> dict[str, Any]:
    low, high = row["interval"]
    return {
        **row,
        "score": points(row["score"]),
        "interval": f"{points(low)} to {points(high)}",
        "seconds": duration_text(row["seconds"]),
        "prediction": f"{row['prediction_milliseconds']:.2g} ms",
        "memory": f"{row['peak_memory_mib']:,.0f} MiB",
    }
