"""Verb senses by the nearest labelled context, on PropBank's annotation of the English Web Treebank.

`--data` holds `srl-propbank-ewt` (`train.props.gz`, `dev.props.gz`): tab-separated columns word, part of speech, lemma,
roleset or `-`. A roleset such as `play.02` is the sense. Each predicate of the development part gets the sense of the
nearest training predicate of the same spelling by the cosine of their vectors; beside it stands the most frequent sense of
each word, which is all that a static vector can know. Words with a single sense in training are left out and counted.

    python benchmarks/word_senses.py --data FOLDER --encoder runs/lm [--layers 0,1,top]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from measuring.ending import leave

import carryover
from carryover.data.formats.opening import read_lines
from carryover.errors import BadData
from carryover.inspect.occurrences import Occurrence
from carryover.inspect.senses import SenseOccurrence, sense_accuracy

WORD, ROLESET = 0, 3


def predicates(path: Path) -> list[SenseOccurrence]:
    """Every predicate of a file, in order. Raises InputMissing, or BadData naming the line."""
    found: list[SenseOccurrence] = []
    rows: list[list[str]] = []
    number = 0

    def end_sentence() -> None:
        words = tuple(row[WORD] for row in rows)
        found.extend(
            SenseOccurrence(Occurrence(words, position, number - len(rows)), row[ROLESET])
            for position, row in enumerate(rows)
            if row[ROLESET] != "-"
        )
        rows.clear()

    for number, line in read_lines(path):
        if line.startswith("# "):
            continue
        if not line.strip():
            end_sentence()
            continue
        rows.append(line.split("\t"))
        if len(rows[-1]) <= ROLESET:
            raise BadData(
                f"has {len(rows[-1])} columns, the sense stands in column {ROLESET + 1}",
                path=path,
                line=number,
                repair="give the files of srl-propbank-ewt as their makers ship them",
            )
    number += 1
    end_sentence()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("CARRYOVER_TEST_DATA"))
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--layers", default="0,mix,top")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    if options.data is None:
        print("not run: --data names no folder of data sets, nor does CARRYOVER_TEST_DATA", file=sys.stderr)
        return
    encoder = carryover.load(options.encoder)
    folder = Path(options.data) / "srl-propbank-ewt"
    labelled, test = (predicates(folder / f"{part}.props.gz") for part in ("train", "dev"))
    scores = {}
    for layers in options.layers.split(","):
        scores[layers] = sense_accuracy(encoder, labelled, test, layers=layers).to_json()
        print(f"layers {layers}: {scores[layers]}")
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    result = {"schema": "carryover.benchmark/1", "benchmark": "word_senses", "date": date, "scores": scores}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"word_senses-{date}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    leave(main)
