"""A run's folder: settings that may and may not change, a log that is cut back, nothing left of a run that never began."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carryover.devices import autocast, choose_device, choose_precision
from carryover.errors import BadData, UsageError
from carryover.training.checkpoint import save_checkpoint
from carryover.training.run_folder import MetricsLog, RunFolder, open_run

RULES = {"may_grow": ("epochs", "limit"), "may_differ": ("path",), "warn_if_differ": ("threads",)}
SETTINGS = {"epochs": 3, "limit": 60.0, "path": "a", "threads": 1, "rate": 0.1}


@pytest.fixture
def begun(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    assert folder.check_settings(SETTINGS, **RULES) is False
    save_checkpoint(folder.checkpoints, 1, {}, {})
    return folder


@pytest.mark.parametrize("changes", [{}, {"epochs": 4}, {"limit": 61.0}, {"limit": None}, {"path": "b"}])
def test_what_may_change(begun: RunFolder, changes: dict[str, object]) -> None:
    assert begun.check_settings({**SETTINGS, **changes}, **RULES) is True
    assert json.loads(begun.settings_file.read_text())["settings"] == {**SETTINGS, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 2}, "epochs = 3, now it is 2; give 3 again"),
        ({"limit": 59.0}, r"limit = 60\.0, now it is 59\.0"),
        ({"rate": 0.2}, r"rate = 0\.1, now it is 0\.2"),
        ({"new": "x"}, 'new = null, now it is "x"'),
    ],
)
def test_what_may_not(begun: RunFolder, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        begun.check_settings({**SETTINGS, **changes}, **RULES)
    assert begun.check_settings(SETTINGS, **RULES) is True


def test_a_limit_once_lifted_does_not_come_back(begun: RunFolder) -> None:
    begun.check_settings({**SETTINGS, "limit": None}, **RULES)
    with pytest.raises(UsageError, match=r"limit = null, now it is 60\.0"):
        begun.check_settings(SETTINGS, **RULES)


def test_what_is_only_pointed_out(begun: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert begun.check_settings({**SETTINGS, "threads": 2}, **RULES) is True
    assert "threads = 1, now it is 2: digits may differ" in capsys.readouterr().err


def test_a_run_that_saved_nothing_begins_anew(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.check_settings(SETTINGS, **RULES)
    (folder.run / "shards").mkdir()
    assert folder.check_settings(SETTINGS, **RULES) is False
    assert (folder.run / "shards").exists(), "the same settings keep what was prepared"
    assert folder.check_settings({**SETTINGS, "rate": 0.5}, **RULES) is False
    assert not (folder.run / "shards").exists()


def test_wrong_input_leaves_no_run(tmp_path: Path) -> None:
    for begun in (False, True):
        with pytest.raises(BadData), open_run(tmp_path / "out") as folder:
            folder.check_settings(SETTINGS, **RULES)
            if begun:
                save_checkpoint(folder.checkpoints, 1, {}, {})
            raise BadData("a bad line")
        assert folder.run.exists() is begun


def test_the_log_is_cut_back_to_a_length(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "log", 0)
    log.add(step=1)
    length = log.length()
    log.add(step=2)
    log.close()
    again = MetricsLog(tmp_path / "log", length)
    again.add(step=3)
    again.close()
    assert (tmp_path / "log").read_text() == '{"step": 1}\n{"step": 3}\n'


def test_a_log_that_lost_lines_is_pointed_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    MetricsLog(tmp_path / "log", 100).close()
    assert "shorter than it was" in capsys.readouterr().err


def test_devices_and_precisions() -> None:
    assert choose_device("cpu") == "cpu" and choose_device("auto") in ("cpu", "cuda")
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        choose_device("gpu")
    with pytest.raises(Exception, match="--device cpu") as caught:
        choose_device("cuda:99")
    assert caught.value.exit_code == 69
    assert choose_precision("auto", "cpu") == "float32" and choose_precision("bfloat16", "cpu") == "bfloat16"
    with pytest.raises(UsageError, match="precision 'half' is unknown"):
        choose_precision("half", "cpu")
    import torch

    with autocast("bfloat16", "cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with autocast("float32", "cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
