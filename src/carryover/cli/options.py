"""Options of the verbs: those that fill settings are made from their fields, those that several verbs share stand here."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from carryover.data.columns import Columns
from carryover.setting import DEVICE, OUTPUT, RUN, SEED, Option, option_of

Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON document on standard output and nothing else there.", rich_help_panel=OUTPUT
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress on standard error.", rich_help_panel=OUTPUT)]
Watch = Annotated[
    bool,
    typer.Option("--watch", help="Draw loss and score in the terminal at each measurement.", rich_help_panel=OUTPUT),
]
Seed = Annotated[int, typer.Option("--seed", help=SEED, rich_help_panel=RUN)]
Device = Annotated[str, typer.Option("--device", help=DEVICE, rich_help_panel=RUN)]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, estimate time and memory, train nothing.", rich_help_panel=RUN)
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        help="Folder for everything the run makes. The same command continues it.",
        metavar="FOLDER",
        rich_help_panel=OUTPUT,
    ),
]

# Options that fill settings --------------------------------------------------------------------------------------------

Given = dict[str, Any]
"""Fields of a settings class that were given by flag, environment or file. The others keep the defaults of the class."""


@dataclass(frozen=True)
class Filling:
    """A parameter of a verb that stands for the options of a settings class; see `filling`."""

    settings: type
    names: tuple[str, ...]
    otherwise: str | None

    def options(self) -> Iterator[tuple[str, Option, inspect.Parameter]]:
        """(field, its option, the parameter that typer makes the option from) of every field that is an option."""
        hints = get_type_hints(self.settings)
        for one in fields(self.settings):
            found = option_of(one.metadata)
            if found is None or (self.names and one.name not in self.names):
                continue
            flag = found.flag or f"--{one.name.replace('_', '-')}"
            kind = str if found.read is not None else _kind(hints[one.name])
            default, help = one.default, found.help
            if self.otherwise is not None:
                default, help = None, f"{help.partition(' Default:')[0]} Default: {self.otherwise}."
            told = typer.Option(flag, help=help, metavar=found.metavar, rich_help_panel=found.group)
            yield (
                one.name,
                found,
                inspect.Parameter(
                    flag.partition("/")[0].lstrip("-").replace("-", "_"),  # the environment is asked by this name
                    inspect.Parameter.KEYWORD_ONLY,
                    default=inspect.Parameter.empty if default is MISSING else default,
                    annotation=Annotated[kind if default is not None else kind | None, told],
                ),
            )


def filling(settings: type, *names: str, otherwise: str | None = None) -> Filling:
    """Annotation of a verb's parameter of the type `Given`: it takes the options of `settings`, or those of some fields.

    `otherwise` says where a value comes from that is not given, if it is not the default of the settings.
    """
    return Filling(settings, names, otherwise)


def as_command(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The verb as typer reads it: each parameter that is a `filling` replaced by one option a field."""
    own: list[inspect.Parameter] = []
    filled: dict[str, tuple[str, str, Option]] = {}  # name of an option → parameter of the verb, field, option
    hints = get_type_hints(verb, include_extras=True)
    for name, parameter in inspect.signature(verb).parameters.items():
        found = next((one for one in get_args(hints[name]) if isinstance(one, Filling)), None)
        if found is None:
            own.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name]))
            continue
        for place, option, made in found.options():
            own.append(made)
            filled[made.name] = (name, place, option)
    groups = {name for name, _, _ in filled.values()}

    def command(context: typer.Context, **values: Any) -> Any:
        given: dict[str, Given] = {name: {} for name in groups}
        for name, (group, place, option) in filled.items():
            value = values.pop(name)
            source = context.get_parameter_source(name)
            if source is not None and source.name != "DEFAULT":
                given[group][place] = value if option.read is None else option.read(value)
        return verb(**values, **given)

    described: Any = command
    described.__name__, described.__doc__, described.__annotations__ = verb.__name__, verb.__doc__, {}
    asked = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    described.__signature__ = inspect.Signature([asked, *own])
    return command


def _kind(hint: Any) -> Any:
    """What an option's text is made: the type of its field, the first of several, without None."""
    return next((one for one in get_args(hint) if one is not type(None)), hint)


def value_kinds(command: Callable[..., Any]) -> dict[str, type]:
    """For each parameter of what `as_command` made: int, float or bool, or str for all that is written as a text."""
    found = {}
    for name, parameter in inspect.signature(command).parameters.items():
        kind = _kind(next(iter(get_args(parameter.annotation)), str))
        found[name] = kind if kind in (int, float, bool) else str
    return found


# Words of a command line ------------------------------------------------------------------------------------------------

_SIGNS = {r"\\n": r"\n", r"\\t": r"\t"}


def sign(text: str) -> str:
    r"""A text as it is written on a command line: `\n` is the end of a line and `\t` a tab, also several of them; `\\n` and `\\t`
    are these two signs themselves; anything else is what it is, such as `\` and `\section`."""
    if re.fullmatch(r"(\\[nt])+", text):
        return text.replace(r"\n", "\n").replace(r"\t", "\t")
    return _SIGNS.get(text, text)


def beside(source: str, part: str) -> str:
    """A name for a file like `source` with another part of the data, as a hint: `TEST.tsv.gz`, `builtin:grammar/test`."""
    if source.startswith("builtin:"):
        name, mark, sizes = source.partition("?")
        return f"{name.partition('/')[0]}/{part}{mark}{sizes}"
    return part.upper() + "".join(Path(source).suffixes[-2:])


def of_reading(columns: Given) -> list[str]:
    """The options of `Columns` that were given, for another command about the same file."""
    spelled = {place: made.name.replace("_", "-") for place, _, made in filling(Columns).options()}
    return [word for name, value in columns.items() for word in (f"--{spelled[name]}", str(value))]
