"""No recommendation that the majority equals, no mean over other seeds than its partner's, no number that cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carryover.compare import ComparePlan, compare
from carryover.compare.analysis import Analysis
from carryover.compare.cells import Cell
from carryover.compare.ladder import REFERENCE, RungTask
from carryover.compare.run import PLAN_FILE
from carryover.compare.table import plain_table
from carryover.compare.verdict import verdict
from carryover.errors import UsageError
from carryover.storage import read_json
from compare.synthetic import analysis, counts, result
from example_material import figure

LABELS = {50: 50, 100: 100, 200: 200, "all": 400}
FITTING = {"epochs": 1, "least_updates": 6, "hidden": 8, "evaluations": 2, "word_size": 8, "filters": ((2, 4),)}
TINY: dict[str, Any] = {
    "pretraining": {"size": "tiny", "epochs": 1, "vocabulary_size": 60},
    "vectors": {"size": 10, "epochs": 1, "minimum_count": 1},
    "fitting": FITTING,
}


def with_majority(found: dict[Cell, np.ndarray], score: float) -> dict[Cell, np.ndarray]:
    """The cells and beside them a majority that is right on a fixed share of the test examples."""
    examples = next(iter(found.values())).shape[0]
    right = (np.arange(examples) % 100 < round(100 * score)).astype(np.float64)
    rows = np.stack([right, np.ones(examples)], axis=1)
    return found | {Cell("majority", cell.budget, cell.seed): rows for cell in found}


# ---------------------------------------------------------------------------------------------------- the reference


def spam(folder: Path, name: str, count: int, seed: int, hint: float) -> Path:
    """A file of messages, 88 in 100 of them ham; a spam says `prize` with the given chance."""
    random = np.random.default_rng([seed, count])
    rows = []
    for i in range(count):
        label = "spam" if i % 25 in (0, 8, 16) else "ham"
        words = [f"w{n}" for n in random.integers(0, 200, 7)]
        if label == "spam" and random.random() < hint:
            words[3] = "prize"
        rows.append(f"{' '.join(words)}\t{label}")
    path = folder / f"{name}.tsv"
    path.write_text("text\tlabel\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def of_spam(folder: Path, hint: float, **options: Any) -> Any:
    train, test = spam(folder, "train", 300, 1, hint), spam(folder, "test", 500, 2, hint)
    usual = {"rungs": "features", "budgets": "50", "seeds": 5, "jobs": 1, "replicates": 400}
    plan = ComparePlan(task="classify", train=train, test=test, **{**usual, **options})
    return compare(plan, folder / f"out-{options.get('metric', 'auto')}", quiet=True)


def test_a_model_that_answers_ham_is_never_recommended(tmp_path: Path) -> None:
    """By accuracy it scored 88 of 100 and was the recommendation."""
    asked = of_spam(tmp_path, 0.35, metric="accuracy")
    majority = asked.analysis.points["majority", 50]
    assert majority.score == pytest.approx(0.88) and majority.seeds == (0, 1, 2, 3, 4)
    assert asked.analysis.recommended_rung() is None
    assert asked.verdict[0].startswith(
        "With 50 labels, no rung measurably beats answering the most frequent label (88.0): collect more labels."
    )
    assert "majority" in plain_table(asked).splitlines()[1]
    assert asked.next_command()[0] == "python", "nothing is proposed to be trained"


def test_a_skewed_task_is_scored_by_macro_f1_and_both_figures_are_shown(tmp_path: Path) -> None:
    found = of_spam(tmp_path, 1.0, budgets="100,250")
    document = found.to_json()
    assert document["metric"] == "macro_f1" and document["reference"] == "majority"
    assert {row["metric"] for row in document["other_metrics"]} == {"accuracy"}
    assert all(set(cell["scores"]) == {"macro_f1", "accuracy"} for cell in document["cells"])
    assert found.analysis.points["majority", 100].score == pytest.approx(0.88 * 2 / 1.88 / 2)
    assert found.analysis.recommended_rung() == "features"
    assert [row["rung"] for row in document["recommended"]] == ["features", "features"]
    table = plain_table(found)
    assert "macro-F1" in table and "\naccuracy" in table
    page = found.page.read_text(encoding="utf-8")
    assert "The same cells by accuracy" in page and "--rung-majority" in page
    question = read_json(found.folder / PLAN_FILE)["question"]
    assert (question["metric"], question["metric of early stopping"]) == ("macro_f1", "macro_f1")


def test_noise_labels_recommend_nothing_whatever_the_metric(tmp_path: Path) -> None:
    """A rung that guesses in the right proportions beats the majority by macro-F1; it does not beat guessing."""
    random = np.random.default_rng(3)
    gold = [("spam",) if i % 8 == 0 else ("ham",) for i in range(4000)]
    metric = figure("macro_f1", ("ham", "spam"))
    cells = {}
    for seed in range(5):
        guesses = [("spam",) if chance < 0.125 else ("ham",) for chance in random.random(4000)]
        cells[Cell("features", 50, seed)] = metric.task.counts(gold, guesses)
        cells[Cell("majority", 50, seed)] = metric.task.counts(gold, [("ham",)] * 4000)
    found = Analysis(cells, {50: 50}, metric, replicates=500)
    difference = found.difference(50, "features", "majority")
    assert difference is not None and difference.separable and difference.difference > 0, "else nothing is tested"
    assert found.recommended(50) is None
    assert "answering the most frequent label (46.7) or guessing in proportion (50.0): collect more" in verdict(found)[0]


def test_guessing_scores_at_best_what_is_said() -> None:
    """Guesses in proportion come to 1 / K, in any other proportion below; with several labels a text all of them are best."""
    random = np.random.default_rng(0)
    labels, shares = ("a", "b", "c"), [0.7, 0.2, 0.1]
    metric = figure("macro_f1", labels)
    gold = [(str(label),) for label in random.choice(labels, 5000, p=shares)]

    def guessed(chances: list[float]) -> float:
        answers = [(str(label),) for label in random.choice(labels, 5000, p=chances)]
        return float(metric.of(metric.task.counts(gold, answers).sum(axis=0)))

    best = float(metric.task.guessing(metric.name, metric.task.counts(gold, gold).sum(axis=0), 5000))
    assert best == pytest.approx(1 / 3)
    assert np.mean([guessed(shares) for _ in range(20)]) == pytest.approx(best, abs=0.005)
    assert all(guessed(chances) < best + 0.01 for chances in ([0.4, 0.3, 0.3], [0.9, 0.05, 0.05], [1.0, 0.0, 0.0]))
    several = figure("macro_f1", labels, multi_label=True)
    rows = [
        tuple(label for label, share in zip(labels, shares, strict=True) if random.random() < share) for _ in range(5000)
    ]
    counts_of_all = several.task.counts(rows, [labels] * 5000).sum(axis=0)
    assert float(several.task.guessing(several.name, counts_of_all, 5000)) == pytest.approx(float(several.of(counts_of_all)))
    micro = figure("micro_f1", labels, multi_label=True)
    constant = [micro.task.counts(rows, [labels[: k + 1]] * 5000).sum(axis=0) for k in range(3)]
    assert float(micro.task.guessing(micro.name, constant[0], 5000)) == pytest.approx(
        max(float(micro.of(one)) for one in constant)
    )


def test_chance_is_not_recommended_by_micro_f1() -> None:
    """Where most texts have no label the majority answers none and scores 0, which any answer at all beats."""
    random = np.random.default_rng(1)

    def drawn() -> list[tuple[str, ...]]:
        return [tuple(label for label in "xyz" if random.random() < 0.25) for _ in range(200)]

    gold, metric = drawn(), figure("micro_f1", ("x", "y", "z"), multi_label=True)
    cells = {Cell("features", 200, seed): metric.task.counts(gold, drawn()) for seed in range(5)}
    cells |= {Cell(REFERENCE, 200, seed): metric.task.counts(gold, [()] * 200) for seed in range(5)}
    found = Analysis(cells, {200: 200}, metric, replicates=500)
    assert found.points["features", 200].score > found.points[REFERENCE, 200].score == 0.0
    assert found.recommended(200) is None
    assert "or always answering the same labels (" in " ".join(verdict(found))


def test_the_cheapest_is_not_taken_when_the_majority_equals_it() -> None:
    hardness = (np.arange(600) * 7919 % 600) / 600
    cells = {}
    for seed, luck in enumerate((-0.25, 0.3, -0.2, 0.25, -0.1)):
        for rung, chance in (("features", 0.56 + luck), ("frozen", 0.6 + luck / 30)):
            cells[Cell(rung, 50, seed)] = np.stack([(hardness < chance).astype(np.float64), np.ones(600)], axis=1)
    found = Analysis(with_majority(cells, 0.5), {50: 50}, figure("accuracy"), replicates=500)
    assert [point.rung for point in found.within_noise(50)] == ["features", "frozen"], "else nothing is tested"
    assert not found.beats_reference("features", 50) and found.beats_reference("frozen", 50)
    chosen = found.recommended(50)
    assert chosen is not None and chosen.rung == "frozen"
    sentence = next(one for one in verdict(found) if one.startswith("With 50 labels"))
    assert "`features` does not beat answering the most frequent label (50.0)" in sentence


def test_raw_text_does_not_pay_where_the_majority_is_as_good() -> None:
    """Better than a bad rung is not yet better than nothing."""
    cells = with_majority(counts(rungs=("scratch", "frozen"), labels={50: 50}), 0.62)
    found = Analysis(cells, {50: 50}, figure("accuracy"), replicates=500)
    gap = found.raw_text_gap(50)
    assert gap is not None and gap.second == "majority" and not gap.separable
    assert verdict(found)[0].startswith("Using the raw text is not shown to pay with 50 labels")
    assert "no rung measurably beats" in verdict(found)[1]
    assert not any(saving.supported for saving in found.savings)


def test_the_majority_is_counted_for_tags_too(topics: Path, tmp_path: Path) -> None:
    plan = ComparePlan(
        task="tag", train=topics / "train.conll", test=topics / "test.conll", rungs="majority,features", budgets="12,all",
        seeds=2, jobs=1, replicates=200,
    )  # fmt: skip
    found = compare(plan, tmp_path / "out", quiet=True)
    assert found.plan.rungs == ("features",) and found.looks_at_test == 4
    assert 0.5 < found.analysis.points["majority", "all"].score <= 1, "a word of this task has one tag"
    assert found.analysis.points["majority", 12].score < found.analysis.points["majority", "all"].score
    with pytest.raises(UsageError, match="majority is the reference of every comparison"):
        ComparePlan(task="tag", train="x", rungs="majority")


# ---------------------------------------------------------------------------------------------------- hidden labels


def test_a_label_that_is_never_answered_changes_the_metric_and_is_told(tmp_path: Path) -> None:
    """Balanced but for one rare class that fifty labels cannot teach: accuracy would hide it."""
    for name, count, seed in (("train", 240, 1), ("test", 300, 2)):
        random = np.random.default_rng(seed)
        rows = []
        for i in range(count):
            label = "rare" if i % 30 == 0 else ("sea", "farm")[i % 2]
            hint = label if label != "rare" else ""
            rows.append(f"{hint} {' '.join(f'w{n}' for n in random.integers(0, 90, 5))}\t{label}")
        (tmp_path / f"{name}.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n", encoding="utf-8")

    def run(**options: Any) -> Any:
        plan = ComparePlan(
            task="classify", train=tmp_path / "train.tsv", test=tmp_path / "test.tsv", rungs="features", budgets="30",
            seeds=2, jobs=1, replicates=200, **options,
        )  # fmt: skip
        return compare(plan, tmp_path / f"out-{options.get('metric')}", quiet=True)

    found = run()
    assert found.never_answered == {("features", 30): ("rare",)}
    assert (found.analysis.metric.name, found.changed_from) == ("macro_f1", "accuracy")
    told = next(one for one in found.verdict if one.startswith("Caution: `features` with 30 labels never answers 'rare'"))
    assert "All scores are macro-F1, because accuracy would hide this" in told
    assert read_json(found.folder / PLAN_FILE)["question"]["metric"] == "accuracy", "labels alone decide what is asked"
    asked = run(metric="accuracy")
    assert asked.analysis.metric.name == "accuracy" and any("the requested metric" in one for one in asked.verdict)


# ---------------------------------------------------------------------------------------------------- seeds


def test_savings_gains_and_reductions_are_over_the_seeds_of_both() -> None:
    cells = counts(rungs=("features", "frozen"), spread=0.05)
    for seed in (3, 4):
        del cells[Cell("features", 100, seed)]
        del cells[Cell("frozen", 50, seed)]
    del cells[Cell("frozen", "all", 0)]
    found = Analysis(cells, LABELS, figure("accuracy"), replicates=300)
    whole = Analysis({c: r for c, r in cells.items() if c.seed in (0, 1, 2)}, LABELS, figure("accuracy"), replicates=300)
    saving = next(row for row in found.savings if row.labels == 200)
    assert saving.seeds == (0, 1, 2), "the curve of features has these at every budget"
    assert saving == next(row for row in whole.savings if row.labels == 200)
    gain = found.gain("frozen")
    assert gain is not None and gain.seeds == (1, 2, 3, 4) and (gain.from_labels, gain.to_labels) == (200, 400)
    assert {row.budget: row.seeds for row in found.reductions}[50] == (0, 1, 2)


def test_a_rung_with_lucky_seeds_left_is_not_the_best() -> None:
    """Where the unlucky seeds failed, the mean of the others is no argument against a rung that ran them all."""
    base = counts(rungs=("features",), labels={50: 50}, spread=0.0)
    cells: dict[Cell, np.ndarray] = {}
    for seed in range(5):
        rows = base[Cell("features", 50, seed)].copy()
        rows[:, 0] *= 1.0 if seed < 2 else (np.arange(len(rows)) % 2)  # the last three seeds are unlucky for everybody
        better = rows.copy()
        better[np.flatnonzero(rows[:, 0] == 0)[:40], 0] = 1
        cells[Cell("frozen", 50, seed)] = better
        if seed < 2:
            cells[Cell("features", 50, seed)] = rows
    found = Analysis(cells, {50: 50}, figure("accuracy"), replicates=300)
    assert found.points["features", 50].score > found.points["frozen", 50].score, "else nothing is tested"
    best = found.best(50)
    assert best is not None and best.rung == "frozen"


def test_every_incomplete_mean_is_marked(tmp_path: Path) -> None:
    import dataclasses

    from carryover.compare.report import render

    whole = result(tmp_path, rungs=("features", "frozen"), labels={50: 50, 100: 100})
    assert "†" not in plain_table(whole) and whole.incomplete() == []
    cells = counts(rungs=("features", "frozen"), labels={50: 50, 100: 100})
    del cells[Cell("frozen", 50, 0)], cells[Cell("frozen", 50, 1)]
    partial = dataclasses.replace(whole, analysis=Analysis(cells, {50: 50, 100: 100}, figure("accuracy"), replicates=200))
    partial = dataclasses.replace(partial, results=[row for row in whole.results if row.cell in cells])
    lines = plain_table(partial).splitlines()
    assert lines[2].count("†") == 1 and "† [" in lines[2], "frozen with 50 labels"
    assert "† mean over fewer than 5 seeds: frozen with 50 labels: 3" in lines
    assert "†" in render(partial) and "(3 of 5 seeds)" in render(partial)


# ---------------------------------------------------------------------------------------------------- what can be


def unstable(first: str = "features", second: str = "frozen") -> dict[Cell, np.ndarray]:
    """Scores of 0 and 1 by the seed's luck, at two budgets that are close together."""
    found = {}
    for seed in range(5):
        for budget in (48, 50):
            for rung, right in ((first, seed % 2), (second, (seed + budget // 50) % 2)):
                rows = np.ones((40, 2))
                rows[:, 0] = right
                found[Cell(rung, budget, seed)] = rows
    return found


def test_intervals_end_where_scores_end() -> None:
    found = Analysis(unstable(), {48: 48, 50: 50}, figure("accuracy"), replicates=500)
    for point in found.points.values():
        assert 0 <= point.interval.low <= point.interval.high <= 1
    assert len(found.differences) == 2
    for row in found.differences.values():
        one, two = found.points[row.first, row.budget].interval, found.points[row.second, row.budget].interval
        assert one.low - two.high <= row.interval.low <= row.interval.high <= one.high - two.low
        assert row.interval.low >= -1 and row.interval.high <= 1
    for gain in found.gains:
        assert abs(gain.per_doubling) <= 1 and -1 <= gain.interval.low <= gain.interval.high <= 1
        assert gain.doublings == pytest.approx(np.log2(50 / 48))
    assert any("the step from 48 to 50 gave" in one and "doubling" not in one for one in verdict(found))


def test_a_gain_is_read_between_budgets_at_least_a_doubling_apart() -> None:
    labels = {50: 50, 100: 100, 200: 200, "all": 210}
    cells = counts(rungs=("features",))
    found = Analysis(cells, labels, figure("accuracy"), replicates=200).gain("features")
    assert found is not None and (found.from_labels, found.to_labels) == (100, 210)
    plain = analysis(rungs=("features",)).gain("features")
    assert plain is not None and (plain.from_labels, plain.to_labels, plain.doublings) == (200, 400, 1.0)


def test_no_share_of_errors_where_a_resample_has_none_to_lose() -> None:
    """A baseline that errs on one of 50 examples: many resamples miss it, and a share of nothing is −∞ or no number."""
    right = np.ones((50, 2))
    nearly, worse = right.copy(), right.copy()
    nearly[0, 0], worse[:5, 0] = 0, 0
    cells = {Cell("scratch", 50, s): nearly for s in range(5)} | {Cell("frozen", 50, s): worse for s in range(5)}
    (found,) = Analysis(cells, {50: 50}, figure("accuracy"), replicates=300).reductions
    assert found.absolute == pytest.approx(-0.08)
    assert (found.relative, found.relative_low, found.relative_high) == (None, None, None)
    (sure,) = analysis(rungs=("scratch", "frozen"), labels={50: 50}).reductions
    assert sure.relative is not None and sure.relative_low is not None and sure.relative_high is not None


# ---------------------------------------------------------------------------------------------------- nothing to learn


RUNGS = "features,static,scratch,frozen,head,top-1,full"


def test_a_budget_without_a_span_is_a_model_that_finds_nothing(topics: Path, tmp_path: Path) -> None:
    """Only one of 60 sentences holds a span: budgets are stratified by it, so the test takes all sentences that hold none."""
    train, test = tmp_path / "train.conll", tmp_path / "test.conll"
    empty = "the O\nold O\nbarn O\n\n"
    train.write_text(empty * 39 + "the O\nship B-x\n\n", encoding="utf-8")
    test.write_text("the O\nship B-x\n\nold O\nbarn O\n\n" * 5, encoding="utf-8")
    from carryover.compare import trial

    plan = ComparePlan(
        task="tag", train=train, test=test, raw=topics / "raw.txt", rungs=RUNGS, budgets="8", seeds=2, jobs=1,
        replicates=200, **TINY,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        real = trial.nested_budgets
        patch.setattr(
            trial,
            "nested_budgets",
            lambda *given: {size: [i for i in places if i != 39] for size, places in real(*given).items()},
        )
        found = compare(plan, tmp_path / "out", quiet=True)
    assert (found.exit_code, found.failures, found.missing) == (0, [], [])
    assert len(found.results) == 14 and {row.score for row in found.results} == {0.0}
    assert all("only" in row.notes["not learned"] for row in found.results)
    assert any(
        one.startswith("Nothing to learn from: 14 cells: `features` with 8 labels (2 seeds)") for one in found.verdict
    )


def test_a_budget_with_one_label_is_a_model_that_answers_it(topics: Path, tmp_path: Path) -> None:
    from carryover.compare.ladder.running import run_rung
    from carryover.compare.resources import prepare
    from example_material import labelled_text

    plan = ComparePlan(task="classify", train=topics / "train.tsv", raw=topics / "raw.txt", rungs=RUNGS, **TINY)
    resources = prepare(plan, tmp_path, {"raw": "x"}, quiet=True)
    one = [labelled_text("the old ship", ("sea",), i + 1) for i in range(8)]
    other = [labelled_text("a barn", ("farm",), 1), labelled_text("", ("sea",), 2)]
    for rung in RUNGS.split(","):
        outcome = run_rung(rung, RungTask("classify"), one, other, 0, resources)
        assert outcome.predictions == [("sea",), ("sea",)], rung
        both = [labelled_text("the old ship", ("sea", "town"), i + 1) for i in range(8)]
        outcome = run_rung(rung, RungTask("classify", multi_label=True), both, other, 0, resources)
        assert outcome.predictions == [("sea", "town")] * 2, rung


def test_small_budgets_of_a_span_task_hold_spans(tmp_path: Path) -> None:
    """With one sentence in ten holding a span, eight random ones held none in two draws of five."""
    lines = ["the O\nold O\n\n"] * 9 + ["the O\nship B-sea\n\n"]
    (tmp_path / "train.conll").write_text("".join(lines) * 10, encoding="utf-8")
    (tmp_path / "test.conll").write_text("".join(lines) * 3, encoding="utf-8")
    plan = ComparePlan(
        task="tag", train=tmp_path / "train.conll", test=tmp_path / "test.conll", rungs="features", budgets="8,40",
        seeds=5, jobs=1, replicates=200,
    )  # fmt: skip
    found = compare(plan, tmp_path / "out", quiet=True)
    assert not any("not learned" in row.notes for row in found.results)
    assert read_json(found.folder / PLAN_FILE)["question"]["strata of budgets"] == "span types"


def test_class_weights_belong_to_the_question(topics: Path, tmp_path: Path) -> None:
    def run(**options: Any) -> Any:
        plan = ComparePlan(
            task="classify", train=topics / "train.tsv", test=topics / "test.tsv", rungs="features", budgets="12", seeds=1,
            jobs=1, replicates=200, **options,
        )  # fmt: skip
        return compare(plan, tmp_path / "out", quiet=True)

    first = run(class_weights="balanced")
    command = " ".join(replace(first, missing=(first.results[0].cell,)).next_command())
    assert "--class-weights balanced --out" in command, "to continue, the same question is asked"
    with pytest.raises(UsageError, match="class weights balanced, now none was requested"):
        run()
    with pytest.raises(UsageError, match="class weights are for classification"):
        ComparePlan(task="tag", train="x", class_weights="balanced")
    assert ComparePlan(task="classify", train="x", metric="macro-f1").metric == "macro_f1"
