"""300 labelled messages → which way pays, the model, its errors, and a table of answers.

    python examples/messages.py [--messages FILE] [--labelled 300] [--out runs/messages]

FILE is a table with the columns `text` and `label` (CSV, TSV, JSON lines or Parquet), all of it labelled, so that the example can play
both parts. It divides the rows: `--labelled` of them are the labels you have, a fifth is the test split, and of all others
the labels are hidden: their texts are the raw text to pretrain on and the new messages to answer. Without FILE a small
generated language is used, and everything takes about a minute.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from carryover.cli.main import run_command
from carryover.data import builtin
from carryover.data.columns import Columns
from carryover.data.examples import Example
from carryover.data.splits import nested_budgets, stratified_split
from carryover.tasks import TASKS

TEST_SHARE = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", help="a labelled table; default: a small generated language")
    parser.add_argument("--labelled", type=int, default=300, help="labels to learn from (default 300)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the comparison (default 3)")
    parser.add_argument("--pretrain-time", default="20s", help="time for pretraining (default 20s)")
    parser.add_argument("--out", type=Path, default=Path("runs/messages"))
    asked = parser.parse_args(arguments)
    out: Path = asked.out
    divide(read(asked.messages), asked.labelled, out)
    few = max(20, asked.labelled // 3)
    return run_all(
        f"compare --task classify --train {out}/labelled.csv --test {out}/test.csv --raw {out}/raw.txt"
        f" --rungs features,static,frozen,full --budgets {few},all --seeds {asked.seeds}"
        f" --size tiny --pretrain-time {asked.pretrain_time} --keep-best --out {out}/compare",
        f"evaluate {out}/compare/best --test {out}/test.csv --errors {out}/errors.csv --report {out}/errors.html",
        f"predict {out}/compare/best {out}/new.csv --probabilities --out {out}/answers.csv",
    )


def read(path: str | None) -> list[Example]:
    """The labelled messages. Raises InputMissing, BadData."""
    if path is None:
        return list(builtin.classified("grammar?labelled=900&raw=4000"))
    return list(TASKS["classify"].read(path, Columns()).examples)


def divide(messages: list[Example], labelled: int, out: Path) -> None:
    """Write `labelled.csv`, `test.csv`, `new.csv` (no labels) and `raw.txt` into the folder."""
    rest, test = stratified_split(messages, (1 - TEST_SHARE, TEST_SHARE), seed=0)
    known = nested_budgets([messages[i] for i in rest], [labelled], seed=0)[labelled]
    chosen = [rest[i] for i in known]
    hidden = sorted(set(rest) - set(chosen))
    out.mkdir(parents=True, exist_ok=True)
    table(out / "labelled.csv", ("id", "text", "label"), [(i, text(messages[i]), messages[i].gold[0]) for i in chosen])
    table(out / "test.csv", ("id", "text", "label"), [(i, text(messages[i]), messages[i].gold[0]) for i in test])
    table(out / "new.csv", ("id", "length", "text"), [(i, len(text(messages[i])), text(messages[i])) for i in hidden])
    lines = [" ".join(text(messages[i]).split()) for i in hidden]
    (out / "raw.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def text(message: Example) -> str:
    return str(message.input.text)


def table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def run_all(*commands: str) -> int:
    """Run commands in turn, each shown first; the exit code of the first that fails, else 0."""
    for command in commands:
        print(f"\ncarryover {command}", file=sys.stderr)
        code = run_command(shlex.split(command))
        if code:
            return code
    return 0


if __name__ == "__main__":  # the worker processes of the comparison import this file again
    sys.exit(main())
