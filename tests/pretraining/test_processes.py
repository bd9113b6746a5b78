"""A run shared by processes takes the steps of a run by one: same text in the same order, same losses, same model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from carryover import storage
from carryover.errors import UsageError
from carryover.training import meeting
from carryover.training.launched import started_processes
from carryover.training.meeting import open_processes
from carryover.training.processes import OneProcess, Processes, ProcessLost
from faults.outcome import leftovers, outcome
from pretraining.same_training import SMALL, agree, settings
from pretraining.shared_run import Plan, free_port, run
from pretraining.tiny_text import write_text

pytestmark = pytest.mark.timeout(900)  # four processes on whatever the machine has left

# ---- Real processes ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Plan, list[dict[str, Any]]]]:
    """Many small runs by the same four processes, which take the time to be started once; what each told by name."""
    folder = tmp_path_factory.mktemp("shared")
    text = write_text(folder / "text.txt", lines=100)
    words = {"objective": "lm", "input": "words", "model": {"size": 8, "cells": 8, "dropout": 0.3}}
    sampled = settings(text, model={**SMALL, "softmax": "sampled", "samples": 6})
    plans = {
        "by 4": Plan(4, folder / "by4", sampled),
        "by 2": Plan(2, folder / "by2", sampled),
        "by 1": Plan(1, folder / "by1", sampled),
        "words by 2": Plan(2, folder / "words2", settings(text, **words)),
        "words by 1": Plan(1, folder / "words1", settings(text, **words)),
        "half by 4": Plan(4, folder / "again", {**sampled, "epochs": 1}),
        "rest by 4": Plan(4, folder / "again", sampled),
        "other settings": Plan(2, folder / "other", sampled, other={"seed": 4}),
        "too few lanes": Plan(4, folder / "lanes", {**sampled, "batch_size": 3}),
        "no text": Plan(2, folder / "none", {**sampled, "raw": folder / "none.txt"}),
        "taken": Plan(2, folder / "taken", sampled),
        "finished": Plan(2, folder / "by2", sampled),
        "killed": Plan(4, folder / "killed", sampled, kill=(3, 34)),
        "rest by 2": Plan(2, folder / "killed", sampled),
    }
    with storage.run_lock(folder / "taken"):
        told = run(list(plans.values()))
    return {name: (plan, told[number]) for number, (name, plan) in enumerate(plans.items())}


def folder_of(shared: dict[str, Any], name: str) -> Path:
    plan: Plan = shared[name][0]
    return plan.out


@pytest.mark.parametrize("name", ["by 2", "by 4"])
def test_more_processes_train_the_same(shared: dict[str, Any], name: str) -> None:
    """Five lanes: 3 + 2 and 2 + 1 + 1 + 1. With dropout, sampled words and carried state."""
    agree(folder_of(shared, "by 1"), folder_of(shared, name))
    assert leftovers(folder_of(shared, name)) == []


def test_more_processes_train_the_same_next_token_model(shared: dict[str, Any]) -> None:
    agree(folder_of(shared, "words by 1"), folder_of(shared, "words by 2"))


def test_all_processes_come_to_the_same_result(shared: dict[str, Any]) -> None:
    told = shared["by 4"][1]
    assert [result.pop("process") for result in told] == [0, 1, 2, 3]
    assert [result.pop("seconds") for result in told]
    assert all(result == told[0] for result in told)
    assert told[0]["record"]["settings"]["processes"] == 4


def test_a_run_goes_on_exactly_with_the_same_number(shared: dict[str, Any]) -> None:
    once, again = outcome(folder_of(shared, "by 4")), outcome(folder_of(shared, "rest by 4"))
    # Only the sessions that made it differ, and the checkpoints' measured times.
    for name in ("tensors", "metrics", "best", "model.safetensors"):
        assert again[name] == once[name], name


def test_the_carried_state_of_all_lanes_is_in_the_checkpoint(shared: dict[str, Any]) -> None:
    one, four = (outcome_tensors(folder_of(shared, name)) for name in ("by 1", "by 4"))
    carried = [name for name in one if name.startswith("carried/")]
    assert carried and all(one[name].shape[0] == 5 for name in carried)
    for name in carried:
        torch.testing.assert_close(four[name], one[name], rtol=1e-2, atol=1e-3)


def outcome_tensors(out: Path) -> dict[str, torch.Tensor]:
    newest = sorted((out / "run" / "checkpoints").iterdir())[-1]
    return storage.load_tensors(newest / "state.safetensors")


def test_a_finished_run_is_found_finished(shared: dict[str, Any]) -> None:
    for result in shared["finished"][1]:
        assert result["resumed_from"] == result["steps"] == shared["by 2"][1][0]["steps"]


def test_a_killed_process_ends_the_others_and_fewer_go_on(shared: dict[str, Any]) -> None:
    plan, told = shared["killed"]
    assert len(told) == 3
    for result in told:
        assert result["exit_code"] == 1 and "another of the 4 processes is gone" in result["error"]
        assert "run the same command again" in result["error"]
    assert [result["resumed_from"] for result in shared["rest by 2"][1]] == [30, 30]
    agree(folder_of(shared, "by 1"), plan.out)
    assert leftovers(plan.out) == []


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("other settings", 2, "process 1 was given seed = 4, the leading one 3"),
        ("too few lanes", 2, "3 lanes of text cannot be split over 4 processes"),
        ("no text", 66, "none.txt"),
        ("taken", 75, "is in use by process HERE"),
    ],
)
def test_what_goes_wrong_in_one_is_said_by_all(shared: dict[str, Any], name: str, code: int, words: str) -> None:
    plan, told = shared[name]
    words = words.replace("HERE", str(os.getpid()))
    assert [result["exit_code"] for result in told] == [code] * plan.size
    assert all(words in result["error"] for result in told), told
    assert leftovers(plan.out) == []
    assert not (plan.out / "run").exists(), "nothing came of it and nothing is left"


# ---- Without others ------------------------------------------------------------------------------------------------------


class Of(OneProcess):
    """Number `rank` of `size`, on paper."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size  # type: ignore[misc]


@pytest.mark.parametrize(("lanes", "size"), [(16, 4), (5, 4), (5, 2), (7, 3), (1, 1), (1, 4)])
def test_parts_are_contiguous_and_cover_all_lanes(lanes: int, size: int) -> None:
    parts = [Processes.part(Of(rank, size), lanes) for rank in range(size)]
    assert [lane for part in parts for lane in part] == list(range(lanes))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE = 2 but no RANK and no MASTER_ADDR and no MASTER_PORT"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE = 'many'"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}, "RANK = '2' of WORLD_SIZE = 2"),
    ],
)
def test_an_environment_that_is_not_whole(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], words: str) -> None:
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert started_processes() == 1
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as caught:
        started_processes()
    assert words in str(caught.value) and "torchrun" in str(caught.value)


def test_others_that_do_not_come_are_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    place = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(meeting, "WAIT_FOR_OTHERS", meeting.timedelta(seconds=1))
    with pytest.raises(ProcessLost, match="did not find each other"), open_processes("cpu"):
        pass
