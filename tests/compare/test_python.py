"""`carryover.compare(...)`: lists and frames in, verdict, table and model out."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import carryover
from carryover.compare.plan import ComparePlan
from carryover.compare.python import Comparison, compare_data
from carryover.data import builtin
from carryover.errors import BadData, UsageError

QUICK: dict[str, Any] = {"rungs": ["features"], "budgets": [20, "all"], "seeds": 2, "jobs": 1, "replicates": 100}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Frame:
    """As much of a data frame as is asked for."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows, self.columns = rows, list(rows[0])

    def to_dict(self, orient: str) -> list[dict[str, Any]]:
        assert orient == "records"
        return self.rows


def texts(part: str) -> list[tuple[str, str]]:
    return [(e.input.text, e.gold[0]) for e in builtin.classified(f"grammar/{part}?labelled=90&raw=50")]


def test_lists_in_verdict_and_model_out() -> None:
    found = carryover.compare(texts("train"), texts("test"), raw=["they see the house"] * 3, **QUICK)
    assert isinstance(found, Comparison) and found.verdict == found.result.verdict
    assert [row["rung"] for row in found.rows()] == ["majority", "majority", "features", "features"]
    assert {row["labels"] for row in found.rows()} == {20, len(texts("train"))}
    assert found.best() == next((row["rung"] for row in found.rows() if row["recommended"] and row["budget"] == "all"), None)
    assert found.page.exists() and "<table>" in found._repr_html_() and found.verdict[0][:20] in repr(found)
    with pytest.raises(UsageError, match="budget 7 was not compared; use 20, all"):
        found.best(7)
    if found.best() is not None:
        assert len(found.model().predict(["they see the house"])) == 1


def test_a_folder_is_continued_and_frames_have_their_columns() -> None:
    rows = [{"id": number, "body": text, "topic": label} for number, (text, label) in enumerate(texts("train"))]
    named = {"text_column": "body", "label_column": "topic"}
    first = carryover.compare(Frame(rows), out="cmp", **named, **QUICK)
    again = compare_data(Frame(rows), out="cmp", **named, **QUICK)
    assert again.result.already == 4 and again.verdict == first.verdict
    with pytest.raises(BadData, match="no column 'text'"):
        carryover.compare(Frame(rows), **QUICK)


def test_tags_and_pairs() -> None:
    tagged = [(e.input.tokens, e.gold) for e in builtin.tagged("grammar?labelled=50&raw=50")]
    found = carryover.compare(tagged, task="tag", **{**QUICK, "budgets": "20", "seeds": 1})
    assert {row["metric"] for row in found.rows()} == {"accuracy"}
    text = texts("train")
    pairs = [((a, a if n % 2 else "no"), "same" if n % 2 else "other") for n, (a, _) in enumerate(text)]
    assert carryover.compare(pairs, task="pair", **{**QUICK, "budgets": "20", "seeds": 1}).rows()


def test_every_field_of_the_plan_can_be_given_and_others_are_named() -> None:
    own = set(inspect.signature(compare_data).parameters) - {"out", "keep_best", "quiet", "options"}
    assert own == {"train", "test", "raw", "task"} and own <= {one.name for one in fields(ComparePlan)}
    with pytest.raises(UsageError, match="did you mean 'rungs'"):
        carryover.compare(texts("train"), rung="features")
    with pytest.raises(TypeError, match="row 0 of the data is 'text'"):
        carryover.compare(["text", "other"])
