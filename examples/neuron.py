"""A character model, and the neuron in it that follows a property of the text best: found on one half, tested on the other.

    python examples/neuron.py [--text FILE] [--find upper] [--epochs 3] [--out runs/neuron]

Without a file it learns lines of Python code from the libraries that are installed, and looks for a unit that is on inside brackets. Any
text will do: with a play, try `--find upper` or `--find line-start`; with a list of links, `--find url`.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from carryover.cli.main import run_command
from carryover.data import builtin

SHOWN = 4000
"""Characters at the end of the text that are kept back to look at."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="a text file; default: lines of Python code")
    parser.add_argument("--find", default="bracket", help="what the unit should follow (default bracket)")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument(
        "--characters", type=int, default=400_000, help="how much of the text to learn from (default 400,000)"
    )
    parser.add_argument("--cells", type=int, default=128)
    parser.add_argument("--out", type=Path, default=Path("runs/neuron"))
    asked = parser.parse_args(arguments)
    out: Path = asked.out
    out.mkdir(parents=True, exist_ok=True)
    if asked.text is None:
        text = "\n".join(line for line in builtin.raw_lines("pydocs/code") if line)
    else:
        text = asked.text.read_text(encoding="utf-8")
    text = text[: asked.characters]
    (out / "learned.txt").write_text(text[:-SHOWN], encoding="utf-8")
    (out / "shown.txt").write_text(text[-SHOWN:], encoding="utf-8")
    return run_all(
        f"pretrain --raw {out}/learned.txt --objective lm --stack lstm --cells {asked.cells} --size tiny --learning-rate 0.005"
        f" --epochs {asked.epochs} --out {out}/model",
        f"inspect neuron {out}/model {out}/shown.txt --find {asked.find} --following 3 --out {out}/neuron.html",
    )


def run_all(*commands: str) -> int:
    """Run commands in turn, each shown first; the exit code of the first that fails, else 0."""
    for command in commands:
        print(f"\ncarryover {command}", file=sys.stderr)
        code = run_command(shlex.split(command))
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
