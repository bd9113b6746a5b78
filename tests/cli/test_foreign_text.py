"""Foreign text through the command line: one line a row, nothing that a terminal or a page obeys, names that are not UTF-8."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from carryover.data.formats.reading import read_texts
from carryover.encoders.loading import load
from command_line import FEW_STEPS, Material, Shell

ODD = ["plain", "a\tb", "two\nlines", "\r\n both", r"back\slash \n", "\u2028 and \x85", "", "\x1b[2J\u202eodd"]
LABELS = ("\x1b[31mred<script>alert(1)</script>", "b\u202elue`|[x](javascript:y)", "green, dark\tand\nlong")
NAME = os.fsdecode(b"r\xe9sum\xe9")
UNSEEN = "\x1b\x9b\u202e\udce9"


def harmless(text: str) -> bool:
    return not any(character in text for character in UNSEEN)


def test_a_text_is_one_line_whatever_is_in_it(shell: Shell, material: Material) -> None:
    texts = [text for text in ODD if text]
    Path("rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    done = shell("predict", material.classifier, "rows.jsonl")
    lines = done.out.split("\n")
    assert lines.pop() == "" and len(lines) == len(texts) and all(line.count("\t") == 1 for line in lines), done.out
    assert [line.split("\t")[1] for line in lines] == [
        "plain", r"a\tb", r"two\nlines", r"\r\n both", r"back\\slash \\n", r"\u2028 and \x85", "\\x1b[2J\u202eodd",
    ]  # fmt: skip
    document = shell("predict", material.classifier, "rows.jsonl", "--json").document
    assert [row["text"] for row in document["predictions"]] == texts


def test_a_word_is_one_cell(shell: Shell, material: Material) -> None:
    sentences = [["in", "Oslo\tcity", "today"], ["New York", "two\nlines"]]
    Path("rows.jsonl").write_text(
        "".join(json.dumps({"tokens": words, "tags": ["O"] * len(words)}) + "\n" for words in sentences)
    )
    done = shell("predict", material.tagger, "rows.jsonl", "--probabilities")
    rows = [line.split("\t") for line in done.out.split("\n")]
    assert [len(row) for row in rows] == [3, 3, 3, 1, 3, 3, 1, 1]
    assert [row[0] for row in rows] == ["in", r"Oslo\tcity", "today", "", "New York", r"two\nlines", "", ""]


@pytest.fixture(scope="module")
def odd_labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier with hostile labels and the file it was trained on."""
    from carryover.cli.main import run_command

    folder = tmp_path_factory.mktemp("odd")
    rows = [{"text": f"word{number % 3} and {number}", "label": LABELS[number % 3]} for number in range(60)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = ["train", "--task", "classify", "--train", folder / "rows.jsonl", "--epochs", 30, "--hidden", 8, "-q"]
    assert run_command([str(word) for word in [*line, "--out", folder / "model"]]) == 0
    return folder


def test_labels_are_harmless_in_every_message_and_page(shell: Shell, odd_labels: Path) -> None:
    model, rows = odd_labels / "model", odd_labels / "rows.jsonl"
    printed = [
        shell("doctor", "--train", rows),
        shell("evaluate", model, "--test", rows),
        shell("evaluate", model, "--test", rows, "--json"),
    ]
    printed += [shell("doctor", "--train", rows, "--json"), shell("predict", model, rows, "--json")]
    Path("other.jsonl").write_text(json.dumps({"text": "x", "label": "\x1b[2Junseen\u202e"}) + "\n")
    printed.append(shell("evaluate", model, "--test", "other.jsonl"))
    assert [done.code for done in printed] == [0, 0, 0, 0, 0, 65]
    for done in printed:
        assert harmless(done.out + done.err), (done.out, done.err)
    card = (model / "README.md").read_text()
    assert harmless(card) and "<script>" not in card and "&lt;script&gt;" in card and r"\[x\](" in card
    assert r"green, dark\\tand\\nlong" in card


def test_labels_in_rows_are_unambiguous(shell: Shell, odd_labels: Path) -> None:
    done = shell("predict", odd_labels / "model", odd_labels / "rows.jsonl")
    found = {line.split("\t")[0] for line in done.out.splitlines()}
    assert found <= {r"\x1b[31mred<script>alert(1)</script>", "b\u202elue`|[x](javascript:y)", r"green\, dark\tand\nlong"}
    assert len(done.out.splitlines()) == 60


def test_a_terminal_is_shown_nothing_that_it_obeys(shell: Shell, odd_labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    done = shell("predict", odd_labels / "model", odd_labels / "rows.jsonl")
    assert harmless(done.out) and r"b\u202elue" in done.out


# Names that are not UTF-8 --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def odd_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    try:
        (folder / NAME).mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    return folder


def test_names_that_are_not_utf8(shell: Shell, material: Material, odd_names: Path) -> None:
    """Every command reads and writes them, and every document holds them in an escaped form."""
    os.chdir(odd_names)
    names = {
        name: f"{NAME}-{name}{vars(material)[name].suffix}" for name in ("raw", "train", "test", "tagged", "tagged_test")
    }
    for name, place in names.items():
        Path(place).write_bytes(vars(material)[name].read_bytes())
    lm, cls, tag, elmo = (f"{NAME}-{kind}" for kind in ("lm", "cls", "tag", "elmo"))
    few = ["--epochs", 1, "--hidden", 8]
    lines: list[list[object]] = [
        ["doctor", "--raw", names["raw"], "--train", names["train"], "--test", names["test"]],
        ["pretrain", "--raw", names["raw"], "--out", lm, *FEW_STEPS],
        ["pretrain", "--raw", names["raw"], "--out", lm, *FEW_STEPS],
        ["train", "--task", "classify", "--train", names["train"], "--out", cls, *few],
        ["train", "--task", "tag", "--train", names["tagged"], "--encoder", lm, "--out", tag, *few],
        ["evaluate", cls, "--test", names["test"]],
        ["evaluate", lm, "--test", names["raw"], "--json"],
        ["predict", tag, names["tagged_test"]],
        *(["embed", lm, names["raw"], "--out", f"{NAME}{suffix}"] for suffix in (".safetensors", ".npz", ".hdf5", ".parquet")),
        ["export", "elmo", lm, "--out", elmo],
        ["import", "elmo", "--options", f"{elmo}/options.json", "--weights", f"{elmo}/weights.hdf5", "--out", f"{NAME}-imported"],
        ["neighbours", "the", "--in-context", "--encoder", lm, "--raw", names["raw"]],
        ["compare", "--task", "classify", "--train", names["train"], "--raw", names["raw"], "--rungs", "features",
         "--budgets", 30, "--seeds", 1, "--jobs", 1, "--out", f"{NAME}-cmp"],
    ]  # fmt: skip
    for line in lines:
        done = shell(*line)
        assert done.code == 0, (line, done.err)
        assert harmless(done.out + done.err) and done.out.encode() is not None
    assert r"$'r\xe9sum\xe9-cls'" in shell("train", "--task", "classify", "--train", names["train"], "--out", cls, *few).err
    record = json.loads(Path(lm, "record.json").read_text(encoding="utf-8"))
    assert record["corpus"]["raw"] == names["raw"]
    for document in (Path(lm, "README.md"), Path(f"{NAME}-imported", "README.md"), Path(f"{NAME}-cmp", "report.html")):
        text = document.read_text(encoding="utf-8")
        assert r"r\xe9sum\xe9" in text and harmless(text), document
    assert load(Path(f"{NAME}-imported")) is not None
    gone = shell("predict", cls, f"{NAME}-gone.txt")
    assert gone.code == 66 and gone.err.startswith(r"carryover: r\xe9sum\xe9-gone.txt: no such file")


def test_rejected_rows_stay_one_line_each(shell: Shell, material: Material) -> None:
    rows = [{"text": f"good {number}", "label": "ab"[number % 2]} for number in range(20)]
    broken = '{"text": "\u2028 broken \u202e", '
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + broken + "\n", encoding="utf-8")
    line = ["train", "--task", "classify", "--train", "rows.jsonl", "--on-error", "skip", "--epochs", 1, "--hidden", 4]
    assert shell(*line, "--out", "new").code == 0
    text = Path("new/run/rejected-train.jsonl").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1 and harmless(text) and json.loads(text)["text"] == broken
    assert len(read_texts("rows.jsonl", on_error="skip").rejected) == 1


# Encodings of the streams -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "locale",
    [{"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["cp1252", "C"],
)
def test_output_is_utf8_whatever_the_locale(material: Material, tmp_path: Path, locale: dict[str, str]) -> None:
    (tmp_path / "rows.tsv").write_text("".join(f"dobrý 北京 {n}\t{'−špatný'[n % 7]}\n" for n in range(40)), encoding="utf-8")
    (tmp_path / "lines.txt").write_text("dobrý 北京 −3\n", encoding="utf-8")
    columns = ["--text-column", "0", "--label-column", "1"]
    commands = [
        ["doctor", "--train", "rows.tsv", *columns],
        ["predict", material.classifier, "lines.txt"],
        ["predict", material.classifier, "lines.txt", "--json"],
        ["embed", material.encoder, "lines.txt"],
        ["compare", "--task", "classify", "--train", material.train, "--rungs", "features", "--budgets", 20, "--seeds", 2,
         "--jobs", 1, "--out", "cmp"],
    ]  # fmt: skip
    program = "import sys\nfrom carryover.cli.main import run\nfor line in eval(sys.argv[1]):\n try: run(line)\n except SystemExit as end: assert end.code == 0, line"
    asked = repr([[str(word) for word in line] for line in commands])
    done = subprocess.run(
        [sys.executable, "-c", program, asked], env={**os.environ, **locale}, cwd=tmp_path, capture_output=True, timeout=100
    )
    assert done.returncode == 0, done.stderr.decode()
    out = done.stdout.decode("utf-8")
    assert out.count("dobrý 北京 −3") >= 2 and "unexpected" not in done.stderr.decode("utf-8")


def test_a_terminal_keeps_its_encoding(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What it cannot show is spelled out."""
    import io

    from carryover.cli.main import prepare_streams
    from carryover.progress import say

    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    screen = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", Terminal(screen, encoding="cp1252"))
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    say("dobrý −3")
    prepare_streams()
    print("dobrý −3", flush=True)
    assert screen.getvalue().decode("cp1252").splitlines() == [r"dobrý \u22123"] * 2
