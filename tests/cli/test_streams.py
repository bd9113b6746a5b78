"""Standard input and output: pipes that are read, pipes that close early, order, and being interrupted."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from carryover.transfer import predictions
from command_line import Material, Shell

PROGRAM = [sys.executable, "-m", "carryover.cli.main"]


def test_predict_reads_standard_input(shell: Shell, material: Material) -> None:
    lines = "one line\nanother ü line\r\n\nlast without an end"
    named = shell("predict", material.classifier, "-", stdin=lines)
    assert named.code == 0
    assert [line.split("\t")[1] for line in named.out.splitlines()] == [
        "one line",
        "another ü line",
        "",
        "last without an end",
    ]
    assert shell("predict", material.classifier, stdin=lines).out == named.out, "nothing means standard input"
    tagged = shell("predict", material.tagger, stdin="the house .\n\nand a garden\n").out
    assert [line.split("\t")[0] for line in tagged.split("\n")] == [
        "the",
        "house",
        ".",
        "",
        "",
        "and",
        "a",
        "garden",
        "",
        "",
    ]


def test_predict_reads_columns_from_standard_input(shell: Shell, material: Material) -> None:
    content = material.tagged_test.read_text()
    expected = shell("predict", material.tagger, material.tagged_test).out
    assert shell("predict", material.tagger, "-", "--format", "conll", stdin=content).out == expected


def test_embed_reads_standard_input(shell: Shell, material: Material) -> None:
    done = shell("embed", material.encoder, "--out", "v.safetensors", stdin="the house\n")
    assert done.code == 0 and "2 words of 1 lines" in done.out


def test_a_long_stream_keeps_its_order(shell: Shell, material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is cut into parts; and no answer depends on the lines beside it."""
    lines = [f"{'see ' * (number % 7)}house {number}" for number in range(53)]
    whole = shell("predict", material.classifier, "--json", stdin="\n".join(lines)).document["predictions"]
    assert [row["text"] for row in whole] == lines
    monkeypatch.setattr(predictions, "ITEMS_AT_ONCE", 5)
    assert shell("predict", material.classifier, "--json", stdin="\n".join(lines)).document["predictions"] == whole
    backwards = shell("predict", material.classifier, "--json", stdin="\n".join(lines[::-1])).document["predictions"]
    assert backwards[::-1] == whole
    assert shell("predict", material.classifier, "--json", stdin=lines[13]).document["predictions"] == [whole[13]]


def test_a_terminal_is_told_what_is_waited_for(shell: Shell, material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    from carryover.cli import output

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(output.sys, "stdin", Terminal())
    output.say_when_waiting("file.txt")
    output.say_when_waiting("-")
    assert shell.capture.readouterr().err == "reading from the terminal, one text a line; end with Ctrl-D\n"


def test_json_stands_alone_on_standard_output(shell: Shell, material: Material) -> None:
    """Progress, proof and the next command go to standard error."""
    line = ["train", "--task", "tag", "--train", material.tagged, "--encoder", material.encoder, "--epochs", 1]
    done = shell(*line, "--out", "tagger", "--json")
    assert done.document["folder"] and "carried over (frozen)" in done.err and "next: " in done.err


@pytest.mark.skipif(os.name == "nt", reason="pipes of a shell")
def test_a_pipe_that_closes_early(material: Material, tmp_path: Path) -> None:
    """`carryover predict … | head -1` ends in silence and counts as a success."""
    lines = tmp_path / "lines.txt"
    lines.write_text("a line that is long enough to fill the pipe in the end\n" * 4000)
    command = f"{' '.join(PROGRAM)} predict {material.classifier} {lines} | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.stdout.count("\n") == 1 and done.stdout.endswith("in the end\n")
    assert done.returncode == 0 and "Traceback" not in done.stderr and "rror" not in done.stderr, done.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_and_continued(
    shell: Shell, material: Material, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    line = ["train", "--task", "classify", "--train", material.train, "--epochs", 400, "--hidden", 64, "--out", "cls"]
    words = [str(word) for word in line]
    running = subprocess.Popen([*PROGRAM, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    said: list[str] = []
    try:
        assert running.stderr is not None
        while not (said and said[-1].startswith("carried over")):  # the last word before the first update
            said.append(running.stderr.readline())
            assert said[-1], said
        time.sleep(1)
        running.send_signal(number)
        out, err = running.communicate(timeout=100)
    finally:
        running.kill()
    assert running.returncode == code, err
    assert out == "" and "Traceback" not in err and "next: " not in err
    assert err.startswith("stopping: finishing the step and saving")
    last = err.splitlines()[-1]
    assert last.startswith("carryover: stopped after update ") and last.endswith("run the same command again to continue"), (
        err
    )
    assert not Path("cls/config.json").exists()
    continued = shell(*line, "--time-limit", "0.01")
    assert continued.code == 0 and "continuing from update" in continued.err
    assert json.loads(Path("cls/record.json").read_text())["stopped_by"] == "time limit"


def test_interrupted_elsewhere(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    import carryover.data.doctor

    def interrupt(**given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(carryover.data.doctor, "examine", interrupt)
    done = shell("doctor", "--raw", "x")
    assert (done.code, done.out, done.err) == (130, "", "carryover: interrupted; finished work is kept\n")


@pytest.fixture
def piped(tmp_path: Path) -> Iterator[Callable[[bytes], Path]]:
    """Makes a pipe that gives some content, once."""
    writers: list[threading.Thread] = []

    def make(content: bytes) -> Path:
        place = tmp_path / f"pipe{len(writers)}"
        os.mkfifo(place)
        writers.append(threading.Thread(target=place.write_bytes, args=(content,), daemon=True))
        writers[-1].start()
        return place

    yield make
    for writer in writers:
        writer.join(timeout=10)


RAW = "".join(f"line {number} of the text is here .\n" for number in range(60))
ROWS = "text\tlabel\n" + "a good film\tpos\na bad film\tneg\n" * 8


def test_raw_text_from_a_pipe_or_standard_input(shell: Shell, piped: Callable[[bytes], Path]) -> None:
    """Pretraining reads it several times, and the text may be packed."""
    Path("raw.txt").write_text(RAW)
    line = ["pretrain", "--size", "tiny", "--epochs", 1, "--json", "-q", "--raw"]
    figures: list[float] = []
    for source in ("raw.txt", piped(gzip.compress(RAW.encode())), "-"):
        done = shell(*line, source, "--out", f"lm{len(figures)}", stdin=RAW)
        assert done.code == 0, done.err
        figures.append(done.document["perplexity"])
    assert figures[0] == figures[1] == figures[2]
    done = shell("doctor", "--raw", piped(RAW.encode()), "--train", piped(ROWS.encode()), "--format", "tsv", "--json")
    assert done.code == 0 and done.document["files"]["raw"]["lines"] == 60 and done.document["files"]["train"]["rows"] == 16


def test_compare_refuses_labelled_streams(shell: Shell, piped: Callable[[bytes], Path]) -> None:
    line = ["compare", "--task", "classify", "--format", "tsv", "--rungs", "features", "--out", "cmp", "--train"]
    for source in (piped(ROWS.encode()), "-"):
        done = shell(*line, source, stdin=ROWS)
        assert done.code == 2 and "--train is a stream" in done.err and not Path("cmp").exists()


def test_predict_and_embed_read_any_format(shell: Shell, material: Material, piped: Callable[[bytes], Path]) -> None:
    files = {
        "a.csv": 'text,label\n"a line, in quotes",x\n',
        "a.json": '{"text": "a line, in quotes"}\n',
        "a.txt": '{"text": "a line, in quotes"}\n',
    }
    expected = shell("predict", material.classifier, stdin="a line, in quotes\n").out
    for name, content in files.items():
        Path(name).write_text(content)
        assert shell("predict", material.classifier, name).out == expected
        assert json.loads(shell("embed", material.encoder, name).out)["words"] == ["a", "line", ",", "in", "quotes"]
    assert shell("predict", material.classifier, piped(b"a line, in quotes\n")).out == expected
    Path("a.iob2").write_text("the O\nhouse O\n")
    assert shell("predict", material.tagger, "a.iob2").out == shell("predict", material.tagger, stdin="the house\n").out
