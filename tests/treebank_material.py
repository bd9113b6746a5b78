"""A small treebank of made-up English: tags, features, lemmas, a multiword token and an empty node in some sentences."""

from __future__ import annotations

import random

NOUNS = (
    "apple",
    "bird",
    "boat",
    "book",
    "cat",
    "chair",
    "cow",
    "dog",
    "farm",
    "field",
    "garden",
    "horse",
    "house",
    "letter",
    "lion",
    "lizard",
    "panda",
    "plate",
    "port",
    "river",
    "table",
    "tree",
    "wave",
    "wizard",
)
VERBS = ("find", "hear", "like", "need", "want")
NAMES = ("Ann", "Bo", "Dee")


def treebank(count: int, seed: int = 0) -> str:
    """CoNLL-U text of `count` sentences such as `Ann likes the boats .`"""
    draw = random.Random(seed)
    return "".join(_sentence(draw, number) for number in range(1, count + 1))


def _sentence(draw: random.Random, number: int) -> str:
    words: list[tuple[str, str, str, str]] = []
    if draw.random() < 0.5:
        name = draw.choice(NAMES)
        words.append((name, name, "PROPN", "Number=Sing"))
    else:
        words += _noun_phrase(draw)
    words.append(((verb := draw.choice(VERBS)) + "s", verb, "VERB", "Number=Sing|Tense=Pres"))
    words += _noun_phrase(draw)
    words.append((".", ".", "PUNCT", "_"))
    words[0] = (words[0][0].capitalize(), *words[0][1:])
    lines = [f"# sent_id = {number}", "# text = " + " ".join(word for word, *_ in words)]
    for place, (form, lemma, upos, feats) in enumerate(words, 1):
        if place == len(words) - 1 and number % 3 == 0:
            lines.append(f"{place}-{place + 1}\t{form}.\t_\t_\t_\t_\t_\t_\t_\t_")
        head = "0\troot" if place == 1 else "1\tdep"
        lines.append(f"{place}\t{form}\t{lemma}\t{upos}\t{upos[:2]}\t{feats}\t{head}\t_\t_")
        if place == 1 and number % 4 == 0:
            lines.append("1.1\tgone\tgo\tVERB\tVE\t_\t_\t_\t1:dep\t_")
    return "\n".join(lines) + "\n\n"


def _noun_phrase(draw: random.Random) -> list[tuple[str, str, str, str]]:
    noun = draw.choice(NOUNS)
    plural = draw.random() < 0.5
    article = [("the", "the", "DET", "Definite=Def|PronType=Art")] if plural or draw.random() < 0.5 else []
    article = article or [("a", "a", "DET", "Definite=Ind|PronType=Art")]
    return [*article, (noun + "s", noun, "NOUN", "Number=Plur") if plural else (noun, noun, "NOUN", "Number=Sing")]
