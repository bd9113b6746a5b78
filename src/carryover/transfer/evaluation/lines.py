"""An examination as a person reads it in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from carryover.data.metric_names import metric_title
from carryover.transfer.evaluation.examination import Examination

MOST_LABELS = 20
MOST_CONFUSIONS = 10
_LONGEST = 24


def examination_lines(found: Examination, *, width: int = 80, every_label: bool = False) -> list[str]:
    """Scores, a row for each label, confusions as far as they fit in `width`, calibration."""
    parts = [_scores(found), _per_label(found, every_label), _confusions(found, width), _calibration(found)]
    return [line for part in parts if part for line in ("", *part)][1:]


def warning_lines(found: Examination) -> list[str]:
    """What should not be missed."""
    never = found.never_answered
    if not never:
        return []
    listed = ", ".join(f"{label!r} ({found.per_label[label]['gold']:,} examples)" for label in never[:MOST_CONFUSIONS])
    return [
        f"never answered: {listed}" + (f" and {len(never) - MOST_CONFUSIONS} more" if len(never) > MOST_CONFUSIONS else "")
    ]


def _scores(found: Examination) -> list[str]:
    scores = found.scores
    lines = [f"{metric_title(scores['main_name'])} {scores['main']:.4f} on {len(found.examples):,} examples"]
    for name, value in scores.items():
        if isinstance(value, float) and name not in ("main", scores["main_name"]):
            lines.append(f"{metric_title(name)} {value:.4f}")
    return lines


def _per_label(found: Examination, every: bool) -> list[str]:
    rows = list(found.per_label.items())
    if not rows:
        return []
    shown = rows if every else rows[:MOST_LABELS]
    wide = max(5, *(len(_short(label)) for label, _ in shown))
    lines = [f"{'label':{wide}}  precision  recall      F1  examples  answered"]
    lines += [
        f"{_short(label):{wide}}  {row['precision']:9.4f}  {row['recall']:.4f}  {row['f1']:.4f}  {row['gold']:8,}  {row['predicted']:8,}"
        for label, row in shown
    ]
    more = len(rows) - len(shown)
    return [*lines, *([f"and {more:,} rarer labels: --all-labels shows them"] if more else [])]


def _confusions(found: Examination, width: int) -> list[str]:
    """The matrix where it fits, gold labels down, answers across; else the most frequent confusions."""
    labels = found.labels
    if len(labels) < 2:
        return []
    first = max(4, *(len(_short(label)) for label in labels))
    cells = {pair: f"{count:,}" for pair, count in found.confusions.items()}
    columns = [max(len(_short(label)), *(len(cells.get((gold, label), "0")) for gold in labels)) for label in labels]
    if first + sum(columns) + 2 * len(columns) <= width:
        lines = [
            "answers across, gold labels down",
            " " * first + "".join(f"  {_short(x):>{n}}" for x, n in zip(labels, columns, strict=True)),
        ]
        for gold in labels:
            row = "".join(f"  {cells.get((gold, x), '.'):>{n}}" for x, n in zip(labels, columns, strict=True))
            lines.append(f"{_short(gold):{first}}{row}")
        return lines
    return list(_most_confused(found))


def _most_confused(found: Examination) -> Iterator[str]:
    rows = found.confused()[:MOST_CONFUSIONS]
    if rows:
        yield "most frequent confusions"
    for gold, answer, count in rows:
        yield f"  {count:6,} × {_short(gold)} answered as {_short(answer)}"


def _calibration(found: Examination) -> list[str]:
    measured = found.reliability
    if measured is None:
        return []
    return [
        f"the answers have a probability of {measured.probability:.3f} on average, and {measured.right:.3f} of them are right; "
        f"expected calibration error {measured.error:.4f} ({len(measured.bins)} bins), Brier score {measured.brier:.4f}"
    ]


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "…"
