"""The results kept beside the code: of the recipes as they are, and told by the docs page as they are."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from bench.tiny_tables import run_small
from carryover.bench.replication import Replication, ReplicationResult, ReplicationStore, read_result

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kept", ROOT / "benchmarks" / "sequence_models.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def full(trained: ReplicationResult | None, **changes: object) -> ReplicationResult:
    """As if it had been run by the published recipe."""
    assert trained is not None
    settings = {**json.loads(json.dumps(trained.cell.recipe.to_json())), "size": 27}
    return replace(trained, settings=settings, **changes)  # type: ignore[arg-type]


def test_the_page_tells_what_the_results_do(script: ModuleType) -> None:
    found = script.read_results(script.RESULTS)
    assert found and all(not result.shortened for result in found)
    names = [place.stem[: -len("-2026-11-21")] for place in sorted(script.RESULTS.glob("*.json"))]
    assert names == [result.cell.name for result in found]
    assert f"{script.BEGIN}\n{script.section(found)}\n{script.END}" in script.PAGE.read_text(encoding="utf-8")


def test_finished_cells_are_taken_over_once_and_replaced_when_run_again(script: ModuleType, tmp_path: Path) -> None:
    runs, results = tmp_path / "runs", tmp_path / "results"
    results.mkdir()
    trial = run_small(runs)
    assert script.collect(runs, results) == [], "a trial is no result"
    path = ReplicationStore(runs).path(Replication("adding", 200, "tcn", 1)) / "cell.json"
    for figure in (0.25, 0.125):
        path.write_text(json.dumps(full(trial, result=figure).to_json()))
        (written,) = script.collect(runs, results)
        assert written.name.startswith("adding-200-tcn-1-") and [place.name for place in results.iterdir()] == [written.name]
        assert script.collect(runs, results) == []
    (kept,) = script.read_results(results)
    assert kept == read_result(path.parent)
    assert "| 0.125 |" in script.section([kept]) and "1 of 40 cells" in script.section([kept])
    assert "adding problem, T = 200 (LSTM, GRU, RNN (Elman));" in script.section([kept])


def test_a_result_of_other_settings_is_refused(script: ModuleType, tmp_path: Path) -> None:
    result = full(run_small(tmp_path / "runs"))
    for name, value in (("rate", 0.5), ("size", 26)):
        other = replace(result, settings={**result.settings, name: value})
        (tmp_path / "adding-200-tcn-1-2026-11-21.json").write_text(json.dumps(other.to_json()))
        with pytest.raises(ValueError, match=f"other settings than published: {name}"):
            script.read_results(tmp_path)
