"""The command line: one typed function a verb, gathered here; what every verb shares stands here too.

torch is imported inside the verbs only, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from carryover.cli import compare, doctor, embed, evaluate, predict, pretrain, train, version
from carryover.cli.configuration import nearest, read_defaults
from carryover.errors import CarryoverError

app = typer.Typer(
    name="carryover",
    help="Pretrain a sequence model on raw text, carry it over to a small labelled task, and see with evidence what pays.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "CARRYOVER"},
)
for module in (doctor, pretrain, compare, train, evaluate, predict, embed, version):
    name = module.__name__.rpartition(".")[2]
    app.command(name)(getattr(module, name))


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """Pretrain on raw text, carry over to a few labels, see what pays."""


def run(arguments: list[str] | None = None) -> None:
    """Entry point of the console script: run a command and leave with the documented exit code."""
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))


def run_command(arguments: list[str]) -> int:
    """Run one command line and return its exit code; every error a person can cause becomes one line."""
    debug = "--debug" in arguments
    # The flag is accepted anywhere on the line.
    arguments = [argument for argument in arguments if argument != "--debug"]
    if arguments == ["--version"]:
        arguments = ["version"]
    try:
        command = typer.main.get_command(app)
        code = command.main(arguments, prog_name="carryover", standalone_mode=False, default_map=_defaults(command))
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
        sys.stderr.close()
        return 0
    except Exception as error:
        if hasattr(error, "format_message"):  # a fault of the command line itself
            return _say(_spelling(error), 2)
        if debug:
            raise
        first = " ".join(str(error).split()) or "no message"
        return _say(f"unexpected {type(error).__name__}: {first}; run again with --debug and report what it prints", 1)


def _say(message: str, code: int) -> int:
    print(f"carryover: {message}", file=sys.stderr)
    return code


def _spelling(error: Any) -> str:
    """The message of a wrong command line with the nearest valid spelling.

    typer carries its own copy of click since 0.26 and used the separate package before; what the exceptions hold is the
    same, so they are told apart by that and not by their class.
    """
    message = " ".join(error.format_message().split())
    context: Any = getattr(error, "ctx", None)
    command: Any = getattr(context, "command", None)
    if hasattr(error, "option_name") and command is not None and "No such option" in message:
        names = {name for parameter in command.params for name in parameter.opts}
        message = f"there is no option {error.option_name}; {nearest(error.option_name, names)}"
    elif "No such command" in message and hasattr(command, "commands"):
        wrong = message.split("'")[1] if "'" in message else ""
        message = f"there is no command {wrong!r}; {nearest(wrong, set(command.commands))}"
    path = context.command_path if context is not None else "carryover"
    return f"{message} ({path} --help)"


def _defaults(command: Any) -> dict[str, Any]:
    names = {name: {p.name for p in sub.params if p.name} for name, sub in command.commands.items()}
    return read_defaults(names, Path.cwd())


if __name__ == "__main__":
    run()
