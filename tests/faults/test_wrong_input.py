"""Malformed files and arguments through the command line: one clear line, the documented exit code, nothing half-written.

A table; `one_line.refuse` says what is asked of each row. Damaged and mistaken models are in `test_wrong_models.py`.
"""

from __future__ import annotations

import ast
import gzip
import json
import lzma
from pathlib import Path

import pytest

import carryover.errors
from command_line import Material, Shell
from faults.one_line import Case, refuse

CLASSIFY = "train --task classify --out new --train"
TAG = "train --task tag --out new --train"
PRETRAIN = "pretrain --out new --size tiny --raw"
COMPARE = "compare --task classify --rungs features --out new --train"
GOOD = "text\tlabel\n" + "".join(f"text {number}\t{'ab'[number % 2]}\n" for number in range(20))
RAW = "".join(f"a line of text number {number}\n" for number in range(40))
WORD = "{0}\t{1}\t_\tNOUN\t_\t_\t{2}\tdep\t_\t_\n"


def tree(*heads: object) -> str:
    """A sentence of CoNLL-U with these heads, on line 1 and following."""
    return "".join(WORD.format(number, f"w{number}", head) for number, head in enumerate(heads, start=1)) + "\n"


FILES = [
    Case("not UTF-8", f"{CLASSIFY} x.tsv", 65, ("x.tsv:3: byte 5 of the line (0xFF)", "iconv"),
         {"x.tsv": b"text\tlabel\ngood\ta\nbad \xff\tb\n"}),
    Case("raw text not UTF-8", f"{PRETRAIN} x.txt", 65, ("x.txt:41: ", "iconv"), {"x.txt": RAW.encode() + b"caf\xe9\n"}),
    Case("UTF-16", f"{CLASSIFY} x.tsv", 65, ("x.tsv: the file is UTF-16 text", "save it as UTF-8"),
         {"x.tsv": GOOD.encode("utf-16")}),
    Case("a zero byte", f"{CLASSIFY} x.tsv", 65, ("x.tsv:22: character 2 is a zero byte",), {"x.tsv": GOOD + "t\0xt\ta\n"}),
    Case("ragged columns", f"{CLASSIFY} x.tsv", 65, ("x.tsv:22: 3 columns where the header has 2",),
         {"x.tsv": GOOD + "a\tb\tc\n"}),
    Case("empty file", f"{CLASSIFY} x.tsv", 65, ("x.tsv: ", "is it the right file?"), {"x.tsv": ""}),
    Case("only a header", f"{CLASSIFY} x.tsv", 65, ("x.tsv: ",), {"x.tsv": "text\tlabel\n"}),
    Case("empty text", f"{CLASSIFY} x.tsv", 65, ("x.tsv:22: ",), {"x.tsv": GOOD + "  \ta\n"}),
    Case("empty label", f"{CLASSIFY} x.tsv", 65, ("x.tsv:22: ",), {"x.tsv": GOOD + "text\t\n"}),
    Case("one class", f"{CLASSIFY} x.tsv", 65, ("x.tsv: holds only the label 'a'", "two different labels"),
         {"x.tsv": GOOD.replace("\tb", "\ta")}),
    Case("one tag", f"{TAG} x.conll", 65, ("x.conll: holds only the label 'N'",), {"x.conll": "a N\nb N\n\nc N\n\n" * 5}),
    Case("one class to compare", f"{COMPARE} x.tsv", 65, ("x.tsv: holds only the label 'a'",),
         {"x.tsv": GOOD.replace("\tb", "\ta")}),
    Case("missing column", f"{CLASSIFY} x.tsv --text-column txet", 65, ("x.tsv:1: no column 'txet'", "did you mean 'text'?"),
         {"x.tsv": GOOD}),
    Case("column number too large", f"{CLASSIFY} x.tsv --text-column 0 --label-column 7", 65,
         ("x.tsv:1: no column 7", "use 0 to 1"), {"x.tsv": GOOD}),
    Case("column by name and number", f"{CLASSIFY} x.tsv --text-column 0", 2, ("use names only or numbers only",),
         {"x.tsv": GOOD}),
    Case("duplicate header", f"{CLASSIFY} x.tsv", 65, ("x.tsv:1: the column 'text' occurs twice", "rename"),
         {"x.tsv": "text\ttext\tlabel\na\tb\tc\n"}),
    Case("unclosed quote", f"{CLASSIFY} x.csv", 65, ("x.csv:3: a quoted cell that begins here never ends",),
         {"x.csv": 'text,label\ngood,a\n"bad,b\nmore,a\n'}),
    Case("JSONL broken", f"{CLASSIFY} x.jsonl", 65, ("x.jsonl:2: the line is not JSON",),
         {"x.jsonl": '{"text": "a", "label": "b"}\n{"text": \n'}),
    Case("JSONL of arrays", f"{CLASSIFY} x.jsonl", 65, ("x.jsonl:1: the line is an array",), {"x.jsonl": "[1, 2]\n"}),
    Case("JSONL without the key", f"{CLASSIFY} x.jsonl", 65, ("x.jsonl:1: no column 'label'",), {"x.jsonl": '{"text": "a"}\n'}),
    Case("JSONL with uneven tags", f"{TAG} x.jsonl", 65, ("x.jsonl:1: ",), {"x.jsonl": '{"tokens": ["a"], "tags": []}\n'}),
    Case("gzip cut short", f"{CLASSIFY} x.tsv.gz", 65, ("x.tsv.gz: the compressed file is damaged or cut short",),
         {"x.tsv.gz": gzip.compress(GOOD.encode())[:-12]}),
    Case("xz damaged", f"{PRETRAIN} x.txt.xz", 65, ("x.txt.xz: the compressed file is damaged",),
         {"x.txt.xz": lzma.compress(RAW.encode())[:60] + bytes(40)}),
    Case("gzip only by name", f"{PRETRAIN} x.txt.gz", 65, ("x.txt.gz: the name says compressed",), {"x.txt.gz": RAW}),
    Case("zip named tsv", f"{CLASSIFY} x.tsv", 65, ("x.tsv: the file is a zip archive", "unpack it"),
         {"x.tsv": b"PK\x03\x04" + bytes(60)}),
    Case("Parquet damaged", f"{CLASSIFY} x.parquet", 65, ("x.parquet: the Parquet file is damaged",),
         {"x.parquet": b"PAR1" + bytes(64) + b"PAR1"}),
    Case("CoNLL-U with a cycle", f"{TAG} x.conllu", 65, ("x.conllu:1: the heads of words 1, 2 form a cycle",),
         {"x.conllu": tree(2, 1, 0)}),
    Case("CoNLL-U with nine columns", f"{TAG} x.conllu", 65, ("x.conllu:2: ", "9"),
         {"x.conllu": tree(0, 1).replace("\t_\n\n", "\n\n")}),
    Case("CoNLL-U head outside", f"{TAG} x.conllu", 65, ("x.conllu:2: the head of word 2 is 9", "0 (root) to 2"),
         {"x.conllu": tree(0, 9)}),
    Case("CoNLL-U without tags", f"{TAG} x.conllu", 65, ("x.conllu: the field 'upos' is empty",),
         {"x.conllu": tree(0, 1).replace("NOUN", "_")}),
    Case("CoNLL-U unknown field", f"{TAG} x.conllu --label-column upso", 2, ("did you mean 'upos'?",),
         {"x.conllu": tree(0, 1)}),
    Case("I without B", f"{TAG} x.conll", 65, ("x.conll:14: I-LOC cannot follow O",),
         {"x.conll": "a B-PER\nb I-PER\n\n" * 4 + "c O\nd I-LOC\n\n"}),
    Case("CoNLL ragged", f"{TAG} x.conll", 65, ("x.conll:3: 3 columns where the file has 2",),
         {"x.conll": "a N\nb V\nc N N\n\na N\n\n"}),
    Case("CoNLL of words alone", f"{TAG} x.conll", 65, ("x.conll: there is only one column",), {"x.conll": "a\nb\n\nc\n\n"}),
    Case("CoNLL column by name", f"{TAG} x.conll --label-column pos", 2, ("x.conll: ", "give the number"),
         {"x.conll": "a N\nb V\n\n"}),
    Case("CoNLL column too large", f"{TAG} x.conll --label-column 5", 65, ("x.conll: no tag column 5", "use 1"),
         {"x.conll": "a N\nb V\n\n"}),
    Case("missing file", f"{CLASSIFY} x.tvs", 66, ("x.tvs: no such file", "did you mean x.tsv?"), {"x.tsv": GOOD}),
    Case("missing folder", f"{CLASSIFY} nowhere/x.tsv", 66, ("nowhere/x.tsv: no such file", "check the path")),
    Case("missing raw text", f"{PRETRAIN} nothing.txt", 66, ("nothing.txt: ",)),
    Case("missing held-out text", f"{PRETRAIN} x.txt --valid nothing.txt", 66, ("nothing.txt: ",), {"x.txt": RAW}),
    Case("missing dev file", f"{CLASSIFY} x.tsv --dev dev.tsv", 66, ("dev.tsv: no such file",), {"x.tsv": GOOD}),
    Case("missing test file", "evaluate {classifier} --test test.tsv", 66, ("test.tsv: no such file",)),
    Case("missing test file to compare", f"{COMPARE} x.tsv --test test.tsv", 66, ("test.tsv: no such file",), {"x.tsv": GOOD}),
    Case("missing raw text to compare", f"{COMPARE} x.tsv --raw nothing.txt", 66, ("nothing.txt: ",), {"x.tsv": GOOD}),
    Case("a folder for a file", f"{CLASSIFY} .", 66, (".: is a folder, not a file",)),
    Case("a folder for raw text", f"{PRETRAIN} .", 66, (".: ",)),
    Case("a name with a zero byte", f"{CLASSIFY} x\0y.tsv", 66, ("cannot be opened",)),
    Case("no text", f"{PRETRAIN} x.txt", 65, ("x.txt: ",), {"x.txt": "\n \n\n"}),
    Case("empty raw text", f"{PRETRAIN} x.txt", 65, ("x.txt: ",), {"x.txt": ""}),
    Case("one line of text", f"{PRETRAIN} x.txt", 65, ("x.txt: ", "--valid"), {"x.txt": "one line\n"}),
    Case("no text held out", f"{PRETRAIN} x.txt --valid v.txt", 65, ("v.txt: ",), {"x.txt": RAW, "v.txt": "\n\n"}),
    Case("no text to estimate for", f"{PRETRAIN} x.txt --dry-run", 65, ("x.txt: ",), {"x.txt": "\n"}),
    Case("unknown label in test", "evaluate {classifier} --test x.tsv", 65, ("x.tsv:21: label 'b' was not among the 4 labels",),
         {"x.tsv": "text\tlabel\n" + "text\tharbour\n" * 19 + "text\tb\n"}),
    Case("unknown tag in test", "evaluate {tagger} --test x.conll", 65, ("x.conll:1: label 'XX'",), {"x.conll": "a XX\nb XX\n\n"}),
    Case("unknown label in compare", f"{COMPARE} x.tsv --test y.tsv", 65, ("y.tsv:3: test label 'c' never occurs in x.tsv",),
         {"x.tsv": GOOD, "y.tsv": "text\tlabel\na\ta\na\tc\n"}),
    Case("only bad rows", f"{CLASSIFY} x.tsv --on-error skip", 65, ("x.tsv:2: none of the 2 rows can be used",),
         {"x.tsv": "text\tlabel\nlonely\nlonely\n"}),
    Case("empty standard input", "predict {classifier} -", 65, ("-: there is no line of text",), stdin=b""),
    Case("empty standard input to embed", "embed {encoder} - --out new.safetensors", 65, ("no line of text",), stdin=b""),
    Case("standard input not UTF-8", "predict {classifier}", 65, ("-:2: byte 1 of the line (0xE9)",), stdin=b"good\n\xe9\n"),
    Case("text to embed not UTF-8", "embed {encoder} x.txt --out new.safetensors", 65, ("x.txt:2: ",), {"x.txt": b"good\n\xe9\n"}),
    Case("text to predict missing", "predict {tagger} x.txt", 66, ("x.txt: no such file",)),
    Case("table to predict without the column", "predict {classifier} x.tsv", 65, ("x.tsv:1: no column 'text'",),
         {"x.tsv": "body\na\n"}),
    Case("label-first text of one word", f"{CLASSIFY} x.txt", 65, ("x.txt:2: no text after the label 'lonely'",),
         {"x.txt": "a text\nlonely\n"}),
]  # fmt: skip

ARGUMENTS = [
    Case("budget larger than data", f"{COMPARE} x.tsv --test x.tsv --budgets 8,500", 2,
         ("budget 500 is larger than the 20 training examples", "give a smaller budget, or all"), {"x.tsv": GOOD}),
    Case("budget that is none", f"{COMPARE} x.tsv --budgets 8,some", 2, ("budget 'some'", "50,100,all"), {"x.tsv": GOOD}),
    Case("budget of one", f"{COMPARE} x.tsv --budgets 1", 2, ("budget 1 is too small",), {"x.tsv": GOOD}),
    Case("negative budget", f"{COMPARE} x.tsv --budgets -5", 2, ("budget '-5'",), {"x.tsv": GOOD}),
    Case("no seed", f"{COMPARE} x.tsv --seeds 0", 2, ("seeds is 0", "at least 1"), {"x.tsv": GOOD}),
    Case("negative seed to compare", f"{COMPARE} x.tsv --seed -1", 2, ("seed is -1",), {"x.tsv": GOOD}),
    Case("no job", f"{COMPARE} x.tsv --jobs 0", 2, ("jobs is 0",), {"x.tsv": GOOD}),
    Case("misspelled rung", f"{COMPARE} x.tsv --rungs frozn", 2, ("rung 'frozn' is unknown", "did you mean 'frozen'?"), {"x.tsv": GOOD}),
    Case("misspelled metric", f"{COMPARE} x.tsv --metric acuracy", 2, ("did you mean 'accuracy'?",), {"x.tsv": GOOD}),
    Case("spans of texts", f"{COMPARE} x.tsv --metric span-f1", 2, ("span",), {"x.tsv": GOOD}),
    Case("static without raw text", "compare --task tag --rungs static --out new --train {tagged}", 2, ("static needs raw text", "--raw")),
    Case("frozen without encoder", "compare --task tag --rungs frozen --out new --train {tagged}", 2, ("--raw or --encoder",)),
    Case("pretraining time", f"{COMPARE} x.tsv --pretrain-time soon", 2, ("time limit 'soon'",), {"x.tsv": GOOD}),
    Case("wrong task", "train --task taging --out new --train {tagged}", 2, ("did you mean 'tag'?",)),
    Case("wrong task to compare", "compare --task classification --out new --train {train}", 2, ("did you mean 'classify'?",)),
    Case("wrong task for doctor", "doctor --task sentiment --train {train}", 2, ("use classify or tag",)),
    Case("wrong mode", "train --task tag --out new --train {tagged} --mode freeze", 2, ("mode 'freeze' is unknown", "frozen")),
    Case("wrong format", "train --task tag --out new --train {tagged} --format conl", 2, ("did you mean 'conll'?",)),
    Case("wrong on-error", "train --task tag --out new --train {tagged} --on-error ignore", 2, ('use "stop" or "skip"',)),
    Case("empty separator", "train --task classify --out new --train {train} --multi-label=", 2, ("separator", "give one")),
    Case("wrong output layer", "train --task tag --out new --train {tagged} --output crv", 2, ("'crv'", "crf")),
    Case("no epoch", "train --task tag --out new --train {tagged} --epochs 0", 2, ("epochs is 0", "at least 1")),
    Case("negative patience", "train --task tag --out new --train {tagged} --patience -1", 2, ("patience is -1",)),
    Case("no cell", "train --task tag --out new --train {tagged} --hidden 0", 2, ("hidden is 0",)),
    Case("negative seed", "train --task tag --out new --train {tagged} --seed -2", 2, ("seed is -2",)),
    Case("rate not a number", "train --task tag --out new --train {tagged} --learning-rate nan", 2, ("learning_rate is nan",)),
    Case("decay of nothing", "train --task tag --out new --train {tagged} --layer-rate-decay nan", 2, ("layer_rate_decay is nan",)),
    Case("no layer", "train --task tag --out new --train {tagged} --encoder {encoder} --mode top-k --top 0", 2, ("top is 0",)),
    Case("too many layers", "train --task tag --out new --train {tagged} --encoder {encoder} --mode top-k --top 99", 2,
         ("top-k with 99 layers", "at most")),
    Case("words for a number", "train --task tag --out new --train {tagged} --epochs three", 2, ("'--epochs'", "valid integer", "see carryover train --help")),
    Case("time in words", "train --task tag --out new --train {tagged} --time-limit soon", 2, ("time limit 'soon'", "15m")),
    Case("no time", "train --task tag --out new --train {tagged} --time-limit 0", 2, ("time limit '0'",)),
    Case("negative time", "train --task tag --out new --train {tagged} --time-limit=-5m", 2, ("time limit '-5m'",)),
    Case("misspelled size", f"{PRETRAIN} {{raw}} --size smal", 2, ("size is 'smal'", "did you mean 'small'?")),
    Case("misspelled objective", f"{PRETRAIN} {{raw}} --objective bilstm", 2, ("objective 'bilstm' is unknown", "bilm")),
    Case("misspelled input", f"{PRETRAIN} {{raw}} --input chars", 2, ("'chars'", "characters")),
    Case("misspelled softmax", f"{PRETRAIN} {{raw}} --softmax sample", 2, ("'sample'", "sampled")),
    Case("misspelled optimiser", f"{PRETRAIN} {{raw}} --optimiser adan", 2, ("did you mean 'adam",)),
    Case("misspelled precision", f"{PRETRAIN} {{raw}} --precision float16", 2, ("'float16'",)),
    Case("no vocabulary", f"{PRETRAIN} {{raw}} --vocabulary-size 0", 2, ("vocabulary_size is 0",)),
    Case("no lane", f"{PRETRAIN} {{raw}} --batch-size 0", 2, ("batch_size is 0",)),
    Case("no step", f"{PRETRAIN} {{raw}} --steps -3", 2, ("steps is -3",)),
    Case("rate without end", f"{PRETRAIN} {{raw}} --learning-rate inf", 2, ("learning_rate is inf",)),
    Case("rate of nothing", f"{PRETRAIN} {{raw}} --learning-rate 0", 2, ("learning_rate is 0",)),
    Case("wrong device", f"{PRETRAIN} {{raw}} --device gpu", 2, ("unknown device 'gpu'", "use auto, cpu or cuda")),
    Case("missing device", f"{PRETRAIN} {{raw}} --device cuda:99", 69, ("device 'cuda:99' does not exist", "--device cpu")),
    Case("missing device for a task", "predict {classifier} {raw} --device cuda:99", 69, ("device 'cuda:99' does not exist",)),
    Case("misspelled built-in", f"{PRETRAIN} builtin:pydoc", 2, ("did you mean builtin:pydocs?",)),
    Case("misspelled part", "train --task tag --out new --train builtin:grammar/trian", 2, ("did you mean 'train'?",)),
    Case("misspelled size of a built-in", "train --task tag --out new --train builtin:grammar?lablled=5", 2, ("did you mean 'labelled'?",)),
    Case("wrong layers", "embed {encoder} {raw} --layers first --out new.safetensors", 2, ("layers 'first' is unknown", "mix, top, all, or a layer's number")),
    Case("wrong ending", "embed {encoder} {raw} --out new.npy", 2, ("new.npy: ", "use .safetensors, .npz, .hdf5 or .parquet")),
    Case("a score out of reach", "evaluate {classifier} --test {test} --require 90", 2, ("--require is 90", "from 0 to 1")),
    Case("a score that is none", "evaluate {classifier} --test {test} --require nan", 2, ("--require is nan",)),
    Case("nothing to examine", "doctor", 2, ("there is nothing to examine", "give raw, train, dev or test")),
    Case("missing option", "train --task tag --out new", 2, ("--train", "see carryover train --help")),
    Case("missing argument", "evaluate --test {test}", 2, ("see carryover evaluate --help",)),
    Case("one argument too many", "embed {encoder} {raw} {raw}", 2, ("see carryover embed --help",)),
    Case("misspelled option", "train --task tag --out new --trian {tagged}", 2, ("there is no option --trian", "did you mean '--train'?")),
    Case("misspelled command", "predcit {classifier} {raw}", 2, ("there is no command 'predcit'", "did you mean 'predict'?")),
]  # fmt: skip


def test_there_are_many_cases() -> None:
    names = [case.name for case in FILES + ARGUMENTS]
    assert len(names) >= 100 and len(set(names)) == len(names)


@pytest.mark.parametrize("case", FILES + ARGUMENTS, ids=lambda case: case.name.replace(" ", "-"))
def test_refused_in_one_line(shell: Shell, material: Material, case: Case) -> None:
    refuse(shell, material, case)


def test_a_mended_file_is_taken_by_the_same_command(shell: Shell) -> None:
    """A refusal leaves nothing that would stand in the way of the second attempt."""
    line = [*f"{PRETRAIN} x.txt".split(), "--epochs", "1", "--vocabulary-size", "30", "--batch-size", "8", "-q"]
    path = shell.folder / "x.txt"
    path.write_bytes(RAW.encode() + b"\xff\n")
    assert shell(*line).code == 65
    path.write_text(RAW)
    assert shell(*line).code == 0


def test_a_message_stays_one_line_whatever_a_file_holds(shell: Shell) -> None:
    """Text of the user's in a message cannot break it into lines that look like another message."""
    row = json.dumps({"text": "a", "label": ["x\ncarryover: all is well"]})
    (shell.folder / "x.jsonl").write_text(row + "\n")
    done = shell(*f"{CLASSIFY} x.jsonl".split())
    assert done.code == 65 and done.err.count("\n") == 1


def test_every_error_of_the_product_states_a_repair() -> None:
    """Read from the source: nothing is raised for a person without what to do about it."""
    errors = {name for name, value in vars(carryover.errors).items() if isinstance(value, type)} - {"CarryoverError"}
    bare = []
    for path in sorted(Path(carryover.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in errors:
                continue
            if not any(keyword.arg in ("repair", None) for keyword in node.keywords):
                bare.append(f"{path.name}:{node.lineno}")
    assert bare == []
