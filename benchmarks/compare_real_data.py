"""The main job on public data: pretrain once on general English, then compare on tagging and classification.

Runs the command line itself. `--data` is a folder with one folder a data set as their makers ship them: `lm-english-mixed`
(train and valid text), `sst2`, `trec-qc`, `ud-english-ewt`, `wnut17-ner`, `conll2000-chunking`. What is finished under
`--out` is not done again (it takes hours), so a larger `--budgets` continues an earlier run. Scores, intervals, verdict and cost are stored.

    python benchmarks/compare_real_data.py --data FOLDER --out runs/real [--sets ewt,trec] [--budgets 50,100,200,400] [--seeds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

from measuring.ending import leave

from carryover.cli.main import run_command
from carryover.errors import UsageError
from carryover.storage import read_json

SETS = {
    "ewt": "--task tag --train ud-english-ewt/en_ewt-ud-train.conllu.gz --test ud-english-ewt/en_ewt-ud-test.conllu.gz"
    " --label-column upos",
    "trec": "--task classify --train trec-qc/train.txt --test trec-qc/test.txt --format label-first --coarse :",
    "sst2": "--task classify --train sst2/train.tsv --test sst2/test.tsv --text-column 0 --label-column 1",
    "wnut": "--task tag --train wnut17-ner/train.conll --test wnut17-ner/test.conll",
    "conll": "--task tag --train conll2000-chunking/train.txt.gz --test conll2000-chunking/test.txt.gz --label-column 2",
}
PRETRAIN = "--size small --softmax adaptive --epochs 2 --precision bfloat16"
RUNGS = "features,static,scratch,frozen,full"
KEPT = ("verdict", "cost", "task", "metric", "confidence", "budgets", "seeds", "looks_at_test", "points", "differences",
        "error_reductions", "savings", "gains", "missing", "failures", "pretraining_seconds", "remarks")  # fmt: skip


def run(command: list[str]) -> None:
    print("carryover " + shlex.join(command), file=sys.stderr)
    code = run_command(command)
    if code:
        raise SystemExit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("CARRYOVER_TEST_DATA"))
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--budgets", default="50,100,200,400")
    parser.add_argument("--seeds", default="5")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    if options.data is None:
        print("not run: --data names no folder of data sets, nor does CARRYOVER_TEST_DATA", file=sys.stderr)
        return
    unknown = [name for name in options.sets.split(",") if name not in SETS]
    if unknown:
        raise UsageError(f"unknown set {unknown[0]!r}", repair=f"use some of {','.join(SETS)}")
    raw, valid = (str(options.data / "lm-english-mixed" / f"{part}.txt.gz") for part in ("train", "valid"))
    model = str(options.out / "lm")
    run(["pretrain", "--raw", raw, "--valid", valid, *PRETRAIN.split(), "--out", model])
    record = read_json(options.out / "lm" / "record.json")
    for name in options.sets.split(","):
        words = [str(options.data / word) if "/" in word else word for word in SETS[name].split()]
        out = options.out / name
        run(
            ["compare", *words, "--raw", raw, "--encoder", model, "--rungs", RUNGS, "--budgets", options.budgets,
             "--seeds", options.seeds, "--out", str(out)]
        )  # fmt: skip
        found = read_json(out / "results.json")
        date = datetime.now(UTC).strftime("%Y-%m-%d")
        result = {
            "schema": "carryover.benchmark/1",
            "benchmark": f"compare_real_data {name}",
            "date": date,
            "language_model": {
                "command": PRETRAIN,
                "held_out_perplexity": record["held_out"]["perplexity"],
                "corpus_tokens": record["corpus"]["tokens"],
            },
            **{key: found[key] for key in KEPT},
            "cells": [{key: cell[key] for key in ("rung", "budget", "seed", "score", "seconds")} for cell in found["cells"]],
        }
        options.results.mkdir(parents=True, exist_ok=True)
        path = options.results / f"compare_real_data-{name}-{date}.json"
        path.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n")
        print(f"stored in {path}", file=sys.stderr)


if __name__ == "__main__":  # worker processes import this file again
    leave(main)
