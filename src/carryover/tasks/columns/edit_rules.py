"""Edit rules: how a word becomes its lemma, written so that other words can follow the same rule.

As in UDPipe (Straka 2018, "UDPipe 2.0 prototype at CoNLL 2018 UD shared task"), with the letters that stay told apart from those that
go, as in the edit trees of Chrupała (2008, "Towards a machine-learning architecture for lexical functional grammar parsing"). Word
and lemma are compared in small letters. Their longest common piece stays as it is; the shortest script of kept (→), deleted (-)
and inserted (+x) letters leads from what is before and behind it in the word to what is there in the lemma. A first script says
where the lemma has capitals. `Houses → house` is `↓0;¦-`: small letters, nothing in front, one letter less at the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

KEEP = "="
"""The rule of words that are their lemma, letter by letter."""
EMPTY = "_"
"""What a treebank has in place of a missing lemma."""
_VERBATIM = "!"  # the lemma itself follows
_SAME, _DELETE, _INSERT, _BETWEEN = "→", "-", "+", "¦"
_RUN = re.compile(r"([↑↓])(-?[0-9]{1,6})")
_CACHE = 1 << 16


@dataclass(frozen=True)
class EditRule:
    """What `edit_rule` found, ready to be applied. `front` and `back` are scripts, `runs` say where capitals begin and end."""

    verbatim: str | None = None
    runs: tuple[tuple[bool, int], ...] = ()
    front: tuple[str, ...] = ()
    back: tuple[str, ...] = ()

    def apply(self, form: str) -> str | None:
        """The lemma of a word, None where the rule does not fit it: nothing of the word would stay."""
        if self.verbatim is not None:
            return self.verbatim
        folded = _fold(form)
        first, last = _length(self.front), len(folded) - _length(self.back)
        if first >= last:
            return None
        lemma = _edited(folded[:first], self.front) + folded[first:last] + _edited(folded[last:], self.back)
        for capital, place in self.runs:
            start = max(0, place if place >= 0 else len(lemma) + place)
            rest = lemma[start:]
            lemma = lemma[:start] + ("".join(map(_capital, rest)) if capital else _fold(rest))
        return lemma


@dataclass(frozen=True)
class _AsWritten(EditRule):
    def apply(self, form: str) -> str:
        return form


@lru_cache(_CACHE)
def edit_rule(form: str, lemma: str) -> str:
    """The text of the rule that makes `lemma` of `form`. Applied to `form` it gives exactly `lemma`."""
    if lemma == EMPTY and form != EMPTY:
        return _VERBATIM + lemma
    small, wanted = _fold(form), _fold(lemma)
    common = SequenceMatcher(None, small, wanted, autojunk=False).find_longest_match()
    if not common.size:
        return _VERBATIM + lemma
    front = _script(small[: common.a], wanted[: common.b])
    back = _script(small[common.a + common.size :], wanted[common.b + common.size :])
    return f"{_casing(lemma)};{front}{_BETWEEN}{back}"


@lru_cache(_CACHE)
def parse_rule(text: str) -> EditRule:
    """A rule from its text. Raises ValueError for what is none."""
    if text == KEEP:
        return _AsWritten()
    if text.startswith(_VERBATIM):
        return EditRule(verbatim=text[1:])
    casing, _, scripts = text.partition(";")
    runs = tuple((arrow == "↑", int(place)) for arrow, place in _RUN.findall(casing))
    steps = _steps(scripts)
    if not runs or _RUN.sub("", casing) or steps.count(_BETWEEN) != 1:
        raise ValueError(f"{text[:60]!r} is no edit rule")
    middle = steps.index(_BETWEEN)
    return EditRule(runs=runs, front=tuple(steps[:middle]), back=tuple(steps[middle + 1 :]))


@lru_cache(_CACHE)
def apply_rule(rule: str, form: str) -> str | None:
    """The lemma that a rule, given as text, makes of a word; None where it does not fit."""
    return parse_rule(rule).apply(form)


def _steps(scripts: str) -> list[str]:
    """The steps of two scripts and the sign between them. Raises ValueError for a sign that is no step."""
    found, place = [], 0
    while place < len(scripts):
        sign = scripts[place]
        step = scripts[place : place + 2] if sign == _INSERT else sign
        if sign not in (_SAME, _DELETE, _INSERT, _BETWEEN) or (sign == _INSERT and len(step) < 2):
            raise ValueError(f"{scripts[:60]!r} is no edit script")
        found.append(step)
        place += len(step)
    return found


def _length(script: tuple[str, ...]) -> int:
    """How many letters of a word a script reads."""
    return sum(step in (_SAME, _DELETE) for step in script)


def _edited(letters: str, script: tuple[str, ...]) -> str:
    """What a script makes of the letters that it reads."""
    rest, made = iter(letters), []
    for step in script:
        letter = step[1:] or next(rest)
        if step != _DELETE:
            made.append(letter)
    return "".join(made)


def _script(source: str, target: str) -> str:
    """The shortest script from `source` to `target`; of equally short ones that which keeps, then deletes as early as it can."""
    if not source:
        return "".join(_INSERT + letter for letter in target)
    rows, columns = len(source) + 1, len(target) + 1
    cost = [[0] * columns for _ in range(rows)]  # from (i, j) to the end
    for i in reversed(range(rows)):
        for j in reversed(range(columns)):
            if i == rows - 1 or j == columns - 1:
                cost[i][j] = (rows - 1 - i) + (columns - 1 - j)
            elif source[i] == target[j]:
                cost[i][j] = cost[i + 1][j + 1]
            else:
                cost[i][j] = 1 + min(cost[i + 1][j], cost[i][j + 1])
    made, i, j = [], 0, 0
    while i < len(source) or j < len(target):
        if i < len(source) and j < len(target) and source[i] == target[j]:
            made.append(_SAME)
            i, j = i + 1, j + 1
        elif i < len(source) and (j == len(target) or cost[i + 1][j] <= cost[i][j + 1]):
            made.append(_DELETE)
            i += 1
        else:
            made.append(_INSERT + target[j])
            j += 1
    return "".join(made)


def _casing(lemma: str) -> str:
    """Where the capitals of a lemma begin and end, counted from its nearer end. What has no case goes with what is before it."""
    cases = [True if letter != _fold(letter) else False if letter != _capital(letter) else None for letter in lemma]
    capital = next((case for case in cases if case is not None), False)
    runs = [(capital, 0)]
    for place, case in enumerate(cases):
        if case is not None and case != capital:
            capital = case
            runs.append((case, place if place <= len(lemma) // 2 else place - len(lemma)))
    return "".join(f"{'↑' if up else '↓'}{place}" for up, place in runs)


def _fold(text: str) -> str:
    """In small letters, as far as they are one letter each that knows its capital: the length and every letter can come back."""
    lower = text.lower()
    if lower.isascii() and text.isascii():
        return lower
    return "".join(small if _is_pair(small := letter.lower(), letter) else letter for letter in text)


def _capital(letter: str) -> str:
    """The capital of a small letter where `_fold` leads back; else the letter."""
    large = letter.upper()
    return large if _is_pair(letter, large) else letter


def _is_pair(small: str, large: str) -> bool:
    return len(small) == len(large) == 1 and small != large and large.lower() == small and small.upper() == large
