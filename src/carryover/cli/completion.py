"""Completion for bash, zsh and fish: a script that asks the command for the words that may follow.

source <(carryover completion bash)          # in ~/.bashrc
carryover completion zsh > ~/.zfunc/_carryover   # in a folder of $fpath
carryover completion fish > ~/.config/fish/completions/carryover.fish
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from carryover.cli import options
from carryover.errors import UsageError, nearest

verbs: dict[str, Callable[[], Any]] = {}
"""Each verb with what makes its command; filled in `main`."""
SCRIPTS = {
    "bash": """_carryover() {
  local IFS=$'\\n' current="${COMP_WORDS[COMP_CWORD]}" line="${COMP_LINE:0:COMP_POINT}"
  if [[ $line =~ [[:space:]]([^[:space:]]*)$ ]]; then current="${BASH_REMATCH[1]}"; fi
  local found=($(carryover completion words -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$current" 2>/dev/null))
  local word part="${current%"${COMP_WORDS[COMP_CWORD]}"}"
  COMPREPLY=()
  for word in "${found[@]}"; do COMPREPLY+=("${word#"$part"}"); done
}
complete -o default -o nosort -F _carryover carryover 2>/dev/null || complete -o default -F _carryover carryover
""",
    "zsh": """#compdef carryover
_carryover() {
  local -a found
  found=("${(@f)$(carryover completion words -- "${(@)words[2,$((CURRENT-1))]}" "${words[CURRENT]}" 2>/dev/null)}")
  if (( ${#found} )) && [[ -n "$found[1]" ]]; then
    compadd -U -Q -- "${found[@]}"
  else
    _files
  fi
}
if [[ "$funcstack[1]" = "_carryover" ]]; then _carryover "$@"; else compdef _carryover carryover; fi
""",
    "fish": """function __carryover_words
  set -l words (commandline -opc) (commandline -ct)
  carryover completion words -- $words[2..-1] 2>/dev/null
end
complete -c carryover -a '(__carryover_words)'
""",
}


def completion(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="Whose script to print.")],
    as_json: options.Json = False,
    line: Annotated[
        list[str] | None, typer.Argument(hidden=True, help="With `words`: the words of the line so far.")
    ] = None,
) -> None:
    """Print the script that completes verbs, options and values in a shell.

    bash: source <(carryover completion bash). zsh: write it to a file _carryover in a folder of $fpath. fish: write it to
    ~/.config/fish/completions/carryover.fish.
    """
    from carryover.cli.output import print_document, print_lines, print_text

    if shell == "words":
        print_lines(candidates([word for word in line or [] if word != "--"] or [""]))
        return
    if shell not in SCRIPTS:
        raise UsageError(
            f"there is no script for {shell!r}", repair=nearest(shell, SCRIPTS, otherwise=f"use {', '.join(SCRIPTS)}")
        )
    if as_json:
        print_document({"schema": "carryover.completion/1", "shell": shell, "script": SCRIPTS[shell]})
        return
    print_text([SCRIPTS[shell]])


def candidates(words: list[str]) -> list[str]:
    """What the last of the words of a command line may become; nothing where only the shell knows, such as names of files."""
    *before, current = words
    if not before:
        return _beginning([*verbs, "help"], current)
    verb = before[0]
    if verb == "help":
        return _beginning(verbs, current)
    if verb not in verbs:
        return []
    flags = {flag: one for one in verbs[verb]().params for flag in one.opts if flag.startswith("--")}
    if current.startswith("-"):
        return _beginning([*flags, "--help"], current)
    last = before[-1]
    if last in VALUES:
        return _listed(VALUES[last](), current) if last in _SEVERAL else _beginning(VALUES[last](), current)
    if last in flags and not getattr(flags[last], "is_flag", False):
        return _beginning(_builtins(), current) if last in _DATA else []
    if verb in _READ_A_MODEL and not any(not word.startswith("-") for word in before[1:]):
        return _beginning(_folders(current), current)
    return []


def _beginning(words: Iterable[str], current: str) -> list[str]:
    return sorted({word for word in words if word.startswith(current)})


def _listed(words: Iterable[str], current: str) -> list[str]:
    """The last of several values with commas between them."""
    done, comma, last = current.rpartition(",")
    return [f"{done}{comma}{word}" for word in _beginning(set(words) - set(done.split(",")), last)]


def _tasks() -> Iterable[str]:
    from carryover.tasks import TASKS

    return TASKS


def _modes() -> Iterable[str]:
    from carryover.transfer.plan import FITTED, MODES

    return (*FITTED, *MODES)


def _rungs() -> Iterable[str]:
    from carryover.compare.ladder import RUNGS

    return RUNGS


def _objectives() -> Iterable[str]:
    from carryover.pretraining.recipes import RECIPES

    return RECIPES


def _sizes() -> Iterable[str]:
    from carryover.models.sizes import SIZES

    return SIZES


def _metrics() -> Iterable[str]:
    from carryover.data.metric_names import METRICS

    return ("auto", *METRICS)


def _formats() -> Iterable[str]:
    from carryover.data.formats.choosing import FORMATS

    return FORMATS


def _properties() -> Iterable[str]:
    from carryover.inspect.neuron import PROPERTIES

    return PROPERTIES


def _builtins() -> Iterable[str]:
    from carryover.data.builtin import NAMES, PARTS, PREFIX

    return [f"{PREFIX}{name}{part}" for name in NAMES for part in ("", *(f"/{part}" for part in PARTS))]


def _folders(current: str = "") -> list[str]:
    """Folders that hold a model, or lead to one, in the folder that is being typed."""
    from carryover.storage.artefact import has_artefact

    above, slash, _ = current.rpartition("/")
    place = Path(above + slash) if slash else Path()
    try:
        inside = [one for one in sorted(place.iterdir()) if one.is_dir() and not one.name.startswith(".")]
    except OSError:
        return []
    found = []
    for one in inside:
        try:
            leads = has_artefact(one) or any(has_artefact(below) for below in one.iterdir() if below.is_dir())
        except OSError:
            continue
        if leads:
            name = f"{above}{slash}{one.name}"
            found.append(name if has_artefact(one) else f"{name}/")
    return found


VALUES: Mapping[str, Callable[[], Iterable[str]]] = {
    "--task": _tasks,
    "--mode": _modes,
    "--rungs": _rungs,
    "--objective": _objectives,
    "--size": _sizes,
    "--metric": _metrics,
    "--format": _formats,
    "--find": _properties,
    "--on-error": lambda: ("stop", "skip"),
    "--class-weights": lambda: ("none", "balanced"),
    "--precision": lambda: ("float32", "bfloat16"),
    "--encoder": _folders,
    "--begin-with": _folders,
}
"""Options with known values → these."""
_SEVERAL = ("--rungs",)
_DATA = ("--raw", "--train", "--test", "--dev", "--valid")
_READ_A_MODEL = ("evaluate", "predict", "embed", "generate", "export")
