"""Typed inputs and examples: equality and hash by content, words, and where every reader says it found an example."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from carryover.data.examples import Example, Series, Source, Text, TextPair, Words
from carryover.data.formats.reading import read_tagged, read_texts


def test_every_input_is_equal_by_content_and_can_be_looked_up() -> None:
    inputs = [Text("a b"), Words(("a", "b")), TextPair("a", "b"), Series(np.array([[0.0, 1.0]]))]
    again = [Text("a b"), Words(("a", "b")), TextPair("a", "b"), Series(np.array([[-0.0, 1.0]]))]
    assert inputs == again and len(set(inputs + again)) == len(inputs)
    assert pickle.loads(pickle.dumps(inputs)) == inputs
    assert Series(np.zeros((2, 1))) != Series(np.zeros((1, 2))) and Series(np.zeros((1, 1))) != Text("0")
    with pytest.raises(ValueError, match=r"shape \[T, C\], not \[3\]"):
        Series(np.zeros(3))


def test_words_and_what_people_read_of_an_input() -> None:
    assert Text("a b").words(str.split) == Words(("a", "b")).words(list) == TextPair("a", "b").words(str.split) == ("a", "b")
    shown = [one.shown for one in (Text("a b"), Words(("a", "b")), TextPair("a", "b"), Series(np.zeros((3, 1))))]
    assert shown == ["a b", "a b", "a\tb", "3 steps of 1 channel"]


def test_examples_are_equal_wherever_the_file_lies_and_differ_by_line() -> None:
    one = Example(Text("a"), ("x",), Source("here.tsv", 3))
    assert one == Example(Text("a"), ("x",), Source("there.tsv", 3)) != Example(Text("a"), ("x",), Source("here.tsv", 4))
    assert Example(Text("a"), ()) != Example(Text("a")), "no label at all is an answer, and not the lack of one"


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.tsv", "text\tlabel\na\tx\n", 2),
        ("a.jsonl", '\n{"text": "a", "label": "x"}\n', 2),
        ("a.txt", "\nx a\n", 2),
        ("a.conll", "\n\na\tx\n", 3),
        ("t.jsonl", '{"tokens": ["a"], "tags": ["x"]}\n', 1),
        ("a.conllu", "# id\n1\ta\t_\tX\t_\t_\t0\troot\t_\t_\n", 2),
    ],
)
def test_every_reader_names_file_and_line(name: str, content: str, line: int, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    read = read_tagged if name.startswith("t.") or name.endswith(("conll", "conllu")) else read_texts
    found = read(path).examples[0]  # type: ignore[operator]
    assert (found.source.path, found.source.line) == (str(path), line)
    assert found.input.words(str.split) == ("a",) and [label.lower() for label in found.gold] == ["x"]


def test_examples_need_no_torch() -> None:
    code = "import sys, carryover.data.examples; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_a_pair_has_two_sentences_and_other_texts_one() -> None:
    assert Text("a b").sentences(str.split) == (("a", "b"),)
    assert Words(("a b", "c")).sentences(str.split) == (("a b", "c"),)
    assert TextPair("a b", "c").sentences(str.split) == (("a", "b"), ("c",))
