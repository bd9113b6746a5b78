"""Words by rule: one regular expression that splits running text the way treebanks do."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from operator import methodcaller
from typing import Any, ClassVar

from carryover.data.token import Token, Tokenizer
from carryover.errors import BadData, UsageError

_ABBREVIATIONS = (
    "approx|Messrs|Assn|Blvd|Bldg|Bros|Capt|Corp|Dept|Ph.D|Pres|Prof|Sept|Apr|Aug|Ave|Col|Dec|Feb|Gen|Gov|Hon|Inc|Jan|Jul|"
    "Jun|Ltd|Maj|Mar|Mme|Mrs|Nov|Oct|Rep|Rev|Sen|Sep|Sgt|etc|viz|Co|Dr|Ft|Jr|Lt|Mr|Ms|Mt|Sr|St|al|cf|vs"
)
_DOMAINS = "com|org|net|edu|gov|mil|int|info|co|io|uk|de|fr|eu|au|ca|us|ch|nl|es|it|jp|cn|in|br|se|no|be|at|tv|me"
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # written without spaces: one word a character
_KANA = "\u3040-\u30ff"

LONG_TEXT = 1 << 20
"""Characters from which on memory counts more than speed."""


class WordTokenizer(Tokenizer):
    """Words, numbers and punctuation as in the Penn Treebank and Universal Dependencies, from one compiled expression.

    * Clitics stand apart: `do|n't`, `she|'s`, `they|'ll`, `can|not`, `l'|homme`; `o'clock` and `O'Brien` stay whole.
    * Punctuation is separate; runs of one mark (`...`, `--`, `!!!`) are one token, emoticons and emoji too.
    * Web and mail addresses, `@names`, `#tags`, numbers (`1,200.50`, `10:30`, `3rd`), `U.S.`, `Mr.` and `<unk>` are whole.
    * Hyphenated words stay whole (Penn Treebank) or fall apart around the hyphen (`hyphens="split"`, as in UD English).
    * Chinese characters are one word each; scripts without spaces are not segmented further.

    Every character that is not white space belongs to exactly one token, and text[start:end] is the token.
    """

    kind: ClassVar[str] = "words"

    def __init__(self, *, hyphens: str = "keep") -> None:
        if hyphens not in ("keep", "split"):
            raise UsageError(f"hyphens={hyphens!r} is unknown", repair='use "keep" or "split"')
        self.hyphens = hyphens
        self._prepare()

    def _prepare(self) -> None:
        pattern = _compile(self.hyphens == "keep")
        self._find = pattern.findall
        self._iterate = pattern.finditer

    @property
    def pattern(self) -> str:
        """The expression whose matches are the words, for libraries that take one."""
        return _compile(self.hyphens == "keep").pattern

    def words(self, text: str) -> list[str]:
        return self._find(text) if len(text) <= LONG_TEXT else list(self.stream(text))

    def stream(self, text: str) -> Iterator[str]:
        """The words one after the other. Of a long text equal words are one object: a list of them costs 8 bytes a word."""
        if len(text) <= LONG_TEXT:
            return iter(self._find(text))
        share: dict[str, str] = {}
        return (share.setdefault(word, word) for word in map(_text_of, self._iterate(text)))

    def tokenize(self, text: str) -> list[Token]:
        return [Token(match.group(), match.start(), match.end()) for match in self._iterate(text)]

    def to_json(self) -> dict[str, Any]:
        return {"schema": "carryover.tokenizer/1", "kind": self.kind, "hyphens": self.hyphens}

    @classmethod
    def from_json(cls, value: Any) -> WordTokenizer:
        """Inverse of `to_json`. Raises BadData for anything else."""
        hyphens = value.get("hyphens", "keep") if isinstance(value, dict) else None
        if hyphens not in ("keep", "split"):
            raise BadData(f"a word tokenizer with hyphens {hyphens!r} is unknown", repair="save it again with to_json")
        return cls(hyphens=hyphens)

    def __getstate__(self) -> dict[str, Any]:
        return {"hyphens": self.hyphens}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.hyphens = state["hyphens"]
        self._prepare()


_text_of = methodcaller("group")


@lru_cache(maxsize=2)
def _compile(keep_hyphens: bool) -> re.Pattern[str]:
    """The expression; its first branches take most of any text without looking at the others."""
    marks = combining_marks()
    letters = rf"[^\W\d_{_HAN}{_KANA}]"
    signs = rf"[^\W_{_HAN}{_KANA}]"  # letters and digits
    word = rf"{signs}++(?:[{marks}]++{signs}*+)*+"  # atomic: what stands after a word never begins with a sign or mark
    clitic = r"(?:s|S|ll|LL|re|RE|ve|VE|d|D|m|M)(?!\w)"
    joined = r"[CcGgWw](?:annot|onna|otta|anna)(?!\w)"  # two words written as one, each half a token in treebanks
    joint = rf"(?:_+|['’](?!{clitic}){'|[-‐‑]' if keep_hyphens else ''})"
    abbreviations = _ABBREVIATIONS.replace(".", r"\.")
    branches = [
        # Most of any text: plain words and marks before something that cannot change them.
        rf'(?!{joined}){letters}++(?=[ ,;!?")])',
        r'[,"()\[\]{}%$]',
        r"\.(?=[ \"]|\Z)",
        rf"(?!{joined})[a-z]{{4,}}+(?=\.(?:[ \"]|\Z))(?<!approx)",
        # The rest, special before general.
        r"(?:[Cc]an(?=not)|[GgWw][oa]n(?=na)|[Gg]ot(?=ta))(?=\w{2,3}(?!\w))",
        rf"[{_HAN}]",
        r"(?:https?|ftp)://[^\s<>\"]*[\w/]",
        r"www\.[^\s<>\"]*[\w/]",
        r"[\w.+\-]{1,64}+@[\w\-]++(?:\.[\w\-]++)++",
        rf"(?=[\w\-]{{1,63}}\.[a-z]){word}(?:[.\-]{word}){{0,6}}\.(?:{_DOMAINS})(?![\w@{marks}])(?:/[^\s<>\"]*[\w/])?",
        rf"(?:{abbreviations})\.(?!\w)",
        r"(?:[^\W\d_]\.){2,12}(?!\w)",
        r"[A-HJ-Z]\.(?=\s+[A-Z])",
        r"[nN]['’][tT](?!\w)",
        rf"['’](?:{clitic}|(?:em|tis|twas|cause|til)(?!\w)|\d\ds?(?!\w))",
        rf"{letters}+(?=[nN]['’][tT](?!\w))",
        rf"(?:[cdjlmnstCDJLMNST]|[Qq]u)['’](?=[^\W\d_][{marks}]*+[^\W\d_])",
        rf"\d++(?:[.,:/]\d++){{0,16}}+(?:st|nd|rd|th|s)?(?![\w{marks}])",
        r"(?<!\w)\.\d+",
        rf"{word}(?:{joint}{word})*",
        rf"[{_KANA}]+",
        rf"[@#]\w[\w{marks}]*+",
        r"[:;=][-o^']?[)(\]\[DPpO/\\|*]+(?!\w)|<3(?!\w)|<unk>|-[LR][RSC]B-",
        r"\.{2,}|-+|=+|\*+|_+|~+|[!?]+|`+|''",
        r"[\U0001f1e6-\U0001f1ff]{2}",
        r"[\u2190-\u2bff\U0001f000-\U0001faff][\ufe0f\U0001f3fb-\U0001f3ff]*(?:\u200d[^\w\s][\ufe0f\U0001f3fb-\U0001f3ff]*)*",
        rf"[^\w\s][{marks}]*",
        r"\S",
    ]
    # Every repetition that a later branch may have to take again is bounded or atomic: time stays linear in hostile text.
    return re.compile("|".join(branches))


@lru_cache(maxsize=1)
def combining_marks() -> str:
    """Marks that belong to the letter before them, as ranges for a character class; `\\w` leaves them out."""
    ranges: list[tuple[int, int]] = []
    for code in (0xAD, *range(0x300, 0x10000)):  # beyond that only scripts so rare that speed for all weighs more
        if code in (0xAD, 0x200C, 0x200D) or unicodedata.category(chr(code))[0] == "M":
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1] = (ranges[-1][0], code)
            else:
                ranges.append((code, code))
    return "".join(chr(low) if low == high else f"{chr(low)}-{chr(high)}" for low, high in ranges)
