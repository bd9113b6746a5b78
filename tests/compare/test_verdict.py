"""Sentences claim what the synthetic curves hold and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from carryover.compare.analysis import Analysis
from carryover.compare.cells import Cell, CellFailure
from carryover.compare.verdict import cost_sentences, points, rounded, signed, verdict
from compare.synthetic import RUNGS, analysis, counts, results
from example_material import figure


def said(sentences: list[str], start: str) -> str:
    found = [sentence for sentence in sentences if sentence.startswith(start)]
    assert len(found) == 1, sentences
    return found[0]


def test_what_is_clearly_better_is_named() -> None:
    found = analysis()
    assert found.best(50).rung == "frozen"
    assert [point.rung for point in found.within_noise(50)] == ["frozen"]
    sentences = verdict(found)
    assert sentences[0].startswith("Using the raw text pays at every budget: +3")
    assert "Every other rung is separably worse" in said(sentences, "With 50 labels")
    assert "all 400 labels" in said(sentences, "With all 400 labels")
    for rung in RUNGS:
        assert all(rung in sentence or rung != "frozen" for sentence in sentences[:2])


def test_the_cheapest_within_noise_is_taken() -> None:
    found = analysis()
    assert {point.rung for point in found.within_noise(200)} == {"frozen", "full"}
    assert found.best(200).rung == "full"
    sentence = said(verdict(found), "With 200 labels")
    assert sentence.startswith("With 200 labels, take `frozen`: ")
    assert "It is the cheapest. `full` (" in sentence and " labels cannot tell: " in sentence


def test_an_encoder_of_the_same_cost_is_not_called_dearer() -> None:
    twins = {
        Cell(rung, 50, cell.seed): rows
        for rung in ("frozen:a", "frozen:b", "full:a", "full:b")
        for cell, rows in counts(rungs=("frozen",), labels={50: 50}).items()
    }
    sentences = verdict(Analysis(twins, {50: 50}, figure("accuracy"), replicates=1000))
    assert "; neither are `full:a` and `full:b`, which cost more" in said(sentences, "With 50 labels")
    two = {cell: rows for cell, rows in twins.items() if cell.rung.startswith("frozen")}
    sentences = verdict(Analysis(two, {50: 50}, figure("accuracy"), replicates=1000))
    assert "It scores highest; `frozen:b` is not separable from it." in said(sentences, "With 50 labels")


def test_curves_that_cross_by_chance_are_not_separable() -> None:
    """The same chances for both: an honest comparison finds nothing."""
    base = counts(rungs=("features",), seed=1, spread=0.04)
    twin = counts(rungs=("features",), seed=1, spread=0.04)
    random = np.random.default_rng(4)
    for cell, rows in twin.items():
        noisy = rows.copy()
        flips = random.choice(len(rows), 60, replace=False)
        noisy[flips, 0] = random.permutation(noisy[flips, 0])
        base[Cell("frozen", cell.budget, cell.seed)] = noisy
    found = Analysis(base, {50: 50, 100: 100, 200: 200, "all": 400}, figure("accuracy"), replicates=1000)
    sentences = verdict(found)
    assert sentences[0].startswith("Using the raw text is not shown to pay at any budget")
    for budget in ("50", "100", "200"):
        assert said(sentences, f"With {budget} labels, take `features`: ")
    assert "at no budget does `frozen` reach" in said(sentences, "Raw text saved no labels here")
    assert "there is no reason to buy more" in said(sentences, "More raw text")


def test_harm_is_said() -> None:
    cells = counts(rungs=("features", "frozen"))
    turned = {
        Cell("frozen" if cell.rung == "features" else "features", cell.budget, cell.seed): rows
        for cell, rows in cells.items()
    }
    found = Analysis(turned, {50: 50, 100: 100, 200: 200, "all": 400}, figure("accuracy"), replicates=500)
    assert verdict(found)[0].startswith("Using the raw text does harm at every budget")


def test_labels_saved_are_read_off_the_mean_curve() -> None:
    """Frozen at 50 has 62 %; features start at 30 % and gain 11.5 points per doubling, so they are there at about 340."""
    found = analysis(examples=4000, spread=0.002)
    row = next(row for row in found.savings if (row.rung, row.reference, row.labels) == ("frozen", "features", 50))
    assert row.equivalent == pytest.approx(50 * 2 ** (0.32 / 0.115), rel=0.06)
    assert row.supported
    assert row.low < row.equivalent < row.high
    sentence = said(verdict(found), "Labels saved: `frozen` with 50 labels matches `features` with about ")
    assert "scores higher than `features` with up to 400" in sentence
    beyond = next(row for row in found.savings if (row.rung, row.reference, row.labels) == ("frozen", "features", 400))
    assert (beyond.equivalent, beyond.low, beyond.high) == (None, None, None)


def test_a_rung_that_is_worse_saves_nothing() -> None:
    found = analysis(rungs=("features", "scratch", "static"))
    turned = [row for row in found.savings if row.rung == "static"]
    assert all(row.supported for row in turned if row.labels < 400)
    cells = counts(rungs=("features", "frozen"))
    swapped = {
        Cell("frozen" if cell.rung == "features" else "features", cell.budget, cell.seed): rows
        for cell, rows in cells.items()
    }
    worse = Analysis(swapped, {50: 50, 100: 100, 200: 200, "all": 400}, figure("accuracy"), replicates=500)
    assert not any(row.supported for row in worse.savings)


def test_more_labels_only_where_the_curve_still_rises() -> None:
    rising = analysis()
    assert "worth buying" in said(verdict(rising), "More labels")
    gain = rising.gain("features")
    assert gain.per_doubling == pytest.approx(0.115, abs=0.02)
    flat = {
        Cell(rung, budget, seed): rows
        for (rung, b, seed), rows in counts(rungs=("features", "frozen")).items()
        for budget in (50, 100)
        if b == 50
    }
    found = Analysis(flat, {50: 50, 100: 100}, figure("accuracy"), replicates=500)
    assert "no gain is shown" in said(verdict(found), "More labels")


def test_one_budget_has_no_slope_and_no_equivalent() -> None:
    found = analysis(rungs=("features", "frozen"), labels={50: 50})
    assert not found.savings
    assert "one budget shows no slope" in said(verdict(found), "More labels or more raw text")


def test_cautions() -> None:
    failure = CellFailure("full", 50, 1, "BadData", "it broke", 65)
    found = analysis(rungs=("features", "frozen"), seeds=2)
    sentences = verdict(found, [Cell("full", 50, 0), Cell("full", 50, 2)], [failure])
    assert "only 2 finished seeds" in said(sentences, "Caution")
    assert "2 cells: `full` with 50 labels (2 seeds)" in said(sentences, "Incomplete")
    assert "it broke" in said(sentences, "Failed")
    assert "only one finished seed, so their interval ignores seed-to-seed" in said(
        verdict(analysis(rungs=("features", "frozen"), seeds=1)), "Caution"
    )
    assert not [sentence for sentence in verdict(analysis()) if sentence.startswith(("Caution", "Incomplete", "Failed"))]


def test_nothing_finished_says_nothing() -> None:
    empty = Analysis({}, {50: 50}, figure("accuracy"))
    assert verdict(empty, [Cell("features", 50, 0)])[0] == "Nothing can be said yet: no cell is finished."
    assert cost_sentences(empty, [], {}) == []


def test_seeds_missing_from_one_rung_are_left_out_of_the_pair() -> None:
    cells = counts(rungs=("features", "frozen"))
    for seed in (3, 4):
        del cells[Cell("frozen", 50, seed)]
    found = Analysis(cells, {50: 50, 100: 100, 200: 200, "all": 400}, figure("accuracy"), replicates=300)
    assert found.difference(50, "frozen", "features").seeds == (0, 1, 2)
    assert found.difference(50, "features", "frozen").difference == -found.difference(50, "frozen", "features").difference
    assert found.points["features", 50].seeds == (0, 1, 2, 3, 4)


def test_rungs_that_err_together_are_compared_in_pairs() -> None:
    """One right answer in fifty more than the other on the same test examples: little, but surely more."""
    cells = counts(rungs=("features",), labels={50: 50}, examples=500, spread=0.05)
    for cell, rows in list(cells.items()):
        better = rows.copy()
        better[np.flatnonzero(better[:, 0] == 0)[:10], 0] = 1
        cells[Cell("frozen", 50, cell.seed)] = better
    found = Analysis(cells, {50: 50}, figure("accuracy"), replicates=500)
    difference = found.difference(50, "frozen", "features")
    assert difference.difference == pytest.approx(0.02)
    assert difference.separable
    assert found.points["features", 50].interval.high > found.points["frozen", 50].interval.low, "alone they overlap"


def test_costs_stand_apart_from_the_verdict() -> None:
    found = analysis()
    sentences = cost_sentences(found, results(counts()), {"language model": 312.0})
    assert sentences[0] == "Made once, before any label is used: language model, 5 min 12 s."
    assert "`features` 1.6 s and 0.05 ms per example" in sentences[1]
    assert not any(" ms" in sentence or " min" in sentence for sentence in verdict(found))


def test_numbers_as_they_are_written() -> None:
    assert [points(0.7125), points(-0.0004), signed(0.05), signed(-0.05), signed(0.0001)] == [
        "71.2",
        "0.0",
        "+5.0",
        "−5.0",
        "0.0",
    ]
    assert [rounded(347.2), rounded(1234), rounded(7.4)] == [350, 1200, 7]
