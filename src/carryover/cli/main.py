"""The command line: one typed function a verb, gathered here, with what every verb shares.

torch is imported inside the verbs only, so that `--help` answers at once.
"""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from carryover.cli import (
    bench,
    compare,
    completion,
    doctor,
    embed,
    evaluate,
    export,
    generate,
    imports,
    inspect,
    neighbours,
    output,
    predict,
    pretrain,
    train,
    version,
)
from carryover.cli.configuration import Entry, read_defaults
from carryover.cli.help import Verb
from carryover.cli.memory import COMMANDS, NEEDS_LITTLE, keep_memory, room_for_pytorch
from carryover.cli.near_misses import where_it_belongs
from carryover.cli.options import as_command, value_kinds
from carryover.errors import CannotWrite, CarryoverError, DiskFault, UsageError, exhausted, nearest, working_folder
from carryover.progress import say
from carryover.storage.faults import is_disk_fault

app = typer.Typer(
    name="carryover",
    help="Pretrain a sequence model on raw text, carry it over to a small labelled task, and see with evidence what pays.",
    epilog="A value comes from the flag, else from the environment (CARRYOVER_PRETRAIN_SIZE for --size of pretrain), else "
    "from carryover.toml in the working folder (size in the table pretrain), else from the user's own config.toml, else the "
    "default.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich"
    if sys.stdout is not None and sys.stdout.isatty()
    else None,  # frames and colours are for a terminal
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "CARRYOVER"},
)
VERBS: dict[str, Callable[..., None]] = {
    "doctor": doctor.doctor,
    "pretrain": pretrain.pretrain,
    "compare": compare.compare,
    "train": train.train,
    "evaluate": evaluate.evaluate,
    "predict": predict.predict,
    "embed": embed.embed,
    "generate": generate.generate,
    "neighbours": neighbours.neighbours,
    "inspect": inspect.inspect,
    "import": imports.import_published,
    "export": export.export,
    "bench": bench.bench,
    "version": version.version,
    "completion": completion.completion,
}
WrongLine: type[Exception] = typer.BadParameter.__mro__[1]
"""What typer raises for a wrong command line, from its own copy of click or from the separate package, by its version."""

for name, verb in VERBS.items():
    app.command(name, cls=Verb)(as_command(verb))


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
    prepare_streams()
    if sys.stdout is None:
        say("carryover: standard output is closed; send it to a file, a pipe or /dev/null")
        sys.exit(CannotWrite.exit_code)
    if arguments and arguments[0] in COMMANDS:
        keep_memory()
    if not NEEDS_LITTLE.intersection(arguments) and arguments and not room_for_pytorch():
        sys.exit(_say(*_explained(MemoryError())))
    code = run_command(arguments)
    waiting = sys.modules.get("carryover.training.waiting")  # not imported here: it needs PyTorch
    if waiting is not None and waiting.still_waiting():
        os._exit(code)
    sys.exit(code)


def run_command(arguments: list[str]) -> int:
    """Run one command line and return its exit code; every error a person can cause becomes one line."""
    debug = "--debug" in arguments or os.environ.get("CARRYOVER_DEBUG", "") not in ("", "0", "false")
    # The flag is accepted anywhere on the line.
    arguments = [argument for argument in arguments if argument != "--debug"]
    if arguments == ["--version"]:
        arguments = ["version"]
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    output.given_words[:] = arguments
    try:
        code = _invoke(arguments)
        output.flush_output()
        return code
    except (typer.Abort, KeyboardInterrupt):
        return _say("interrupted; finished work is kept", 130)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_has_left():
            return 0  # whoever read our output has had enough (`carryover embed … | head`)
        if debug:
            raise
        return _say(*_explained(error))


def _invoke(arguments: list[str]) -> int:
    """Run a command and return its exit code; what is wrong with the line itself is said here."""
    try:
        command = _command()
        with command.make_context("carryover", arguments, default_map=_defaults(command)) as context:
            code = command.invoke(context)
        return code if isinstance(code, int) else 0
    except typer.Exit as leave:
        return leave.exit_code
    except WrongLine as wrong:
        error: Any = wrong
        if type(error).__name__ != "NoArgsIsHelpError":
            return _say(_spelling(error), 2)
        output.print_text([f"{error.format_message()}\n"])  # nothing was asked for: the help says what can be
        return 2


def _command() -> Any:
    """The whole command line. The variables of the environment are named once, below the help, not at each option."""
    command: Any = typer.main.get_command(app)
    for verb in command.commands.values():
        for parameter in verb.params:
            parameter.show_envvar = False
    for parameter in command.params:
        parameter.show_envvar = False
    return command


def prepare_streams() -> None:
    """Make the standard streams safe to use: none of their numbers free for another file, and every text writable.

    What is written is UTF-8 whatever the locale says, as is what is read; a terminal keeps its own encoding, and characters
    that it lacks are spelled out.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file that is opened would be taken for the stream
            with suppress(OSError):
                os.set_inheritable(os.open(os.devnull, flags), True)
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  (open to the end)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=stream.encoding if stream.isatty() else "utf-8", errors="backslashreplace")


def _reader_has_left() -> bool:
    """Whether it is our own output that nobody reads any more, and not a pipe to another process."""
    try:
        waiting = select.poll()
        waiting.register(sys.stdout.fileno(), select.POLLOUT)
        left = any(event & select.POLLERR for _, event in waiting.poll(0))
    except (AttributeError, OSError, ValueError):  # no such call on Windows
        left = True
    if left:
        output.let_output_go()
    return left


def _say(message: str, code: int) -> int:
    say(f"carryover: {message}")
    return code


def _explained(error: Exception) -> tuple[str, int]:
    """What to say of an error, and the exit code."""
    if (spent := exhausted(error)) is not None:
        return str(spent), spent.exit_code
    if isinstance(error, CarryoverError):
        return str(error), error.exit_code
    if isinstance(error, FileNotFoundError):
        try:
            working_folder()
        except CarryoverError as gone:
            return str(gone), gone.exit_code
    first = " ".join(str(error).split()) or "no message"
    if isinstance(error, OSError) and is_disk_fault(error):
        return f"writing failed: {first}; make room and run the same command again", DiskFault.exit_code
    return f"unexpected {type(error).__name__}: {first}; run again with --debug and report what it prints", 1


def _spelling(error: Any) -> str:
    """The message of a wrong command line with the nearest valid spelling."""
    message = " ".join(error.format_message().split())
    if error.ctx is None:
        return f"{message.rstrip('.')}; see carryover --help"
    verb, command = str(error.ctx.info_name), error.ctx.command
    if message.startswith("No such option"):
        option = error.option_name
        names = {"--help"} | {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
        instead = where_it_belongs(verb, option, output.given_words)
        if instead is not None:
            return f"{verb} has no option {option}; {instead}"
        message = f"there is no option {option}; {nearest(option, sorted(names))}"
    elif message.startswith("No such command"):
        wrong = message.split("'")[1] if "'" in message else ""
        message = f"there is no command {wrong!r}; {nearest(wrong, sorted(command.commands))}"
    return f"{message.rstrip('.')}; see {error.ctx.command_path} --help"


def command_of(verb: str) -> Any:
    """The command that typer makes of a verb, with its options."""
    return _command().commands[verb]


completion.verbs |= {name: partial(command_of, name) for name in VERBS}


def _defaults(command: Any) -> dict[str, Any]:
    tables = {name: partial(_entries, name, part) for name, part in command.commands.items()}
    return read_defaults(tables, Path(working_folder()))


def _entries(name: str, command: Any) -> dict[str, Entry]:
    """What the table of one command may hold."""
    kinds = value_kinds(as_command(VERBS[name]))
    spelled = {flag: parameter.name for parameter in command.params for flag in parameter.opts if len(flag) > 2}
    return {
        flag.lstrip("-").replace("-", "_"): Entry(parameter, flag, kinds[parameter]) for flag, parameter in spelled.items()
    }


if __name__ == "__main__":
    run()
