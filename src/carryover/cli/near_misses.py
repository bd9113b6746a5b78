"""Options of one verb that are asked of another: where each belongs, with what was given filled in."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from carryover.escaping import printable

_ELSEWHERE = {
    ("train", "--test"): "leave it out, and score the finished model with carryover evaluate {out} --test {value}",
    ("train", "--raw"): "pretrain with carryover pretrain --raw {value} --out runs/lm first, then give --encoder runs/lm",
    ("train", "--valid"): "development examples are --dev {value}",
    ("pretrain", "--dev"): "held-out raw text is --valid {value}",
    ("pretrain", "--train"): "the text to learn from is --raw {value}",
    ("pretrain", "--test"): "leave it out, and score the finished model with carryover evaluate {out} --test {value}",
    ("compare", "--dev"): "leave it out: the examples for early stopping are taken out of each budget",
    ("evaluate", "--dev"): "the examples to score on are --test {value}",
    ("predict", "--test"): "the file follows the folder: carryover predict FOLDER {value}",
    ("embed", "--raw"): "the file follows the folder: carryover embed FOLDER {value}",
}


def where_it_belongs(verb: str, option: str, words: Sequence[str]) -> str | None:
    """What to do instead of giving `option` to `verb`, on the command line `words`; None where that is not known."""
    found = _ELSEWHERE.get((verb, option))
    if found is None:
        return None
    shown = {
        name: printable(shlex.quote(_value(words, flag) or name.upper()))
        for name, flag in (("value", option), ("out", "--out"))
    }
    return found.format(value=shown["value"] if shown["value"] != "VALUE" else "FILE", out=shown["out"])


def _value(words: Sequence[str], option: str) -> str | None:
    """What the line gives for an option, as `--option value` or `--option=value`."""
    for place, word in enumerate(words):
        if word == option and place + 1 < len(words):
            return words[place + 1]
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None
