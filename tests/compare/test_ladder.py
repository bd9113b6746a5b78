"""The ladder: a rung is one class and one line of a table, and everything else asks it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from carryover.cli.main import run_command
from carryover.compare import compare, parse_rungs
from carryover.compare.estimate import estimate
from carryover.compare.ladder import RUNGS, Cost, Resources, Rung, RungTask, cost_rank, rung_of
from carryover.compare.ladder.calibration import Calibration
from carryover.compare.ladder.neural import NeuralRung
from carryover.compare.ladder.rung import Fitted, Style
from carryover.compare.table import plain_table
from carryover.errors import UsageError
from carryover.transfer.plan import MODES
from compare.running import TINY, plan


class NearestWord(Rung):
    """A rung that is nowhere in the package: the label whose texts hold most of the words."""

    family = "nearest"
    style = Style(light="#123456", dark="#fedcba", marker="*", line="-")
    sentence = "Made up for a test: counts the words of every label."
    usual = True

    def __init__(self, words: int = 1) -> None:
        self.layers = words
        self.name = f"nearest-{words}"
        self.cost = Cost(beforehand=0, trained=0, layers=words)

    def named(self, text: str) -> NearestWord | None:
        family, _, words = text.partition("-")
        return NearestWord(int(words)) if family == self.family and words.isdigit() else None

    def fits(self, task: str) -> bool:
        return task == "classify"

    def fit(self, task: RungTask, train: Sequence[Any], seed: int, resources: Resources) -> Fitted:
        words: dict[str, Counter[str]] = {}
        for example in train:
            words.setdefault(example.gold[0], Counter()).update(example.input.text.split())

        def answer(text: str) -> tuple[str, ...]:
            return (max(sorted(words), key=lambda label: sum(words[label][word] for word in text.split())),)

        return Fitted(lambda texts: [answer(text) for text in texts], 0.25, 7 * self.layers, 3, {"chosen": "words"})

    def forecast(self, calibration: Calibration, budgets: Sequence[int]) -> tuple[float, float]:
        return 0.5 * len(budgets), 1.0


@pytest.fixture
def nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNGS, "nearest-1", NearestWord())


@pytest.mark.usefixtures("nearest")
def test_a_new_rung_is_one_class_and_one_line(topics: Path, tmp_path: Path) -> None:
    wanted = plan(topics, rungs="nearest-2,majority,features,nearest-1", budgets="12,all")
    found = compare(wanted, tmp_path / "out", quiet=True)
    assert not found.failures and len(found.results) == 12
    lines = plain_table(found).splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["majority", "features", "nearest-1", "nearest-2"]
    assert "0.25 s" in lines[3] and lines[4].split()[-3] == "14", "training time and parameters"
    best = found.analysis.best("all")
    assert best is not None and best.score > 0.7
    assert any(sentence.startswith("With all 60 labels, take `nearest-1`") for sentence in found.verdict)
    page = found.page.read_text(encoding="utf-8")
    assert "--rung-nearest: #123456;" in page and "--rung-nearest: #fedcba;" in page and "var(--rung-nearest)" in page
    assert re.search(r"#[0-9a-f]{2}0101", page) is None, "no colour of a curve is left without its variable"
    assert NearestWord.sentence in page and "chosen, nearest-2" in page
    document = json.loads(json.dumps(found.to_json()))
    assert document["rungs"] == ["features", "nearest-1", "nearest-2"]
    assert {cell["trainable"] for cell in document["cells"] if cell["rung"] == "nearest-2"} == {3}
    again = compare(wanted, tmp_path / "out", quiet=True)
    assert again.already == 12 and again.verdict == found.verdict
    assert found.next_command()[:3] == ["python", "-m", "webbrowser"], "`train` does not offer it"


@pytest.mark.usefixtures("nearest")
def test_the_command_line_and_the_forecast_ask_it_too(
    topics: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--task", "classify", "--train", topics / "train.tsv", "--test", topics / "test.tsv", "--budgets", "12")
    options = ("--rungs", "nearest-3", "--seeds", "1", "--jobs", "1", "--json", "--out", tmp_path / "a")
    assert run_command([str(word) for word in ("compare", *data, *options)]) == 0
    assert [point["rung"] for point in json.loads(capsys.readouterr().out)["points"]] == ["majority", "nearest-3"]
    forecast = estimate(plan(topics, rungs=(), budgets="12,24", seeds=2), tmp_path / "b")
    assert set(forecast["seconds_by_rung"]) == {"features", "scratch", "nearest-1"}
    assert forecast["seconds_by_rung"]["nearest-1"] == 2.0


@pytest.mark.usefixtures("nearest")
def test_a_rung_that_does_not_fit_the_task_is_left_out_or_refused(topics: Path) -> None:
    assert plan(topics, task="tag", rungs=()).resolve(100).rungs == ("features", "scratch")
    with pytest.raises(UsageError, match="rung nearest-1 cannot answer the task tag; leave it out"):
        plan(topics, task="tag", rungs="nearest-1")
    assert cost_rank("nearest-4") < cost_rank("features")


@pytest.mark.parametrize(
    ("name", "repair"),
    [
        ("frozn", "did you mean 'frozen'"),
        ("xyz", "use features, static, scratch, frozen, head, top-1, full (top-k with any number)"),
        ("nearest-1", "use features"),
    ],
)
def test_an_unknown_rung_is_named_with_the_nearest_spelling(name: str, repair: str) -> None:
    for ask in (parse_rungs, rung_of):
        with pytest.raises(UsageError) as caught:
            ask(name)
        assert caught.value.message == f"rung {name!r} is unknown" and repair in str(caught.value)


def test_every_rung_of_the_table_has_its_own_looks_and_place() -> None:
    rungs = list(RUNGS.values())
    for part in ("family", "cost", "sentence", "style"):
        assert len({str(getattr(rung, part)) for rung in rungs}) == len(rungs), part
    assert all(rung_of(name).name == name for name in RUNGS)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("features", "--mode features"),
        ("static", "--mode static --tune-vectors"),
        ("scratch", "--mode scratch"),
        ("frozen", "--mode frozen"),
        ("head", "--mode head"),
        ("top-3", "--mode top-k --top 3"),
        ("full", "--mode full"),
    ],
)
def test_the_next_command_trains_the_rung_that_was_compared(name: str, options: str | None) -> None:
    rung = rung_of(name)
    given = rung.train_options()
    assert (given and " ".join(given)) == options
    assert rung.has_placement == (name == "frozen")
    if isinstance(rung, NeuralRung):
        mode = MODES[rung.mode]
        assert (rung.needs.encoder, rung.needs.vectors) == (mode.uses_encoder, mode.uses_vectors)


def test_a_neural_rung_with_several_labels_a_text_is_forecast(tmp_path: Path) -> None:
    rows = [f"ship barn w{number}\t{'sea|farm' if number % 2 else 'town'}" for number in range(30)]
    (tmp_path / "train.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n", encoding="utf-8")
    wanted = plan(tmp_path, test=None, multi_label="|", rungs="scratch", budgets="12", seeds=1, fitting=TINY["fitting"])
    assert estimate(wanted, tmp_path / "out")["seconds_by_rung"]["scratch"] > 0
