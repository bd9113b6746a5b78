"""One table over several comparisons: baseline → with the pretrained model, absolute and relative error reduction.

Reads documents of `carryover compare --json` (also `results.json` of its folders and the stored `compare_real_data-*.json`)
and prints Markdown: a row for every comparison and budget, mean scores over the seeds, the points gained and the share of
the baseline's errors that is, with their intervals.

    python benchmarks/error_reductions.py NAME=runs/pos/results.json NAME=runs/ner/results.json [--rung frozen] [--budgets 400,all]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from measuring.ending import leave

from carryover.compare.statistics import Interval
from carryover.compare.verdict import percent, points, signed, signed_interval
from carryover.errors import BadData
from carryover.storage import read_json

HEAD = ["", "labels", "seeds", "baseline", "rung", "absolute", "relative"]


def reductions_of(file: Path) -> list[dict[str, Any]]:
    """The error reductions of a comparison. Raises InputMissing, or BadData for a file that is none or holds none."""
    document = read_json(file)
    if not isinstance(document, dict) or not isinstance(document.get("error_reductions"), list):
        raise BadData(
            "holds no error reductions of a comparison", path=file, repair="run the same `carryover compare` again"
        )
    return list(document["error_reductions"])


def rows_of(name: str, reductions: list[dict[str, Any]], rung: str, budgets: list[str]) -> list[list[str]]:
    """The rows of one comparison, in the order of its budgets."""
    rows = []
    for found in reductions:
        if found["rung"] != rung or (budgets and str(found["budget"]) not in budgets):
            continue
        labels = f"{'all ' if found['budget'] == 'all' else ''}{found['labels']:,}"
        share, low, high = (found[name] for name in ("relative", "relative_low", "relative_high"))
        # No share where the baseline may have no errors to lose; earlier documents left one limit open there.
        relative = "–" if None in (share, low, high) else f"{percent(share)} ({percent(low)} to {percent(high)})"
        absolute = f"{signed(found['absolute'])} ({signed_interval(Interval(*found['interval']))})"
        scores = [points(found["baseline_score"]), points(found["score"])]
        rows.append([name, labels, str(len(found["seeds"])), *scores, absolute, relative])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("comparisons", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--rung", default="frozen")
    parser.add_argument("--budgets", default="", help="only these, as in 400,all")
    options = parser.parse_args()
    rows, baselines = [], set()
    for given in options.comparisons:
        name, _, file = given.rpartition("=")
        reductions = reductions_of(Path(file))
        try:
            rows += rows_of(
                name or Path(file).stem, reductions, options.rung, options.budgets.split(",") if options.budgets else []
            )
            baselines |= {row["baseline"] for row in reductions}
        except (KeyError, TypeError, ValueError) as error:
            raise BadData(
                f"an error reduction is not as `carryover compare` writes it: {type(error).__name__}: {error}",
                path=file,
                repair="run the same `carryover compare` again",
            ) from error
    head = [*HEAD[:3], " or ".join(sorted(baselines)), options.rung, *HEAD[5:]]
    for row in [head, ["---"] * len(head), *rows]:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    leave(main)
