"""Where a value comes from: flag, then environment, then `carryover.toml`, then the user's file, then the default."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carryover.cli import configuration
from command_line import FEW_STEPS, Material, Shell

PLACES = ("user file", "project file", "environment", "flag")
SEEDS = {place: number for number, place in enumerate(PLACES, start=1)}


@pytest.mark.parametrize("given", [PLACES[:count] for count in range(5)], ids=lambda given: "+".join(given) or "nothing")
def test_the_nearer_place_wins(shell: Shell, material: Material, given: tuple[str, ...]) -> None:
    flags: list[object] = []
    if "user file" in given:
        shell.patch.setenv("CARRYOVER_CONFIG", str(shell.folder / "mine.toml"))
        Path("mine.toml").write_text(f"[pretrain]\nseed = {SEEDS['user file']}\n")
    if "project file" in given:
        Path("carryover.toml").write_text(f"[pretrain]\nseed = {SEEDS['project file']}\n")
    if "environment" in given:
        shell.patch.setenv("CARRYOVER_PRETRAIN_SEED", str(SEEDS["environment"]))
    if "flag" in given:
        flags = ["--seed", SEEDS["flag"]]
    done = shell("pretrain", "--raw", material.raw, "--out", "lm", "--time-limit", "0.001", *FEW_STEPS, *flags)
    assert done.code == 0, done.err
    seed = SEEDS[given[-1]] if given else 0
    assert done.out.splitlines()[0].endswith(f"seed {seed}"), "the seed is printed"
    assert json.loads(Path("lm/run/settings.json").read_text())["settings"]["seed"] == seed, "and stored, resolved"


def test_size_from_the_environment(shell: Shell, material: Material) -> None:
    shell.patch.setenv("CARRYOVER_PRETRAIN_SIZE", "tinny")
    done = shell("pretrain", "--raw", material.raw, "--out", "lm")
    assert done.code == 2 and "did you mean 'tiny'?" in done.err


def test_a_whole_command_can_stand_in_the_file(shell: Shell, material: Material) -> None:
    """Required options, dashes or underscores, truth values, lists; and only for the verb whose table it is."""
    Path("carryover.toml").write_text(
        f'[doctor]\ntrain = "{material.train}"\njson = true\n'
        f'[compare]\ntask = "classify"\ntrain = "{material.train}"\nout = "cmp"\n'
        'rungs = ["features"]\nbudgets = [8, 12]\ndry-run = true\njson = true\nseeds = 1\n'
    )
    assert shell("compare").document["cells"] == 2
    done = shell("doctor")
    assert done.code == 0 and done.document["schema"] == "carryover.doctor/1"


def test_a_number_may_stand_for_a_text_and_a_text_for_a_number(shell: Shell, material: Material) -> None:
    Path("carryover.toml").write_text('[doctor]\ntext_column = 0\nlabel_column = 1\n[compare]\nseeds = "1"\nbudgets = 8\n')
    content = material.train.read_text(encoding="utf-8").partition("\n")[2]
    Path("bare.tsv").write_text(content, encoding="utf-8")
    done = shell("doctor", "--train", "bare.tsv", "--task", "classify", "--json")
    assert done.code == 0 and done.document["files"]["train"]["rows"] == content.count("\n")
    line = (
        "compare",
        "--task",
        "classify",
        "--train",
        material.train,
        "--rungs",
        "features",
        "--out",
        "cmp",
        "--dry-run",
        "--json",
    )
    assert shell(*line).document["cells"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[pretrain\n", "carryover.toml: cannot be read as TOML"),
        ("[pretrian]\nsize = 'tiny'\n", "did you mean 'pretrain'?"),
        ("[pretrain]\nsise = 'tiny'\n", "did you mean 'size'?"),
        ("pretrain = 3\n", "write [pretrain]"),
        ("[pretrain]\nsize = {a = 1}\n", "pretrain.size is a dict"),
        ("[pretrain]\nepochs = 'many'\n", "--epochs"),
        ("[pretrain]\nepochs = 2.5\n", "pretrain.epochs is 2.5; write a whole number, which --epochs takes"),
        ("[pretrain]\nepochs = true\n", "pretrain.epochs is True; write a whole number"),
        ("[pretrain]\nquiet = 'maybe'\n", "pretrain.quiet is 'maybe'; write true or false"),
        ("[pretrain]\nsize = true\n", "pretrain.size is True; write a text"),
        ("[pretrain]\nlearning_rate = -1.0\n", "learning_rate is -1.0"),
    ],
)
def test_faults_of_the_file(shell: Shell, material: Material, content: str, message: str) -> None:
    Path("carryover.toml").write_text(content)
    done = shell("pretrain", "--raw", material.raw, "--out", "lm")
    assert done.code == 2 and done.out == ""
    assert done.err.startswith("carryover: ") and done.err.count("\n") == 1 and message in done.err
    assert not Path("lm").exists()


def test_not_utf8(shell: Shell) -> None:
    Path("carryover.toml").write_bytes(b"[pretrain]\nsize = '\xff'\n")
    done = shell("version")
    assert done.code == 2 and "carryover.toml: cannot be read as TOML" in done.err


def test_where_the_users_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CARRYOVER_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert configuration.user_file().name == "config.toml" and "carryover" in configuration.user_file().parts
