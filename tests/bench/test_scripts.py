"""Scripts under benchmarks/ end as the command line does: one line, and the documented exit code."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

COMPLETE = {
    "rung": "frozen", "budget": 50, "labels": 50, "seeds": [0, 1], "baseline": "scratch", "baseline_score": 0.5, "score": 0.75,
    "absolute": 0.25, "interval": [0.2, 0.3], "relative": 0.5, "relative_low": 0.4, "relative_high": 0.6,
}  # fmt: skip


def ended(script: str, *arguments: object) -> tuple[int, str, str]:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def test_error_reductions_are_a_table(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps({"error_reductions": [COMPLETE]}))
    code, told, _ = ended("error_reductions.py", f"pos={tmp_path / 'results.json'}")
    assert code == 0
    assert told.splitlines()[2] == "| pos | 50 | 2 | 50.0 | 75.0 | +25.0 (+20.0 to +30.0) | +50 % (+40 % to +60 %) |"


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (None, 66, "cannot be read"),
        ("{", 65, "is not JSON"),
        ('{"cells": []}', 65, "holds no error reductions"),
        (json.dumps({"error_reductions": [{**COMPLETE, "interval": None}]}), 65, "is not as `carryover compare` writes it"),
    ],
)
def test_a_file_that_is_no_comparison(tmp_path: Path, content: str | None, code: int, message: str) -> None:
    file = tmp_path / "results.json"
    if content is not None:
        file.write_text(content)
    found, told, said = ended("error_reductions.py", f"pos={file}")
    assert (found, told) == (code, "") and len(said.splitlines()) == 1
    assert str(file) in said and message in said


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("word_senses.py --data {0} --encoder {0}/lm", 66, "does not exist"),
        ("compare_real_data.py --data {0} --sets treebank", 2, "unknown set 'treebank'"),
        ("sequence_models.py --collect {0}", 66, "has no folder cells"),
        ("verdict_check.py --sets spam,treebank --work {0}", 2, "set 'treebank' cannot be checked"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, command: str, code: int, message: str) -> None:
    found, _, said = ended(*command.format(tmp_path).split())
    assert found == code and message in said and len(said.splitlines()) == 1


def test_verdicts_are_judged_by_fresh_cells() -> None:
    """A rung that wins by luck in one comparison and not in the other is a recommendation that did not hold."""
    program = """
        import sys
        import numpy as np
        from types import SimpleNamespace
        sys.path.insert(0, {folder!r})
        from verdict_check import judge, summary
        from carryover.compare.analysis import Analysis
        from carryover.compare.cells import Cell
        from carryover.compare.scoring import Figure
        from carryover.tasks import Classify

        def side(**shares):
            counts = {{}}
            for rung, share in shares.items():
                for seed in range(5):
                    right = (np.arange(500) < 500 * share).astype(float)
                    counts[Cell(rung, 50, seed)] = np.stack([right, np.ones(500)], axis=1)
            return SimpleNamespace(analysis=Analysis(counts, {{50: 50}}, Figure(Classify(("a", "b")), "accuracy"), replicates=200), others=())

        good, other = side(majority=0.5, features=0.8, scratch=0.6), side(majority=0.5, features=0.6, scratch=0.9)
        nothing = side(majority=0.5, features=0.5, scratch=0.4)
        rows = judge(good, other) + judge(good, good) + judge(nothing, good) + judge(nothing, nothing)
        print([row["holds"] for row in rows], round(rows[0]["regret"], 3), rows[2]["unguarded_is_no_better"])
        print(summary({{"one": {{"verdicts": rows}}}}))
    """
    script = textwrap.dedent(program).format(folder=str(BENCHMARKS))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    holds, counted = done.stdout.splitlines()
    assert holds == "[False, True, False, True] 0.3 False"
    assert "'recommendations': 2, 'recommendations_within_noise_of_the_best': 1" in counted
    assert "'nothing_recommended': 2, 'nothing_recommended_there_either': 1" in counted
