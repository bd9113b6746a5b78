"""The command line: one typed function a verb, gathered here; what every verb shares stands here too.

torch is imported inside the verbs only, so that `--help` answers at once.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from carryover.cli import (
    bench,
    compare,
    doctor,
    embed,
    evaluate,
    export,
    generate,
    imports,
    neighbours,
    output,
    predict,
    pretrain,
    train,
    version,
)
from carryover.cli.configuration import read_defaults
from carryover.cli.memory import COMMANDS, keep_memory
from carryover.errors import CarryoverError, UsageError, nearest

app = typer.Typer(
    name="carryover",
    help="Pretrain a sequence model on raw text, carry it over to a small labelled task, and see with evidence what pays.",
    epilog="A value comes from the flag, else from the environment (CARRYOVER_PRETRAIN_SIZE for --size of pretrain), else "
    "from carryover.toml in the working folder (size in the table pretrain), else from the user's own config.toml, else the "
    "default.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,  # frames and colours are for a terminal
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "CARRYOVER"},
)
for module in (doctor, pretrain, compare, train, evaluate, predict, embed, generate, neighbours, export, bench, version):
    name = module.__name__.rpartition(".")[2]
    app.command(name)(getattr(module, name))
app.command("import")(imports.import_published)  # its own name is a word of the language


@app.callback()
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """Pretrain on raw text, carry over to a few labels, see what pays."""
    verb, count = context.invoked_subcommand, os.environ.get("WORLD_SIZE", "1")
    if verb != "pretrain" and "TORCHELASTIC_RUN_ID" in os.environ and count != "1":
        raise UsageError(f"{verb} runs in one process and torchrun started {count}", repair="leave torchrun out")


# Threads that wait without spinning: beside other work on the machine, spinning ones make every small operation wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def run(arguments: list[str] | None = None) -> None:
    """Entry point of the console script: run a command and leave with the documented exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in COMMANDS:
        keep_memory()
    code = run_command(arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _let_output_go()
    sys.exit(code)


def run_command(arguments: list[str]) -> int:
    """Run one command line and return its exit code; every error a person can cause becomes one line."""
    debug = "--debug" in arguments or os.environ.get("CARRYOVER_DEBUG", "") not in ("", "0", "false")
    # The flag is accepted anywhere on the line.
    arguments = [argument for argument in arguments if argument != "--debug"]
    if arguments == ["--version"]:
        arguments = ["version"]
    output.given_words[:] = arguments
    try:
        command = _command()
        with command.make_context("carryover", arguments, default_map=_defaults(command)) as context:
            code = command.invoke(context)
        return code if isinstance(code, int) else 0
    except CarryoverError as error:
        if debug:
            raise
        return _say(str(error), error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return _say("interrupted; what was finished is kept", 130)
    except typer.Exit as leave:
        return leave.exit_code
    except BrokenPipeError:
        # Whoever read our output has had enough (`carryover embed … | head`).
        _let_output_go()
        return 0
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())  # type: ignore[attr-defined]  # nothing was asked for: the help says what can be
            return 2
        if hasattr(error, "format_message"):  # a fault of the command line itself
            return _say(_spelling(error), 2)
        if debug:
            raise
        return _say(*_unexpected(error))


def _command() -> Any:
    """The whole command line. The variables of the environment are named once, below the help, not at each option."""
    command: Any = typer.main.get_command(app)
    for verb in command.commands.values():
        for parameter in verb.params:
            parameter.show_envvar = False
    for parameter in command.params:
        parameter.show_envvar = False
    return command


def _let_output_go() -> None:
    """Point standard output at nothing, so that what is still buffered does not fail again at the end."""
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
    except (OSError, ValueError):  # standard output is no file, as under a test
        pass


def _say(message: str, code: int) -> int:
    print(f"carryover: {message}", file=sys.stderr)
    return code


def _unexpected(error: Exception) -> tuple[str, int]:
    """What to say of a fault that no check foresaw, and the exit code."""
    first = " ".join(str(error).split()) or "no message"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return f"writing failed: {first}; make room and run the same command again", 74
    return f"unexpected {type(error).__name__}: {first}; run again with --debug and report what it prints", 1


def _spelling(error: Any) -> str:
    """The message of a wrong command line with the nearest valid spelling.

    typer carries its own copy of click since 0.26 and used the separate package before; what the exceptions hold is the
    same, so they are told apart by that and not by their class.
    """
    message = " ".join(error.format_message().split())
    context: Any = getattr(error, "ctx", None)
    command: Any = getattr(context, "command", None)
    if hasattr(error, "option_name") and command is not None and "No such option" in message:
        names = {"--help"} | {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
        message = f"there is no option {error.option_name}; {nearest(error.option_name, sorted(names))}"
    elif "No such command" in message and hasattr(command, "commands"):
        wrong = message.split("'")[1] if "'" in message else ""
        message = f"there is no command {wrong!r}; {nearest(wrong, sorted(command.commands))}"
    path = context.command_path if context is not None else "carryover"
    return f"{message.rstrip('.')}; see {path} --help"


def _defaults(command: Any) -> dict[str, Any]:
    spelled: dict[str, dict[str, str]] = {}  # of every verb: option as it is written there → parameter
    for verb, part in command.commands.items():
        names = {name.lstrip("-"): parameter.name for parameter in part.params for name in parameter.opts}
        spelled[verb] = {name.replace("-", "_"): parameter for name, parameter in names.items() if len(name) > 1}
    return read_defaults(spelled, Path.cwd())


if __name__ == "__main__":
    run()
