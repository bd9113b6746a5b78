"""Characters that spoil text and labels without being seen: lost ones, wrong decodings, marks without width, look-alikes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping

from carryover.data.doctor_report import ERROR, NOTE, WARNING, Case, Report, times

_MOJIBAKE = re.compile("Ã[\x80-\xbf©¨¤¶¼\xad]|â€[™œ\x9d“”˜¦]|Â[\xa0-\xbf]|ï¿½")
_CONTROL = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_UNSEEN = "\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"  # no width, or marks of direction
_JOINERS = "\u200c\u200d"
_MAYBE_UNSEEN = re.compile(f"[{_UNSEEN}{_JOINERS}]")
_ALWAYS_UNSEEN = re.compile(f"[{_UNSEEN}\u00ad]")


def unseen_character(text: str) -> tuple[int, str] | None:
    """Place and name (U+200B) of the first character that is not seen and does not belong there.

    A joiner (U+200C, U+200D) belongs between letters of scripts that join, after a mark and within emoji.
    """
    for match in _MAYBE_UNSEEN.finditer(text):
        place = match.start()
        between = match[0] in _JOINERS and 0 < place < len(text) - 1
        if not between or unicodedata.category(text[place - 1]) not in ("Lo", "Mn", "Mc", "So", "Sk"):
            return place, f"U+{ord(match[0]):04X}"
    return None


def _unseen_note(text: str) -> str | None:
    found = None if text.isascii() else unseen_character(text)
    return None if found is None else f"{found[1]} as character {found[0] + 1}"


def _note_if(test: Callable[[str], object]) -> Callable[[str], str | None]:
    return lambda text: "" if test(text) else None


_CHECKS: list[tuple[str, str, Callable[[str], str | None]]] = [
    (WARNING, "texts with U+FFFD, characters lost in an earlier conversion", _note_if(lambda text: "\ufffd" in text)),
    (
        WARNING,
        "texts that look decoded wrongly (such as Ã© for é)",
        _note_if(lambda text: not text.isascii() and _MOJIBAKE.search(text)),
    ),
    (WARNING, "texts with control characters", _note_if(_CONTROL.search)),
    (WARNING, "texts with invisible characters (zero width, or direction marks)", _unseen_note),
    (
        NOTE,
        "texts not in Unicode normal form C (the same word may be spelled in two ways)",
        _note_if(lambda text: not text.isascii() and not unicodedata.is_normalized("NFC", text)),
    ),
]


def examine_characters(report: Report, name: str, texts: Iterable[tuple[int, str]]) -> None:
    """Texts, each with its line, in which a character is wrong."""
    found: list[list[Case]] = [[] for _ in _CHECKS]
    for line, text in texts:
        if text.isascii() and text.isprintable():
            continue
        for cases, (_, _, check) in zip(found, _CHECKS, strict=True):
            note = check(text)
            if note is not None:
                cases.append(Case(line, text[:200], note))
    for cases, (level, message, _) in zip(found, _CHECKS, strict=True):
        report.add_cases(level, f"{name}: {message}", cases)


def examine_quotes(report: Report, name: str, cells: Iterable[tuple[int, str]]) -> None:
    """Cells of a table without quoting that look quoted."""
    quoted = [Case(line, cell) for line, cell in cells if len(cell) > 1 and cell[0] == cell[-1] == '"']
    message = (
        "cells that begin and end with a quote, which belongs to the text in TSV; save the table as CSV if it is quoting"
    )
    report.add_cases(WARNING, f"{name}: {message}", quoted)


def as_seen(label: str) -> str:
    """A label as it looks on paper: without unseen characters, composed, single spaces."""
    return " ".join(unicodedata.normalize("NFC", _ALWAYS_UNSEEN.sub("", label)).split())


def without_case(label: str) -> str:
    """A label without what a typist may well write in two ways: case, width, spaces."""
    return "".join(unicodedata.normalize("NFKC", as_seen(label)).casefold().split())


def examine_label_names(report: Report, name: str, counts: Mapping[str, int], first: Mapping[str, int]) -> None:
    """Labels with unseen characters, and labels that look the same. `first` is the line where a label first occurs."""
    unseen = [Case(first.get(label, 0), label, note) for label in counts if (note := _unseen_note(label)) is not None]
    report.add_cases(WARNING, f"{name}: labels with invisible characters", unseen)
    same = _groups(counts, as_seen)
    report.add_cases(ERROR, f"{name}: labels that look the same but are different classes", _twins(same, counts, first))
    usual = [min(group, key=lambda label: _rank(label, counts)) for group in same]
    alike = _groups(usual, without_case)
    report.add_cases(WARNING, f"{name}: labels that differ only in case, spaces or width", _twins(alike, counts, first))


def _groups(labels: Iterable[str], key: Callable[[str], str]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(key(label), []).append(label)
    return list(groups.values())


def _twins(groups: Iterable[list[str]], counts: Mapping[str, int], first: Mapping[str, int]) -> list[Case]:
    """A case for every label but the most frequent of its group."""
    cases = []
    for group in groups:
        usual, *others = sorted(group, key=lambda label: _rank(label, counts))
        known = f"{usual!r} {times(counts[usual])}"
        cases += [Case(first.get(label, 0), label, f"{times(counts[label])}, {known}") for label in others]
    return cases


def _rank(label: str, counts: Mapping[str, int]) -> tuple[int, bool, str]:
    """The most frequent label first; of equally frequent ones the cleanest."""
    return -counts[label], label != as_seen(label), label
