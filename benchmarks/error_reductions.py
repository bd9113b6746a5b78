"""One table over several comparisons: baseline → with the pretrained model, absolute and relative error reduction.

Reads documents of `carryover compare --json` (also `results.json` of its folders and the stored `compare_real_data-*.json`)
and prints Markdown: a row for every comparison and budget, mean scores over the seeds, the points gained and the share of
the baseline's errors that is, with their intervals.

    python benchmarks/error_reductions.py NAME=runs/pos/results.json NAME=runs/ner/results.json [--rung frozen] [--budgets 400,all]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from carryover.compare.statistics import Interval
from carryover.compare.verdict import percent, points, signed, signed_interval

HEAD = ["", "labels", "seeds", "baseline", "rung", "absolute", "relative"]


def rows_of(name: str, document: dict[str, Any], rung: str, budgets: list[str]) -> list[list[str]]:
    """The rows of one comparison, in the order of its budgets. Raises KeyError for a document from before reductions."""
    rows = []
    for found in document["error_reductions"]:
        if found["rung"] != rung or (budgets and str(found["budget"]) not in budgets):
            continue
        labels = f"{'all ' if found['budget'] == 'all' else ''}{found['labels']:,}"
        relative = "no errors" if found["relative"] is None else percent(found["relative"])
        if found["relative"] is not None:
            low, high = ("−∞" if end is None else percent(end) for end in (found["relative_low"], found["relative_high"]))
            relative += f" ({low} to {high})"
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
        document = json.loads(Path(file).read_text(encoding="utf-8"))
        if "error_reductions" not in document:
            print(f"{file}: holds no error reductions: run the same `carryover compare` again", file=sys.stderr)
            raise SystemExit(65)
        rows += rows_of(
            name or Path(file).stem, document, options.rung, options.budgets.split(",") if options.budgets else []
        )
        baselines |= {row["baseline"] for row in document["error_reductions"]}
    head = [*HEAD[:3], " or ".join(sorted(baselines)), options.rung, *HEAD[5:]]
    for row in [head, ["---"] * len(head), *rows]:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
