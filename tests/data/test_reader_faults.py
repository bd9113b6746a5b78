"""Damaged files of every format: 500 mutants a reader (20,000 in the slow run), and nothing but a clear error comes out."""

from __future__ import annotations

import contextlib
import gzip
import json
import lzma
import random
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from carryover.data.coding import TokenCoder
from carryover.data.doctor import examine
from carryover.data.formats.reading import read_raw, read_tagged, read_texts
from carryover.data.formats.word_stream import read_items
from carryover.data.subwords import SubwordTokenizer
from carryover.data.vocabulary import Vocabulary
from carryover.errors import BadData, CarryoverError, InputMissing

MUTANTS = 500
MANY_MUTANTS = 20_000
LONGEST = 5.0  # processor seconds for one mutant; all are a few hundred bytes

TSV = "text\tlabel\n" + "".join(f'the "cat" is, so to say, {word}\tpos\n' for word in ("here", "thère", "近い", "gone"))
CSV = 'text,label\n"a, ""b""\nc",pos\nplain,neg\n"x",pos\n'
JSONL = "".join(
    json.dumps({"text": f"row {n} é \U0001f600", "label": n % 2, "more": [1, {"a": None}]}) + "\n" for n in range(5)
)
TAGGED_JSONL = "".join(json.dumps({"tokens": ["A", "b", "c"], "tags": ["B-X", "I-X", "O"]}) + "\n" for _ in range(4))
LABEL_FIRST = "NUM:dist How far is it ?\nHUM:ind Who was she ?\nLOC:city Where ?\n"
FASTTEXT = "__label__a __label__b some text\n__label__b more of it\n__label__a\tand more\n"
CONLLUP = "# global.columns = ID FORM UPOS\n1\tHi\tINTJ\n2-3\tal\t_\n2\ta\tADP\n3\tel\tDET\n\n1\tho\tINTJ\n"
RAW = "\ufeffOne paragraph, with words.\r\n\r\nAnother “document”.\n  \nEnd"
CONLL = "# id 1\n-DOCSTART- O\n\n#\tO\n# sent = 3\tO\nNew\tB-LOC\nYork\tI-LOC\n\nin\tO\nParis\tB-LOC\n"
CONLL_BLANKS = "New NNP S-LOC\n# # O\n\nin IN O\nRio NNP B-LOC\nde FW I-LOC\nJaneiro NNP E-LOC\n"
CONLLU = (
    "# sent_id = 1\n# text = Vámonos al mar\n1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "1\tVamos\tir\tVERB\t_\tMood=Imp|Number=Plur\t0\troot\t0:root\t_\n2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_\n"
    "3\ta\ta\tADP\t_\t_\t5\tcase\t_\t_\n4\tel\tel\tDET\t_\t_\t5\tdet\t_\t_\n5\tmar\tmar\tNOUN\t_\t_\t1\tobl\t_\t_\n"
    "5.1\tnull\t_\tVERB\t_\t_\t_\t_\t_\t_\n\n# sent_id = 2\n1\tHi\thi\tINTJ\t_\t_\t0\troot\t_\t_\n\n"
)


def parquet_bytes() -> bytes:
    import io

    import pyarrow
    from pyarrow import parquet

    buffer = io.BytesIO()
    table = pyarrow.table({"text": ["one", "two", "drei é"], "label": ["a", "b", "a"], "other": [1.0, None, 3.0]})
    parquet.write_table(table, buffer, compression="none", write_page_checksum=True)
    return buffer.getvalue()


def texts(path: Path, on_error: str) -> Any:
    return read_texts(path, on_error=on_error)


def numbered(path: Path, on_error: str) -> Any:
    return read_texts(path, text_column=0, label_column=1, format="tsv", on_error=on_error, multi_label=",")


def unlabelled(path: Path, on_error: str) -> Any:
    return read_texts(path, on_error=on_error, require_labels=False)


def several(path: Path, on_error: str) -> Any:
    return read_texts(path, on_error=on_error, multi_label=",", format="label-first")


def tagged(path: Path, on_error: str) -> Any:
    return read_tagged(path, on_error=on_error)


def heads(path: Path, on_error: str) -> Any:
    return read_tagged(path, on_error=on_error, label_column="feats", require_labels=False)


def raw(path: Path, on_error: str) -> Any:
    list(read_raw(path))


def items(path: Path, on_error: str) -> Any:
    list(read_items(path))


def doctor(path: Path, on_error: str) -> Any:
    examine(raw=path, train=path, test=path, text_column=0, label_column=1).lines()


READERS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path, str], Any]]] = {
    "tsv": ("a.tsv", TSV.encode, texts),
    "tsv without header": ("a.tsv", TSV.encode, numbered),
    "csv": ("a.csv", CSV.encode, texts),
    "jsonl": ("a.jsonl", JSONL.encode, texts),
    "parquet": ("a.parquet", parquet_bytes, texts),
    "label-first": ("a.txt", LABEL_FIRST.encode, texts),
    "lines": ("a.txt", RAW.encode, unlabelled),
    "raw": ("a.txt", RAW.encode, raw),
    "raw gzip": ("a.txt.gz", lambda: gzip.compress(RAW.encode() * 20, mtime=0), raw),
    "tsv gzip": ("a.tsv.gz", lambda: gzip.compress(TSV.encode(), mtime=0), texts),
    "raw xz": ("a.txt.xz", lambda: lzma.compress(RAW.encode() * 20), raw),
    "conll tabs": ("a.conll", CONLL.encode, tagged),
    "conll blanks": ("a.conll", CONLL_BLANKS.encode, tagged),
    "conllu": ("a.conllu", CONLLU.encode, tagged),
    "conllu features": ("a.conllu", CONLLU.encode, heads),
    "tagged jsonl": ("a.jsonl", TAGGED_JSONL.encode, tagged),
    "fasttext": ("a.txt", FASTTEXT.encode, several),
    "raw jsonl": ("a.jsonl", JSONL.encode, raw),
    "raw csv": ("a.csv", CSV.encode, raw),
    "raw by its beginning": ("a.txt", JSONL.encode, raw),
    "items tsv": ("a.tsv", TSV.encode, items),
    "items conll": ("a.conll", CONLL.encode, items),
    "items conllu plus": ("a.conllup", CONLLUP.encode, items),
    "mac lines": ("a.tsv", lambda: TSV.replace("\n", "\r").encode(), texts),
    "doctor": ("a.tsv", TSV.encode, doctor),
}  # fmt: skip

PIECES = [
    b"\t", b"\n", b"\r\n", b"\r", b'"', b"'", b",", b"#", b"\0", b"\xff", b"\xc3", b"\xe2\x80", b"\xef\xbb\xbf", b"{", b"}",
    b"[", b"]", b":", b"\\", b"\\ud800", b"-DOCSTART-", b"B-", b"I-", b"E-X", b"O", b"_", b"1-2", b"0", b"-1", b"9" * 20,
    b"1.1", b"null", b"NaN", b"1e999", b"\xc2\x85", b"\xe2\x80\xa8", b" ", b"  ", b"\x1c", b"PAR1", b"(" * 40, b"[" * 5000,
]  # fmt: skip


def mutate(original: bytes, random_: random.Random) -> bytes:
    """One to four random changes: bits, bytes, slices cut, doubled or moved, telling pieces put in, the end cut off."""
    content = bytearray(original)
    for _ in range(random_.randint(1, 4)):
        size = len(content)
        at = random_.randrange(size + 1)
        length = random_.choice((1, 1, 2, 4, 16, 64))
        kind = random_.randrange(8)
        if kind == 0 and size:
            content[at % size] ^= 1 << random_.randrange(8)
        elif kind == 1 and size:
            content[at % size] = random_.randrange(256)
        elif kind == 2:
            del content[at : at + length]
        elif kind == 3:
            content[at:at] = content[at : at + length]
        elif kind == 4:
            del content[at:]
        elif kind == 5:
            other = random_.randrange(size + 1)
            content[at:at] = content[other : other + length]
        else:
            content[at:at] = random_.choice(PIECES)
    return bytes(content)


def run_mutants(name: str, count: int, folder: Path) -> tuple[int, int]:
    file, make, read = READERS[name]
    original = make()
    path = folder / file
    random_ = random.Random(f"{name} 1")
    refused = 0
    for number in range(count):
        mutant = mutate(original, random_)
        path.write_bytes(mutant)
        begin = time.process_time()
        try:
            for on_error in ("stop", "skip"):
                try:
                    result = read(path, on_error)
                    if result is not None:
                        assert result.rows == len(result.examples) + len(result.rejected)
                        assert on_error == "skip" or not result.rejected
                except CarryoverError as error:
                    refused += on_error == "stop"
                    assert isinstance(error, BadData | InputMissing), repr(error)
                    assert error.path == str(path), f"no path in {error}"
                    assert "\n" not in str(error)
        except BaseException:
            kept = folder / f"mutant-{number}-{file}"
            kept.write_bytes(mutant)
            print(f"mutant {number} of {name!r}: {mutant[:2000]!r}")
            raise
        assert time.process_time() - begin < LONGEST, f"mutant {number} of {name!r} took too long: {mutant[:500]!r}"
    return refused, count


@pytest.mark.parametrize("name", READERS)
def test_original_is_read(name: str, tmp_path: Path) -> None:
    file, make, read = READERS[name]
    (tmp_path / file).write_bytes(make())
    read(tmp_path / file, "stop")


@pytest.mark.parametrize("name", READERS)
def test_mutants(name: str, tmp_path: Path) -> None:
    refused, count = run_mutants(name, MUTANTS, tmp_path)
    assert refused > count // 20, "hardly any mutant is refused: the mutations no longer reach the reader"


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", READERS)
def test_many_mutants(name: str, tmp_path: Path) -> None:
    run_mutants(name, MANY_MUTANTS, tmp_path)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_mutants_of_a_tokenizer_file(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    texts_ = ["the cat sat on the mat", "a dog and a cat", "hats and mats"] * 5
    original = json.dumps(SubwordTokenizer.train(texts_, kind, 300).description).encode()
    path = tmp_path / "tokenizer.json"
    random_ = random.Random(kind)
    for _ in range(MUTANTS):
        path.write_bytes(mutate(original, random_))
        with contextlib.suppress(CarryoverError):
            tokenizer = SubwordTokenizer.from_file(path)
            tokenizer.tokenize("the cät sat.")
            tokenizer.pieces_of_words(["the", ""])
            tokenizer.vocabulary()


def test_mutants_of_a_coder() -> None:
    vocabulary = Vocabulary.count(["the", "cat", "sat", "on", "the", "mat"])
    original = TokenCoder("words", vocabulary).to_json()
    subwords = TokenCoder("subwords", subwords=SubwordTokenizer.train(["the cat sat"] * 5, "bpe", 280)).to_json()
    junk: list[Any] = [None, 1, "x", [], {}, [1], {"kind": "words"}, True, -1.5, "subwords", ["<pad>"]]
    random_ = random.Random(3)
    for number in range(MUTANTS):
        value = json.loads(json.dumps(original if number % 2 else subwords))
        for _ in range(random_.randint(1, 3)):
            place: Any = value
            while isinstance(place, dict) and place:
                key = random_.choice(list(place))
                if random_.random() < 0.5 or not isinstance(place[key], dict):
                    place[key] = random_.choice(junk)
                    break
                place = place[key]
        with contextlib.suppress(CarryoverError):
            TokenCoder.from_json(value).batch([["the", "cat"]], borders=True)


def test_no_warning_and_no_file_left_open(tmp_path: Path) -> None:
    """A reader given up half way closes its file."""
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"one\ntwo\n" * 1000))
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir())) if descriptors.exists() else 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(20):
            lines = read_raw(path)
            next(lines)
            lines.close()  # type: ignore[attr-defined]
    if before:
        assert len(list(descriptors.iterdir())) <= before + 1
