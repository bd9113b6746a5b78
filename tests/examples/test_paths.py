"""The paths of `examples/`, each whole and small."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def run(script: str, *words: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / script), *words], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_messages_become_answers_and_a_list_of_errors(tmp_path: Path) -> None:
    run("messages.py", "--labelled", "120", "--seeds", "2", "--pretrain-time", "10s", "--out", "out", folder=tmp_path)
    with (tmp_path / "out/answers.csv").open(newline="", encoding="utf-8") as file:
        answers = list(csv.DictReader(file))
    with (tmp_path / "out/new.csv").open(newline="", encoding="utf-8") as file:
        asked = list(csv.DictReader(file))
    assert [(row["id"], row["text"]) for row in answers] == [(row["id"], row["text"]) for row in asked]
    assert all(row["prediction"] for row in answers) and (tmp_path / "out/errors.csv").exists()
    assert "What it got right and wrong" in (tmp_path / "out/errors.html").read_text(encoding="utf-8")


def test_a_neuron_that_follows_the_text_is_found_and_drawn(tmp_path: Path) -> None:
    text = "\n".join(f'{number}: She said "Go {"on " * (number % 5)}now" (and left) again.' for number in range(700))
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    printed = run("neuron.py", "--text", "text.txt", "--find", "quote", "--epochs", "2", "--out", "out", folder=tmp_path)
    tested = [float(line.split(", ")[1].split()[0]) for line in printed.splitlines() if line.startswith("unit ")]
    assert max(tested) > 0.8, "on the half that it was not found on"
    assert 'class="piece"' in (tmp_path / "out/neuron.html").read_text(encoding="utf-8")
