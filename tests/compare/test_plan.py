"""Plans: what they accept, what they refuse and how they name it, what a folder may be extended by."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from carryover.compare.cells import Cell, order_cells
from carryover.compare.ladder import cost_rank, parse_rungs
from carryover.compare.ladder.carried import Frozen, Full
from carryover.compare.plan import PLAN_SCHEMA, ComparePlan, check_same_question, parse_budgets
from carryover.compare.resources import check_material
from carryover.errors import UsageError
from carryover.storage.artefact import save_artefact


def plan(**options) -> ComparePlan:
    return ComparePlan(**{"task": "classify", "train": "train.tsv", **options})


def test_names_and_numbers_are_read() -> None:
    assert parse_rungs("full, features,top-2,scratch") == ("features", "scratch", "top-2", "full")
    assert parse_budgets("all,200,50") == (50, 200, "all")
    assert plan(budgets="50,all", rungs="features").budgets == (50, "all")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rungs": "frozn"}, "did you mean 'frozen'"),
        ({"rungs": "top-0"}, "top-0"),
        ({"budgets": "50,many"}, "'many' is not a number"),
        ({"budgets": "3"}, "too small"),
        ({"task": "clasify"}, "did you mean 'classify'"),
        ({"metric": "acuracy"}, "did you mean 'accuracy'"),
        ({"class_weights": "balance"}, "did you mean 'balanced'"),
        ({"on_error": "ignore"}, "on-error"),
        ({"seeds": 0}, "seeds is 0"),
        ({"jobs": 0}, "jobs is 0"),
        ({"time_limit": 0.0}, "time limit is 0"),
        ({"confidence": 1.0}, "confidence is 1"),
        ({"rungs": "static"}, "needs raw text"),
        ({"rungs": "features,full"}, "rung full needs a pretrained model"),
        ({"rungs": "static", "encoder": "runs/lm"}, "needs raw text"),
    ],
)
def test_mistakes_are_named(options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        plan(**options)
    assert caught.value.exit_code == 2
    assert caught.value.repair


def test_rungs_follow_from_what_is_there() -> None:
    assert plan().resolve(500).rungs == ("features", "scratch")
    assert plan(raw="raw.txt").resolve(500).rungs == ("features", "static", "scratch", "frozen", "full")
    assert plan(encoder="runs/lm").resolve(500).rungs == ("features", "scratch", "frozen", "full")


def test_budgets_follow_from_the_data() -> None:
    assert plan().resolve(150).budgets == (50, 100, "all")
    assert plan(budgets="50,150").resolve(150).budgets == (50, "all")
    assert plan(budgets="50").resolve(150).budgets == (50,)
    assert plan(budgets="50,all").resolve(150).label_counts(150) == {50: 50, "all": 150}
    with pytest.raises(UsageError, match="budget 200 is larger than the 150 training examples"):
        plan(budgets="200").resolve(150)


def test_early_cells_show_the_whole_picture() -> None:
    cells = order_cells(("features", "frozen"), (50, "all"), (0, 1))
    assert cells[:4] == [
        Cell("features", 50, 0),
        Cell("frozen", 50, 0),
        Cell("features", "all", 0),
        Cell("frozen", "all", 0),
    ]
    assert {cell.seed for cell in cells[4:]} == {1}
    assert len(set(cells)) == 8


def test_cost_order() -> None:
    rungs = ["full", "top-2", "top-1", "head", "frozen", "static", "scratch", "features"]
    assert sorted(rungs, key=cost_rank) == ["features", "scratch", "static", "frozen", "head", "top-1", "top-2", "full"]


def stored(**changes) -> dict:
    whole = {
        "schema": PLAN_SCHEMA,
        "question": {"task": "tag", "metric": "accuracy"},
        "rungs": ["features"],
        "budgets": [50],
        "seeds": [0, 1],
    }
    question = {**whole["question"], **changes.pop("question", {})}
    return {**whole, **changes, "question": question}


def test_a_comparison_may_grow() -> None:
    grown = stored(rungs=["features", "full"], budgets=[50, "all"], seeds=[0, 1, 2])
    check_same_question(stored(), grown, Path("out"))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            stored(question={"metric": "macro_f1"}),
            "out: it holds a comparison with metric accuracy, now macro_f1 was requested",
        ),
        (stored(question={"raw text": "abc"}), "raw text none, now abc"),
        (stored(question={"placement": "both"}), "placement input, now both"),
        (stored(seeds=[0]), "cells of seeds 1, which were not requested"),
        (stored(budgets=[100]), "cells of budgets 50"),
        (stored(rungs=["full"]), "cells of rungs features"),
    ],
)
def test_another_question_is_refused_by_name(asked: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        check_same_question(stored(), asked, Path("out"))
    assert caught.value.exit_code == 2


def test_a_plan_of_before_there_were_placements_goes_on() -> None:
    check_same_question(stored(), stored(question={"placement": "input"}), Path("out"))


def test_a_plan_of_before_there_were_class_weights_goes_on_unless_its_budgets_were_drawn_otherwise() -> None:
    now = {"placement": "input", "class weights": "none", "strata of budgets": None, "metric of early stopping": None}
    check_same_question(stored(), stored(question=now), Path("out"))
    with pytest.raises(UsageError, match="strata of budgets none, now span types was requested"):
        check_same_question(stored(), stored(question={**now, "strata of budgets": "span types"}), Path("out"))


def test_a_placement_is_for_the_rung_that_has_one() -> None:
    with pytest.raises(UsageError, match="placement 'both' is for the rung frozen, which was not requested"):
        ComparePlan(task="tag", train="a", raw="b", rungs=("features", "full"), placement="both")
    with pytest.raises(UsageError, match="placement 'outptu' is unknown; did you mean 'output'"):
        ComparePlan(task="tag", train="a", placement="outptu")
    frozen, full = Frozen().plan("both"), Full().plan("both")
    assert frozen.placement == "both" and full.placement == "input", "full has no LSTM to stand beside"


def test_a_language_model_may_be_named_while_no_rung_used_one() -> None:
    later = stored(question={"encoder": "abc"}, rungs=["features", "frozen"])
    check_same_question(stored(), later, Path("out"))
    with pytest.raises(UsageError, match="encoder none, now abc"):
        check_same_question(stored(rungs=["features", "frozen"]), later, Path("out"))
    with pytest.raises(UsageError, match="encoder abc, now none"):
        check_same_question(later, stored(rungs=["features", "frozen"]), Path("out"))


def test_another_version_of_the_plan_is_refused_with_both() -> None:
    with pytest.raises(UsageError, match=r"carryover.compare-plan/9.*carryover.compare-plan/1"):
        check_same_question(stored(schema="carryover.compare-plan/9"), stored(), Path("out"))


def test_an_encoder_is_known_by_what_it_computes(tmp_path: Path) -> None:
    def stored_as(name: str, value: float, seconds: int) -> str | None:
        save_artefact(
            tmp_path / name, kind="bilm", config={"cells": 2}, tensors={"weight": torch.full((3,), value)},
            tokenizer={"words": ["a"]}, labels=None, record={"seconds": seconds}, card="a model",
        )  # fmt: skip
        return check_material(plan(encoder=tmp_path / name, rungs="frozen"))["encoder"]

    first = stored_as("a", 1.0, 10)
    assert stored_as("b", 1.0, 99) == first, "its record may be told anew"
    assert stored_as("c", 2.0, 10) != first
