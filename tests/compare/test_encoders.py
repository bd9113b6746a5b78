"""Several pretrained models in one comparison: how they are named, what belongs to the question, and one table of all."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from carryover.compare import compare
from carryover.compare.cells import Cell
from carryover.compare.encoders import encoders_by_name, parse_encoders, written
from carryover.compare.ladder import parse_rungs, rung_of
from carryover.compare.run import estimate
from carryover.compare.table import plain_table
from carryover.errors import InputMissing, UsageError
from compare.running import TINY, plan
from encoders.material import ENCODERS, stored


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with bilm, lm (a Transformer) and another, all of random weights."""
    folder = tmp_path_factory.mktemp("models")
    for seconds, (name, made) in enumerate(
        (("bilm", "bilm-words"), ("lm", "transformer-subwords"), ("other", "lstm-words"))
    ):
        stored(folder / name, ENCODERS[made](0), seconds=10.0 + seconds)
    return folder


def test_encoders_are_written_as_a_folder_or_by_name(tmp_path: Path) -> None:
    assert parse_encoders("runs/lm") == Path("runs/lm")
    assert parse_encoders("runs/a=b") == Path("runs/a=b"), "no name has a slash"
    named = parse_encoders("bilm=runs/bilm, lm=runs/lm=2")
    assert named == {"bilm": Path("runs/bilm"), "lm": Path("runs/lm=2")}
    assert parse_encoders("runs/bilm,lm=runs/lm") == {"": Path("runs/bilm"), "lm": Path("runs/lm")}
    for text in ("runs/lm", "bilm=runs/bilm,lm=runs/lm", "runs/bilm,lm=runs/lm"):
        assert written(parse_encoders(text)) == text
    (tmp_path / "a=b,c").mkdir()
    assert parse_encoders(f"{tmp_path}/a=b,c") == tmp_path / "a=b,c"
    for text, told in (("a=x,a=y", "two encoders called 'a'"), ("x,y", "without a name"), ("a=x,", "without a folder")):
        with pytest.raises(UsageError, match=told):
            parse_encoders(text)
    with pytest.raises(UsageError, match="an encoder is called 'a b'"):
        encoders_by_name({"a b": "runs/lm"})


def test_a_rung_names_its_encoder_behind_a_colon() -> None:
    rung = rung_of("top-2:lm")
    assert (rung.name, rung.family, rung.layers, rung.encoder) == ("top-2:lm", "top", 2, "lm")
    assert rung.train_options() == ["--mode", "top-k", "--top", "2"] and rung_of("top-2").encoder == ""
    ordered = ("features", "frozen", "frozen:bilm", "frozen:lm", "full:lm")
    assert parse_rungs("full:lm,frozen:lm,frozen,features,frozen:bilm") == ordered
    with pytest.raises(UsageError, match="rung features uses no pretrained model, and 'lm' names one"):
        rung_of("features:lm")
    with pytest.raises(UsageError, match="rung frozen: names no encoder"):
        rung_of("frozen:")


def test_a_cell_has_a_folder_of_one_plain_name() -> None:
    assert Cell("frozen", 50, 0).name == "frozen-50-0"
    assert Cell("top-2:lm", "all", 3).name == "top-2@lm-all-3"
    assert Cell("full:runs/../lm", 50, 0).name == "full@runs%2F..%2Flm-50-0"


def test_a_rung_without_a_name_is_over_each_encoder(topics: Path, models: Path) -> None:
    both = {"bilm": models / "bilm", "lm": models / "lm"}
    assert plan(topics, rungs="features,frozen", encoder=both).rungs == ("features", "frozen:bilm", "frozen:lm")
    assert plan(topics, rungs="frozen:lm", encoder=both).rungs == ("frozen:lm",)
    extended = plan(topics, rungs="frozen", encoder={"": models / "bilm", "lm": models / "lm"})
    assert extended.rungs == ("frozen", "frozen:lm")
    usual = plan(topics, rungs=(), encoder=both).resolve(60)
    assert usual.rungs == ("features", "scratch", "frozen:bilm", "frozen:lm", "full:bilm", "full:lm")
    beside = plan(topics, rungs=f"frozen,frozen:{models / 'lm'}", raw=topics / "raw.txt")
    assert beside.resolve(60).rung_encoders == {"": None, str(models / "lm"): models / "lm"}
    with pytest.raises(UsageError, match=r"'bilmm' is neither the name of an encoder nor a folder; did you mean 'bilm'"):
        plan(topics, rungs="frozen:bilmm", encoder=both)
    with pytest.raises(InputMissing):
        compare(plan(topics, rungs="frozen", encoder={**both, "other": models / "absent"}), topics / "out", quiet=True)


@pytest.mark.parametrize(("task", "suffix"), [("classify", "tsv"), ("tag", "conll")])
def test_one_table_of_two_encoders(topics: Path, models: Path, tmp_path: Path, task: str, suffix: str) -> None:
    both = {"bilm": models / "bilm", "lm": models / "lm"}

    def run(**options: Any) -> Any:
        data = {"task": task, "train": topics / f"train.{suffix}", "test": topics / f"test.{suffix}"}
        return compare(
            plan(topics, **data, **{"budgets": "12", "seeds": 2, "encoder": both, "fitting": TINY["fitting"], **options}),
            tmp_path / "out",
            quiet=True,
        )

    result = run(rungs="features,frozen,full")
    assert not result.failures, result.failures[0].trace
    rungs = ["features", "frozen:bilm", "frozen:lm", "full:bilm", "full:lm"]
    assert [point.rung for point in result.analysis.points.values()] == ["majority", *rungs]
    assert [line.split()[0] for line in plain_table(result).splitlines()[2:7]] == rungs
    assert dict(result.pretraining) == {"language model bilm": 10.0, "language model lm": 11.0}
    assert [result.pretraining_seconds(rung) for rung in rungs] == [0.0, 10.0, 11.0, 10.0, 11.0]
    assert result.carried_folder("full:lm") == models / "lm"
    page = result.page.read_text(encoding="utf-8")
    assert "bilm: bilm, lm: lm" in page and page.count("full:lm") > 5
    tensors = {row.rung: row.notes.get("carried_over", {}).get("tensors_loaded") for row in result.results}
    assert tensors["frozen:bilm"] == tensors["full:bilm"] != tensors["frozen:lm"] == tensors["full:lm"]

    again = run(rungs="features,frozen,full")
    assert again.already == len(again.results) and again.to_json()["cells"] == result.to_json()["cells"]
    more = run(rungs="features,frozen,full", encoder={**both, "other": models / "other"})
    assert more.already == len(result.results) and len(more.results) == len(result.results) + 2 * 2
    with pytest.raises(UsageError, match=r"with encoder lm .*, now .* was requested"):
        run(rungs="features,frozen,full", encoder={**both, "lm": models / "other", "other": models / "other"})
    with pytest.raises(UsageError, match=r"with encoder bilm .*, now none was requested"):
        run(rungs="features,frozen,full", encoder={"lm": models / "lm", "other": models / "other"})


def test_a_comparison_of_one_encoder_takes_in_another(topics: Path, models: Path, tmp_path: Path) -> None:
    """What was written for a single folder keeps its question, and rows of a named one are added."""
    usual: dict[str, Any] = {"rungs": "frozen", "budgets": "12", "seeds": 1, "fitting": TINY["fitting"]}
    compare(plan(topics, **usual, encoder=models / "bilm"), tmp_path / "out", quiet=True)
    question = json.loads((tmp_path / "out" / "plan.json").read_text(encoding="utf-8"))["question"]
    assert [name for name in question if name.startswith("encoder")] == ["encoder"]
    both = {"": models / "bilm", "lm": models / "lm"}
    result = compare(plan(topics, **usual, encoder=both), tmp_path / "out", quiet=True)
    assert result.already == 1 and [row.rung for row in result.results] == ["frozen", "frozen:lm"]
    command = result.next_command()
    if command[:2] == ["carryover", "train"]:
        assert command[-1].startswith(str(tmp_path / "out-")) and ":" not in Path(command[-1]).name


def test_a_dry_run_knows_each_encoder(topics: Path, models: Path, tmp_path: Path) -> None:
    both = {"bilm": models / "bilm", "lm": models / "lm"}
    wanted = plan(topics, rungs="frozen", budgets="12", seeds=1, encoder=both, fitting=TINY["fitting"])
    document = estimate(wanted, tmp_path / "out")
    assert set(document["seconds_by_rung"]) == {"frozen:bilm", "frozen:lm"} and document["pretraining_seconds"] == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("reads", ["characters", "words", "subwords"])
@pytest.mark.parametrize("objective", ["bilm", "lm"])
def test_a_dry_run_measures_what_is_not_pretrained_yet(topics: Path, tmp_path: Path, objective: str, reads: str) -> None:
    given = {"raw": topics / "raw.txt", "pretraining": {**TINY["pretraining"], "objective": objective, "input": reads}}
    wanted = plan(topics, rungs="frozen", budgets="12", seeds=1, fitting=TINY["fitting"], **given)
    if reads == "subwords":
        wanted = dataclasses.replace(wanted, pretraining={**wanted.pretraining, "vocabulary_size": 300})
    document = estimate(wanted, tmp_path / "out")
    assert document["seconds_by_rung"]["frozen"] > 0 and document["pretraining_seconds"] > 0
