"""What tests of the command line share: running one in this process, and a few tiny files and trained models.

The models are trained once a session, by the command line itself, whoever asks first.
"""

from __future__ import annotations

import functools
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from carryover.cli.main import run_command
from carryover.data import builtin
from carryover.storage import cache_folder

KERNELS = cache_folder() / "kernels"

VERBS = (
    "doctor",
    "pretrain",
    "compare",
    "train",
    "evaluate",
    "predict",
    "embed",
    "generate",
    "neighbours",
    "inspect",
    "import",
    "export",
    "bench",
    "version",
    "completion",
)
SIZES = "raw=120&labelled=120&words=30"
FEW_STEPS = ("--size", "tiny", "--epochs", "1", "--batch-size", "8", "--steps", "10", "--vocabulary-size", "60", "-q")


@dataclass(frozen=True)
class Done:
    """How a command line ended: exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as the one JSON document it must be."""
        assert self.out.endswith("\n") and self.out.count("\n") == 1, self.out[:500]
        return dict(json.loads(self.out))


class Shell:
    """Runs command lines in this process, in an empty working folder and without settings from outside."""

    def __init__(self, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.capture, self.patch, self.folder = capture, patch, folder

    def __call__(self, *arguments: object, stdin: str | bytes | None = None) -> Done:
        if stdin is not None:
            content = stdin.encode() if isinstance(stdin, str) else stdin
            stream = io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)))  # type: ignore[arg-type]
            self.patch.setattr(sys, "stdin", stream)
        self.capture.readouterr()
        code = run_command([str(argument) for argument in arguments])
        printed = self.capture.readouterr()
        return Done(code, printed.out, printed.err)


def own_cache(base: Path) -> Path:
    """A cache folder in `base` in which the kernels are compiled already: a process that compiles them says so."""
    kernels = base / "cache" / "kernels"
    if not kernels.is_symlink():
        kernels.parent.mkdir(exist_ok=True)
        KERNELS.mkdir(parents=True, exist_ok=True)
        kernels.symlink_to(KERNELS)
    return kernels.parent


@pytest.fixture
def shell(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Shell:
    """The command line with `tmp_path` as working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CARRYOVER_CACHE", str(own_cache(tmp_path_factory.getbasetemp())))
    monkeypatch.setenv("CARRYOVER_CONFIG", str(tmp_path / "no-such-file.toml"))
    monkeypatch.delenv("CARRYOVER_DEBUG", raising=False)
    return Shell(capsys, monkeypatch, tmp_path)


@dataclass(frozen=True)
class Material:
    """Files and trained models that several tests read and none changes."""

    raw: Path
    train: Path
    test: Path
    tagged: Path
    tagged_test: Path
    encoder: Path
    classifier: Path
    tagger: Path


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return _material(tmp_path_factory.getbasetemp())


@functools.cache
def _material(base: Path) -> Material:
    folder = base / "command-line"
    folder.mkdir()
    found = Material(
        raw=write_lines(folder / "raw.txt", builtin.raw_lines(f"grammar?{SIZES}")),
        train=_table(folder / "train.tsv", "train"),
        test=_table(folder / "test.tsv", "test"),
        tagged=_columns(folder / "train.conll", "train"),
        tagged_test=_columns(folder / "test.conll", "test"),
        encoder=folder / "lm",
        classifier=folder / "classifier",
        tagger=folder / "tagger",
    )
    train: list[object] = ["train", "-q", "--train"]
    classifier = [*train, found.train, "--task", "classify", "--epochs", 8, "--hidden", 16, "--out", found.classifier]
    tagger = [*train, found.tagged, "--task", "tag", "--epochs", 2, "--hidden", 8, "--out", found.tagger]
    lines = [
        ["pretrain", "--raw", found.raw, "--out", found.encoder, *FEW_STEPS],
        classifier,
        [*tagger, "--encoder", found.encoder],
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CARRYOVER_CACHE", str(own_cache(base)))
        patch.setenv("CARRYOVER_CONFIG", str(base / "no-such-file.toml"))
        patch.chdir(folder)
        for line in lines:
            assert run_command([str(word) for word in line]) == 0, line
    return found


def write_lines(path: Path, lines: Iterator[str] | list[str]) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def _table(path: Path, part: str) -> Path:
    rows = [f"{example.input.text}\t{example.gold[0]}" for example in builtin.classified(f"grammar/{part}?{SIZES}")]
    return write_lines(path, ["text\tlabel", *rows])


def _columns(path: Path, part: str) -> Path:
    lines: list[str] = []
    for sentence in builtin.tagged(f"grammar/{part}?{SIZES}"):
        lines += [*(f"{word}\t{tag}" for word, tag in zip(sentence.input.tokens, sentence.gold, strict=True)), ""]
    return write_lines(path, lines)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
