"""What a newcomer sees before anything runs: help, versions, misspellings; and that none of it costs PyTorch."""

from __future__ import annotations

import subprocess
import sys

import pytest

import carryover
from carryover.cli.main import app
from command_line import VERBS, Shell

HEAVY = ("torch", "numpy", "sklearn", "scipy", "matplotlib", "tokenizers", "joblib", "pandas")


def loaded_after(program: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has imported after `program`."""
    report = f"import sys; print('LOADED', *(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", f"{program}\n{report}"], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_imports_nothing_heavy() -> None:
    program = (
        "from carryover.cli.main import run_command\n"
        f"for verb in {VERBS!r}:\n"
        "    assert run_command([verb, '--help']) == 0\n"
        "assert run_command(['--help']) == run_command(['--version']) == 0\n"
        "assert run_command(['train', '--taks', 'tag']) == 2\n"
    )
    assert loaded_after(program) == set()


def test_the_package_alone_imports_nothing_heavy() -> None:
    program = "import carryover\nassert carryover.__version__ and 'TextClassifier' in carryover.__all__"
    assert loaded_after(program) == set()


def test_public_names_are_there_when_asked_for() -> None:
    for name in carryover.__all__:
        assert getattr(carryover, name) is not None
    assert carryover.layers.check and carryover.compare.ComparePlan
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = carryover.nothing


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(shell: Shell, verb: str) -> None:
    done = shell(verb, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: carryover {verb}")
    described = [line for line in done.out.splitlines() if line.startswith("  ") and line.strip()]
    assert len(described) >= 2
    assert "--json" in done.out
    assert not any(sign in done.out for sign in "│╭\x1b"), "decoration belongs on a terminal"
    assert shell(verb, "-h").out == done.out


def test_every_option_says_what_it_does() -> None:
    import typer

    for verb, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        for parameter in command.params:
            assert parameter.name == "help" or getattr(parameter, "help", None), f"{verb} {parameter.name}"


def test_help_of_the_whole(shell: Shell) -> None:
    done = shell("--help")
    assert done.code == 0 and all(verb in done.out for verb in VERBS)
    assert "CARRYOVER_PRETRAIN_SIZE" in done.out and "carryover.toml" in done.out
    bare = shell()
    assert bare.code == 2 and bare.err == "" and "Usage: carryover" in bare.out


def test_version(shell: Shell) -> None:
    lines = shell("version").out.splitlines()
    assert f"carryover {carryover.__version__}" in lines and any(line.startswith("torch ") for line in lines)
    assert shell("--version").out.splitlines() == lines
    document = shell("version", "--json").document
    assert list(document) == ["schema", "versions"] and document["schema"] == "carryover.version/1"


@pytest.mark.parametrize(
    ("line", "nearest"),
    [
        ("trian --task tag", "train"),
        ("pretrein", "pretrain"),
        ("train --taks tag", "--task"),
        ("train --hlep", "--help"),
        ("compare --budget 50", "--budgets"),
        ("pretrain --raw x --out y --objective bilmm", "bilm"),
        ("pretrain --raw x --out y --schedule cosin", "cosine"),
        ("train --task classfy --train x --out y", "classify"),
        ("train --task tag --train x --out y --mode frozn", "frozen"),
        ("compare --task tag --train x --out y --rungs feature", "features"),
        ("doctor --raw builtin:pydoc", "builtin:pydocs"),
        ("doctor --train x.tsv --format cvs", "csv"),
    ],
)
def test_the_nearest_spelling_is_suggested(shell: Shell, line: str, nearest: str) -> None:
    done = shell(*line.split())
    assert done.code == 2 and done.out == ""
    assert done.err.startswith("carryover: ") and done.err.count("\n") == 1
    assert f"did you mean {nearest}?" in done.err.replace("'", ""), done.err
    assert not list(shell.folder.iterdir())


def test_a_traceback_only_with_debug(shell: Shell) -> None:
    line = ["evaluate", "nowhere", "--test", "nothing.tsv"]
    done = shell(*line)
    assert done.code == 66 and "Traceback" not in done.err
    with pytest.raises(carryover.errors.InputMissing):
        shell(*line, "--debug")
    shell.patch.setenv("CARRYOVER_DEBUG", "1")
    with pytest.raises(carryover.errors.InputMissing):
        shell(*line)


def test_what_no_check_foresaw_is_one_line_too(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    import carryover.data.doctor

    def stumble(**given: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(carryover.data.doctor, "examine", stumble)
    done = shell("doctor", "--raw", "x")
    assert done.code == 1 and done.out == ""
    assert done.err == "carryover: unexpected RuntimeError: two lines; run again with --debug and report what it prints\n"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("train --task tag --train a.conll --test b.conll --out runs/ner",
         "train has no option --test; leave it out, and score the finished model with "
         "carryover evaluate runs/ner --test b.conll"),
        ("train --task tag --train a.conll --test=b.conll",
         "train has no option --test; leave it out, and score the finished model with carryover evaluate OUT --test b.conll"),
        ("pretrain --train a.txt --out runs/lm", "pretrain has no option --train; the text to learn from is --raw a.txt"),
        ("train --task tag --valid a.conll", "train has no option --valid; development examples are --dev a.conll"),
        ("predict runs/ner --test", "predict has no option --test; the file follows the folder: carryover predict FOLDER FILE"),
    ],
)  # fmt: skip
def test_an_option_of_another_verb_is_shown_its_place(shell: Shell, line: str, says: str) -> None:
    done = shell(*line.split())
    assert (done.code, done.out, done.err) == (2, "", f"carryover: {says}\n")


def test_places_are_known_for_options_that_are_missing_only() -> None:
    from carryover.cli.main import _command
    from carryover.cli.near_misses import _ELSEWHERE

    for verb, option in _ELSEWHERE:
        assert option not in {name for parameter in _command().commands[verb].params for name in parameter.opts}
