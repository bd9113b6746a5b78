"""An examination as a page: label by label, confusions, reliability, and the surest mistakes with their tags drawn in the text."""

from __future__ import annotations

from typing import Any

from carryover.data.metric_names import metric_title
from carryover.pages import page
from carryover.pages.reliability_chart import reliability_chart
from carryover.transfer.evaluation.examination import Examination, Mistake
from carryover.transfer.evaluation.lines import warning_lines

TEMPLATE = "evaluation.html.jinja"
LARGEST_MATRIX = 30
MOST_CONFUSIONS = 30
MOST_MISTAKES = 50
_LONGEST_TEXT = 1500


def examination_page(found: Examination, *, test: str, command: str = "") -> str:
    """One HTML file without anything from outside. The same examination gives the same bytes."""
    return page.render("carryover.transfer.evaluation", TEMPLATE, _content(found, test, command))


def _content(found: Examination, test: str, command: str) -> dict[str, Any]:
    scores = found.scores
    others = [
        {"title": metric_title(name), "value": f"{value:.4f}"}
        for name, value in scores.items()
        if isinstance(value, float) and name not in ("main", scores["main_name"])
    ]
    matrix = _matrix(found) if 2 <= len(found.labels) <= LARGEST_MATRIX else None
    return {
        "test": test,
        "command": command,
        "activity": found.task.activity,
        "examples": len(found.examples),
        "mistakes": len(found.mistakes),
        "main": {"title": metric_title(scores["main_name"]), "value": f"{scores['main']:.4f}"},
        "others": others,
        "warnings": warning_lines(found),
        "labels": [_label(label, row) for label, row in found.per_label.items()],
        "matrix": matrix,
        "confused": [] if matrix else found.confused()[:MOST_CONFUSIONS],
        "reliability": _reliability(found),
        "worst": [_mistake(found, mistake) for mistake in found.mistakes[:MOST_MISTAKES]],
    }


def _label(label: str, row: dict[str, float]) -> dict[str, str]:
    ratios = {name: f"{row[name]:.4f}" for name in ("precision", "recall", "f1")}
    return {
        "label": label,
        **ratios,
        "width": f"{100 * row['f1']:.1f}",
        "gold": f"{row['gold']:,}",
        "predicted": f"{row['predicted']:,}",
    }


def _matrix(found: Examination) -> dict[str, Any]:
    rows = []
    for gold in found.labels:
        counts = [found.confusions[gold, answer] for answer in found.labels]
        total = max(1, sum(counts))
        cells = [
            {
                "count": f"{count:,}" if count else "",
                "right": gold == answer,
                "share": round(70 * count / total),
            }
            for answer, count in zip(found.labels, counts, strict=True)
        ]
        rows.append({"label": gold, "cells": cells})
    return {"labels": found.labels, "rows": rows}


def _reliability(found: Examination) -> dict[str, Any] | None:
    from markupsafe import Markup

    measured = found.reliability
    if measured is None:
        return None
    bins = [(one.low, one.high, one.count, one.probability, one.right) for one in measured.bins]
    told = (
        f"On average the {measured.count:,} answers have the probability {measured.probability:.3f}, and {measured.right:.3f} of them "
        f"are right. Expected calibration error {measured.error:.4f}, Brier score {measured.brier:.4f}."
    )
    return {"chart": Markup(reliability_chart(bins)), "told": told}


def _mistake(found: Examination, mistake: Mistake) -> dict[str, Any]:
    row: dict[str, Any] = {"line": f"{mistake.example.source.line:,}", "words": [], "told": ""}
    if mistake.sureness is not None:
        surest = max(mistake.wrong, key=lambda one: one.sureness)
        row["told"] = f"probability of the answer {surest.sureness:.3f}, of the right one {surest.of_gold:.3f}"
    elif mistake.distance:
        row["told"] = f"off by {mistake.distance:.3g}"
    if found.task.answers_words:
        return {**row, "words": _several(mistake) if found.task.decisions_of_one > 1 else _words(found, mistake)}
    text = mistake.example.input.shown
    return {
        **row,
        "text": text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " …",
        "gold": ", ".join(mistake.gold) or "–",
        "answer": ", ".join(mistake.prediction.labels) or "–",
    }


def _words(found: Examination, mistake: Mistake) -> list[dict[str, Any]]:
    """Every word with its tag, and where that is wrong the answer."""
    wrong = {one.place for one in mistake.wrong}
    parts = zip(mistake.prediction.words, found.task.written(mistake.gold), mistake.prediction.labels, strict=True)
    return [
        {"text": text, "gold": gold, "answer": answer if place in wrong else "", "wrong": place in wrong}
        for place, (text, gold, answer) in enumerate(parts)
    ]


def _several(mistake: Mistake) -> list[dict[str, Any]]:
    """Every word, and of its columns those that are wrong."""
    rows = []
    for place, text in enumerate(mistake.prediction.words):
        wrong = [one for one in mistake.wrong if one.place == place]
        gold, answer = ("; ".join(parts) for parts in ((w.gold for w in wrong), (w.answer for w in wrong)))
        rows.append({"text": text, "gold": gold, "answer": answer, "wrong": bool(wrong)})
    return rows
