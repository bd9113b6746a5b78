r"""Foreign text is harmless wherever it goes, and a row gives it back: `\x1b[2J`, U+202E, a tab, `<script>`, a byte 0xE9."""

from __future__ import annotations

import json
import random
import unicodedata

import pytest

from carryover.errors import BadData
from carryover.escaping import code_in_markdown, in_markdown, one_cell, one_json, printable

HOSTILE = "\x1b[2J\x9b2J\u202egnp.exe\u2066\x07\r\n\u2028\x85\ufeff\udce9"


def drawn(number: int) -> list[str]:
    """Texts of every kind of character, control characters and surrogates often among them."""
    source = random.Random(5)
    kinds = [range(32), range(0x7F, 0xA0), range(0x2000, 0x2070), range(0xDC80, 0xDD00), range(32, 0xD800), [92, 9, 10, 44]]
    return ["".join(chr(source.choice(source.choice(kinds))) for _ in range(source.randrange(12))) for _ in range(number)]


def test_what_a_terminal_obeys_is_spelled_out() -> None:
    assert printable(HOSTILE) == (r"\x1b[2J\x9b2J\u202egnp.exe\u2066\x07\r\n\u2028\x85\ufeff\xe9")


def test_what_people_write_stays() -> None:
    for text in ("Zoë 北京 नमस्ते می‌خواهم 👩‍🚀 −3 “…”", r"\section C:\new", "a, b; c|d"):
        assert printable(text) == text


def test_nothing_that_is_printable_can_do_harm() -> None:
    for text in drawn(3000):
        shown = printable(text)
        shown.encode("utf-8")
        assert not [one for one in shown if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp")]
        assert not [
            one
            for one in shown
            if unicodedata.bidirectional(one) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        ]


def given_back(cell: str) -> str:
    """What docs/command-line.md says of a cell: how a program reads it."""
    import re

    short = {"t": "\t", "n": "\n", "r": "\r"}

    def one(match: re.Match[str]) -> str:
        kind, digits = match[1], match[2]
        return chr(int(digits, 16)) if digits else short.get(kind, kind)

    return re.sub(r"\\(?:(x(?=[0-9a-f]{2})|u(?=[0-9a-f]{4})|.))((?<=x)[0-9a-f]{2}|(?<=u)[0-9a-f]{4})?", one, cell)


def test_a_cell_is_one_cell_and_gives_its_text_back() -> None:
    assert one_cell("a\tb\r\nc\\n") == r"a\tb\r\nc\\n"
    assert one_cell(("yes, no", "a")) == r"yes\, no,a"
    for text in drawn(3000):
        cell = one_cell(text)
        assert len(cell.splitlines()) <= 1 and "\t" not in cell
        if not any("\ud800" <= one <= "\udfff" for one in text):
            assert given_back(cell) == text


def test_json_is_one_line_that_reads_back() -> None:
    for text in drawn(3000):
        line = one_json({"text": text})
        assert len(line.splitlines()) == 1
        assert json.loads(line.encode("utf-8")) == {"text": text}
    assert one_json(["Zoë", "\u202e"]) == r'["Zoë", "\u202e"]'
    with pytest.raises(ValueError, match="not JSON compliant"):
        one_json(float("nan"))


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("B-PER", "B-PER"),
        ("sci_space", "sci_space"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("[x](javascript:y) `a` **b** _c_ | &lt;", r"\[x\](javascript:y) \`a\` \*\*b\*\* \_c\_ \| &amp;lt;"),
        ("a\nb\u202e", r"a\\nb\\u202e"),
    ],
)
def test_markdown_has_no_markup_of_others(text: str, markdown: str) -> None:
    assert in_markdown(text) == markdown


def test_code_in_markdown_ends_where_it_should() -> None:
    assert code_in_markdown("a.txt") == "`a.txt`"
    assert code_in_markdown("a`b``c") == "```a`b``c```"
    assert code_in_markdown("`a\n") == r"`` `a\n ``"


def test_an_error_is_one_harmless_line() -> None:
    error = BadData("the label '\x1b[31m' is odd", path="r\udce9\n\u202e.tsv", line=3, repair="mend\nit")
    assert str(error) == r"r\xe9\n\u202e.tsv:3: the label '\x1b[31m' is odd; mend it"
    assert error.path == "r\udce9\n\u202e.tsv", "the path itself stays usable"
