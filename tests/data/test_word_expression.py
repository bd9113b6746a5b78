"""The expression of the word tokenizer: the words of its first version, in linear time, in any script."""

from __future__ import annotations

import random
import re
import time
import unicodedata
from pathlib import Path

import pytest

from carryover.data.doctor import examine
from carryover.data.formats.reading import read_tagged
from carryover.data.overlap import RawScan, words_of
from carryover.data.words import LONG_TEXT, WordTokenizer, combining_marks

WORDS = WordTokenizer()

MARKS = combining_marks()
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = "\u3040-\u30ff"


def first_expression(keep_hyphens: bool) -> re.Pattern[str]:
    """The expression before its repetitions were made atomic: exponential time in the marks after `word.x`."""
    abbreviations = (
        r"approx|Messrs|Assn|Blvd|Bldg|Bros|Capt|Corp|Dept|Ph\.D|Pres|Prof|Sept|Apr|Aug|Ave|Col|Dec|Feb|Gen|Gov|Hon|Inc|"
        r"Jan|Jul|Jun|Ltd|Maj|Mar|Mme|Mrs|Nov|Oct|Rep|Rev|Sen|Sep|Sgt|etc|viz|Co|Dr|Ft|Jr|Lt|Mr|Ms|Mt|Sr|St|al|cf|vs"
    )
    domains = "com|org|net|edu|gov|mil|int|info|co|io|uk|de|fr|eu|au|ca|us|ch|nl|es|it|jp|cn|in|br|se|no|be|at|tv|me"
    letters = rf"[^\W\d_{HAN}{KANA}]"
    signs = rf"[^\W_{HAN}{KANA}]"
    word = rf"{signs}+(?:[{MARKS}]+{signs}*)*"
    clitic = r"(?:s|S|ll|LL|re|RE|ve|VE|d|D|m|M)(?!\w)"
    joined = r"[CcGgWw](?:annot|onna|otta|anna)(?!\w)"
    joint = rf"(?:_+|['’](?!{clitic}){'|[-‐‑]' if keep_hyphens else ''})"
    branches = [
        rf'(?!{joined}){letters}++(?=[ ,;!?")])',
        r'[,"()\[\]{}%$]',
        r"\.(?=[ \"]|\Z)",
        rf"(?!{joined})[a-z]{{4,}}+(?=\.(?:[ \"]|\Z))(?<!approx)",
        r"(?:[Cc]an(?=not)|[GgWw][oa]n(?=na)|[Gg]ot(?=ta))(?=\w{2,3}(?!\w))",
        rf"[{HAN}]",
        r"(?:https?|ftp)://[^\s<>\"]*[\w/]",
        r"www\.[^\s<>\"]*[\w/]",
        r"[\w.+\-]{1,64}+@[\w\-]+(?:\.[\w\-]+)+",
        rf"(?=[\w\-]{{1,63}}\.[a-z]){word}(?:[.\-]{word}){{0,6}}\.(?:{domains})(?![\w@{MARKS}])(?:/[^\s<>\"]*[\w/])?",
        rf"(?:{abbreviations})\.(?!\w)",
        r"(?:[^\W\d_]\.){2,12}(?!\w)",
        r"[A-HJ-Z]\.(?=\s+[A-Z])",
        r"[nN]['’][tT](?!\w)",
        rf"['’](?:{clitic}|(?:em|tis|twas|cause|til)(?!\w)|\d\ds?(?!\w))",
        r"[^\W\d_]+(?=[nN]['’][tT](?!\w))",
        r"(?:[cdjlmnstCDJLMNST]|[Qq]u)['’](?=[^\W\d_]{2})",
        rf"\d++(?:[.,:/]\d++){{0,16}}+(?:st|nd|rd|th|s)?(?![\w{MARKS}])",
        r"(?<!\w)\.\d+",
        rf"{word}(?:{joint}{word})*",
        rf"[{KANA}]+",
        r"[@#]\w+",
        r"[:;=][-o^']?[)(\]\[DPpO/\\|*]+(?!\w)|<3(?!\w)|<unk>|-[LR][RSC]B-",
        r"\.{2,}|-+|=+|\*+|_+|~+|[!?]+|`+|''",
        r"[\U0001f1e6-\U0001f1ff]{2}",
        r"[\u2190-\u2bff\U0001f000-\U0001faff][\ufe0f\U0001f3fb-\U0001f3ff]*(?:\u200d[^\w\s][\ufe0f\U0001f3fb-\U0001f3ff]*)*",
        rf"[^\w\s][{MARKS}]*",
        r"\S",
    ]
    return re.compile("|".join(branches))


MENDED = re.compile(
    rf"[@#]\w+[{MARKS}]"  # the mark belongs to the tag or the name
    rf"|['’][^\W\d_][{MARKS}]"  # l'été in two code points a letter
    rf"|[{HAN}{KANA}][^\W\d_]*[nN]['’][tT]"  # the clitic stands apart from the word, and the word from the Kana
)
"""Where the words are meant to differ from those of the first expression."""

PIECES = [
    *"aAbnNtTdOsSlLqQu01'’.,-_@#:/ ()!?", "\u0301", "\u093f", "\u094d", "ह", "द", "ท", "ี", "่", "\u200d", "\u200c", "中",
    "ア", "あ", "é", "n't", "n’t", "can", "not", "www.", "http://", "x.com", ".org", "://", "Mr.", "U.S.", "😀", "🏽", "<unk>",
    "``", "''", "א", "ش", "\u064e", "한", "ß", "٣", "  ",
]  # fmt: skip


@pytest.mark.parametrize("hyphens", ["keep", "split"])
def test_the_words_are_those_of_the_first_expression(hyphens: str) -> None:
    first, now = first_expression(hyphens == "keep"), WordTokenizer(hyphens=hyphens)
    draw, compared = random.Random(1), 0
    for _ in range(30_000):
        text = "".join(draw.choices(PIECES, k=draw.randint(1, 14)))  # so short that the first expression ends
        if not MENDED.search(text):
            compared += 1
            assert now.words(text) == first.findall(text), text
    assert compared > 20_000


def test_marks_belong_to_tags_names_and_clitics() -> None:
    for word in ("#हिंदी", "#ที่นี่", "#cafe\u0301", "@नमस्ते"):
        assert WORDS.words(word) == [word]
    for form in ("NFC", "NFD"):
        assert WORDS.words(unicodedata.normalize(form, "l’été à l’âge")) == unicodedata.normalize(
            form, "l’ été à l’ âge"
        ).split(" ")


NATURAL = {
    "Latin": "All human beings are born free and equal in dignity and rights, at shop.com or the U.S. office.",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια.",
    "Cyrillic": "Все люди рождаются свободными и равными в своём достоинстве и правах.",
    "Arabic": "يُولَدُ جَمِيعُ النَّاسِ أَحْرَارًا مُتَسَاوِينَ فِي الكَرَامَةِ",
    "Hebrew": "כָּל בְּנֵי הָאָדָם נוֹלְדוּ בְּנֵי חוֹרִין",
    "Devanagari": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता",
    "Tamil": "மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்",
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์",
    "Han": "人人生而自由在尊严和权利上一律平等",
    "Kana and Han": "すべての人間は生まれながらにして自由でありカタカナも",
    "Hangul": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다",
    "Khmer": "មនុស្សទាំងអស់កើតមកមានសេរីភាព",
}
MARK_RUNS = {
    "mark after a name": "shop.com" + "\u200c" * 400,
    "marks in a word": "he comes.h" + "\u0335\u0321\u0300" * 300 + "ear it",
    "marks after a start": "a.b" + "\u0e48" * 1000 + "-",
    "many names": ("shop.c" + "\u0301" * 40 + " ") * 20,
    "marks in a tag": "#" + "ท\u0e35\u0e48" * 500 + "'",
    "letters and clitics": "あ中" * 500 + "n't",
    "Kana and a clitic": "アb" * 500 + "n't",
    "mail without an end": "a.a" * 300 + "@" + "b" * 300,
}


def seconds(text: str) -> float:
    begin = time.process_time()
    WORDS.words(text)
    scan = RawScan({"some": [text[:5000]]})
    scan.add(text)
    scan.found()
    words_of(text)
    return time.process_time() - begin


@pytest.mark.parametrize("name", [*NATURAL, *MARK_RUNS])
@pytest.mark.parametrize("blanks", [True, False], ids=["words", "one run"])
def test_time_is_linear_in_text_of_any_script(name: str, blanks: bool) -> None:
    """Quadratic time would be minutes for these 100,000 characters; the bound leaves room for a busy machine."""
    unit = {**NATURAL, **MARK_RUNS}[name]
    text = (unit + " ") * (100_000 // len(unit)) if blanks else (unit.replace(" ", "") * (100_000 // len(unit) + 1))
    assert seconds(text[:100_000]) < 5


@pytest.mark.parametrize("letter", ["a", "A", "é", "ß", "ж", "ह", "ท", "中", "あ", "ア", "한", "ک", "1", "_", "-", "'", "@"])
def test_time_is_linear_in_a_long_run_of_one_character(letter: str) -> None:
    assert seconds(letter * 200_000) < 5
    assert seconds((letter + "中") * 100_000) < 5


def test_long_texts_have_the_same_words_in_less_memory() -> None:
    unit = "It isn't 12.5 % of a well-known \U0001f600 हिंदी text. "
    text = unit * (LONG_TEXT // len(unit) + 1)
    words = WORDS.words(text)
    assert words[:200] == WORDS.words(text[:5000])[:200]
    assert len(words) == len(WORDS.words(unit)) * (LONG_TEXT // len(unit) + 1)
    assert len({id(word) for word in words}) == len(set(words)), "equal words are not one object"


@pytest.mark.parametrize("blanks", [True, False], ids=["words", "one run"])
def test_doctor_and_readers_take_linear_time(blanks: bool, tmp_path: Path) -> None:
    """Every script and every hostile run in long lines, as raw text, as rows and as columns."""
    units = [unit if blanks else unit.replace(" ", "") for unit in (*NATURAL.values(), *MARK_RUNS.values())]
    lines = [(unit * (30_000 // len(unit) + 1))[:30_000] for unit in units]
    (tmp_path / "raw.txt").write_text("\n".join(lines), encoding="utf-8")
    rows = "".join(f"{line}\t{'ab'[number % 2]}\n" for number, line in enumerate(lines))
    (tmp_path / "train.tsv").write_text("text\tlabel\n" + rows, encoding="utf-8")
    columns = "".join(f"{line.split()[0]}{' ' * 30_000}X\n\n" for line in lines)
    (tmp_path / "a.conll").write_text(columns, encoding="utf-8")
    begin = time.process_time()
    examine(raw=tmp_path / "raw.txt", train=tmp_path / "train.tsv", test=tmp_path / "train.tsv")
    read_tagged(tmp_path / "a.conll")
    assert time.process_time() - begin < 30
