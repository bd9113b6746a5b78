"""Comparisons over pairs of texts: all rungs, labels and numbers, the reference, intervals, and cells that come back from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from carryover.compare import ComparePlan, compare
from carryover.compare.store import PredictionStore
from carryover.data.columns import Columns
from carryover.errors import BadData, UsageError
from carryover.tasks.pair import Pair
from compare.running import TINY
from pair_material import pairs, write_pairs


def plan(folder: Path, *, numbers: bool, **options: Any) -> ComparePlan:
    train = write_pairs(folder / "train.tsv", pairs(40, numbers=numbers))
    test = write_pairs(folder / "test.tsv", pairs(30, seed=1, numbers=numbers))
    usual: dict[str, Any] = {
        "task": "pair", "train": train, "test": test, "text_column": "one,two", "rungs": "features",
        "budgets": "16,all", "seeds": 2, "jobs": 1, "replicates": 100,
    }  # fmt: skip
    return ComparePlan(**{**usual, **options})


@pytest.mark.parametrize("numbers", [False, True])
def test_every_rung_answers_pairs(tmp_path: Path, numbers: bool) -> None:
    raw = tmp_path / "raw.txt"
    raw.write_text("".join(f"{text}\n" for one in pairs(60, seed=3) for text in (one.input.first, one.input.second)))
    rungs = "features,static,scratch,frozen,head,top-1,full"
    wanted = plan(tmp_path, numbers=numbers, rungs=rungs, budgets="16", seeds=1, raw=raw, **TINY)
    result = compare(wanted, tmp_path / "out")
    assert not result.failures and len(result.results) == 7
    assert result.analysis.metric.name in (("pearson",) if numbers else ("accuracy", "macro_f1"))
    assert all(-1 <= row.score <= 1 for row in result.results)


def test_scores_are_correlations_of_the_stored_answers(tmp_path: Path) -> None:
    wanted = plan(tmp_path, numbers=True)
    result = compare(wanted, tmp_path / "out")
    gold = [float(one.gold[0]) for one in Pair.read(wanted.test or "", Columns(text_column="one,two")).examples]
    store = PredictionStore(tmp_path / "out", Pair((), numbers=True), gold)
    for row in result.results:
        _, answers = store.read(row.cell)
        assert row.score == pytest.approx(stats.pearsonr(gold, [float(answer[0]) for answer in answers])[0])
    assert [one.metric.name for one in result.others] == ["spearman"]
    point = result.analysis.points["majority", "all"]
    assert point.score == 0 and (point.interval.low, point.interval.high) == (0, 0)
    assert "Pearson's r" in "\n".join([result.analysis.metric.title]) and result.verdict
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Pearson" in page and "Spearman" in page
    again = compare(wanted, tmp_path / "out")
    assert [one.score for one in again.results] == [one.score for one in result.results], "finished cells are read again"


def test_whole_numbers_are_compared_by_a_correlation_where_asked(tmp_path: Path) -> None:
    wanted = plan(tmp_path, numbers=True, metric="spearman")
    for path in (wanted.train, wanted.test):
        table = (
            Path(str(path))
            .read_text()
            .replace("0.5\n", "2\n")
            .replace("1.5\n", "3\n")
            .replace("1.0", "1")
            .replace("0.0", "0")
        )
        Path(str(path)).write_text(table)
    result = compare(wanted, tmp_path / "out")
    assert result.analysis.metric.name == "spearman" and result.others[0].metric.name == "pearson"


def test_a_metric_and_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"accuracy does not score the task pair with these labels; use pearson, spearman$"):
        compare(plan(tmp_path, numbers=True, metric="accuracy"), tmp_path / "out")
    wanted = plan(tmp_path, numbers=True)
    with Path(str(wanted.test)).open("a") as file:
        file.write("a\tb\tsame\n")
    with pytest.raises(BadData, match=r"test.tsv:32: label 'same' is not a number, and other labels are: '0.5'"):
        compare(wanted, tmp_path / "out")
