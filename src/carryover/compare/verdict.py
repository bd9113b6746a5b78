"""The verdict: sentences that claim what the intervals support, and admit where they support nothing.

No clock enters here: the same cells give the same sentences on a fast machine and on a slow one. Costs are stated beside
the verdict (`cost_sentences`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from carryover.compare.analysis import Analysis
from carryover.compare.cells import Cell, CellFailure, CellResult
from carryover.compare.findings import Budget, Difference, Point, Saving
from carryover.compare.ladder import REFERENCE, cost_rank
from carryover.compare.statistics import Interval

FEW_SEEDS = 5
Missed = Mapping[tuple[str, Budget], tuple[str, ...]]


def verdict(
    analysis: Analysis,
    missing: Sequence[Cell] = (),
    failures: Sequence[CellFailure] = (),
    *,
    never_answered: Missed | None = None,
    not_learned: Sequence[Cell] = (),
    changed_from: str | None = None,
) -> list[str]:
    """Sentences in the order a reader needs them: does pretraining pay, which rung at each budget, how many labels it
    saves, what to buy next, what to be careful about.

    `never_answered` are the labels that a rung answers in none of its cells at a budget, `not_learned` the cells whose budget
    held nothing to learn from, `changed_from` the title of the metric that would hide the former.
    """
    if not analysis.points:
        return ["Nothing can be said yet: no cell is finished.", *_cautions(analysis, missing, failures)]
    sentences = _does_pretraining_pay(analysis)
    sentences += [_which_rung(analysis, budget) for budget in analysis.budgets]
    sentences += _labels_saved(analysis)
    sentences += _what_to_buy(analysis)
    sentences += _unanswered(analysis, never_answered or {}, changed_from)
    if not_learned:
        sentences.append(
            f"Nothing to learn from: {_cell_groups(not_learned)} had only one label, no span or no word. They count as if they "
            "answered the most frequent label."
        )
    return sentences + _cautions(analysis, missing, failures)


def _does_pretraining_pay(analysis: Analysis) -> list[str]:
    """One sentence: at which budgets it pays, is open or does harm, with the first and the last gap of each group."""
    groups: dict[str, list[Difference]] = {"pays": [], "is not shown to pay": [], "does harm": []}
    for budget in analysis.budgets:
        gap = analysis.raw_text_gap(budget)
        if gap is not None:
            groups["pays" if _pays(analysis, gap) else "does harm" if _harms(gap) else "is not shown to pay"].append(gap)
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


def _pays(analysis: Analysis, gap: Difference) -> bool:
    return gap.separable and gap.difference > 0 and analysis.beats_reference(gap.first, gap.budget)


def _harms(gap: Difference) -> bool:
    return gap.separable and gap.difference < 0 and gap.second != REFERENCE


def _gap(analysis: Analysis, gap: Difference, *, first: bool) -> str:
    """`+8.1 points with 50 labels (frozen against features, +4.0 to +12.2)`."""
    unit = " points" if first else ""
    labels = f"{_number(analysis, gap.budget)} labels" if first else _number(analysis, gap.budget)
    return f"{signed(gap.difference)}{unit} with {labels} ({_pair(gap)}, {signed_interval(gap.interval)})"


def _pair(gap: Difference) -> str:
    return f"`{gap.first}` against `{gap.second}`"


def _number(analysis: Analysis, budget: Budget) -> str:
    return f"all {analysis.labels[budget]:,}" if budget == "all" else f"{analysis.labels[budget]:,}"


def _which_rung(analysis: Analysis, budget: Budget) -> str:
    present, near = analysis.present(budget), analysis.within_noise(budget)
    start, best, chosen = f"With {label_count(analysis, budget)},", present[0], analysis.recommended(budget)
    if chosen is None:
        reference = analysis.points.get((REFERENCE, budget))
        unsure = reference is not None and best.score > max(reference.score, analysis.guessing or 0.0)
        return (
            f"{start} no rung measurably beats {_reference(analysis, budget)}: collect more labels. The highest mean is that of "
            f"{scored(best)}{'; more seeds may tell them apart' if unsure else ''}."
        )
    start = f"{start} take {scored(chosen)}"
    if len(present) == 1:
        return f"{start}; no other rung was compared."
    if len(near) == 1:
        return f"{start}. Every other rung is separably worse."
    cheaper = [point.rung for point in near[: near.index(chosen)]]
    dearer = [point.rung for point in near[near.index(chosen) + 1 :] if point.rung != best.rung]
    parts = []
    if chosen.rung != best.rung:
        gap = analysis.difference(budget, best.rung, chosen.rung)
        assert gap is not None  # otherwise it would not be within noise
        labels = label_count(analysis, budget)
        parts.append(
            f"It is the cheapest. `{best.rung}` ({points(best.score)}) may be better, but {labels} cannot tell: the difference is "
            f"{points(gap.difference)} points ({signed_interval(gap.interval)})"
        )
        if dearer:
            parts.append(f"Nor can they tell {_rungs(dearer)} from the best")
    elif dearer:
        same = [rung for rung in dearer if cost_rank(rung) == cost_rank(chosen.rung)]
        more = [rung for rung in dearer if rung not in same]
        said = f"It scores highest; {_rungs(same or more)} {_are(same or more)} not separable from it"
        if more:
            cost = "costs" if len(more) == 1 else "cost"
            said += f"; neither {_are(more)} {_rungs(more)}, which {cost} more" if same else f" and {cost} more"
        parts.append(said)
    if cheaper:
        score = "does" if len(cheaper) == 1 else "do"
        parts.append(f"{_rungs(cheaper)} {score} not beat {_reference(analysis, budget)}")
    return ". ".join([start, *parts]) + "."


def _reference(analysis: Analysis, budget: Budget) -> str:
    """`answering the most frequent label (88.6)`."""
    what = analysis.metric.task.majority
    point = analysis.points.get((REFERENCE, budget))
    score = "" if point is None else f" ({points(point.score)})"
    guessing = "" if analysis.guessing is None else f" or {analysis.metric.task.guess} ({points(analysis.guessing)})"
    return f"{what}{score}{guessing}"


def _rungs(names: Iterable[str]) -> str:
    return listed(f"`{name}`" for name in names)


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


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
                f"Raw text saved no labels here: at no budget does `{champion}` reach the score of `{reference}` with fewer labels."
            )
            continue
        inside = [row for row in supported if row.equivalent is not None]
        beyond = [f"{row.labels:,}" for row in supported if row.equivalent is None]
        parts = [f"with {row.labels:,} labels matches `{reference}` with {_equivalent(row)}" for row in inside]
        if beyond:
            parts.append(f"with {listed(beyond)} labels scores higher than `{reference}` with up to {supported[0].most:,}")
        only = "" if len(supported) == len(rows) else "; at the other budgets no saving is shown"
        sentences.append(f"Labels saved: `{champion}` {listed(parts)}{only}.")
    return sentences


def _what_to_buy(analysis: Analysis) -> list[str]:
    """More labels where the curve still rises, more raw text where what it gave has not been used up."""
    last = analysis.budgets[-1]
    best = analysis.best(last)
    if analysis.recommended(last) is None:
        return [
            f"More labels: needed. With {label_count(analysis, last)}, no rung measurably beats {_reference(analysis, last)}, so the value "
            "of more raw text cannot be judged yet."
        ]
    gain = None if best is None else analysis.gain(best.rung)
    if best is None or gain is None:
        return ["More labels or more raw text: one budget shows no slope. Compare at two or more budgets to find out."]
    between = f"between {gain.from_labels:,} and {gain.to_labels:,}"
    step = (
        f"each doubling of the labels {between}"
        if gain.doublings >= 1
        else f"the step from {gain.from_labels:,} to {gain.to_labels:,}"
    )
    slope = f"{step} gave `{best.rung}` {signed(gain.per_doubling)} points ({signed_interval(gain.interval)})"
    if gain.supported:
        sentences = [f"More labels: worth buying; {slope}."]
    else:
        sentences = [f"More labels: no gain is shown at the end of the curve; {slope}."]
    gap = analysis.raw_text_gap(last)
    if gap is None:
        sentences.append("More raw text: cannot be judged, because no rungs with and without it were compared.")
    elif _pays(analysis, gap):
        sentences.append(
            f"More raw text: worth trying. With {label_count(analysis, last)}, raw text still pays ({_pair(gap)}, "
            f"{signed(gap.difference)} points). Only one amount of it was compared, so its slope is unknown."
        )
    else:
        sentences.append(
            f"More raw text: with {label_count(analysis, last)}, no gain from it is shown ({_pair(gap)}, "
            f"{signed(gap.difference)} points), so {_for_whom(analysis)}."
        )
    return sentences


def _for_whom(analysis: Analysis) -> str:
    gaps = [analysis.raw_text_gap(budget) for budget in analysis.budgets]
    if any(gap is not None and _pays(analysis, gap) for gap in gaps):
        return "it is worth buying for smaller budgets only"
    return "there is no reason to buy more"


def _unanswered(analysis: Analysis, missed: Missed, changed_from: str | None) -> list[str]:
    """Which labels a rung never answers, and what the metric makes of it."""
    if not missed:
        return []
    shown = []
    for (rung, budget), labels in list(missed.items())[:3]:
        names = [repr(label) for label in labels[:4]] + ([f"{len(labels) - 4} more"] if len(labels) > 4 else [])
        shown.append(f"`{rung}` with {label_count(analysis, budget)} never answers {listed(names)}")
    left = len(missed) - len(shown)
    more = f" (and {left} more such {'case' if left == 1 else 'cases'})" if left else ""
    if changed_from is not None:
        tail = f"All scores are {analysis.metric.title}, because {changed_from} would hide this"
    elif analysis.metric.name == "accuracy":
        tail = "Accuracy, the requested metric, hides that; see macro-F1 too"
    else:
        tail = f"{analysis.metric.title} counts that; accuracy, also shown, does not"
    tail = tail[0].upper() + tail[1:]
    return [f"Caution: {'; '.join(shown)}{more}. {tail}."]


def _cautions(analysis: Analysis, missing: Sequence[Cell], failures: Sequence[CellFailure]) -> list[str]:
    sentences = []
    fewest = min((len(point.seeds) for point in analysis.points.values()), default=0)
    if fewest == 1:
        sentences.append(
            "Caution: some rungs have only one finished seed, so their interval ignores seed-to-seed variation; at least "
            f"{FEW_SEEDS} seeds are advised."
        )
    elif 0 < fewest < FEW_SEEDS:
        sentences.append(f"Caution: some rungs have only {fewest} finished seeds; at least {FEW_SEEDS} are advised.")
    if missing:
        sentences.append(f"Incomplete: {_cell_groups(missing)} not run yet; run the same command again to continue.")
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
        sentences.append(f"Made once, before any label is used: {name}, {duration_text(seconds)}.")
    parts = []
    for point in sorted(analysis.present(last), key=lambda point: cost_rank(point.rung)):
        rows = [row for row in results if (row.rung, row.budget) == (point.rung, last)]
        seconds, milliseconds = median(row.seconds for row in rows), median(row.prediction_milliseconds for row in rows)
        parts.append(f"`{point.rung}` {duration_text(seconds)} and {milliseconds:.2g} ms per example")
    sentences.append(f"Training with {label_count(analysis, last)} and prediction: {listed(parts)}.")
    return sentences


def _champion(analysis: Analysis) -> str | None:
    """The rung with raw text that is best on average over the budgets and seeds that all of them have."""
    rungs = [rung for rung in analysis.rungs if rung in analysis.pretrained]
    seeds = {budget: analysis.shared_seeds(rungs, [budget]) for budget in analysis.budgets} if rungs else {}
    shared = [budget for budget, common in seeds.items() if common]
    if not shared:
        return None
    return max(
        sorted(rungs, key=cost_rank), key=lambda rung: sum(analysis.mean(rung, budget, seeds[budget]) for budget in shared)
    )


def _equivalent(saving: Saving) -> str:
    assert saving.equivalent is not None  # the caller writes the others as "above"
    low = f"more than {saving.most:,}" if saving.low is None else f"{rounded(saving.low):,}"
    high = f"more than {saving.most:,}" if saving.high is None else f"{rounded(saving.high):,}"
    return f"about {rounded(saving.equivalent):,} ({low} to {high})"


def _cell_groups(cells: Sequence[Cell]) -> str:
    groups: dict[str, int] = {}
    for cell in cells:
        key = f"`{cell.rung}` with {cell.budget} labels"
        groups[key] = groups.get(key, 0) + 1
    shown = [f"{key} ({count} {'seed' if count == 1 else 'seeds'})" for key, count in list(groups.items())[:6]]
    if len(groups) > 6:
        shown.append(f"{len(groups) - 6} more groups")
    return f"{len(cells)} {'cell' if len(cells) == 1 else 'cells'}: {listed(shown)}"


def label_count(analysis: Analysis, budget: Budget) -> str:
    return f"{_number(analysis, budget)} labels"


def scored(point: Point) -> str:
    """`frozen`: 71.2 (69.0 to 73.1)"""
    return f"`{point.rung}`: {points(point.score)} ({points(point.interval.low)} to {points(point.interval.high)})"


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
