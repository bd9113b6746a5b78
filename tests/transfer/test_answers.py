"""Answers keep the rows they are for: every format in and out, with a model that answers known things."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carryover.data.columns import Columns
from carryover.data.examples import Example
from carryover.data.words import WordTokenizer
from carryover.errors import UsageError
from carryover.tasks import TASKS, Labels, Task
from carryover.transfer.answers import check_out, text_items, write_answers, written
from carryover.transfer.predicting import Predictor
from carryover.transfer.predictions import items_to_predict


class Known(Predictor):
    """Answers texts by whether they hold an exclamation mark, words by whether they begin with a capital."""

    def __init__(self, task: Task, **columns: Any) -> None:
        self._task, self.record = task, {"columns": Columns(**columns).to_json()}

    @property
    def task(self) -> Task:
        return self._task

    def tokenize(self, text: str) -> list[str]:
        return WordTokenizer().words(text)

    def answer(self, example: Example[Any, Any]) -> Labels:
        content = example.input.content
        if self.task.answers_words:
            return tuple("NAME" if word[:1].isupper() else "WORD" for word in content)
        return ("loud" if "!" in content else "calm",)

    def _decoded(self, examples: Sequence[Example[Any, Any]]) -> list[Labels]:
        return [self.answer(example) for example in examples]

    def _probabilities(self, examples: Sequence[Example[Any, Any]]) -> list[np.ndarray]:
        rows = [
            np.array([[0.75 if label == one else 0.25 for label in self.labels] for one in self.answer(e)]) for e in examples
        ]
        return rows if self.task.answers_words else [row[0] for row in rows]

    def save(self, folder: Path) -> None:
        raise NotImplementedError


TEXTS = Known(TASKS["classify"].of(["calm", "loud"], {}))
TAGS = Known(TASKS["tag"].of(["NAME", "WORD"], {"scheme": "plain"}), label_column="upos")

CSV = 'id;text;note\n7;"Hi; there!";"say ""x"""\n8;"two\nlines";=1+1\n'


def test_a_table_keeps_its_delimiter_columns_and_quotes(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("\ufeff" + CSV.replace("\n7", "\r\n7"), encoding="utf-8")
    items = items_to_predict(TEXTS, str(tmp_path / "in.csv"))
    assert written(TEXTS, items, None, column="mood") == (
        'id;text;note;mood\n7;"Hi; there!";"say ""x""";loud\n8;"two\nlines";=1+1;calm\n'
    )
    write_answers(TEXTS, items, tmp_path / "out.jsonl", every=True)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[1] == {"id": "8", "text": "two\nlines", "note": "=1+1", "prediction": "calm", "probability_calm": 0.75, "probability_loud": 0.25}  # fmt: skip
    write_answers(TEXTS, items, tmp_path / "out.tsv")
    assert (tmp_path / "out.tsv").read_text(encoding="utf-8").splitlines()[2] == "8\ttwo\\nlines\t=1+1\tcalm"


def test_a_file_without_a_header_gets_none(tmp_path: Path) -> None:
    (tmp_path / "in.tsv").write_text("a\tfine\nb\tstop!\n", encoding="utf-8")
    items = items_to_predict(TEXTS, str(tmp_path / "in.tsv"), text_column="1")
    assert written(TEXTS, items, None) == "a\tfine\tcalm\nb\tstop!\tloud\n"
    write_answers(TEXTS, items, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "a,fine,calm\nb,stop!,loud\n"


def test_rows_of_json_and_parquet_keep_what_is_in_them(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    lines = [{"text": "no!", "tags": [1, {"a": None}]}, {"extra": 5, "text": "yes"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    items = items_to_predict(TEXTS, str(tmp_path / "in.jsonl"))
    found = [json.loads(line) for line in written(TEXTS, items, None).splitlines()]
    assert found == [{**lines[0], "prediction": "loud"}, {**lines[1], "prediction": "calm"}]
    write_answers(TEXTS, items, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        assert next(csv.reader(file)) == ["text", "tags", "extra", "prediction"]
    (tmp_path / "plain.txt").write_text("one\n\ntwo!\n", encoding="utf-8")
    items = items_to_predict(TEXTS, str(tmp_path / "plain.txt"))
    write_answers(TEXTS, items, tmp_path / "out.parquet", every=True)
    assert parquet.read_table(tmp_path / "out.parquet").to_pylist()[2] == {
        "text": "two!", "prediction": "loud", "probability_calm": 0.25, "probability_loud": 0.75,
    }  # fmt: skip


def test_a_column_of_that_name_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,prediction\nhello,old\n", encoding="utf-8")
    items = items_to_predict(TEXTS, str(tmp_path / "in.csv"))
    with pytest.raises(UsageError, match="has a column 'prediction' already"):
        write_answers(TEXTS, items, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_rows_that_cannot_be_read_are_left_out_and_kept_aside(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n1,fine\n2\n3,go!\n", encoding="utf-8")
    rejects = tmp_path / "in.csv.rejected.jsonl"
    items = items_to_predict(TEXTS, str(tmp_path / "in.csv"), on_error="skip", rejects=rejects)
    assert written(TEXTS, items, None) == "id,text,prediction\n1,fine,calm\n3,go!,loud\n"
    assert json.loads(rejects.read_text(encoding="utf-8"))["line"] == 3


CONLLU = """# sent_id = 1
# text = Ann can't go
1\tAnn\tAnn\tX\tNNP\tNumber=Sing\t0\troot\t_\t_
2-3\tcan't\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
2\tca\tcan\tX\tMD\t_\t1\taux\t_\t_
3\tn't\tnot\tX\tRB\t_\t1\tadvmod\t_\t_
3.1\tgo\tgo\tVERB\t_\t_\t_\t_\t1:dep\t_

# sent_id = 2
1\tYes\tyes\tX\tUH\t_\t0\troot\t_\tSpaceAfter=No

"""


def test_a_treebank_comes_out_as_one(tmp_path: Path) -> None:
    (tmp_path / "in.conllu").write_text(CONLLU, encoding="utf-8")
    items = items_to_predict(TAGS, str(tmp_path / "in.conllu"))
    expected = CONLLU.replace("Ann\tX", "Ann\tNAME").replace("can\tX", "can\tWORD").replace("not\tX", "not\tWORD").replace("yes\tX", "yes\tNAME")  # fmt: skip
    assert written(TAGS, items, None) == expected
    write_answers(TAGS, items, tmp_path / "out.conllu")
    assert (tmp_path / "out.conllu").read_text(encoding="utf-8") == expected
    write_answers(TAGS, items, tmp_path / "out.csv", every=True)
    lines = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["sentence,word,prediction,probabilities", "1,Ann,NAME,0.75"] and len(lines) == 5


def test_a_real_treebank_comes_out_as_it_was(shared_data: Path, tmp_path: Path) -> None:
    """With the right answers the file is the same, byte for byte."""
    with gzip.open(shared_data / "ud-english-ewt" / "en_ewt-ud-dev.conllu.gz", "rt", encoding="utf-8") as file:
        content = file.read()
    path = tmp_path / "dev.conllu"
    path.write_text(content, encoding="utf-8")
    gold = {
        example.source.line: example.gold for example in TASKS["tag"].read(str(path), Columns(label_column="upos")).examples
    }
    model = Known(
        TASKS["tag"].of(sorted({tag for tags in gold.values() for tag in tags}), {"scheme": "plain"}), label_column="upos"
    )
    model.answer = lambda example: gold[example.source.line]  # type: ignore[method-assign]
    assert written(model, items_to_predict(model, str(path)), None) == content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("-DOCSTART- -X- O\n\nAnn NNP O\nsings VBZ O\n\nHe PRP O\n", "-DOCSTART- -X- O\n\nAnn NNP NAME\nsings VBZ WORD\n\nHe PRP NAME\n"),
        ("Ann\tO\nsings\tO\n", "Ann\tNAME\nsings\tWORD\n"),
        ("Ann\nsings\n\nHe\n", "Ann NAME\nsings WORD\n\nHe NAME\n"),
    ],
)  # fmt: skip
def test_columns_come_out_as_columns(content: str, expected: str, tmp_path: Path) -> None:
    model = Known(TASKS["tag"].of(["NAME", "WORD"], {"scheme": "plain"}))
    (tmp_path / "in.conll").write_text(content, encoding="utf-8")
    assert written(model, items_to_predict(model, str(tmp_path / "in.conll")), None) == expected


def test_names_that_say_no_format_and_the_input_itself_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\nx\n", encoding="utf-8")
    with pytest.raises(UsageError, match="is the file that is asked about"):
        check_out(tmp_path / "in.csv", str(tmp_path / "in.csv"))
    with pytest.raises(UsageError, match="does not say what to write"):
        check_out(tmp_path / "out.xyz", "-")
    items = items_to_predict(TEXTS, str(tmp_path / "in.csv"))
    with pytest.raises(UsageError, match="only into a file of that kind"):
        write_answers(TEXTS, items, tmp_path / "out.conllu")


def test_texts_that_were_given_one_by_one(tmp_path: Path) -> None:
    items = text_items(TEXTS, ["go!", "stay"])
    assert [TEXTS.predict([one])[0] for one in items.examples] == [("loud",), ("calm",)]
    write_answers(TEXTS, items, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "example,input,prediction\n1,go!,loud\n2,stay,calm\n"
