"""Span schemes: which one a file uses, what its tags mean, the way to IOB2 and back, and a mistyped tag among many."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOBES, Entities

from carryover.data.formats.reading import read_tagged
from carryover.data.schemes import LETTERS, SCHEME_NAMES, SCHEMES, Scheme, extract_spans, find_scheme
from carryover.errors import BadData, UsageError

FORMS = [
    Scheme(),
    Scheme(separator=""),
    Scheme(separator="_"),
    Scheme(suffix=True),
    Scheme(lower=True, outside="o"),
    Scheme(separator="_", suffix=True, outside="-"),
]


def write(path: Path, sentences: list[str]) -> Path:
    """A column file of sentences such as `Rio:B-LOC and:O`; word n of the file stands in line n plus the sentences before."""
    rows = [[word.replace("::", "\t") for word in sentence.split()] for sentence in sentences]
    path.write_text("\n\n".join("\n".join(row) for row in rows) + "\n", encoding="utf-8")
    return path


def spans(tags: tuple[str, ...], scheme: str) -> set[tuple[int, int, str]]:
    """What valid tags mean, by each scheme's definition, written apart from the code under test."""
    found: list[list[Any]] = []
    for place, tag in enumerate(tags):
        if tag == "O":
            continue
        letter, kind = tag[0], tag[2:]
        touches = bool(found) and found[-1][1] == place and found[-1][2] == kind
        begins = (not touches or letter == "B") if scheme == "IOB1" else letter in ("B", "S", "U", "W")
        if begins:
            found.append([place, place + 1, kind])
        else:
            found[-1][1] = place + 1
    return {(start, stop, kind) for start, stop, kind in found}


@pytest.mark.parametrize("name", SCHEMES)
def test_conversion_keeps_the_spans(name: str) -> None:
    """Every sequence of up to four tags of two types: those found valid mean the same as IOB2, which is valid itself, and come
    back as they were."""
    scheme = Scheme(name)
    tags = scheme.tags("PQ")
    assert len(tags) == 1 + 2 * len(LETTERS[name])
    valid = 0
    for length in range(5):
        for sequence in itertools.product(tags, repeat=length):
            if scheme.first_fault(sequence) is None:
                valid += 1
                converted = scheme.to_iob2(sequence)
                assert Scheme().first_fault(converted) is None
                assert (
                    spans(converted, "IOB2") == spans(sequence, name) == {(s, e, k) for k, s, e in extract_spans(converted)}
                )
                assert scheme.from_iob2(converted) == sequence
    # The number of ways to cover up to four words by typed spans: with n words a(n) = a(n-1) + 2·Σ a(k), k < n.
    ways = [1]
    for _ in range(4):
        ways.append(ways[-1] + 2 * sum(ways))
    assert valid == sum(ways)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("name", SCHEMES)
def test_every_spelling_is_known_again(name: str, form: Scheme) -> None:
    """All taggings of up to three words, written in a scheme and a spelling: both are detected, and the spans are the same."""
    scheme = Scheme(name, form.separator, form.suffix, form.lower, form.outside)
    kinds = ["geo-loc", "per"] if form.typed else ["span"]
    iob2 = [tags for n in range(1, 4) for tags in itertools.product(Scheme().tags(kinds), repeat=n)]
    iob2 = [tags for tags in iob2 if Scheme().first_fault(tags) is None]
    written = [scheme.from_iob2(tags) for tags in iob2]
    found = find_scheme(written)
    assert found == scheme and Scheme.from_spelling(found.spelling) == scheme
    assert [found.to_iob2(tags) for tags in written] == iob2


@pytest.mark.parametrize(("name", "reference"), [("BIOES", IOBES), ("BILOU", BILOU)])
def test_spans_are_those_of_seqeval(name: str, reference: Any) -> None:
    scheme = Scheme(name)
    for sequence in itertools.product(scheme.tags("PQ"), repeat=3):
        if scheme.first_fault(sequence) is None:
            theirs = {entity.to_tuple()[1:] for entity in Entities([list(sequence)], reference).entities[0]}
            ours = {(span.label, span.start, span.stop) for span in extract_spans(scheme.to_iob2(sequence))}
            assert ours == theirs
            as_bmes = [tag.replace("I-", "M-").replace("L-", "E-").replace("U-", "S-") for tag in sequence]
            assert Scheme("BMES").to_iob2(as_bmes) == scheme.to_iob2(sequence)


def test_bare_tags_as_seqeval_reads_them() -> None:
    for sequence in itertools.product("BIO", repeat=5):
        if Scheme(separator="").first_fault(sequence) is None:
            theirs = {(start, stop + 1) for _, start, stop in get_entities(list(sequence))}
            iob2 = Scheme(separator="").to_iob2(sequence)
            assert {(start, stop) for _, start, stop in extract_spans(iob2)} == theirs
            assert {(start, stop) for _, start, stop in extract_spans(sequence)} == theirs, "and without the way over IOB2"


def name_of(*sentences: str) -> str | None:
    found = find_scheme([tuple(one.split()) for one in sentences])
    return None if found is None else str(found)


def test_detection_decides_over_the_whole_file() -> None:
    two, one = ["B-P I-P O", "O B-P", "B-Q"], ["I-P I-P O", "O I-P B-P", "I-Q"]
    assert name_of(*two) == "IOB2" and name_of(*one) == "IOB1"
    assert name_of(*two, "O I-P") == "IOB2", "a single I after O is a fault, not another scheme"
    assert name_of(*one, "O B-P") == "IOB1"
    assert name_of("B-P E-P") == name_of("S-P") == "BIOES"
    assert name_of("B-P L-P") == name_of("U-P") == "BILOU"
    assert name_of("B-P M-P E-P", "S-P") == "BMES" and name_of("B-P M-P E-P", "W-P") == name_of("W-P") == "BMEWO"
    assert name_of("B E S B M E", "S B E") == "BMES (B, M, E, S, O)", "words of Chinese text"
    assert name_of("B I O", "O B B") == "IOB2 (B, I, O)" and name_of("O I I O") == "IOB1 (B, I, O)"


@pytest.mark.parametrize(
    "tags",
    [
        ("NOUN VERB",), ("O O",), (), ("",), ("B-P VERB",), ("S V O", "S V"), ("A B C", "B A"), ("B S B B S",), ("S M L XL", "M S L"),
        ("I-NP-SBJ NP-OBJ VP NP ADVP S-TPC",), ("-LRB- NN -RRB- SYM B X I", "NN IN DT I"), ("NN-TL NN-HL IN-TL", "NN"),
        ("N V A B I O", "N N N A"), ("Ncms-i Agpfs-s Ncms Vmip3s", "Ncmp"), ("S-size", "M-size L-size", "XL-size XS-size"),
        ("B-52 be go O", "go be run I-95"), ("B B",), ("I I",), ("O E S",),
    ],
)  # fmt: skip
def test_plain_tags_stay_plain(tags: tuple[str, ...]) -> None:
    assert name_of(*tags) is None


@pytest.mark.parametrize(
    "field", ["upos", "xpos", "deprel", "feats", "lemma", "deps", "misc"]
)  # of every kind there are words that look like a tag of a span
def test_treebanks_stay_plain(field: str, shared_data: Path) -> None:
    found = read_tagged(shared_data / "ud-english-ewt" / "en_ewt-ud-dev.conllu.gz", label_column=field, require_labels=False)
    assert found.scheme is None


GOOD = ["Rio::B-LOC de::I-LOC Janeiro::I-LOC and::O", "Ann::B-PER Lee::I-PER", "in::O Oslo::B-LOC"] * 4


@pytest.mark.parametrize(
    "tag",
    [
        "BLOC",
        "b-LOC",
        "B_LOC",
        "B-",
        "LOC",
        "L-LOC",
        "S-LOC",
        "E-LOC",
        "M-LOC",
        "U-LOC",
        "o",
        "0",
        "B",
        "I",
        "b-loc",
        "LOC-B",
    ],
)
def test_a_mistyped_tag_is_named_with_its_line(tag: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", [*GOOD, f"at::O Rio::{tag} again::O", *GOOD])
    with pytest.raises(
        BadData, match=f"5 of 6 tags look like IOB2, '{tag}' does not; correct it, or give --scheme plain"
    ) as caught:
        read_tagged(path)
    assert (caught.value.path, caught.value.line) == (str(path), 46)
    kept = read_tagged(path, on_error="skip")
    assert [one.line for one in kept.rejected] == [46] and len(kept.examples) == 24 and kept.scheme == Scheme()
    plain = read_tagged(path, scheme="plain")
    assert plain.scheme is None and plain.examples[12].gold == ("O", tag, "O") and not plain.rejected


@pytest.mark.parametrize("tag", ["b", "0", "B-LOC", "o", "BI"])
def test_a_mistyped_bare_tag_is_named(tag: str, tmp_path: Path) -> None:
    bare = [sentence.replace("-LOC", "").replace("-PER", "") for sentence in GOOD]
    path = write(tmp_path / "a.conll", [*bare, f"at::O Rio::{tag} again::O"])
    with pytest.raises(BadData, match=f"a.conll:46: 3 of 4 tags look like IOB2, '{tag}' does not"):
        read_tagged(path)


def test_several_mistyped_tags(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", ["x::BLOC y::I-LOC", "x::B-LOC y::ILOC", "x::B-LOC y::O", "x::I_LOC", "x::B-LOC"])
    result = read_tagged(path, on_error="skip")
    assert [one.line for one in result.rejected] == [1, 5, 10] and len(result.examples) == 2
    assert all("3 of 6 tags look like IOB2" in one.reason for one in result.rejected)


def test_the_scheme_of_the_training_data_decides(tmp_path: Path) -> None:
    """A few sentences could be of several schemes; those of another one are converted, and what cannot be is refused."""
    bioes, iob2 = Scheme("BIOES"), Scheme()
    few = write(tmp_path / "a.conll", ["x::B-P y::E-P"])
    assert read_tagged(few, like=Scheme("BMES")).scheme == Scheme("BMES")
    assert read_tagged(few, like=iob2).scheme == bioes and read_tagged(few, like=iob2).examples[0].gold == ("B-P", "I-P")
    nothing = write(tmp_path / "b.conll", ["x::O y::O"])
    assert read_tagged(nothing, like=bioes).scheme == bioes
    for rows, message in (
        (["x::NOUN y::VERB"], "its tags are NOUN, VERB, those of the training data are IOB2;"),
        (["x::B y::I z::O"], "its tags are B, I, O, those of the training data are IOB2;"),
    ):
        with pytest.raises(BadData, match=message):
            read_tagged(write(tmp_path / "c.conll", rows), like=iob2)
    broken = write(tmp_path / "d.conll", ["x::B-P y::I-P", "x::O y::I-P"])
    with pytest.raises(BadData, match=r"d\.conll:5: I-P cannot follow O: a span begins with B-P"):
        read_tagged(broken, like=bioes)


def test_names_of_schemes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", ["x::I-P y::I-P", "x::B-P"])
    for name in ("BIO", "iob2", "IOB2"):
        with pytest.raises(BadData, match=":1: I-P cannot follow O"):
            read_tagged(path, scheme=name)
    for name in SCHEME_NAMES:
        assert find_scheme([("O",)], name) == (None if name in ("auto", "plain") else Scheme(name.upper()))
    with pytest.raises(UsageError, match="scheme 'bmse' is unknown; did you mean 'bmes'"):
        read_tagged(path, scheme="bmse")
    with pytest.raises(BadData, match="the span scheme 'BIOES x' is unknown"):
        Scheme.from_spelling("BIOES x")
