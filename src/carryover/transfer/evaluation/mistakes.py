"""Mistakes as a table: the surest first, for whoever corrects labels or wants to know what to collect."""

from __future__ import annotations

from typing import Any

from carryover.transfer.answers import AnswerTable
from carryover.transfer.evaluation.examination import Examination, Mistake


def mistake_table(found: Examination) -> AnswerTable:
    """Line, input, gold, answer, how sure the model was, and what it held of the right answer.

    Of a text also the probability of every label; of words what is wrong in the sentence, word by word.
    """
    rows = [_row(found, mistake) for mistake in found.mistakes]
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    return AnswerTable(names or ("line", "input", "gold", "answer"), rows)


def _row(found: Examination, mistake: Mistake) -> dict[str, Any]:
    task, prediction = found.task, mistake.prediction
    row: dict[str, Any] = {
        "line": mistake.example.source.line,
        "input": mistake.example.input.shown,
        "gold": " ".join(task.shown_words(mistake.gold)) if task.answers_words else ",".join(mistake.gold),
        "answer": " ".join(task.shown_words(prediction.decoded)) if task.answers_words else ",".join(prediction.labels),
    }
    if mistake.sureness is not None:
        surest = max(mistake.wrong, key=lambda one: one.sureness)
        row |= {"probability_of_answer": round(surest.sureness, 6), "probability_of_gold": round(surest.of_gold, 6)}
    if task.answers_words:
        words = prediction.words
        row["wrong"] = "; ".join(
            f"{words[one.place]}: {one.answer} for {one.gold} ({one.sureness:.2f})" for one in mistake.wrong
        )
    elif mistake.distance:
        row["off_by"] = round(mistake.distance, 6)
    else:
        row |= {
            f"probability_{label}": round(float(p), 6)
            for label, p in zip(task.labels, prediction.probabilities, strict=True)
        }
    return row
