"""`carryover generate` and `pretrain --objective lm` from end to end."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import carryover
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
    monkeypatch.setattr("carryover.encoders.text_generator.TextGenerator.stream", lambda *_, **__: iter(()))
    done = shell("generate", writer, "--prompt", "the")
    assert done.code == 0 and done.out == "the\n" and "use --across-lines to continue" in done.err
    assert "ends the line" not in shell("generate", writer, "--prompt", "the", "--across-lines").err


def test_many_prompts_side_by_side(shell: Shell, writer: Path) -> None:
    (shell.folder / "prompts.txt").write_text("the\na long beginning of a line\n\n")
    line = ["generate", writer, "--prompts", "prompts.txt", "--max-tokens", 9, "--top-k", 5, "--seed", 3]
    done = shell(*line)
    assert done.code == 0 and done.out.count("\n") == 3, done.err
    alone = [shell("generate", writer, "--prompt", one, *line[4:]).out for one in ("the", "a long beginning of a line", "")]
    assert done.out == "".join(alone)
    document = shell(*line, "--number", 2, "--json").document
    assert [len(one["texts"]) for one in document["prompts"]] == [2, 2, 2]
    assert [one["prompt"] + one["texts"][0]["text"] + "\n" for one in document["prompts"]] == alone
    beams = shell("generate", writer, "--prompts", "prompts.txt", "--beam", 3, "--number", 2, "--max-tokens", 9)
    assert beams.code == 0 and beams.out.count("\n") == 6
    piped = shell("generate", writer, "--prompts", "-", *line[4:], stdin="the\n")
    assert piped.out == alone[0]
    (shell.folder / "none.txt").write_text("")
    none = shell("generate", writer, "--prompts", "none.txt")
    assert none.code == 65 and "there is no prompt" in none.err


def test_it_ends_before_a_stop_token(shell: Shell, writer: Path) -> None:
    line = ["generate", writer, "--prompt", "the", "--max-tokens", 60, "--seed", 1, "--across-lines"]
    whole = shell(*line).out.removesuffix("\n")
    sign = next(one for one in whole[9:] if one.isalpha())
    places = [place for place, found in enumerate(whole) if found == sign and place > 2]
    text = shell(*line, "--stop", sign, "--json").document["texts"][0]
    assert text["ended"] == "stop" and "the" + text["text"] == whole[: places[0]]
    assert shell(*line, "--stop", sign).out == whole[: places[0]] + "\n"
    wrong = shell(*line, "--stop", "日本")
    assert wrong.code == 2 and "this model writes characters and cannot write '日本'" in wrong.err


def test_it_ends_at_the_end_of_a_line_when_that_is_a_stop(shell: Shell, writer: Path) -> None:
    line = ["generate", writer, "--prompt", "the", "--max-tokens", 300, "--seed", 1, "--json"]
    one_line = shell(*line).document["texts"][0]
    assert one_line["ended"] == "line"
    across = shell(*line, "--across-lines").document["texts"][0]
    assert "\n" in across["text"]
    for spelled in (r"\n", "\n"):
        assert shell(*line, "--across-lines", "--stop", spelled).document["texts"][0] == one_line
    wrong = shell(*line, "--stop", r"\\n")
    assert wrong.code == 2 and r"cannot write '\\n'" in wrong.err  # a backslash and an n, as Python writes it
    assert r"cannot write '\t'" in shell(*line, "--stop", r"\t").err  # a tab, which this text does not have
    place = across["text"].index("\n")
    over = across["text"][place - 2 : place + 2]
    text = shell(*line, "--across-lines", "--stop", over).document["texts"][0]
    assert text["ended"] == "stop" and text["text"] == across["text"].partition(over)[0]
    two = shell(*line, "--across-lines", "--stop", r"\n\n").document["texts"][0]
    assert two["text"] == across["text"].partition("\n\n")[0]


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
        ("--greedy --top-k 3", "--top-k is for sampling"),
        ("--beam 3 --temperature 1", "--temperature is for sampling"),
        ("--greedy --beam 3", "choose one"),
        ("--beam 0", "beams is 0"),
        ("--beam 2 --number 3", "beams is 2 and best 3"),
        ("--length-penalty 1", "--length-penalty is for --beam"),
        ("--beam 2 --across-lines", "leave --across-lines out"),
        ("--number 0", "--number is 0"),
        ("--seed -1", "seed is -1"),
        ("--prompts some.txt", "--prompt and --prompts"),
    ],
)
def test_what_cannot_be_asked(shell: Shell, writer: Path, line: str, says: str) -> None:
    done = shell("generate", writer, "--prompt", "the", *line.split())
    assert done.code == 2 and done.out == "" and done.err.count("\n") == 1 and says in done.err, done.err


def test_the_wrong_kind_of_model_is_said(shell: Shell, material: Material, writer: Path) -> None:
    for folder, what in ((material.encoder, "a bidirectional language model"), (material.classifier, "a task model")):
        done = shell("generate", folder, "--prompt", "the")
        assert done.code == 2 and f"is {what}, which cannot write" in done.err and "--objective lm" in done.err
        assert done.out == ""
    done = shell("export", "elmo", writer, "--out", "new")
    assert done.code == 2 and "is a causal language model" in done.err, done.err
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


def test_the_model_has_options_of_its_own(shell: Shell, material: Material) -> None:
    line = ["pretrain", "--raw", material.raw, "--objective", "lm", *FEW_STEPS]
    done = shell(
        *line, "--stack", "tcn", "--layers", 3, "--kernel", 2, "--width", 10, "--dropout", 0.3, "--out", "t", "--json"
    )
    assert done.code == 0, done.err
    config = carryover.load(shell.folder / "t").model.config
    assert (config.layers, config.kernel, config.size, config.dropout) == (3, 2, 10, 0.3)
    chosen = ["--stack", "transformer", "--heads", 3, "--horizon", 9, "--width", 12, "--cells", 20, "--out", "h"]
    assert shell(*line, *chosen).code == 0
    config = carryover.load(shell.folder / "h").model.config
    assert (config.heads, config.horizon, config.size, config.cells) == (3, 9, 12, 20)
    both = ["pretrain", "--raw", material.raw, *FEW_STEPS, "--layers", 1, "--width", 8, "--cells", 16, "--out", "b"]
    assert shell(*both).code == 0
    config = carryover.load(shell.folder / "b").model.config
    assert (config.layers, config.projection, config.cells) == (1, 8, 16)


def test_samples_and_tying_are_chosen_by_flag(shell: Shell, material: Material) -> None:
    line = ["pretrain", "--raw", material.raw, "--objective", "lm", "--input", "words", *FEW_STEPS]
    assert shell(*line, "--softmax", "sampled", "--samples", 9, "--untied", "--out", "u").code == 0
    untied = carryover.load(shell.folder / "u")
    assert (untied.model.config.samples, untied.model.config.tied) == (9, False)
    assert untied.model.output is not None and "apart from the embedding" in (shell.folder / "u" / "README.md").read_text()
    assert shell(*line, "--tied", "--out", "t").code == 0
    tied = carryover.load(shell.folder / "t").model
    assert tied.config.tied and tied.output is None
    both = ["pretrain", "--raw", material.raw, *FEW_STEPS, "--softmax", "sampled", "--samples", 11, "--out", "b"]
    assert shell(*both).code == 0
    assert carryover.load(shell.folder / "b").model.config.samples == 11
    assert "--untied is for --objective lm" in shell(*both[:-1], "c", "--untied").err
    on = ["pretrain", "--raw", material.raw, "--begin-with", "u", "--epochs", 1, "-q", "--out", "c"]
    assert "--tied is fixed by the model to begin with" in shell(*on, "--tied").err
    assert "--stack gru is fixed by the model to begin with" in shell(*on, "--stack", "gru").err
    assert "softmax is full, which draws none" in shell(*on, "--softmax", "full", "--samples", 12).err
    assert "--keep-spaces is fixed by the model to begin with" in shell(*on, "--keep-spaces").err
    done = shell(*on, "--samples", 12)
    assert done.code == 0, done.err
    assert carryover.load(shell.folder / "c").model.config.samples == 12


def test_code_keeps_its_spaces(shell: Shell) -> None:
    (shell.folder / "code.py").write_text("def f(x):\n    return  x\n\n\n" * 60)
    line = ["pretrain", "--raw", "code.py", "--objective", "lm", "--input", "subwords", *FEW_STEPS, "--vocabulary-size", 300]
    assert shell(*line, "--keep-spaces", "--out", "k").code == 0
    assert carryover.load(shell.folder / "k").coder.units("    return  x") == ["ĠĠĠĠ", "return", "ĠĠ", "x"]
    on = shell("pretrain", "--raw", "code.py", "--begin-with", "k", "--out", "c", "--epochs", 1, "-q")
    assert on.code == 0, on.err
    assert carryover.load(shell.folder / "c").coder.exact


def test_words_may_have_an_adaptive_softmax(shell: Shell, material: Material) -> None:
    line = [
        "pretrain",
        "--raw",
        material.raw,
        "--objective",
        "lm",
        "--input",
        "words",
        "--softmax",
        "adaptive",
        "--out",
        "a",
    ]
    assert shell(*line, *FEW_STEPS).code == 0
    model = carryover.load(shell.folder / "a").model
    assert model.config.softmax == "adaptive" and not model.config.tied
    assert shell("generate", "a", "--prompt", "the", "--beam", 3, "--max-tokens", 5).code == 0
    on = shell("pretrain", "--raw", material.raw, "--begin-with", "a", "--out", "c", "--epochs", 1, "--dropout", 0.2, "-q")
    assert on.code == 0, on.err
    assert carryover.load(shell.folder / "c").model.config.softmax == "adaptive"
    wrong = shell("pretrain", "--raw", material.raw, "--begin-with", "a", "--out", "d", "--layers", 3)
    assert wrong.code == 2 and "--layers is fixed by the model to begin with" in wrong.err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--heads 2", "--heads is for --stack transformer, and the stack is lstm"),
        ("--stack tcn --cells 9", "--cells is for --stack lstm or gru or transformer, and the stack is tcn"),
        ("--kernel 3", "--kernel is for --stack tcn"),
        ("--stack tcn --kernel 0", "kernel is 0"),
        ("--width 0", "size is 0"),
        ("--dropout 1", "dropout is 1"),
        ("--softmax adaptiv", "did you mean 'adaptive'"),
        ("--steps 0", "steps is 0"),
        ("--keep-spaces", "keep_spaces is for words or subwords"),
        ("--samples 50", "samples is 50 and the softmax is full, which draws none"),
        ("--softmax sampled --samples 0", "samples is 0"),
        ("--softmax adaptive --tied", "tied is true and softmax 'adaptive'"),
    ],
)
def test_a_model_that_cannot_be(shell: Shell, material: Material, line: str, says: str) -> None:
    done = shell("pretrain", "--raw", material.raw, "--objective", "lm", *line.split(), "--out", "new")
    assert done.code == 2 and done.err.count("\n") == 1 and says in done.err, done.err
    assert not (shell.folder / "new").exists()
