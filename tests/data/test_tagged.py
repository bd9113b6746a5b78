"""Tagged sentences: column files, span schemes, treebanks, JSONL."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from carryover.data.formats.reading import ReadResult, read_tagged
from carryover.data.schemes import Scheme
from carryover.errors import BadData, UsageError
from example_material import Tagged, tagged_words


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def sentences(result: ReadResult[Tagged]) -> list[tuple[str, str]]:
    return [(" ".join(sentence.input.tokens), " ".join(sentence.gold or ())) for sentence in result.examples]


CONLL = "New\tB-LOC\nYork\tI-LOC\n\n\nin\tO\n"


@pytest.mark.parametrize("packing", ["", ".gz", ".xz"])
def test_columns(packing: str, tmp_path: Path) -> None:
    packed = {"": lambda data: data, ".gz": gzip.compress, ".xz": lzma.compress}[packing](CONLL.encode())
    result = read_tagged(write(tmp_path / ("a.conll" + packing), packed))
    assert sentences(result) == [("New York", "B-LOC I-LOC"), ("in", "O")]
    assert [sentence.source.line for sentence in result.examples] == [1, 5]
    assert result.scheme == Scheme("IOB2") and result.rows == 2


def test_columns_by_blanks_and_by_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "-DOCSTART- -X- O\r\n\r\nthe  DT B-NP\r\nend NN I-NP\r\n")
    assert sentences(read_tagged(path)) == [("the end", "B-NP I-NP")]
    assert sentences(read_tagged(path, label_column=1)) == [("the end", "DT NN")]
    assert sentences(read_tagged(path, label_column="1")) == [("the end", "DT NN")]
    for wrong in (0, 3, -1):
        with pytest.raises(BadData, match=f"no tag column {wrong}: the file has 3 columns; use 1 to 2"):
            read_tagged(path, label_column=wrong)
    with pytest.raises(UsageError, match="have no names"):
        read_tagged(path, label_column="pos")


def test_words_with_blanks_and_strange_spaces(tmp_path: Path) -> None:
    assert sentences(read_tagged(write(tmp_path / "a.conll", "New York\tX\n1\u00a0000\tY\n"))) == [
        ("New York 1\u00a0000", "X Y")
    ]
    assert read_tagged(write(tmp_path / "b.conll", "1\u00a0000 NUM\nx Y\n")).examples[0].input.tokens == ("1\u00a0000", "x")


def test_a_hash_may_be_a_word(tmp_path: Path) -> None:
    tabs = "# a comment\n#tag\tO\n#\tO\n\n# sent_id = 2\n# text = x\n#photography\tO\nx\tB-P\n"
    assert sentences(read_tagged(write(tmp_path / "a.conll", tabs))) == [("#tag #", "O O"), ("#photography x", "O B-P")]
    blanks = "#photography O\nx B-P\n# O\n\n# comment\n# sent_id = 2\n# O\ny O\n"
    assert sentences(read_tagged(write(tmp_path / "b.conll", blanks))) == [("#photography x #", "O B-P O"), ("# y", "O O")]


def test_hashtags_with_a_tag_of_their_own_are_words(tmp_path: Path) -> None:
    """No word without a hash has their tag, and no comment has the shape of a word's line twice."""
    rows = "".join(f"#topic{number} HT\n#more HT\nI PRP\n\n#single HT\n\n" for number in range(3))
    found = read_tagged(write(tmp_path / "a.conll", "# id 7\n# id eight\n" + rows))
    assert sentences(found)[:2] == [("#topic0 #more I", "HT HT PRP"), ("#single", "HT")] and len(found.examples) == 6
    with pytest.raises(BadData, match=r"b\.conll:1: '#Paris' may be a word or a comment: no other word has the tag 'B-LOC'"):
        read_tagged(write(tmp_path / "b.conll", "#Paris B-LOC\nis O\n"))
    skipped = read_tagged(write(tmp_path / "b.conll", "#Paris B-LOC\nis O\n\nit O\n"), on_error="skip")
    assert sentences(skipped) == [("it", "O")] and "#Paris B-LOC" in skipped.rejected[0].text and skipped.rows == 2


def test_comments_alone_are_no_sentence(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", "# one\n# two\n\nx\tA\n\n# end\n")
    assert sentences(read_tagged(path)) == [("x", "A")]


def test_unlabelled_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", "one\nword\n\na line\n")
    with pytest.raises(BadData, match="only one column"):
        read_tagged(write(tmp_path / "b.conll", "one\ntwo\n"))
    result = read_tagged(tmp_path / "b.conll", require_labels=False)
    assert result.examples == [tagged_words(("one", "two"), None, 1)]
    with pytest.raises(BadData, match=":4: 2 columns where the file has 1"):
        read_tagged(path, require_labels=False)


COLUMN_FAULTS = [
    ("x\tA\n\ny\tA\nz\n", 4, "1 columns where the file has 2"),
    ("x\tA\n\ny\tA\nz\tA\tA\n", 4, "3 columns where the file has 2"),
    ("x\tA\n\n\tA\nz\tA\n", 3, "the word is empty"),
    ("x\tA\n\ny\tA\nz\t \n", 4, "the tag of 'z' is empty"),
    (b"x\tA\n\ny\tA\n\xff\tA\n", 4, "is not UTF-8"),
    ("x\tA\n\ny\tA\n#z\n", 4, "1 columns where the file has 2"),
    ("x\tB-P\nx\tI-P\nx\tO\n\ny\tO\nz\tI-P\n", 6, "I-P cannot follow O: a span begins with B-P"),
    ("x\tB-P\nx\tB-P\nx\tO\n\ny\tB-Q\nz\tI-P\n", 6, "I-P cannot follow B-Q"),
    ("x\tS-P\n\ny\tB-P\nz\tO\n", 4, "O cannot follow B-P: the span has no end"),
    ("x\tS-P\n\ny\tO\nz\tB-P\n", 4, "the end of the sentence cannot follow B-P"),
    ("x\tS-P\n\ny\tO\nz\tE-P\n", 4, "E-P cannot follow O: no P span is open"),
    ("x\tU-P\n\ny\tB-P\nz\tL-Q\n", 4, "L-Q cannot follow B-P: no Q span is open"),
    ("x\tU-P\n\ny\tB-P\nz\tE-P\n", 4, "2 of 3 tags look like BILOU, 'E-P' does not; correct it, or give --scheme plain"),
    ("x\tI-P\ny\tI-P\n\ny\tO\nz\tI-P\n\nw\tO\nz\tB-P\n", 8, "B-P cannot follow O: B only separates two neighbouring spans"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "line", "message"), COLUMN_FAULTS)
def test_faulty_sentences(content: str | bytes, line: int, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", content)
    with pytest.raises(BadData, match=message) as caught:
        read_tagged(path)
    assert (caught.value.path, caught.value.line) == (str(path), line)
    result = read_tagged(path, on_error="skip")
    assert result.examples[0].input.tokens[0] == "x" and len(result.rejected) == 1
    assert result.rejected[0].line == line
    assert result.rows == len(result.examples) + 1


def test_scheme_may_be_given(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", "x\tI-P\ny\tB-P\n\nz\tI-P\n")
    assert sentences(read_tagged(path)) == [("x y", "B-P B-P"), ("z", "B-P")]
    assert read_tagged(path).scheme == Scheme("IOB1")
    with pytest.raises(BadData, match=":1: I-P cannot follow O"):
        read_tagged(path, scheme="IOB2")
    assert read_tagged(path, scheme="plain").examples[0].gold == ("I-P", "B-P")
    with pytest.raises(UsageError, match=r"scheme 'boies' is unknown; did you mean 'bioes'\?"):
        read_tagged(path, scheme="boies")


def line(number: int | str, form: str, head: int | str = 0, **fields: str) -> str:
    cells = {
        "lemma": "_",
        "upos": "X",
        "xpos": "_",
        "feats": "_",
        "head": str(head),
        "deprel": "dep",
        "deps": "_",
        "misc": "_",
    }
    return "\t".join([str(number), form, *({**cells, **fields}).values()]) + "\n"


CONLLU = (
    "# sent_id = 1\n# text = vámonos al mar\n"
    + line("1-2", "vámonos", "_", upos="_", deprel="_")
    + line(1, "vamos", 0, upos="VERB", feats="Mood=Imp|Number=Plur")
    + line(2, "nos", 1, upos="PRON")
    + line(3, "#", 1, upos="SYM")
    + line("3.1", "null", "_", upos="_", deprel="_")
    + "\n"
    + line(1, "New York", 0, upos="PROPN")
    + "\n"
)  # fmt: skip


def test_treebank(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conllu", CONLLU)
    result = read_tagged(path)
    assert [(one.input.tokens, one.gold, one.source.line) for one in result.examples] == [
        (("vamos", "nos", "#"), ("VERB", "PRON", "SYM"), 4),
        (("New York",), ("PROPN",), 9),
    ]
    feats = read_tagged(path, label_column="feats")
    assert feats.examples[0].gold == ("Mood=Imp|Number=Plur", "_", "_")
    assert read_tagged(path, label_column=3) == result
    with pytest.raises(BadData, match="the field 'xpos' is empty in the whole file"):
        read_tagged(path, label_column="xpos")
    assert read_tagged(path, label_column="xpos", require_labels=False).examples[0].gold is None
    with pytest.raises(UsageError, match=r"did you mean 'upos'\?"):
        read_tagged(path, label_column="upso")
    with pytest.raises(UsageError, match="no label field 'head'"):
        read_tagged(path, label_column="head")


TREE_FAULTS = [
    (line(1, "a", 0) + "2\tb\t_\tX\t_\t_\t1\tdep\t_\n", 4, "9 columns where CoNLL-U has 10"),
    (line(1, "a", 0) + line(2, "b", 5), 4, "the head of word 2 is 5; use 0 .root. to 2"),
    (line(1, "a", 0) + line(2, "b", "-1"), 4, "the head of word 2 is -1"),
    (line(1, "a", 0) + line(2, "b", "x"), 4, "the head of word 2 is x"),
    (line(1, "a", 0) + line(2, "b", "_"), 4, "the head of word 2 is _"),
    (line(1, "a", 0) + line(2, "b", 3) + line(3, "c", 2), 4, "the heads of words 2, 3 form a cycle"),
    (line(1, "a", 1) + line(2, "b", 0), 3, "the heads of words 1 form a cycle"),
    (line(1, "a", 2) + line(2, "b", 1), 3, "form a cycle"),
    (line(1, "a", 0) + line(3, "b", 1), 4, "the id is 3, not 2"),
    (line(1, "a", 0) + line("x", "b", 1), 4, "the id 'x' is neither 2"),
    (line(1, "a", 0) + line("2-", "b", "_") + line(2, "b", 1), 4, "the range 2- does not begin"),
    (line("1-3", "ab", "_") + line(1, "a", 0) + line(2, "b", 1), 5, "a range ends at word 3 of 2"),
    (line("1-2", "ab", "_") + line(1, "a", 0) + line("2-3", "b", "_") + line(2, "b", 1) + line(3, "c", 1), 5, "range 2-3"),
    (line("5.1", "e", "_") + line(1, "a", 0), 3, "the id '5.1' is neither 1"),
    (line(1, "a", 0) + line(2, "", 1), 4, "the field form is empty"),
    (line(1, "a", 0) + line(2, "b", 1, feats="Plur"), 4, "the features 'Plur' are not"),
    (line(1, "a", 0) + line(2, "b", 1, upos="_"), 3, "'b' has no upos"),
    (line(1, "a", 0) + "# comment\n" + line(2, "b", 1), 4, "a comment inside a sentence"),
    ("# only a comment\n", 3, "a sentence without words"),
]  # fmt: skip


@pytest.mark.parametrize(("second", "number", "message"), TREE_FAULTS)
def test_faulty_trees(second: str, number: int, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.conllu", line(1, "good", 0) + "\n" + second + "\n" + line(1, "fine", 0) + "\n")
    with pytest.raises(BadData, match=message) as caught:
        read_tagged(path)
    assert (caught.value.path, caught.value.line) == (str(path), number)
    result = read_tagged(path, on_error="skip")
    assert [sentence.input.tokens for sentence in result.examples] == [("good",), ("fine",)]
    assert result.rows == 3 and result.rejected[0].line == number


def test_trees_may_lack_heads_but_not_roots(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conllu", line(1, "a", "_") + line(2, "b", "_") + "\n")
    assert len(read_tagged(path).examples) == 1
    two_roots = write(tmp_path / "b.conllu", line(1, "a", 0) + line(2, "b", 0) + "\n")
    assert len(read_tagged(two_roots).examples) == 1


def test_a_long_chain_of_heads_takes_linear_time(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conllu", "".join(line(n, "w", n - 1) for n in range(1, 3001)) + "\n")
    assert len(read_tagged(path).examples[0].input.tokens) == 3000


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_marks_of_joined_files(ending: str, mark: str, tmp_path: Path) -> None:
    columns = (mark + "-DOCSTART- O\n\nEU B-ORG\nrejects O\n\n").replace("\n", ending) * 2
    result = read_tagged(write(tmp_path / "a.conll", columns))
    assert [sentence.input.tokens for sentence in result.examples] == [("EU", "rejects")] * 2
    tree = (mark + line(1, "Hi") + "\n\n").replace("\n", ending) * 2
    assert [sentence.input.tokens for sentence in read_tagged(write(tmp_path / "a.conllu", tree)).examples] == [("Hi",)] * 2


@pytest.mark.parametrize("name", ["a.conll", "a.conllu"])
def test_rejected_sentences_keep_all_their_text(name: str, tmp_path: Path) -> None:
    rows = [line(1, "Hi").strip(), line(2, "ho", 1).strip()] if name.endswith("u") else ["Hi\tX", "ho\tY"]
    good = "\n".join(rows)
    content = good.encode() + b"\n\n" + good.encode().replace(b"ho", b"h\xf6") + b"\n"
    result = read_tagged(write(tmp_path / name, content), on_error="skip")
    assert (len(result.examples), len(result.rejected), result.rows) == (1, 1, 2)
    assert result.rejected[0].text == good.replace("ho", "h\\xf6")


def test_jsonl(tmp_path: Path) -> None:
    rows = [{"tokens": ["a", "b"], "tags": ["I-P", "B-P"]}, {"tokens": ["c"], "tags": ["I-Q"]}]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    result = read_tagged(path)
    assert sentences(result) == [("a b", "B-P B-P"), ("c", "B-Q")] and result.scheme == Scheme("IOB1")
    path = write(tmp_path / "b.jsonl", '{"tokens": ["a"], "pos": ["X"]}\n{"tokens": ["b"]}\n')
    assert sentences(read_tagged(path, label_column="pos", require_labels=False)) == [("a", "X"), ("b", "")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a", "b"], "tags": ["X"]}, "2 tokens but 1 tags"),
        ({"tokens": [], "tags": []}, "the sentence has no tokens"),
        ({"tokens": ["a"]}, "no column 'tags'"),
        ({"token": ["a"], "tags": ["X"]}, "no column 'tokens'; did you mean 'token'"),
        ({"tokens": "a", "tags": ["X"]}, "'tokens' is not a list of strings"),
        ({"tokens": ["a", ""], "tags": ["X", "X"]}, "'tokens' is not a list of strings that are not empty"),
        ({"tokens": ["a"], "tags": [1]}, "'tags' is not a list of strings"),
        ({"tokens": ["\ud800"], "tags": ["X"]}, "surrogate"),
    ],
)
def test_faulty_jsonl(row: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"tokens": ["x"], "tags": ["X"]}\n' + json.dumps(row) + "\n")
    with pytest.raises(BadData, match=message) as caught:
        read_tagged(path)
    assert (caught.value.path, caught.value.line) == (str(path), 2)
    assert len(read_tagged(path, on_error="skip").rejected) == 1


@pytest.mark.parametrize("name", ["a.conll", "a.conllu", "a.jsonl"])
def test_empty_files(name: str, tmp_path: Path) -> None:
    for content in ("", "\n\n", "# comment\n" if name == "a.conll" else "\n"):
        with pytest.raises(BadData, match="the file holds no examples"):
            read_tagged(write(tmp_path / name, content))
