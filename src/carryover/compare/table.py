"""The table in the terminal: drawn by rich where there is a terminal, plain aligned text in a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from carryover.compare.ladder import REFERENCE
from carryover.compare.verdict import duration_text, label_count, median, points
from carryover.escaping import printable

if TYPE_CHECKING:
    from rich.table import Table

    from carryover.compare.analysis import Analysis
    from carryover.compare.cells import CellResult
    from carryover.compare.findings import Point
    from carryover.compare.result import CompareResult

BEST = "*"
NEAR = "~"
INCOMPLETE = "†"
LEGEND = "* highest mean   ~ not separable from it   mean and interval in points of 100"


def legend(result: CompareResult) -> list[str]:
    """What the marks mean; every mean over fewer seeds than asked for is named."""
    lines = [f"{result.analysis.metric.title}   {LEGEND}"]
    if result.incomplete():
        parts = [
            f"{point.rung} with {label_count(result.analysis, point.budget)}: {len(point.seeds)}"
            for point in result.incomplete()[:6]
        ]
        more = "; …" if len(result.incomplete()) > 6 else ""
        lines.append(f"{INCOMPLETE} mean over fewer than {result.plan.seeds} seeds: {'; '.join(parts)}{more}")
    return lines


def other_rows(result: CompareResult, other: Analysis) -> tuple[list[str], list[list[str]]]:
    """Head and body of the means by another metric: a row a rung, a column a budget."""
    body = []
    for rung in other.rows:
        found = [other.points.get((rung, budget)) for budget in other.budgets]
        body.append([rung, *("–" if point is None else _mean(result, point) for point in found)])
    return [other.metric.title, *_budgets(other)], body


def _budgets(analysis: Analysis) -> list[str]:
    return [f"all ({analysis.labels[budget]:,})" if budget == "all" else f"{budget:,}" for budget in analysis.budgets]


def _mean(result: CompareResult, point: Point) -> str:
    return points(point.score) + (INCOMPLETE if len(point.seeds) < result.plan.seeds else "")


def rows(result: CompareResult) -> tuple[list[str], list[list[str]]]:
    """Head and body: a row a rung, a column a budget, then what the rung costs at its largest budget."""
    analysis = result.analysis
    head = ["rung", *_budgets(analysis)]
    head += ["pretraining", "training", "ms/example", "parameters", "memory"]
    best = {budget: analysis.present(budget)[0].rung for budget in analysis.budgets}
    near = {budget: {point.rung for point in analysis.within_noise(budget)} for budget in analysis.budgets}
    body = []
    for rung in analysis.rows:
        row = [rung]
        for budget in analysis.budgets:
            point = analysis.points.get((rung, budget))
            if point is None:
                row.append("–")
                continue
            mark = BEST if best[budget] == rung else NEAR if rung in near[budget] else " "
            row.append(f"{_mean(result, point)} [{points(point.interval.low)}, {points(point.interval.high)}]{mark}")
        body.append(row + list(costs(result, rung)))
    return head, body


COSTS = 5
"""Columns of `rows` behind those of the budgets."""
_BETWEEN_PLAIN, _BETWEEN_RICH = 2, 3
_SHORTEST_NAME = 8


def fitting_tables(
    result: CompareResult, width: int, *, between: int = _BETWEEN_RICH
) -> list[tuple[list[str], list[list[str]]]]:
    """Head and body of tables that are no wider than `width`, `between` characters a column more: no score is ever cut.

    What goes first are the columns of costs, from the right; then the intervals; then the budgets are divided over several
    tables; last the names of rungs are shortened in their middle.
    """
    head, body = rows(result)
    scores = len(head) - COSTS
    for costs_kept in range(COSTS, -1, -1):
        columns = [*range(scores), *range(scores, scores + costs_kept)]
        if _width(head, body, columns, between) <= width:
            return [_picked(head, body, columns)]
    whole = list(range(scores))
    body = [[row[0], *(_without_interval(cell) for cell in row[1:scores])] for row in body]
    if _width(head, body, whole, between) <= width:
        return [_picked(head, body, whole)]
    rest, tables = whole[1:], list[tuple[list[str], list[list[str]]]]()
    while rest:
        taken = [0, rest.pop(0)]
        while rest and _width(head, body, [*taken, rest[0]], between) <= width:
            taken.append(rest.pop(0))
        own_head, own = _picked(head, body, taken)
        over = _width(own_head, own, range(len(own_head)), between) - width
        longest = max(_SHORTEST_NAME, max(len(row[0]) for row in own) - max(0, over))
        tables.append((own_head, [[_shortened(row[0], longest), *row[1:]] for row in own]))
    return tables


def _width(head: list[str], body: list[list[str]], columns: Iterable[int], between: int) -> int:
    return sum(max(len(row[column]) for row in (head, *body)) + between for column in columns) + 1


def _picked(head: list[str], body: list[list[str]], columns: Sequence[int]) -> tuple[list[str], list[list[str]]]:
    return [head[column] for column in columns], [[row[column] for column in columns] for row in body]


def _without_interval(cell: str) -> str:
    mean, bracket, behind = cell.partition(" [")
    return mean + behind.partition("]")[2] if bracket else cell


def _shortened(name: str, longest: int) -> str:
    if len(name) <= longest:
        return name
    kept = longest - 1
    return f"{name[: kept - kept // 2]}…{name[len(name) - kept // 2 :]}"


def costs(result: CompareResult, rung: str) -> tuple[str, str, str, str, str]:
    """Pretraining, training, milliseconds an example, parameters and memory of a rung at its largest finished budget."""
    if rung == REFERENCE:
        return "–", "–", "–", "–", "–"
    cells = largest_cells(result, rung)
    pretraining = result.pretraining_seconds(rung)
    return (
        duration_text(pretraining) if pretraining else "–",
        duration_text(median(cell.seconds for cell in cells)),
        f"{median(cell.prediction_milliseconds for cell in cells):.2g}",
        amount(median(cell.parameters for cell in cells)),
        f"{median(cell.peak_memory_mib for cell in cells):,.0f} MiB",
    )


def largest_cells(result: CompareResult, rung: str) -> list[CellResult]:
    """The cells of a rung at its largest finished budget."""
    budgets = [budget for budget in result.analysis.budgets if (rung, budget) in result.analysis.points]
    return [row for row in result.results if row.rung == rung and row.budget == budgets[-1]]


def amount(number: float) -> str:
    """970, 21 k, 4.8 M."""
    if number < 1000:
        return f"{number:.0f}"
    if number < 1e6:
        return f"{number / 1e3:.3g} k"
    return f"{number / 1e6:.3g} M"


def plain_table(result: CompareResult) -> str:
    """Aligned columns without decoration; empty when no cell is finished."""
    if not result.results:
        return ""
    lines = [*_aligned(*rows(result)), "", *legend(result)]
    for other in result.others:
        lines += ["", *_aligned(*other_rows(result, other))]
    return "\n".join(lines)


def _aligned(head: list[str], body: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in [head, *body]) for column in range(len(head))]
    lines = []
    for row in [head, *body]:
        first = row[0].ljust(widths[0])
        lines.append(
            "  ".join([first, *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))]).rstrip()
        )
    return lines


def rich_tables(result: CompareResult, width: int) -> list[Table]:
    """The same for a terminal of this width, what is best or not separable from it in bold."""
    from rich.table import Table
    from rich.text import Text

    found = []
    parts = fitting_tables(result, width)
    for number, (head, body) in enumerate(parts):
        title = f"{result.analysis.metric.title} by number of labels" if not number else None
        table = Table(title=title, caption="\n".join(legend(result)) if number == len(parts) - 1 else None)
        for column, name in enumerate(head):
            table.add_column(name, justify="left" if column == 0 else "right", no_wrap=True)
        for row in body:
            table.add_row(*(Text(text.strip(), style="bold" if text.endswith((BEST, NEAR)) else "") for text in row))
        found.append(table)
    return found


def print_table(result: CompareResult, stream: TextIO) -> None:
    """Table, verdict and cost on `stream`, decorated only when it is a terminal."""
    sentences = [printable(line) for line in (*result.verdict, "", *result.cost)]
    if result.results and stream.isatty():
        from rich.console import Console

        console = Console(file=stream, highlight=False)
        for table in rich_tables(result, console.width):
            console.print(table)
        for other in result.others:
            console.print("\n".join(_aligned(*other_rows(result, other))) + "\n", markup=False)
        console.print("\n".join(f"• {line}" if line else "" for line in sentences), markup=False)
        return
    plain = plain_table(result)
    print("\n".join([*([plain, ""] if plain else []), *sentences]).rstrip(), file=stream)
