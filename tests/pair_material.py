"""Pairs of made-up sentences that a small model can judge: whether the second speaks of the same topic, and how alike they are."""

from __future__ import annotations

import random
from pathlib import Path

from carryover.data.examples import Example, Labels, Source, TextPair
from task_material import NOUNS, VERBS

PairExample = Example[TextPair, Labels]


def pairs(count: int, seed: int = 0, *, numbers: bool = False) -> list[PairExample]:
    """Labelled `same` or `other` topic, or with 1 point for the same topic and half a point for the same verb."""
    draw = random.Random(seed)
    found = []
    for line in range(1, count + 1):
        topics, verbs = [draw.choice(sorted(NOUNS)) for _ in range(2)], [draw.choice(VERBS) for _ in range(2)]
        first, second = (
            f"the {draw.choice(NOUNS[topic])} {verb} the {draw.choice(NOUNS[topic])}"
            for topic, verb in zip(topics, verbs, strict=True)
        )
        same = topics[0] == topics[1]
        label = str(float(same) + 0.5 * (verbs[0] == verbs[1])) if numbers else "same" if same else "other"
        found.append(Example(TextPair(first, second), (label,), Source("", line)))
    return found


def write_pairs(path: Path, examples: list[PairExample]) -> Path:
    """A table with a header: one, two, label."""
    rows = [("one", "two", "label"), *((one.input.first, one.input.second, (one.gold or ("",))[0]) for one in examples)]
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return path
