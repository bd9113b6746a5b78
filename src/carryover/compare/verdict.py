"""The verdict: sentences that claim what the intervals support, and say so where they support nothing.

No clock enters here: the same cells give the same sentences on a fast machine and on a slow one. Costs are stated beside
the verdict (`cost_sentences`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from carryover.compare.analysis import Analysis, Budget, Difference, Point, Saving
from carryover.compare.cells import Cell, CellFailure, CellResult, cost_rank
from carryover.compare.statistics import Interval

FEW_SEEDS = 5


def verdict(analysis: Analysis, missing: Sequence[Cell] = (), failures: Sequence[CellFailure] = ()) -> list[str]:
    """Sentences in the order a reader needs them: does pretraining pay, which rung at each budget, how many labels it
    saves, what to buy next, what to be careful about."""
    if not analysis.points:
        return ["Nothing can be said yet: no cell is finished.", *_cautions(analysis, missing, failures)]
    sentences = _does_pretraining_pay(analysis)
    sentences += [_which_rung(analysis, budget) for budget in analysis.budgets]
    sentences += _labels_saved(analysis)
    sentences += _what_to_buy(analysis)
    return sentences + _cautions(analysis, missing, failures)


def _does_pretraining_pay(analysis: Analysis) -> list[str]:
    """One sentence: at which budgets it pays, is open or does harm, with the first and the last gap of each group."""
    groups: dict[str, list[Difference]] = {"pays": [], "is not shown to pay": [], "does harm": []}
    for budget in analysis.budgets:
        gap = _raw_text_gap(analysis, budget)
        if gap is not None:
            kind = "is not shown to pay" if not gap.separable else "pays" if gap.difference > 0 else "does harm"
            groups[kind].append(gap)
    parts = []
    for kind, gaps in groups.items():
        if not gaps:
            continue
        where = f"with {listed(_number(analysis, gap.budget) for gap in gaps)} labels"
        if len(gaps) == len(analysis.budgets) > 1:
            where = "at any budget" if kind.startswith("is not") else "at every budget"
        shown = gaps if len(gaps) < 3 else [gaps[0], gaps[-1]]
        parts.append(f"{kind} {where}: {listed(_gap(analysis, gap, first=gap is shown[0]) for gap in shown)}")
    return [f"Using the raw text {'; it '.join(parts)}."] if parts else []


def _gap(analysis: Analysis, gap: Difference, *, first: bool) -> str:
    """`+8.1 points with 50 labels (frozen against features, +4.0 to +12.2)`."""
    unit = " points" if first else ""
    labels = f"{_number(analysis, gap.budget)} labels" if first else _number(analysis, gap.budget)
    return (
        f"{signed(gap.difference)}{unit} with {labels} ({gap.first} against {gap.second}, {signed_interval(gap.interval)})"
    )


def _number(analysis: Analysis, budget: Budget) -> str:
    return f"all {analysis.labels[budget]:,}" if budget == "all" else f"{analysis.labels[budget]:,}"


def _which_rung(analysis: Analysis, budget: Budget) -> str:
    present, near = analysis.present(budget), analysis.within_noise(budget)
    best, cheapest = present[0], near[0]
    start = f"With {label_count(analysis, budget)}"
    if len(present) == 1:
        return f"{start}: {scored(best)}, and no other rung to compare it with."
    if len(near) == 1:
        return f"{start} take {scored(best)}; every other rung is separably worse."
    others = [point.rung for point in near if point.rung not in (best.rung, cheapest.rung)]
    if cheapest.rung == best.rung:
        tail = f"it scores highest, and what is not separable from it costs more ({listed(others)})"
        return f"{start} take {scored(best)}: {tail}."
    difference = analysis.difference(budget, best.rung, cheapest.rung)
    assert difference is not None  # otherwise it would not be within noise
    gap = f"{points(difference.difference)} points, {signed_interval(difference.interval)}"
    tail = "" if not others else f"; {listed(others)} {'is' if len(others) == 1 else 'are'} not separable from it either"
    return (
        f"{start} take {scored(cheapest)}, the cheapest within noise of the best, {scored(best)} (difference {gap}){tail}."
    )


def _labels_saved(analysis: Analysis) -> list[str]:
    champion = _champion(analysis)
    if champion is None or not analysis.plain:
        return []
    sentences = []
    for reference in sorted(analysis.plain, key=cost_rank):
        rows = [row for row in analysis.savings if (row.rung, row.reference) == (champion, reference)]
        supported = [row for row in rows if row.supported]
        if not rows:
            continue
        if not supported:
            sentences.append(
                f"Labels saved: no budget shows {champion} doing with fewer labels what {reference} does with more."
            )
            continue
        inside = [row for row in supported if row.equivalent is not None]
        beyond = [f"{row.labels:,}" for row in supported if row.equivalent is None]
        parts = [f"at {row.labels:,} labels is where {reference} is at {_equivalent(row)}" for row in inside]
        if beyond:
            parts.append(f"at {listed(beyond)} labels is above what {reference} reaches with up to {supported[0].most:,}")
        only = "" if len(supported) == len(rows) else "; at the other budgets no saving is shown"
        sentences.append(f"Labels saved: {champion} {listed(parts)}{only}.")
    return sentences


def _what_to_buy(analysis: Analysis) -> list[str]:
    """More labels where the curve still rises, more raw text where what it gave has not been used up."""
    last = analysis.budgets[-1]
    best = analysis.best(last)
    gain = None if best is None else analysis.gain(best.rung)
    if best is None or gain is None:
        return ["More labels or more raw text: one budget shows no slope; compare at two or more budgets to find out."]
    slope = (
        f"doubling them from {gain.from_labels:,} to {gain.to_labels:,} gave {best.rung} "
        f"{signed(gain.per_doubling)} points a doubling ({signed_interval(gain.interval)})"
    )
    sentences = []
    if gain.supported:
        sentences.append(f"More labels: worth buying, {slope}.")
    else:
        sentences.append(f"More labels: no gain is shown at the end of the curve, {slope}.")
    gap = _raw_text_gap(analysis, last)
    if gap is None:
        sentences.append("More raw text: cannot be judged, because no pair of rungs with and without it was compared.")
    elif gap.separable and gap.difference > 0:
        sentences.append(
            f"More raw text: what it gave is still there at {label_count(analysis, last)} ({gap.first} against "
            f"{gap.second}, {signed(gap.difference)} points), so it is worth trying; only one amount was pretrained on, "
            "so its slope is unknown."
        )
    else:
        sentences.append(
            f"More raw text: with {label_count(analysis, last)} no advantage of it is shown ({gap.first} against "
            f"{gap.second}, {signed(gap.difference)} points), so {_for_whom(analysis)}."
        )
    return sentences


def _for_whom(analysis: Analysis) -> str:
    gaps = [_raw_text_gap(analysis, budget) for budget in analysis.budgets]
    if any(gap is not None and gap.separable and gap.difference > 0 for gap in gaps):
        return "it is worth buying for smaller budgets only"
    return "nothing here speaks for buying it"


def _cautions(analysis: Analysis, missing: Sequence[Cell], failures: Sequence[CellFailure]) -> list[str]:
    sentences = []
    fewest = min((len(point.seeds) for point in analysis.points.values()), default=0)
    if fewest == 1:
        sentences.append(
            "Caution: somewhere only one seed is finished; its interval knows the test examples, not the luck of the seed."
        )
    elif 0 < fewest < FEW_SEEDS:
        sentences.append(f"Caution: somewhere only {fewest} seeds are finished; at least {FEW_SEEDS} are advised.")
    if missing:
        sentences.append(f"Incomplete: {_cell_groups(missing)} not run yet; the same command continues.")
    if failures:
        sentences.append(
            f"Failed: {_cell_groups([failure.cell for failure in failures])}; first error: {failures[0].message}"
        )
    return sentences


def cost_sentences(analysis: Analysis, results: Sequence[CellResult], pretraining: dict[str, float]) -> list[str]:
    """What the rungs cost at the largest budget, in seconds measured here. Times differ from run to run."""
    if not analysis.points:
        return []
    last = analysis.budgets[-1]
    sentences = []
    for name, seconds in pretraining.items():
        sentences.append(f"Made once before any label was used: {name}, {duration_text(seconds)}.")
    parts = []
    for point in sorted(analysis.present(last), key=lambda point: cost_rank(point.rung)):
        rows = [row for row in results if (row.rung, row.budget) == (point.rung, last)]
        seconds, milliseconds = median(row.seconds for row in rows), median(row.prediction_milliseconds for row in rows)
        parts.append(f"{point.rung} {duration_text(seconds)} and {milliseconds:.2g} ms an example")
    sentences.append(f"Training with {label_count(analysis, last)}, and prediction: {listed(parts)}.")
    return sentences


def _raw_text_gap(analysis: Analysis, budget: Budget) -> Difference | None:
    """Best rung with raw text less best rung without."""
    one, two = analysis.best(budget, analysis.pretrained), analysis.best(budget, analysis.plain)
    return None if one is None or two is None else analysis.difference(budget, one.rung, two.rung)


def _champion(analysis: Analysis) -> str | None:
    """The rung with raw text that is best on average over the budgets that all of them have."""
    rungs = analysis.pretrained
    shared = [budget for budget in analysis.budgets if all((rung, budget) in analysis.points for rung in rungs)]
    if not rungs or not shared:
        return None
    return max(sorted(rungs, key=cost_rank), key=lambda rung: sum(analysis.points[rung, budget].score for budget in shared))


def _equivalent(saving: Saving) -> str:
    assert saving.equivalent is not None  # the caller writes the others as "above"
    low = f"more than {saving.most:,}" if saving.low is None else f"{rounded(saving.low):,}"
    high = f"more than {saving.most:,}" if saving.high is None else f"{rounded(saving.high):,}"
    return f"about {rounded(saving.equivalent):,} ({low} to {high})"


def _cell_groups(cells: Sequence[Cell]) -> str:
    groups: dict[str, int] = {}
    for cell in cells:
        key = f"{cell.rung} with {cell.budget} labels"
        groups[key] = groups.get(key, 0) + 1
    shown = [f"{key} ({count} {'seed' if count == 1 else 'seeds'})" for key, count in list(groups.items())[:6]]
    if len(groups) > 6:
        shown.append(f"{len(groups) - 6} more groups")
    return f"{len(cells)} {'cell' if len(cells) == 1 else 'cells'}: {listed(shown)}"


def label_count(analysis: Analysis, budget: Budget) -> str:
    return f"{_number(analysis, budget)} labels"


def scored(point: Point) -> str:
    """`frozen 71.2 (69.0 to 73.1)`."""
    return f"{point.rung} {points(point.score)} ({points(point.interval.low)} to {points(point.interval.high)})"


def points(value: float) -> str:
    """A score or difference in points of 100, a real minus sign, never −0.0."""
    text = f"{100 * value:.1f}"
    return "0.0" if text == "-0.0" else text.replace("-", "−")


def signed(value: float) -> str:
    text = points(value)
    return text if text.startswith("−") or text == "0.0" else "+" + text


def percent(value: float) -> str:
    """A share as a whole number of hundredths with its sign."""
    number = round(100 * value)
    return f"{'+' if number > 0 else '−' if number < 0 else ''}{abs(number)} %"


def signed_interval(interval: Interval) -> str:
    return f"{signed(interval.low)} to {signed(interval.high)}"


def rounded(value: float) -> int:
    """To two significant digits: a number of labels read off a curve is not known better."""
    return int(float(f"{value:.2g}")) if value >= 10 else round(value)


def listed(parts: Iterable[str]) -> str:
    """a; a and b; a, b and c."""
    parts = list(parts)
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1] if parts else ""


def median(values: Iterable[float]) -> float:
    import numpy as np

    found = list(values)
    return float(np.median(found)) if found else 0.0


def duration_text(seconds: float) -> str:
    """0.34 s, 12 s, 3 min 20 s, 2 h 05 min."""
    from carryover.progress import duration

    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)
