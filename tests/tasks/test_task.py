"""The data side of tasks: without torch, read and written as the table of tasks says, and options that reach the right side."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carryover.data.columns import Columns
from carryover.data.examples import Source, Text, TextPair, Words
from carryover.tasks import TASKS
from carryover.tasks.heads import head_class, head_from_json

FILES = {
    "classify": ("a.tsv", "text\tlabel\na b\tx\nc\ty\n"),
    "tag": ("a.conll", "a\tB-x\nb\tI-x\n\nc\tO\n"),
    "pair": ("a.tsv", "one\ttwo\tlabel\na\tb\tx\nc\t?\ty\n"),
    "annotate": ("a.conll", "a\tX\t_\nb\tY\tN=1\n\nc\tX\t_\n"),
}
COLUMNS = {"pair": {"text_column": "one,two"}, "annotate": {"label_column": "upos=1,feats=2"}}
LABELS = {"annotate": ("upos\t\tX", "upos\t\tY", "feats\tN\t_", "feats\tN\t1")}
WORD_BY_WORD = ("tag", "annotate")
WORDS = {"pair": [("a", "b"), ("c", "?")]}


def test_tasks_need_no_torch() -> None:
    code = "import sys, carryover.tasks; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


@pytest.mark.parametrize("name", TASKS)
def test_every_task_reads_its_files_and_writes_its_answers(name: str, tmp_path: Path) -> None:
    kind = TASKS[name]
    (tmp_path / FILES[name][0]).write_text(FILES[name][1])
    found = kind.read(tmp_path / FILES[name][0], Columns(**COLUMNS.get(name, {}))).examples
    assert {type(example.input) for example in found} <= set(kind.reads)
    assert [kind.words(example, str.split) for example in found] == WORDS.get(name, [("a", "b"), ("c",)])
    labels = kind.labels_of(found)
    in_order = tuple(sorted({label for example in found for label in kind.gold(example)}))
    assert labels == LABELS.get(name, in_order) and len(labels) >= 2
    task = kind.of(labels, {})
    task.check(found)
    if name == "annotate":
        table = np.array([[1.0, 0, 1, 0], [0, 1, 0, 1]])
        own = {"tokens": ["a", "b"], "upos": ["X", "Y"], "feats": ["_", "N=1"]}
        sure: Any = {"upos": [1.0, 1.0], "feats": [1.0, 1.0]}
    else:
        table = np.eye(len(labels))[[task.numbers[label] for label in kind.gold(found[0])]]
        own, sure = kind.row(found[0]), [1.0] * len(kind.gold(found[0]))
    row = task.answer_row(found[0], ("a", "b"), kind.gold(found[0]), table if name in WORD_BY_WORD else table[0])
    assert row["probabilities"] == sure and own.items() <= row.items()
    cells = list(kind.answer_cells(json.loads(json.dumps(row)), probabilities=True))
    assert "1.000000" in str(cells) and len(str(cells)) > len(str(list(kind.answer_cells(row))))


def test_a_line_of_text_becomes_what_a_task_reads() -> None:
    at = Source("-", 3)
    assert TASKS["classify"].item("a b", str.split, at).input == Text("a b")
    assert TASKS["tag"].item("a b", str.split, at).input == Words(("a", "b"))
    assert TASKS["tag"].item("a b", str.split, at).source.line == 3
    assert TASKS["pair"].item("a b\tc", str.split, at).input == TextPair("a b", "c")


@pytest.mark.parametrize("name", TASKS)
def test_options_reach_task_and_head_and_others_are_refused(name: str) -> None:
    metric = "accuracy" if name == "annotate" else "macro_f1"
    stored = {"kind": name, "in_size": 4, "labels": LABELS.get(name, ["a", "b"]), "dropout": 0.25, "metric": metric}
    head = head_from_json(stored)
    assert head.task.main_score == metric and head.dropout == 0.25 and type(head) is head_class(type(head.task))
    with pytest.raises(TypeError, match="no option 'warmth'"):
        head_from_json({**stored, "warmth": 1})
