"""The judge of every refusal: one line with the documented exit code, a place, a repair, and nothing left behind."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from command_line import Material, Shell, snapshot

# What may stand on standard error before the one line.
PROGRESS = re.compile(
    r"(reading|pretraining|training|embedding|computing|no --dev|carried over|vocabulary|held-out|next: ).*"
)


@dataclass(frozen=True)
class Case:
    """A command line that must be refused. `{raw}`, `{train}`, … in it are the files and models of `Material`.

    `files` are written into the working folder before. Every one of `says` stands in the message.
    """

    name: str
    line: str
    code: int
    says: tuple[str, ...]
    files: dict[str, bytes | str] | None = None
    stdin: bytes | None = None
    prepare: Callable[[Shell, Material], object] | None = None
    may_leave: tuple[str, ...] = ()


def words_of(line: str, material: Material) -> list[str]:
    places = {name: str(value) for name, value in vars(material).items()}
    return [word.format(**places) for word in line.split()]


def refuse(shell: Shell, material: Material, case: Case) -> str:
    """Run a case, judge how it ended, and return the message."""
    for name, content in (case.files or {}).items():
        (shell.folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    if case.prepare is not None:
        case.prepare(shell, material)
    before = snapshot(shell.folder)
    folders = {str(path) for path in shell.folder.rglob("*") if path.is_dir()}
    done = shell(*words_of(case.line, material), stdin=case.stdin)
    assert done.code == case.code, (done.code, done.err)
    assert done.out == "" or case.code == 4
    *others, message = done.err.splitlines()
    assert message.startswith("carryover: ") and "Traceback" not in done.err, done.err
    assert all(PROGRESS.fullmatch(line) for line in others), others
    for part in case.says:
        assert part in message, message
    assert ";" in message, f"no repair: {message}"
    after = snapshot(shell.folder)
    left = {name for name in after if not name.startswith(case.may_leave)} if case.may_leave else set(after)
    assert {name: after[name] for name in left} == before, f"changed or left behind: {sorted(left ^ set(before))}"
    if not case.may_leave:
        assert {str(path) for path in shell.folder.rglob("*") if path.is_dir()} == folders
    return message
