"""Tasks of independent rows: parts that do not overlap, losses against the formula, measurements that no batch changes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from bench.tiny_tables import write_data
from carryover.bench import workload as workload_module
from carryover.bench.music import PianoRollProblem
from carryover.bench.stress_tests import AddingProblem, CopyMemory, PixelMnist
from carryover.bench.workload import Part, RowWorkload
from carryover.data.formats.idx import read_labelled_images
from carryover.data.formats.piano_rolls import read_piano_rolls
from carryover.layers import GRU
from carryover.models.sequence_model import SequenceModel
from carryover.sequence import Sequence

PARTS: tuple[Part, ...] = ("train", "valid", "test")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "files")


def model_for(problem: RowWorkload) -> SequenceModel:
    torch.manual_seed(4)
    return SequenceModel(GRU(problem.in_size, 7), problem.out_size, readout=problem.readout).eval()


def problems(data: Path) -> list[RowWorkload]:
    return [
        AddingProblem(9, 4, 1, rows=10, held_out=7),
        CopyMemory(4, 4, 1, rows=10, held_out=7),
        PixelMnist(data, 4, permuted=True),
        PianoRollProblem(data / "JSB_Chorales.mat", 2),
    ]


def test_an_epoch_takes_every_row_once_in_an_order_of_its_own(data: Path) -> None:
    for problem in problems(data):
        taken: list[int] = []

        def take(part: Part, numbers: list[int], into: list[int] = taken) -> None:
            into.extend(numbers)

        problem.take = take  # type: ignore[assignment, method-assign]
        orders = []
        for epoch in range(2):
            taken.clear()
            for step in range(problem.steps_per_epoch()):
                problem.batch(3, epoch, step)
            assert sorted(taken) == list(range(problem.rows)) == list(range(problem.items()))
            orders.append(list(taken))
        assert problem.rows < 4 or orders[0] != orders[1]


@pytest.mark.parametrize("kind", [AddingProblem, CopyMemory])
def test_the_parts_of_made_data_share_no_row(kind: type[AddingProblem] | type[CopyMemory]) -> None:
    problem, other = kind(30, 4, 1, rows=20, held_out=20), kind(30, 4, 2, rows=20, held_out=20)
    rows = [problem.take(part, list(range(20))).inputs.values.flatten(1) for part in PARTS]
    rows.append(other.take("train", list(range(20))).inputs.values.flatten(1))
    assert len(torch.unique(torch.cat(rows), dim=0)) == 80


def test_a_measurement_does_not_depend_on_its_batches(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for problem in problems(data):
        model = model_for(problem)
        whole = problem.measure(model, "test", "cpu")
        with monkeypatch.context() as patch:
            patch.setattr(workload_module, "EVALUATION_ROWS", 2)
            assert problem.measure(model, "test", "cpu") == pytest.approx(whole, rel=1e-5)
        model.train()
        assert problem.measure(model, "test", "cpu") == whole and not model.training


def test_adding_and_copying_cost_what_the_formula_says() -> None:
    adding = AddingProblem(50, 4, 1, rows=8, held_out=2000)
    model = model_for(adding)
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.fill_(1.0)
    assert adding.measure(model, "test", "cpu")["loss"] == pytest.approx(1 / 6, abs=0.012)
    copying = CopyMemory(30, 4, 1, rows=8, held_out=5)
    model = model_for(copying)
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.zero_()
    found = copying.measure(model, "test", "cpu")
    assert found["loss"] == pytest.approx(math.log(10), rel=1e-6)
    assert found["recalled"] == 0.0  # zero is the first of ten equal scores, and no symbol
    batch = copying.take("test", [0, 1, 2, 3, 4])

    class Knowing(torch.nn.Module):
        def forward(self, x: Sequence) -> Sequence:
            return x.with_values(30 * torch.nn.functional.one_hot(batch.targets, 10).float())

    found = copying.measure(cast(SequenceModel, Knowing()), "test", "cpu")
    assert found["loss"] < 1e-9 and found["recalled"] == pytest.approx(1.0)


def test_music_is_asked_for_the_next_moment_with_every_key_counted(data: Path) -> None:
    problem = PianoRollProblem(data / "JSB_Chorales.mat", 2)
    pieces = read_piano_rolls(data / "JSB_Chorales.mat").test
    model = model_for(problem)
    total, moments = 0.0, 0
    for piece in pieces:
        x = torch.from_numpy(piece)
        p = torch.sigmoid(cast(Sequence, model(Sequence.of(x[None, :-1]))).values[0]).double()
        total -= float((x[1:] * p.log() + (1 - x[1:]) * (1 - p).log()).sum().detach())
        moments += len(piece) - 1
    assert problem.measure(model, "test", "cpu")["loss"] == pytest.approx(total / moments, rel=1e-5)


def test_pixels_are_read_row_by_row_or_in_one_fixed_order(data: Path) -> None:
    images = read_labelled_images(data, "train").images
    plain, mixed, again = (PixelMnist(data, 4, permuted=permuted) for permuted in (False, True, True))
    batch = plain.take("train", [2, 0])
    assert np.array_equal((batch.inputs.values[0, :, 0] * 255).round().numpy(), images[2].ravel())
    one, other = mixed.take("train", [2]).inputs.values, again.take("train", [2]).inputs.values
    assert torch.equal(one, other) and not torch.equal(one, batch.inputs.values[:1])
    assert torch.equal(one.flatten().sort().values, batch.inputs.values[0].flatten().sort().values)
    order = mixed.take("train", [0, 1]).inputs.values
    assert torch.equal(mixed.take("train", [1]).inputs.values[0], order[1]), "one order for all images"


def test_accuracy_counts_right_answers_in_percent(data: Path) -> None:
    problem = PixelMnist(data, 4, permuted=False)
    labels = problem.take("test", list(range(problem.count("test")))).targets

    class Always(torch.nn.Module):
        def forward(self, x: Sequence) -> Any:
            scores = torch.zeros(x.batch_size, 10)
            scores[:, int(labels[0])] = 1
            return scores

    found = problem.measure(cast(SequenceModel, Always()), "test", "cpu")
    assert problem.result(found) == pytest.approx(100 * float((labels == labels[0]).float().mean()))
