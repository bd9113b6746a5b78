"""A task that comparisons have never heard of is counted, resampled, stored and read by them: all they do is ask it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from carryover import tasks
from carryover.compare.analysis import Analysis
from carryover.compare.cells import Cell
from carryover.compare.problem import examples_fingerprint
from carryover.compare.scoring import Figure, choose_figure
from carryover.compare.statistics import Resampling, resample_examples
from carryover.compare.store import PredictionStore
from carryover.data.examples import Example, Source, Text
from compare.short_answers import ShortAnswer
from compare.test_store import result

GOLD = [("in 1999", "1999"), ("the old ship",), ("a",), ("one two three four",)]
ANSWERS = ["1999", "the ship", "b", "one two three four"]


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> ShortAnswer:
    monkeypatch.setitem(tasks.TASKS, ShortAnswer.name, ShortAnswer)
    made = tasks.TASKS["answer"].of((), {})
    assert isinstance(made, ShortAnswer)
    return made


def test_figures_that_are_no_mean_over_examples_are_made_of_summed_counts(task: ShortAnswer) -> None:
    """2 · 7 shared words of 8 + 9 in all; the mean of the F1 of each example would be another number."""
    figure = choose_figure("auto", task, GOLD)
    counts = task.counts(GOLD, ANSWERS)
    assert figure.name == "overlap" and float(figure.of(counts.sum(axis=0))) == pytest.approx(2 * 7 / 17)
    each = [float(figure.of(row)) for row in counts]
    assert each == pytest.approx([1.0, 0.8, 0.0, 1.0]) and np.mean(each) != pytest.approx(2 * 7 / 17)
    assert float(Figure(task, "exact").of(counts.sum(axis=0))) == 0.5, "any of several right answers is right"
    assert task.score(GOLD, ANSWERS)["main"] == pytest.approx(2 * 7 / 17), "and so it is where one model is evaluated"


def test_the_bootstrap_scores_drawn_examples_as_if_they_were_the_test_split(task: ShortAnswer) -> None:
    golds, answers = GOLD * 5, (ANSWERS * 5)[3:] + ANSWERS[:3]
    drawn = np.random.Generator(np.random.PCG64([0, 1])).integers(0, len(golds), size=(64, len(golds)))
    by_hand = {
        name: [
            float(Figure(task, name).of(task.counts([golds[i] for i in row], [answers[i] for i in row]).sum(axis=0)))
            for row in drawn
        ]
        for name in ("overlap", "exact")
    }
    together = resample_examples({0: task.counts(golds, answers)}, task, replicates=64)
    for name, wanted in by_hand.items():
        assert together.figures[0][name] == pytest.approx(wanted, abs=1e-12)
        alone = Resampling({0: task.counts(golds, answers)}, Figure(task, name), replicates=64)
        assert np.array_equal(alone.cell(0), together.figures[0][name])
    assert together.guessing == {}


def test_it_is_analysed_stored_and_told_apart(task: ShortAnswer, tmp_path: Path) -> None:
    counts = {Cell("features", 50, 0): task.counts(GOLD, ANSWERS), Cell("scratch", 50, 0): task.counts(GOLD, ["no"] * 4)}
    found = Analysis(counts, {50: 50}, choose_figure("auto", task, GOLD), replicates=200)
    assert found.points["features", 50].score == pytest.approx(2 * 7 / 17) and found.points["scratch", 50].score == 0.0
    inputs = [Text(str(number)) for number in range(4)]
    store = PredictionStore(tmp_path, task, inputs)
    store.write(result(4), ANSWERS)
    assert PredictionStore(tmp_path, task, inputs).read(Cell("features", "all", 3)) == (result(4), ANSWERS)
    examples = [Example(one, gold, Source("a", line)) for line, (one, gold) in enumerate(zip(inputs, GOLD, strict=True))]
    moved = [Example(one.input, one.gold, Source("b", 9)) for one in examples]
    assert examples_fingerprint(type(task), examples) == examples_fingerprint(type(task), moved)
    assert examples_fingerprint(type(task), examples[:3]) != examples_fingerprint(type(task), examples)


def test_an_example_that_would_go_unscored_is_refused(task: ShortAnswer) -> None:
    with pytest.raises(ValueError, match="4 gold examples but 3 predictions"):
        task.counts(GOLD, ANSWERS[:3])
