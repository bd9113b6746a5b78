"""Several columns from one model: trained, stored, loaded, scored and written back into the files they are for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carryover.data.columns import Columns
from carryover.data.formats.conllu import FIELDS
from carryover.data.label_columns import split_cells
from carryover.encoders.loading import load
from carryover.errors import BadData, UsageError
from carryover.tasks import TASKS
from carryover.transfer.answers import write_answers, written
from carryover.transfer.fit import CarryPlan, FitSettings, fit_task
from carryover.transfer.plan import MODES
from carryover.transfer.predictions import examine_task, items_to_predict
from carryover.transfer.predictor import TaskPredictor
from carryover.transfer.settings import TaskRun
from carryover.transfer.train import read_examples, train_task
from task_material import language_model, word_vectors
from treebank_material import treebank

COLUMNS = "upos,feats,lemma"
SMALL: dict[str, Any] = {"hidden": 16, "word_size": 16, "filters": ((2, 8), (3, 8))}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("treebank")
    for name, count, seed in (("train", 120, 0), ("dev", 12, 1), ("test", 12, 2)):
        (folder / f"{name}.conllu").write_text(treebank(count, seed), encoding="utf-8")
    return {name: str(folder / f"{name}.conllu") for name in ("train", "dev", "test")}


@pytest.fixture(scope="module")
def trained(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> TaskPredictor:
    """Loaded from its folder."""
    out = tmp_path_factory.mktemp("run") / "tagger"
    wanted = TaskRun(
        task="tag",
        train=files["train"],
        dev=files["dev"],
        columns=Columns(label_column=COLUMNS),
        fitting={**SMALL, "epochs": 1, "least_updates": 300, "learning_rate": 0.01, "token_budget": 120},
        device="cpu",
    )
    train_task(wanted, out, quiet=True)
    return load(out)


def test_one_model_learns_every_column(trained: TaskPredictor, files: dict[str, str]) -> None:
    found = examine_task(trained, files["test"])
    scores = found.scores
    assert all(scores[f"{name}_accuracy"] > 0.85 for name in ("upos", "feats", "lemma"))
    assert scores["main"] == pytest.approx(np.mean([scores[f"{name}_accuracy"] for name in ("upos", "feats", "lemma")]))
    assert trained.record["task"] == "annotate" and trained.record["columns"]["label_column"] == COLUMNS
    assert {"upos NOUN", "feats Number", "feats PronType"} <= set(scores["per_label"])
    assert found.reliability is not None and found.reliability.count == 3 * scores["words"]
    assert (trained.folder or Path()).joinpath("README.md").read_text(encoding="utf-8").count("edit rules") == 1


def test_words_that_training_did_not_have_get_lemmas_by_rule(trained: TaskPredictor) -> None:
    cells = [split_cells(word) for word in trained.predict([("Ann", "likes", "the", "zebras", ".")])[0]]
    assert cells[3] == {"upos": "NOUN", "feats": "Number=Plur", "lemma": "zebra"}


def test_no_answer_depends_on_its_company(trained: TaskPredictor, files: dict[str, str], tmp_path: Path) -> None:
    examples = read_examples("annotate", files["test"], Columns(label_column=COLUMNS))
    together = trained.predictions(examples)
    trained.save(tmp_path / "again")
    again = load(tmp_path / "again").predictions(examples[::-1])[::-1]
    for example, found, other in zip(examples, together, again, strict=True):
        alone = trained.predictions([example])[0]
        assert found.labels == alone.labels == other.labels
        for table in (alone.probabilities, other.probabilities):
            np.testing.assert_allclose(table, found.probabilities, rtol=0, atol=1e-6)


def rows_of(content: str) -> list[list[str]]:
    return [line.split("\t") for line in content.splitlines() if line[:1].isdigit()]


def test_a_treebank_comes_out_with_all_columns_and_everything_else_as_it_was(
    trained: TaskPredictor, files: dict[str, str], tmp_path: Path
) -> None:
    bare, places = [], [FIELDS.index(name) for name in COLUMNS.split(",")]
    for line in Path(files["test"]).read_text(encoding="utf-8").splitlines():
        cells = line.split("\t")
        if cells[0].isdigit():
            for place in places:
                cells[place] = "_"
        bare.append("\t".join(cells))
    (tmp_path / "bare.conllu").write_text("\n".join(bare) + "\n", encoding="utf-8")
    items = items_to_predict(trained, str(tmp_path / "bare.conllu"))
    write_answers(trained, items, tmp_path / "out.conllu")
    content = (tmp_path / "out.conllu").read_text(encoding="utf-8")
    assert [line for line in content.splitlines() if not line[:1].isdigit()] == [
        line for line in bare if not line[:1].isdigit()
    ]
    answers = [split_cells(word) for found in trained.predict(items.examples) for word in found]
    for row, before in zip(rows_of(content), rows_of("\n".join(bare)), strict=True):
        if row[0].isdigit():
            own = answers.pop(0)
            before = [own.get(name, cell) for name, cell in zip(FIELDS, before, strict=True)]
        assert row == before  # multiword tokens and empty nodes are untouched
    assert not answers
    examples = read_examples("annotate", str(tmp_path / "out.conllu"), Columns(label_column=COLUMNS))
    assert trained.score(examples)["main"] == 1


def test_tables_have_a_column_for_each(trained: TaskPredictor, files: dict[str, str], tmp_path: Path) -> None:
    items = items_to_predict(trained, files["test"])
    write_answers(trained, items, tmp_path / "out.csv", every=True)
    header = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "sentence,word,prediction_upos,prediction_feats,prediction_lemma,probability_upos,probability_feats,probability_lemma"  # fmt: skip


def test_columns_of_words_get_columns(files: dict[str, str], tmp_path: Path) -> None:
    """Columns by number are replaced, named ones added."""
    for name in ("train", "test"):
        rows = [
            "\t".join((row[1], row[3], row[5], row[2])) if row else ""
            for row in (line.split("\t") if line else [] for line in Path(files[name]).read_text().splitlines())
            if not row or row[0].isdigit()
        ]
        (tmp_path / f"{name}.conll").write_text("\n".join(rows) + "\n", encoding="utf-8")
    columns = Columns(label_column="upos=1,lemma=3")
    examples = read_examples("annotate", tmp_path / "train.conll", columns)
    found = fit("annotate", examples)
    found.record["columns"] = columns.to_json()
    items = items_to_predict(found, str(tmp_path / "test.conll"), format="conll")
    content = written(found, items, None)
    before = [line.split("\t") for line in (tmp_path / "test.conll").read_text(encoding="utf-8").splitlines()]
    after = [line.split("\t") for line in content.splitlines()]
    answers = [split_cells(word) for sentence in found.predict(items.examples) for word in sentence]
    for old, new in zip(before, after, strict=True):
        own = answers.pop(0) if old != [""] else {}
        assert new == ([old[0], own["upos"], old[2], own["lemma"]] if own else [""])
    (tmp_path / "words.conll").write_text("the\nboats\n\nAnn\n", encoding="utf-8")
    found.record["columns"] = Columns(label_column="upos,lemma").to_json()
    words = items_to_predict(found, str(tmp_path / "words.conll"), format="conll")
    lines = written(found, words, None).splitlines()
    assert [len(line.split(" ")) for line in lines if line] == [3, 3, 3]


def fit(kind: str, examples: list[Any], mode: str = "scratch", **fitting: Any) -> TaskPredictor:
    settings = FitSettings(**{"least_updates": 3, "epochs": 1, **SMALL, **fitting})
    encoder = language_model() if MODES[mode].uses_encoder else None
    vectors = word_vectors() if MODES[mode].uses_vectors else None
    plan = CarryPlan(mode=mode, unfreezing_share=0.0)
    return fit_task(
        kind, examples[:-4], examples[-4:], plan=plan, encoder=encoder, vectors=vectors, settings=settings
    ).predictor


@pytest.mark.parametrize("mode", ["static", "frozen", "head", "top-k", "full"])
def test_every_mode_trains_it(mode: str, files: dict[str, str], tmp_path: Path) -> None:
    examples = read_examples("annotate", files["dev"], Columns(label_column=COLUMNS))
    made = fit("annotate", examples, mode)
    made.save(tmp_path / "model")
    assert load(tmp_path / "model").predict(examples) == made.predict(examples)


@pytest.mark.parametrize("column", ["feats", "lemma"])
def test_a_single_column_with_parts_or_rules(column: str, files: dict[str, str], tmp_path: Path) -> None:
    wanted = TaskRun(
        task="tag", train=files["dev"], columns=Columns(label_column=column), fitting={"epochs": 1, **SMALL}, device="cpu"
    )
    result = train_task(wanted, tmp_path / "run", quiet=True)
    score = result.record["dev_score"]
    assert score["main_name"] == "accuracy" and f"{column}_accuracy" not in score and "every_column_right" not in score
    predictor = load(tmp_path / "run")
    labels = [label.split("\t")[:2] for label in predictor.labels]
    assert (["feats", "Number"] in labels) == (column == "feats") and (["lemma", ""] in labels) == (column == "lemma")
    assert list(examine_task(predictor, files["test"]).scores)[:3] == ["main", "main_name", "accuracy"]


@pytest.mark.parametrize("mode", ["features", "majority"])
def test_models_of_one_tag_a_word_refuse_several(mode: str, files: dict[str, str], tmp_path: Path) -> None:
    from carryover.classical.train import train_features

    wanted = TaskRun(task="tag", train=files["dev"], mode=mode, columns=Columns(label_column=COLUMNS), device="cpu")
    with pytest.raises(UsageError, match=f"mode {mode} answers one column of tags"):
        train_features(wanted, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_rows_of_json_and_faults_in_them(tmp_path: Path) -> None:
    rows = [{"tokens": ["the", "cats"], "upos": ["DET", "NOUN"], "feats": ["_", "Number=Plur|Case=Nom"]}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = TASKS["annotate"].read(tmp_path / "a.jsonl", Columns(label_column="upos,feats")).examples
    assert found[0].gold == ("upos=DET\tfeats=_", "upos=NOUN\tfeats=Case=Nom|Number=Plur")
    for feats, why in ((["_", "Plur"], "Name=Value"), (["_"], "2 tokens but 1 feats"), (["_", "A=1\tB=2"], "holds a tab")):
        (tmp_path / "b.jsonl").write_text(json.dumps({**rows[0], "feats": feats}) + "\n", encoding="utf-8")
        with pytest.raises(BadData, match=f"b.jsonl:1: .*{why}"):
            TASKS["annotate"].read(tmp_path / "b.jsonl", Columns(label_column="upos,feats"))
    with (tmp_path / "b.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(rows[0]) + "\n")
    skipped = TASKS["annotate"].read(tmp_path / "b.jsonl", Columns(label_column="upos,feats", on_error="skip"))
    assert len(skipped.examples) == len(skipped.rejected) == 1


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ("upos,morph", "no label field 'morph'"),
        ("upos,3", "the field 'upos' is named twice"),
        ("upos,deps", "the field 'deps' is empty in the whole file"),
        ("upos,,feats", "empty name"),
    ],
)
def test_columns_that_there_are_not(columns: str, why: str, files: dict[str, str]) -> None:
    with pytest.raises((UsageError, BadData), match=why):
        TASKS["annotate"].read(files["dev"], Columns(label_column=columns))


def test_fields_by_number_have_the_names_of_the_treebank(files: dict[str, str]) -> None:
    by_name = TASKS["annotate"].read(files["dev"], Columns(label_column=COLUMNS))
    assert TASKS["annotate"].read(files["dev"], Columns(label_column="3,5,2")).examples == by_name.examples


def test_a_word_may_lack_its_lemma_but_not_its_tag(tmp_path: Path) -> None:
    content = treebank(2)
    first = next(line for line in content.splitlines() if line.startswith("1\t"))
    cells = first.split("\t")
    for place, fine in ((2, True), (5, True), (3, False)):
        changed = content.replace(first, "\t".join([*cells[:place], "_", *cells[place + 1 :]]))
        (tmp_path / "a.conllu").write_text(changed, encoding="utf-8")
        if fine:
            assert TASKS["annotate"].read(tmp_path / "a.conllu", Columns(label_column=COLUMNS)).examples
        else:
            with pytest.raises(BadData, match="has no upos"):
                TASKS["annotate"].read(tmp_path / "a.conllu", Columns(label_column=COLUMNS))


def test_spans_want_a_model_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(
        "Ann NNP B-PER\nLee NNP I-PER\nsang VBD O\n\nin IN O\nRome NNP B-LOC\n", encoding="utf-8"
    )
    with pytest.raises(UsageError, match=r"a\.conll: column 2 holds spans \(IOB2\)"):
        TASKS["annotate"].read(tmp_path / "a.conll", Columns(label_column="1,2"))
    found = TASKS["annotate"].read(tmp_path / "a.conll", Columns(label_column="1,2", scheme="plain")).examples
    assert (found[0].gold or ())[0] == "1=NNP\t2=B-PER"
    with pytest.raises(UsageError, match="write upos=NUMBER"):
        TASKS["annotate"].read(tmp_path / "a.conll", Columns(label_column="upos,lemma"))


def test_a_test_file_must_have_the_columns_of_the_model(trained: TaskPredictor, files: dict[str, str]) -> None:
    with pytest.raises(BadData, match="those of the model upos, feats, lemma"):
        examine_task(trained, files["test"], label_column="upos,feats")
