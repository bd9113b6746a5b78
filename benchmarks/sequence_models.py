"""Cells of `carryover bench sequence-models` that were run to their end: kept beside the code and listed in the docs page.

    python benchmarks/sequence_models.py [--collect RUNS] [--check]

`benchmarks/results/sequence_models/` holds one file a cell, `CELL-DATE.json`: the `cell.json` of the run on one line. From
these the table between the two marks of `docs/sequence-models.md` is written, with a list of the cells that have none.

--collect RUNS : first take over what the output folder of the command holds; a finished cell replaces an earlier result
                 of the same cell, unfinished cells and trials of fewer epochs are left.
--check        : write nothing; exit status 1 when the page does not tell what the results do.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

from carryover.bench.published import ENTRIES, MODELS
from carryover.bench.replication import ReplicationResult, read_result
from carryover.bench.run import Row
from carryover.bench.table import NAMES, lines_of
from carryover.errors import InputMissing
from carryover.experiments.store import CELL_FILE
from carryover.storage import read_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "sequence_models"
PAGE = ROOT / "docs" / "sequence-models.md"
BEGIN, END = "<!-- written by benchmarks/sequence_models.py: begin -->\n", "<!-- end -->\n"


def collect(runs: Path, results: Path) -> list[Path]:
    """Take over the finished cells of `runs`; the files written. Raises InputMissing where there are none."""
    if not (runs / "cells").is_dir():
        raise InputMissing(
            "has no folder cells", path=runs, repair="give the output folder of `carryover bench sequence-models`"
        )
    written = []
    for folder in sorted((runs / "cells").iterdir()):
        found = read_result(folder)
        if found is None or found.shortened:
            continue
        content = json.dumps(found.to_json(), separators=(",", ":"), allow_nan=False) + "\n"
        earlier = sorted(results.glob(f"{found.cell.name}-????-??-??.json"))
        if any(place.read_text(encoding="utf-8") == content for place in earlier):
            continue
        for place in earlier:
            place.unlink()
        day = datetime.fromtimestamp((folder / CELL_FILE).stat().st_mtime, UTC).date()
        written.append(results / f"{found.cell.name}-{day}.json")
        written[-1].write_text(content, encoding="utf-8")
    return written


def read_results(results: Path) -> list[ReplicationResult]:
    """All cells that are kept. ValueError for one whose settings are not those of `carryover.bench.published`."""
    found = []
    for place in sorted(results.glob("*.json")):
        result = ReplicationResult.from_json(read_json(place))
        now = {**json.loads(json.dumps(result.cell.recipe.to_json())), "size": result.settings["size"]}
        different = [name for name, value in result.settings.items() if now.get(name) != value]
        if different or result.cell.recipe.size not in (None, result.settings["size"]):
            raise ValueError(f"{place} was run with other settings than published: {', '.join(different) or 'size'}")
        found.append(result)
    return found


def section(found: list[ReplicationResult]) -> str:
    """The Markdown table of the results, and which cells have none."""
    lines = ["| task | scored by | model | parameters | seeds | ours | spread | published | minutes | note |"]
    lines += ["|---|---|---|---:|---:|---:|---:|---:|---:|---|"]
    missing = []
    for entry in ENTRIES:
        without = []
        for model in MODELS:
            results = [result for result in found if result.cell.entry is entry and result.cell.model == model]
            if not results:
                without.append(NAMES[model])
                continue
            texts = lines_of(Row(entry=entry, model=model, results=results, progress={}))
            shown = [text for text, column in zip(texts, range(9), strict=False) if column != 4]
            minutes = ", ".join(f"{result.seconds / 60:.0f}" for result in results)
            lines.append("| " + " | ".join([*shown, minutes, texts[9]]) + " |")
        if without:
            missing.append(f"{entry.title} ({', '.join(without)})")
    of = len({(result.cell.entry.name, result.cell.model) for result in found})
    text = "\n".join(lines) + f"\n\n{of} of {len(ENTRIES) * len(MODELS)} cells have been run to their end"
    return text + (f"; **not run**: {'; '.join(missing)}.\n" if missing else ".\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collect", type=Path, metavar="RUNS")
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    if chosen.collect is not None and not chosen.check:
        for place in collect(chosen.collect, RESULTS):
            print(place.relative_to(ROOT))
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{PAGE} lacks the marks {BEGIN.strip()} … {END.strip()}")
    told = f"{before}{BEGIN}\n{section(read_results(RESULTS))}\n{END}{after}"
    if chosen.check:
        return int(told != page)
    PAGE.write_text(told, encoding="utf-8")
    return 0


if __name__ == "__main__":
    from measuring.ending import leave

    leave(main)
