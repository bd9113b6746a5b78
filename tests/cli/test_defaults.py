"""A default of the command line is that of the settings it fills, and one model has one set of defaults."""

from __future__ import annotations

import inspect
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer

from carryover.bench.run import run_cells
from carryover.cli.main import VERBS, app
from carryover.cli.options import Filling
from carryover.compare import ComparePlan
from carryover.compare.resources import pretrain_settings
from carryover.data.columns import Columns
from carryover.data.doctor import examine
from carryover.encoders.embed_lines import embed_lines
from carryover.encoders.text_generator import TextGenerator
from carryover.encoders.vector_parts import Choice
from carryover.inspect.occurrences import find_occurrences, neighbours_in_context
from carryover.interop.elmo.published import import_elmo
from carryover.models.bilm import BiLanguageModel
from carryover.models.language_model import LanguageModel
from carryover.pretraining.architecture import Architecture
from carryover.pretraining.settings import PretrainSettings
from carryover.transfer.plan import CarryPlan
from carryover.transfer.settings import FitSettings
from carryover.transfer.train import DEV_SHARE, TaskRun
from command_line import Material, Shell

FILLS: dict[tuple[str, str], tuple[Any, str]] = {
    **{("doctor", name): (examine, name) for name in ("raw", "train", "dev", "test", "task")},
    ("predict", "scheme"): (Columns, "scheme"),
    **{("embed", name): (Choice, name) for name in ("layers", "pool", "precision")},
    **{("generate", name): (TextGenerator.stream, name) for name in ("min_tokens", "across_lines", "seed")},
    ("generate", "length_penalty"): (TextGenerator.beam_search_all, "length_penalty"),
    ("generate", "number"): (TextGenerator.beam_search_all, "best"),
    **{("neighbours", name): (neighbours_in_context, name) for name in ("top", "contexts", "layers")},
    ("neighbours", "seed"): (find_occurrences, "seed"),
    ("import", "tokenizer"): (import_elmo, "tokenizer"),
    **{("bench", name): (run_cells, name) for name in ("data", "epochs")},
    **{(verb, "device"): (PretrainSettings, "device") for verb in ("evaluate", "predict", "embed", "generate", "neighbours", "bench", "inspect")},
}  # fmt: skip
"""What an option of a verb without settings fills: the field of a class, or the argument of a function."""

OWN: dict[tuple[str, str], Any] = {
    ("inspect", "source"): "-",
    ("inspect", "following"): 0,
    ("predict", "answer_column"): "prediction",
    ("embed", "source"): "-",
    ("embed", "batch_size"): 1,
    ("generate", "prompt"): "",
    ("generate", "max_tokens"): 200,
    ("bench", "task"): "all",
    ("bench", "length"): "",
    ("bench", "model"): "all",
    ("bench", "seed"): 1,
    ("bench", "seeds"): 1,
}
"""Defaults that nothing else has."""


def default_of(thing: Any, name: str) -> Any:
    """The default of a field of a class or of an argument of a function."""
    if inspect.isclass(thing):
        (found,) = (one for one in fields(thing) if one.name == name)
        return found.default
    return inspect.signature(thing).parameters[name].default


def fillings(verb: str) -> list[Filling]:
    """Which settings the options of a verb fill."""
    hints = get_type_hints(VERBS[verb], include_extras=True).values()
    return [one for hint in hints for one in get_args(hint) if isinstance(one, Filling)]


@pytest.mark.parametrize("verb", VERBS)
def test_every_default_is_that_of_the_field_it_fills(verb: str) -> None:
    filled = {made.name: (one.settings, name, one.otherwise) for one in fillings(verb) for name, _, made in one.options()}
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    for parameter in command.params:
        place = (verb, parameter.name)
        if parameter.name in filled:
            settings, name, otherwise = filled[parameter.name]
            wanted = None if otherwise is not None else default_of(settings, name)
            assert place not in FILLS and place not in OWN
            assert (parameter.required, parameter.default) in ((False, wanted), (True, None)), place
        elif place in FILLS:
            assert parameter.default == default_of(*FILLS[place]), place
        else:
            nothing = parameter.default is None or parameter.default is False
            assert parameter.required or nothing or parameter.default == OWN[place], place


def test_two_settings_with_one_field_have_one_default() -> None:
    for name in (field.name for field in fields(Columns)):
        assert default_of(ComparePlan, name) == default_of(Columns, name)
        assert name == "on_error" or default_of(examine, name) == default_of(Columns, name)
    for name in ("raw_column", "raw_format", "valid", "seed", "device", "time_limit"):
        assert default_of(ComparePlan, name) == default_of(PretrainSettings, name)
    for name in ("raw_column", "raw_format"):
        assert default_of(examine, name) == default_of(PretrainSettings, name)
    for name in ("seed", "metric", "class_weights", "time_limit"):
        assert default_of(ComparePlan, name) == default_of(FitSettings, name)
    assert default_of(ComparePlan, "placement") == default_of(CarryPlan, "placement")
    assert default_of(TaskRun, "device") == default_of(PretrainSettings, "device")
    for name in (field.name for field in fields(Choice)):
        assert default_of(embed_lines, name) == default_of(Choice, name)


def test_a_default_told_in_a_sentence_is_that_of_the_code() -> None:
    told = {made.name: option.help for name, option, made in Filling(Architecture, (), None).options()}
    known = {
        field.name: field.default for config in (BiLanguageModel.Config, LanguageModel.Config) for field in fields(config)
    }
    for name, help in told.items():
        shown = help.partition("Default: ")[2].rstrip(".")
        wanted = {True: "tied", False: "untied"}.get(known[name], known[name]) if name == "tied" else known.get(name)
        assert shown in ("from --size", str(wanted)), name
    assert BiLanguageModel.Config.samples == LanguageModel.Config.samples == 8192
    of_pretrain = {name: option.help for name, option, _ in Filling(PretrainSettings, (), None).options()}
    assert f"{PretrainSettings.held_out_share:.0%}".replace("%", " %") in of_pretrain["valid"]
    assert (
        DEV_SHARE == 1 / 5
        and "a fifth" in {name: option.help for name, option, _ in Filling(TaskRun, (), None).options()}["dev"]
    )


class Caught(Exception):
    """Ends a command where its settings are complete."""


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the verbs hand on, their first argument; nothing is run."""
    import carryover.compare.run
    import carryover.encoders.vector_files
    import carryover.pretraining.pretrain
    import carryover.transfer.train

    found: list[Any] = []

    def catch(*given: Any, **options: Any) -> Any:
        found.append((given[0], options))
        raise Caught

    monkeypatch.setattr(carryover.pretraining.pretrain, "pretrain", catch)
    monkeypatch.setattr(carryover.transfer.train, "train_task", catch)
    monkeypatch.setattr(carryover.compare.run, "compare", catch)
    monkeypatch.setattr(carryover.encoders.vector_files, "save_embedded", catch)
    return found


def test_of_pretrain(shell: Shell, material: Material, caught: list[Any]) -> None:
    shell("pretrain", "--raw", material.raw, "--out", "lm")
    assert caught[0][0] == PretrainSettings(raw=str(material.raw))


def test_of_compare(shell: Shell, material: Material, caught: list[Any]) -> None:
    given = {"task": "classify", "train": "train.tsv", "raw": str(material.raw)}
    shell("compare", *(word for name, value in given.items() for word in (f"--{name}", value)), "--out", "cmp")
    assert caught[0][0] == ComparePlan(**given, pretraining={"size": PretrainSettings.size})


@pytest.mark.parametrize("more", [(), ("--seed", 3, "--valid", "valid.txt"), ("--raw-column", 1, "--raw-format", "tsv")])
def test_pretrain_and_compare_train_the_same_language_model(
    shell: Shell, material: Material, caught: list[Any], more: tuple[object, ...]
) -> None:
    both = ("--raw", material.raw, "--device", "cpu", *more)
    shell("compare", "--task", "classify", "--train", "train.tsv", *both, "--out", "cmp")
    shell("pretrain", *both, "--out", "lm")
    (plan, _), (alone, _) = caught
    within = asdict(pretrain_settings(plan))
    assert within.keys() == asdict(alone).keys() and len(within) > 25
    for name, value in asdict(alone).items():
        same = within[name] == value or (name == "valid" and (within[name],) == value)
        assert same, f"{name} is {value!r} in pretrain and {within[name]!r} in compare"


@pytest.mark.parametrize("given", ["flag", "environment"])
def test_only_what_is_given_is_handed_on(shell: Shell, caught: list[Any], given: str) -> None:
    flags = ("--elmo-placement", "both") if given == "flag" else ()
    if given == "environment":
        shell.patch.setenv("CARRYOVER_TRAIN_ELMO_PLACEMENT", "both")
    shell("train", "--task", "tag", "--train", "train.conll", "--encoder", "lm", *flags, "--out", "tagger")
    assert caught[0][0].plan == {"placement": "both"} and caught[0][0].carry_mode == "frozen"


def test_of_train(shell: Shell, caught: list[Any]) -> None:
    shell("train", "--task", "tag", "--train", "train.conll", "--out", "tagger")
    wanted: TaskRun = caught[0][0]
    assert CarryPlan(mode=wanted.carry_mode, **wanted.plan) == CarryPlan(mode="scratch")
    assert FitSettings(**wanted.fitting) == FitSettings()
    assert wanted.columns == Columns()
    few = FitSettings(epochs=2)
    assert few.resolve(CarryPlan(mode="scratch")).least_updates == 1, "so many passes, as --epochs says"
    assert FitSettings(epochs=2, least_updates=9).least_updates == 9
    assert FitSettings().resolve(CarryPlan(mode="scratch")).least_updates == 300


def test_of_embed(shell: Shell, material: Material, caught: list[Any]) -> None:
    Path("text.txt").write_text("a gull sails\n")
    shell("embed", material.encoder, "text.txt", "--out", "vectors.npz")
    options = caught[0][1]
    assert Choice(**{name: options[name] for name in ("layers", "pool", "carry_rows", "precision")}) == Choice()
