"""`carryover generate` and `pretrain --objective lm` from end to end."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from carryover.cli.main import run_command
from command_line import FEW_STEPS, Material, Shell


@pytest.fixture(scope="session")
def writer(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("writer") / "lm"
    line = ["pretrain", "--raw", material.raw, "--objective", "lm", "--out", out, *FEW_STEPS]
    assert run_command([str(word) for word in line]) == 0
    return out


def test_pretrain_and_generate(shell: Shell, material: Material) -> None:
    line = ["pretrain", "--raw", material.raw, "--objective", "lm", "--stack", "gru", "--input", "words", "--out", "lm"]
    done = shell(*line, *FEW_STEPS)
    assert done.code == 0, done.err
    assert "bits per character" in done.out.splitlines()[1]
    following = shlex.split(done.err.splitlines()[-1].removeprefix("next: "))
    assert following[:3] == ["carryover", "generate", "lm"]
    written = shell(*following[1:])
    assert written.code == 0 and written.out.startswith("The") and written.out.count("\n") == 1
    assert shell(*line, *FEW_STEPS, "--json").document["record"]["held_out"]["bits_per_character"] > 0


def test_unknown_tokens_stand_beside_the_figures_that_they_make_better(shell: Shell, material: Material) -> None:
    (shell.folder / "valid.txt").write_text("the unheard-of word\n")
    line = [
        "pretrain",
        "--raw",
        material.raw,
        "--objective",
        "lm",
        "--input",
        "words",
        "--valid",
        "valid.txt",
        "--out",
        "lm",
    ]
    done = shell(*line, *FEW_STEPS)
    assert done.code == 0 and "40.00% of the tokens are unknown" in done.out, done.out  # 2 of 5 with the line's borders


def test_the_same_seed_writes_the_same(shell: Shell, writer: Path) -> None:
    line = ["generate", writer, "--prompt", "the", "--max-tokens", 40, "--temperature", 0.8, "--top-k", 40, "--top-p", 0.9]
    first = shell(*line, "--seed", 3)
    assert first.code == 0 and first.out == shell(*line, "--seed", 3).out != shell(*line, "--seed", 4).out
    assert "seed 3" in first.err and "--seed 4" in first.err.splitlines()[-1]
    assert shell(*line, "-q").err == ""
    document = shell(*line, "--seed", 3, "--number", 2, "--json").document
    assert list(document)[:2] == ["schema", "model"] and document["schema"] == "carryover.generate/1"
    assert "the" + document["texts"][0]["text"] + "\n" == first.out and len(document["texts"]) == 2
    both = shell(*line, "--seed", 3, "--number", 2)
    assert both.out == "".join(f"the{one['text']}\n" for one in document["texts"])


def test_other_ways_to_write(shell: Shell, writer: Path) -> None:
    empty = shell("generate", writer, "--max-tokens", 10, "--across-lines")
    assert empty.code == 0 and len(empty.out) == 11
    greedy = shell("generate", writer, "--prompt", "the", "--greedy", "--max-tokens", 12)
    assert (
        greedy.code == 0 and greedy.out == shell("generate", writer, "--prompt", "the", "--beam", 1, "--max-tokens", 12).out
    )
    beams = shell(
        "generate", writer, "--prompt", "the", "--beam", 4, "--number", 3, "--max-tokens", 12, "--length-penalty", 1
    )
    assert beams.code == 0 and len(set(beams.out.splitlines())) == 3
    strange = shell("generate", writer, "--prompt", "日本", "--max-tokens", 3)
    assert strange.code == 0 and "does not know: 2" in strange.err


def test_a_line_that_ends_at_once_is_explained(shell: Shell, writer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carryover.training.generating.TextGenerator.stream", lambda *_, **__: iter(()))
    done = shell("generate", writer, "--prompt", "the")
    assert done.code == 0 and done.out == "the\n" and "--across-lines writes on" in done.err
    assert "ends the line" not in shell("generate", writer, "--prompt", "the", "--across-lines").err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--temperature 0", "temperature is 0"),
        ("--temperature -1", "temperature is -1"),
        ("--top-k 0", "top_k is 0"),
        ("--top-p 0", "top_p is 0"),
        ("--top-p 1.5", "top_p is 1.5"),
        ("--max-tokens 0", "max_tokens is 0"),
        ("--min-tokens 9 --max-tokens 3", "min_tokens is 9"),
        ("--greedy --top-k 3", "--top-k is for drawing"),
        ("--beam 3 --temperature 1", "--temperature is for drawing"),
        ("--greedy --beam 3", "choose one"),
        ("--beam 0", "beams is 0"),
        ("--beam 2 --number 3", "beams is 2 and best 3"),
        ("--length-penalty 1", "--length-penalty is for --beam"),
        ("--beam 2 --across-lines", "leave --across-lines out"),
        ("--number 0", "--number is 0"),
        ("--seed -1", "seed is -1"),
    ],
)
def test_what_cannot_be_asked(shell: Shell, writer: Path, line: str, says: str) -> None:
    done = shell("generate", writer, "--prompt", "the", *line.split())
    assert done.code == 2 and done.out == "" and done.err.count("\n") == 1 and says in done.err, done.err


def test_the_wrong_kind_of_model_is_said(shell: Shell, material: Material, writer: Path) -> None:
    for folder, what in ((material.encoder, "a bidirectional language model"), (material.classifier, "a task model")):
        done = shell("generate", folder, "--prompt", "the")
        assert done.code == 2 and f"is {what} and cannot write" in done.err and "--objective lm" in done.err
        assert done.out == ""
    for line in (
        ["embed", writer, material.raw],
        ["train", "--task", "tag", "--train", material.tagged, "--encoder", writer, "--mode", "frozen", "--out", "new"],
        ["export", "elmo", writer, "--out", "new"],
    ):
        done = shell(*line)
        assert done.code == 2 and "a language model that only writes (objective lm)" in done.err, done.err
    done = shell("predict", writer, material.test)
    assert done.code == 2 and done.err.count("\n") == 1, done.err
    assert shell("generate", "nowhere").code == 66
    wrong = shell("pretrain", "--raw", material.raw, "--stack", "gru", "--out", "new")
    assert wrong.code == 2 and "--stack gru is for --objective lm" in wrong.err


def test_a_dry_run_estimates_this_objective_too(shell: Shell, material: Material) -> None:
    for kind in ("characters", "subwords"):
        line = ["pretrain", "--raw", material.raw, "--objective", "lm", "--input", kind, "--size", "tiny", "--out", "new"]
        done = shell(*line, "--vocabulary-size", 400, "--dry-run", "--json")
        assert done.code == 0 and done.document["tokens"] > 0 and not (shell.folder / "new").exists()
