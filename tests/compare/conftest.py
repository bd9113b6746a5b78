"""A small labelled task in files: topics told by their words, with a few lines of raw text."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

WORDS = {
    "sea": ["ship", "wave", "harbour", "anchor", "sail", "tide", "crew", "deck"],
    "farm": ["cow", "field", "barn", "wheat", "plough", "hay", "fence", "goat"],
    "town": ["street", "tram", "market", "square", "shop", "bell", "tower", "bridge"],
}
FILLER = ["the", "a", "of", "in", "on", "near", "and", "old", "new", "by"]


def sentence(random: np.random.Generator, topic: str) -> list[str]:
    return [str(random.choice(WORDS[topic] if random.random() < 0.45 else FILLER)) for _ in range(8)]


@pytest.fixture(scope="session")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.tsv (60), test.tsv (36), raw.txt (120 lines), train.conll (40 sentences), test.conll (20).

    Shared by all tests: who changes a file works on `own_topics`.
    """
    random = np.random.default_rng(7)
    folder = tmp_path_factory.mktemp("data")
    for name, count in (("train", 60), ("test", 36)):
        rows = [(" ".join(sentence(random, topic)), topic) for _ in range(count // 3) for topic in WORDS]
        text = "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows)
        (folder / f"{name}.tsv").write_text(text, encoding="utf-8")
    for name, count in (("train", 40), ("test", 20)):
        lines = []
        for _ in range(count):
            words = sentence(random, str(random.choice(list(WORDS))))
            known = {word: f"B-{topic}" for topic, group in WORDS.items() for word in group}
            lines += [f"{word} {known.get(word, 'O')}" for word in words] + [""]
        (folder / f"{name}.conll").write_text("\n".join(lines), encoding="utf-8")
    raw = [" ".join(sentence(random, topic)) for _ in range(40) for topic in WORDS]
    (folder / "raw.txt").write_text("\n".join(raw) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def own_topics(topics: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(topics, tmp_path / "data"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRYOVER_CACHE", str(tmp_path / "cache"))
