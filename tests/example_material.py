"""Examples in one short line each."""

from __future__ import annotations

from carryover.data.examples import Example, Labels, Source, Text, Words

LabelledText = Example[Text, Labels]
Tagged = Example[Words, Labels]


def labelled_text(text: str, labels: Labels | None = None, line: int = 0, path: str = "") -> LabelledText:
    return Example(Text(text), labels, Source(path, line))


def tagged_words(tokens: Labels, tags: Labels | None = None, line: int = 0, path: str = "") -> Tagged:
    return Example(Words(tokens), tags, Source(path, line))
