"""What the doctor found: findings with their cases, figures of every file, as lines for a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from carryover.data.metric_names import metric_title
from carryover.escaping import spelled_out

ERROR, WARNING, NOTE = "error", "warning", "note"
SHOWN_CASES = 3
_LONGEST_SHOWN = 80  # characters of a text on a terminal
_LONGEST_STORED = 300


@dataclass(frozen=True)
class Case:
    """One of the cases that a finding counts: its line (0: of no single line), what is there, and what to know about it."""

    line: int
    text: str = ""
    note: str = ""

    def shown(self) -> str:
        """For a terminal; characters that are not seen there are spelled out."""
        text = spelled_out(self.text)
        text = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
        rest = " · ".join(part for part in (text, spelled_out(self.note)) if part)
        return f"line {self.line:,}: {rest}".removesuffix(": ") if self.line else rest


@dataclass(frozen=True)
class Finding:
    """`level` is "error" (training stops, or results would be wrong), "warning" (look at it) or "note"; `count` is how many
    cases there are, `cases` are those that can be pointed at."""

    level: str
    message: str
    count: int
    cases: tuple[Case, ...] = ()


@dataclass
class Report:
    """What was found, and figures of every file. `task` is that of the training file, None without one."""

    findings: list[Finding] = field(default_factory=list)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    task: str | None = None

    def add(self, level: str, message: str, count: int, cases: Iterable[Case] = ()) -> None:
        """Note a case that occurs; nothing when `count` is 0."""
        if count:
            kept = tuple(Case(one.line, one.text[:_LONGEST_STORED], one.note[:_LONGEST_STORED]) for one in cases)
            self.findings.append(Finding(level, message, count, kept))

    def add_cases(self, level: str, message: str, cases: Iterable[Case]) -> None:
        """Note cases that are all at hand."""
        found = list(cases)
        self.add(level, message, len(found), found)

    @property
    def errors(self) -> int:
        return sum(finding.level == ERROR for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": "carryover.doctor/1",
            "task": self.task,
            "findings": [asdict(finding) for finding in self.findings],
            "files": self.figures,
        }

    def lines(self) -> list[str]:
        """The report for a terminal: figures of each file, then the findings with their first cases, the gravest first."""
        rows = []
        for name, figures in self.figures.items():
            shown = (
                f"{key.replace('_', ' ')} {_short(value)}" for key, value in figures.items() if not isinstance(value, dict)
            )
            rows.append(f"{name}: " + ", ".join(shown))
            rows += _balance_lines(name, figures)
            if majority := figures.get("majority"):
                rows.append(f"{name} majority: {_majority_line(majority)}")
        order = (ERROR, WARNING, NOTE)
        for finding in sorted(self.findings, key=lambda one: order.index(one.level)):
            rows.append(f"{finding.level}: {spelled_out(finding.message)} ({finding.count:,})")
            rows += [f"    {case.shown()}" for case in finding.cases[:SHOWN_CASES]]
            if len(finding.cases) > SHOWN_CASES:
                rows.append(f"    and {len(finding.cases) - SHOWN_CASES:,} more, all with --json")
        if not any(finding.level in (ERROR, WARNING) for finding in self.findings):
            rows.append("no problems found")
        return rows


def _balance_lines(name: str, figures: dict[str, Any]) -> list[str]:
    balance = figures.get("labels_by_count")
    if not balance:
        return []
    total = sum(balance.values())
    parts = [f"{spelled_out(label)} {count:,} ({count / total:.0%})" for label, count in list(balance.items())[:12]]
    more = f" and {len(balance) - 12} more" if len(balance) > 12 else ""
    return [f"{name} {'spans' if 'span_types' in figures else 'labels'}: " + ", ".join(parts) + more]


def _majority_line(majority: dict[str, Any]) -> str:
    answer = majority["answer"]
    what = "each word its most frequent tag" if answer is None else f"always {spelled_out(answer)!r}"
    scores = [
        f"{metric_title(name)} {majority[name]:.1%}"
        for name in ("accuracy", "macro_f1", "span_f1")
        if majority[name] is not None
    ]
    return f"{what} scores {', '.join(scores)}, counted in {majority['counted_in']}"


def times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _short(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.1%}" if isinstance(value, float) else str(value)
