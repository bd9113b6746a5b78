"""Spans written as one tag a word: the schemes, how a file spells their tags, which scheme a file uses, and IOB2 for all.

A tag is a letter for the place of the word in its span and the type of the span: `B-LOC`. The schemes differ in their letters:

    IOB1, IOB2   B I        a span begins with B (IOB2), or only where a span of its type ends just before (IOB1)
    BIOES        B I E S    the last word is E, a span of one word S
    BILOU        B I L U    the same with other letters, as are
    BMES         B M E S
    BMEWO        B M E W

A file in which all spans have one type may leave the type out: `B`, `I`, `O`. Inside carryover all span tags are IOB2 with a
type, so that every model and every score sees the same; `Scheme.from_iob2` writes an answer as the file had it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from carryover.errors import BadData, UsageError, nearest

AUTO, OUTSIDE = "auto", "O"
PLAIN: Literal["plain"] = "plain"
LETTERS = {"IOB1": "BI", "IOB2": "BI", "BILOU": "BILU", "BIOES": "BIES", "BMES": "BMES", "BMEWO": "BMEW"}
"""Of every scheme the letters for the first, an inner, the last word of a span and for a span of one word."""
SCHEMES = tuple(LETTERS)
SCHEME_NAMES = (AUTO, *(name.lower() for name in SCHEMES), PLAIN)
UNTYPED = "span"
"""The type of the spans of a file whose tags name no type."""

_ALSO = {"BIO": "IOB2", "IOB": "IOB2", "IOBES": "BIOES", "BILUO": "BILOU", "BMEOW": "BMEWO", "BMESO": "BMES"}
_ALL_LETTERS = frozenset("".join(LETTERS.values()))
_OUTSIDES = (
    "O", "o", "0", "_", "-", "*", "OUT", "Out", "out", "OTHER", "Other", "other", "NONE", "None", "none", "NIL", "nil",
)  # fmt: skip
_ROLES = "BIES"


class Span(NamedTuple):
    """A span of words start … stop−1 of one type."""

    label: str
    start: int
    stop: int


def extract_spans(tags: Sequence[str]) -> list[Span]:
    """All spans of one sentence of IOB2 tags, with or without types, from left to right.

    Where a model predicts a sequence that breaks the scheme, spans are read as the CoNLL-2000 evaluation does: an `I-x` that
    does not continue a span of type x begins one.
    """
    spans: list[Span] = []
    start: int | None = None
    label = ""
    for position, tag in enumerate([*tags, OUTSIDE]):
        continues = start is not None and (tag == "I" or tag.startswith("I-")) and tag[2:] == label
        if start is not None and not continues:
            spans.append(Span(label, start, position))
            start = None
        if start is None and tag != OUTSIDE:
            start, label = position, tag[2:]
    return spans


@dataclass(frozen=True)
class Scheme:
    """A scheme and how its tags are spelled: `separator` between letter and type ("" when tags have no type), `suffix` when
    the letter comes last (`LOC-B`), `lower` for small letters, `outside` for words in no span."""

    name: str = "IOB2"
    separator: str = "-"
    suffix: bool = False
    lower: bool = False
    outside: str = OUTSIDE

    @property
    def typed(self) -> bool:
        return bool(self.separator)

    @property
    def spelling(self) -> str:
        """The scheme as one text, for artefacts: `BIOES B-x O`."""
        return f"{self.name} {self.write('B', 'x')} {self.outside}"

    @classmethod
    def from_spelling(cls, text: str) -> Scheme:
        """Inverse of `spelling`. Raises BadData."""
        parts = text.split(" ")
        for form in _forms() if len(parts) == 3 and parts[0] in LETTERS else ():
            scheme = replace(form, name=parts[0], outside=parts[2])
            if scheme.spelling == text:
                return scheme
        raise BadData(f"the span scheme {text[:80]!r} is unknown", repair="restore the artefact, or upgrade carryover")

    def __str__(self) -> str:
        shown = ", ".join([*(self.write(letter, "x") for letter in LETTERS[self.name]), self.outside])
        return self.name if self == Scheme(self.name) else f"{self.name} ({shown})"

    def write(self, letter: str, type_: str) -> str:
        """The tag of a letter and a type."""
        if letter == OUTSIDE:
            return self.outside
        letter = letter.lower() if self.lower else letter
        if not self.separator:
            return letter
        return f"{type_}{self.separator}{letter}" if self.suffix else f"{letter}{self.separator}{type_}"

    def parse(self, tag: str) -> tuple[str, str] | None:
        """Letter, of any scheme, and type of a tag; None when it does not have this form."""
        if tag == self.outside:
            return OUTSIDE, ""
        if not self.separator:
            letter, type_ = tag, UNTYPED
        elif self.suffix:
            type_, _, letter = tag.rpartition(self.separator)
        else:
            letter, _, type_ = tag.partition(self.separator)
        capital = letter.upper()
        if not type_ or capital not in _ALL_LETTERS or letter != (capital.lower() if self.lower else capital):
            return None
        return capital, type_

    def knows(self, tag: str) -> bool:
        """Whether it is a tag of this scheme."""
        parsed = self.parse(tag)
        return parsed is not None and (parsed[0] == OUTSIDE or parsed[0] in LETTERS[self.name])

    def tags(self, types: Iterable[str]) -> list[str]:
        """Every tag there is for spans of these types, sorted."""
        return sorted({self.outside, *(self.write(letter, kind) for kind in types for letter in LETTERS[self.name])})

    def first_fault(self, tags: Sequence[str]) -> tuple[int, str] | None:
        """Place and description of the first tag that is not allowed in its place, None when all are."""
        letters = LETTERS[self.name]
        before, kind_before = OUTSIDE, ""
        for place, tag in enumerate((*tags, self.outside)):
            parsed = self.parse(tag)
            if parsed is None or (parsed[0] != OUTSIDE and parsed[0] not in letters):
                return place, f"{tag!r} is not a tag of {self.name}"
            role = OUTSIDE if parsed[0] == OUTSIDE else _ROLES[letters.index(parsed[0])]
            kind = parsed[1]
            same = before != OUTSIDE and kind == kind_before
            previous = tags[place - 1] if place else self.outside
            begin = self.write("B", kind)
            if self.name == "IOB2" and role == "I" and not same:
                return place, f"{tag} cannot follow {previous}: a span begins with {begin}"
            if self.name == "IOB1" and role == "B" and not same:
                return place, f"{tag} cannot follow {previous}: B only separates two neighbouring spans of one type"
            if len(letters) == 4:
                is_open = before in ("B", "I")
                if role in ("I", "E") and not (is_open and same):
                    span = f"{kind} span" if self.typed else "span"
                    return place, f"{tag} cannot follow {previous}: no {span} is open"
                if is_open and role not in ("I", "E"):
                    where = place if place < len(tags) else place - 1
                    follows = tag if place < len(tags) else "the end of the sentence"
                    return where, f"{follows} cannot follow {previous}: the span has no end"
            before, kind_before = role, kind
        return None

    def to_iob2(self, tags: Sequence[str]) -> tuple[str, ...]:
        """Valid tags of this scheme as IOB2 tags with a type."""
        if self == Scheme():
            return tuple(tags)
        converted = []
        before, kind_before = OUTSIDE, ""
        for tag in tags:
            letter, kind = self.parse(tag) or (OUTSIDE, "")
            if letter == OUTSIDE:
                converted.append(OUTSIDE)
            else:
                role = _ROLES[LETTERS[self.name].index(letter)]
                opens = role in ("B", "S") or (self.name == "IOB1" and (before == OUTSIDE or kind != kind_before))
                converted.append(f"{'B' if opens else 'I'}-{kind}")
            before, kind_before = letter, kind
        return tuple(converted)

    def from_iob2(self, tags: Sequence[str]) -> tuple[str, ...]:
        """IOB2 tags with a type in this scheme. IOB2 keeps tags that break the scheme, other schemes mend them."""
        if self.name == "IOB2":
            return tuple(tags) if self == Scheme() else tuple(self.write(tag[:1], tag[2:]) for tag in tags)
        written = [self.outside] * len(tags)
        letters, touched = LETTERS[self.name], ("", 0)  # touched: type and end of the span before
        for kind, start, stop in extract_spans(tags):
            if len(letters) == 4:
                inner = letters[1] * (stop - start - 2)
                own = [letters[3]] if stop - start == 1 else [letters[0], *inner, letters[2]]
            else:
                own = ["B" if touched == (kind, start) else "I", *"I" * (stop - start - 1)]
            written[start:stop] = [self.write(letter, kind) for letter in own]
            touched = (kind, stop)
        return tuple(written)


Like = Scheme | Literal["plain"] | None


def _forms() -> list[Scheme]:
    """Every way of spelling, the usual one first."""
    typed = [
        Scheme(separator=separator, suffix=suffix, lower=lower)
        for suffix in (False, True)
        for lower in (False, True)
        for separator in "-_:"
    ]
    return [*typed, Scheme(separator=""), Scheme(separator="", lower=True)]


def scheme_name(text: str | None) -> str:
    """ "auto", "plain" or a key of `LETTERS` for a name in any case. Raises UsageError with the nearest one."""
    name = AUTO if text is None else str(text)
    upper = _ALSO.get(name.upper(), name.upper())
    if upper in LETTERS:
        return upper
    if name.lower() not in (AUTO, PLAIN):
        raise UsageError(f"scheme {name!r} is unknown", repair=nearest(name.lower(), SCHEME_NAMES))
    return name.lower()


def refuse_scheme(text: str | None) -> None:
    """Raise UsageError when a scheme of spans is named for examples that are no tagged sentences."""
    if scheme_name(text) in LETTERS:
        raise UsageError("a span scheme is for tagging", repair="leave --scheme out, or give --task tag")


def find_scheme(sentences: Sequence[Sequence[str]], wanted: str | None = AUTO, like: Like = None) -> Scheme | None:
    """The scheme of a whole file's tags, None when they name no spans.

    `wanted` names it; "auto" detects it, and "plain" says that there is none. `like` is the scheme of the training data: tags
    that are valid in it are taken for it, so that a few sentences are not mistaken for another; where that had plain tags, all tags
    are plain. Raises UsageError.
    """
    name = scheme_name(wanted)
    if name == PLAIN or (name == AUTO and like == PLAIN):
        return None
    expected = like if isinstance(like, Scheme) else None
    if name == AUTO and expected is not None and all(expected.first_fault(tags) is None for tags in sentences):
        return expected
    found = _detect(sentences)
    if name == AUTO:
        return found or expected
    form = found or _best_form(Counter(tag for tags in sentences for tag in tags))[0]
    return replace(form, name=name)


def _best_form(counts: Counter[str]) -> tuple[Scheme, Counter[str]]:
    """The spelling that most words' tags have, and the tags outside of no span that have it."""
    outside = next((one for one in _OUTSIDES if one in counts), OUTSIDE)
    best, its_tags = Scheme(), Counter[str]()
    for form in _forms():
        if outside == OUTSIDE and form.lower and "o" in counts and OUTSIDE not in counts:
            form = replace(form, outside="o")
        form = replace(form, outside=outside)
        own = Counter({tag: count for tag, count in counts.items() if tag != outside and form.parse(tag) is not None})
        if own.total() > its_tags.total():
            best, its_tags = form, own
    return best, its_tags


def _detect(sentences: Sequence[Sequence[str]]) -> Scheme | None:
    """Told by the form of the tags, then by where they stand.

    Tags with a type are spans when all of them are. A few that are not are faults of the file and no sign that it holds something
    else: fewer different ones, or on at most one in twenty of the words with a tag (on fewer than half of them beside O). Bare
    letters prove less: they must hold B or I beside O, or without O stand as a scheme wants it in most sentences. Of the schemes the one counts that the
    fewest sentences break. Between IOB1 and IOB2 the beginnings decide, so that one I after O is a fault of an IOB2 file.
    """
    counts = Counter(tag for tags in sentences for tag in tags)
    form, own = _best_form(counts)
    if not own:
        return None
    odd = Counter({tag: count for tag, count in counts.items() if tag != form.outside and tag not in own})
    few = 19 * odd.total() <= own.total()
    letters = {parsed[0] for tag in own if (parsed := form.parse(tag)) is not None}
    usual = form == Scheme(outside=form.outside)
    if not (letters & {"B", "I"} or (usual and not odd)):
        return None
    most = form.outside in counts and odd.total() < own.total()
    if form.typed and not (few or most or len(odd) < len(own)):
        return None
    if not form.typed and odd and not (few and "B" in letters and letters & {"I", "M", "E", "L"}):
        return None
    broken, scheme = _least_broken(sentences, counts, form, letters)
    if not form.typed and form.outside not in counts and (len(own) < 2 or 5 * broken > len(sentences)):
        return None
    return scheme


def _least_broken(
    sentences: Sequence[Sequence[str]], counts: Counter[str], form: Scheme, letters: set[str]
) -> tuple[int, Scheme]:
    """The scheme of a spelling that the fewest sentences break, and how many those are."""
    best: tuple[int, int, Scheme] | None = None
    iob = replace(form, name=_iob(sentences, form))
    for scheme in (iob, *(replace(form, name=name) for name in SCHEMES if len(LETTERS[name]) == 4)):
        if scheme is not iob and letters <= {"B", "I"}:
            break
        broken = sum(scheme.first_fault(tags) is not None for tags in sentences)
        foreign = sum(count for tag, count in counts.items() if not scheme.knows(tag))
        if best is None or (broken, foreign) < best[:2]:
            best = broken, foreign, scheme
    assert best is not None
    return best[0], best[2]


def _iob(sentences: Sequence[Sequence[str]], form: Scheme) -> str:
    with_b = with_i = 0
    for tags in sentences:
        before: tuple[str, str] = OUTSIDE, ""
        for tag in tags:
            letter, kind = form.parse(tag) or (OUTSIDE, "")
            begins = letter != OUTSIDE and (before[0] == OUTSIDE or before[1] != kind)
            with_b += begins and letter == "B"
            with_i += begins and letter == "I"
            before = letter, kind
    return "IOB1" if with_i > with_b else "IOB2"
