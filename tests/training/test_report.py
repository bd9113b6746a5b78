"""The page of a run is drawn from its logs, is whole after a kill, and is not touched by what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from carryover.cli.main import run_command
from carryover.data import builtin
from carryover.training.report import read_log, write_report
from carryover.training.run_folder import RunFolder
from carryover.training.watching import Watcher, chart, watching

ROOT = Path(__file__).resolve().parents[2]
DATA = "builtin:grammar/train?labelled=60&raw=50"
TRAIN = ["train", "--task", "classify", "--train", DATA, "--mode", "scratch", "--hidden", "8", "--out", "out", "-q"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_training_leaves_its_page() -> None:
    assert run_command([*TRAIN, "--epochs", "6"]) == 0
    page = Path("out/report.html").read_text(encoding="utf-8")
    rows = read_log(Path("out/run/metrics.jsonl"))
    best = [row["best_step"] for row in rows if "held_out" in row][-1]
    assert f"The weights of step {best:,}: held-out score" in page and "all updates were done" in page
    assert page.count("<svg") >= 4 and "http" not in page.replace("http-equiv", "")
    for name in ("Loss", "Learning rate", "Gradient norm"):
        assert f"<h2>{name}</h2>" in page
    assert run_command([*TRAIN, "--epochs", "7"]) == 2, "other settings in a finished folder"
    assert Path("out/report.html").read_text(encoding="utf-8") == page


def test_half_a_line_of_a_killed_run_is_passed_over_and_sessions_are_told() -> None:
    folder = RunFolder(Path("run").resolve())
    folder.run.mkdir(parents=True)
    rows = [
        {"step": 10, "epoch": 0.5, "tokens": 10, "loss": 2.0, "gradient_norm": 3.0, "learning_rate": 0.1},
        {"step": 20, "held_out": {"perplexity": 9.5}, "best_step": 20},
    ]
    folder.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 3', encoding="utf-8")
    times = [{"event": "start"}, {"event": "measured", "step": 10, "seconds": 1.0, "amount": 100}, {"event": "start"}]
    times += [
        {"event": "measured", "step": 20, "seconds": 2.0, "amount": 300},
        {"event": "measured", "step": 30, "seconds": 4.0, "amount": 900},
    ]
    folder.times_file.write_text("".join(json.dumps(row) + "\n" for row in times), encoding="utf-8")
    folder.settings_file.write_text('{"settings": {"epochs": 3, "raw": "<x>"}}', encoding="utf-8")
    write_report(folder, label="pretraining", unit="tokens", decides="perplexity", clip=1.0)
    page = (folder.out / "report.html").read_text(encoding="utf-8")
    assert "The run has not ended." in page and "2 sessions" in page and "&lt;x&gt;" in page
    assert "held-out perplexity 9.5." in page and "tokens a second" in page
    assert re.search(r"speed from 300 to 300", page), "the pause between two sessions is not counted"


def test_every_field_of_the_log_is_documented() -> None:
    assert run_command([*TRAIN, "--epochs", "2"]) == 0
    lines = [one.replace("\n", " ") for one in builtin.raw_lines("grammar?raw=60") if one]
    Path("raw.txt").write_text("\n".join(lines), encoding="utf-8")
    line = [
        "pretrain",
        "--raw",
        "raw.txt",
        "--size",
        "tiny",
        "--epochs",
        "1",
        "--batch-size",
        "2",
        "--steps",
        "5",
        "--out",
        "lm",
        "-q",
    ]
    assert run_command(line) == 0
    page = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8")
    log = page.partition("## The log")[2].partition("## TensorBoard")[0]
    documented = set(re.findall(r"^\| `(\w+)` \|", log, re.MULTILINE))
    written = {name for folder in ("out", "lm") for row in read_log(Path(folder, "run/metrics.jsonl")) for name in row}
    assert written == documented


def test_a_chart_of_the_terminal_has_the_largest_value_on_top() -> None:
    lines = chart([1.0, 2.0, 4.0], 30, "loss")
    assert lines[0] == "loss, now 4" and lines[1].split()[0] == "4" and lines[-1].split()[0] == "1"
    assert lines[1].rstrip().endswith("█") and len({len(line) <= 42 for line in lines}) == 1
    assert chart([float("nan")], 30, "loss") == []


def test_watching_prints_a_line_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with watching(True):
        watcher = Watcher("perplexity")
        watcher.trained(1.5)
        watcher.measured(30, 12.25)
    assert capsys.readouterr().err == "step 30: held-out perplexity 12.25, training loss 1.5\n"
