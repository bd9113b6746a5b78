"""Vectors of a corpus as a file: every format holds the same, memory stays flat, a killed run goes on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from carryover import storage
from carryover.encoders import vector_parts
from carryover.encoders.embed_lines import embed_lines
from carryover.encoders.vector_files import save_embedded
from carryover.errors import BadData, Busy, CannotWrite, DiskFault, UsageError
from carryover.storage import faults, load_tensors
from task_material import classified, language_model

LINES = [example.input.text for example in classified(30)]
ODD = [LINES[0], "", LINES[1], "Zoë 1917 \u2028 x", LINES[0], ["two", "words"], ""]
CHOICES: list[dict[str, Any]] = [
    {"layers": "mix"},
    {"layers": "all"},
    {"layers": "1"},
    {"layers": "top", "pool": "mean"},
    {"layers": "all", "pool": "max"},
]


@pytest.fixture(scope="module")
def encoder() -> Any:
    return language_model()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several parts of a few lines."""
    monkeypatch.setattr(vector_parts, "PART_BYTES", 1000)


def wanted(encoder: Any, choice: dict[str, Any]) -> list[tuple[list[str], np.ndarray]]:
    return [(line.words, line.vectors.numpy()) for line in embed_lines(encoder, ODD, **choice)]


def from_arrays(stored: dict[str, Any], pooled: bool) -> list[tuple[list[str], np.ndarray]]:
    words = json.loads(bytes(stored["words"].tolist()))
    assert stored["lengths"].tolist() == [len(row) for row in words]
    vectors = np.asarray(stored["vectors"])
    pieces = list(vectors) if pooled else np.split(vectors, np.cumsum(stored["lengths"])[:-1])
    return list(zip(words, pieces, strict=True))


def read(path: Path, choice: dict[str, Any]) -> list[tuple[list[str], np.ndarray]]:
    """What a file holds, by its own library."""
    pooled = "pool" in choice
    if path.suffix == ".safetensors":
        assert load_tensors(path).keys() == {"lengths", "vectors", "words"}, "our own reader takes it too"
        return from_arrays({name: tensor.numpy() for name, tensor in load_file(path).items()}, pooled)
    if path.suffix == ".npz":
        return from_arrays(dict(np.load(path, allow_pickle=False)), pooled)
    if path.suffix == ".hdf5":
        import h5py

        with h5py.File(path) as file:
            places = json.loads(file["sentence_to_index"][0])
            names = sorted((name for name in file if name.isdigit()), key=int)
            assert names == [str(number) for number in range(len(ODD))] and len(file) == len(ODD) + 1
            arrays = [file[name][...] for name in names]
        if choice["layers"] == "all" and not pooled:
            arrays = [array.swapaxes(0, 1) for array in arrays]
        texts = {number: text.split(" ") if text else [] for text, number in places.items()}
        texts |= {"0": texts["4"], "1": texts["6"]}  # the same sentence: its last number is the one that stands there
        return [(texts[str(number)], array) for number, array in enumerate(arrays)]
    from pyarrow import parquet

    rows = parquet.read_table(path).to_pylist()
    assert [row["line"] for row in rows] == list(range(len(ODD)))
    return [(row["words"], np.array(row["vectors"], np.float32)) for row in rows]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: "-".join(choice.values()))
@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".hdf5", ".parquet"])
@pytest.mark.usefixtures("small_parts")
def test_the_file_holds_everything_in_order(encoder: Any, tmp_path: Path, suffix: str, choice: dict[str, Any]) -> None:
    path = tmp_path / f"v{suffix}"
    summary = save_embedded(path, encoder, ODD, **choice)
    expected = wanted(encoder, choice)
    assert summary == {
        "lines": len(ODD),
        "words": sum(len(words) for words, _ in expected),
        "size": encoder.model.out_size,
        "cut_words": 0,
        "long_lines": 0,
    }
    found = read(path, choice)
    assert [words for words, _ in found] == [words for words, _ in expected]
    for (_, one), (_, other) in zip(found, expected, strict=True):
        assert one.size == other.size and np.allclose(one.reshape(other.shape), other, atol=1e-6)
    assert [place.name for place in tmp_path.iterdir()] == [path.name], "the parts are gone"


def test_all_layers_lie_as_in_published_dumps(encoder: Any, tmp_path: Path) -> None:
    import h5py

    save_embedded(tmp_path / "v.hdf5", encoder, ["the boat", ""], layers="all")
    with h5py.File(tmp_path / "v.hdf5") as file:
        assert file["0"].shape == (3, 2, encoder.model.out_size) and file["0"].dtype == np.float32
        assert file["1"].shape == (3, 0, encoder.model.out_size)
        assert json.loads(file["sentence_to_index"][0]) == {"the boat": "0", "": "1"}


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_the_same_bytes_however_it_was_cut(
    encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    save_embedded(tmp_path / f"one{suffix}", encoder, ODD, carry_rows=2)  # in one order of computing
    monkeypatch.setattr(vector_parts, "PART_BYTES", 500)
    save_embedded(tmp_path / f"two{suffix}", encoder, ODD, carry_rows=2)
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_carried_state_follows_the_lines(encoder: Any, tmp_path: Path) -> None:
    save_embedded(tmp_path / "v.npz", encoder, ["the boat", "the boat"], carry_rows=1)
    first, second = np.load(tmp_path / "v.npz")["vectors"].reshape(2, 2, -1)
    assert np.abs(first - second).max() > 1e-3


def test_lines_without_words_only(encoder: Any, tmp_path: Path) -> None:
    save_embedded(tmp_path / "v.safetensors", encoder, ["", " "])
    assert load_file(tmp_path / "v.safetensors")["vectors"].shape == (0, encoder.model.out_size)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".hdf5", ".parquet"])
@pytest.mark.usefixtures("small_parts")
def test_a_stopped_run_goes_on(
    encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    computed: list[int] = []
    real = vector_parts.embed_lines

    def counting(own: Any, lines: Any, **choice: Any) -> Iterator[Any]:
        computed.append(len(lines))
        return real(own, lines, **choice)

    def interrupted() -> Iterator[str]:
        yield from LINES[:20]
        raise KeyboardInterrupt

    monkeypatch.setattr(vector_parts, "embed_lines", counting)
    path = tmp_path / f"v{suffix}"
    with pytest.raises(KeyboardInterrupt):
        save_embedded(path, encoder, interrupted())
    before = sum(computed)
    assert 0 < before <= 20 and not path.exists()
    save_embedded(path, encoder, LINES, quiet=False)
    assert sum(computed) == len(LINES), "what was done is not done again"
    assert "were finished by an earlier run" in capsys.readouterr().err
    assert [place.name for place in tmp_path.iterdir()] == [path.name]
    save_embedded(tmp_path / f"whole{suffix}", encoder, LINES)
    assert path.read_bytes() == (tmp_path / f"whole{suffix}").read_bytes() or suffix == ".hdf5"


@pytest.mark.usefixtures("small_parts")
def test_parts_of_another_text_choice_or_model_and_damaged_ones_are_not_used(encoder: Any, tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"

    def stopped(own: Any, lines: list[str], **choice: Any) -> None:
        def flow() -> Iterator[str]:
            yield from lines
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            save_embedded(path, own, flow(), **choice)

    stopped(language_model(seed=5), LINES[:10])
    stopped(encoder, LINES[:20], layers="top")
    stopped(encoder, LINES[3:])
    stopped(encoder, LINES)
    parts = sorted((tmp_path / ".v.safetensors.parts").glob("*.safetensors"))
    assert len(parts) > 8
    for part in parts[::2]:
        part.write_bytes(part.read_bytes()[:-7])
    save_embedded(path, encoder, LINES)
    save_embedded(tmp_path / "w.safetensors", encoder, LINES)
    assert path.read_bytes() == (tmp_path / "w.safetensors").read_bytes()


KILLED = (
    "import sys\n"
    "from pathlib import Path\n"
    "from carryover.encoders import vector_parts\n"
    "from carryover.encoders.vector_files import save_embedded\n"
    "from task_material import classified, language_model\n"
    "vector_parts.PART_BYTES = 1000\n"
    "lines = [example.input.text for example in classified(30)]\n"
    "save_embedded(Path(sys.argv[1]), language_model(), lines, quiet=False)\n"
)


@pytest.mark.parametrize(("suffix", "last"), [(".safetensors", False), (".npz", True), (".hdf5", True), (".parquet", True)])
@pytest.mark.usefixtures("small_parts")
def test_killed_and_run_again(encoder: Any, tmp_path: Path, suffix: str, last: bool) -> None:
    """A real SIGKILL at the third part, or when the file itself stands there but for its name; nothing of it is left."""
    path = tmp_path / f"v{suffix}"
    with vector_parts.embedded_parts(path, encoder, LINES, vector_parts.Choice()) as parts:
        renames = len(parts.files) + 1 if last else 3
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, "-c", KILLED, str(path)]
    killed = subprocess.run(line, env={**environment, "CARRYOVER_CRASH_AT": f"file rename:{renames}"}, capture_output=True)
    assert killed.returncode == -9 and not path.exists()
    assert any(storage.is_temporary(place) for place in tmp_path.rglob("*")), "it died within a write"
    again = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert again.returncode == 0 and "were finished by an earlier run" in again.stderr, again.stderr
    assert [place.name for place in tmp_path.iterdir()] == [path.name]


def test_memory_does_not_follow_the_corpus(tmp_path: Path) -> None:
    """Peak memory of a process after 26 MB of vectors and after 160 MB of them."""
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from carryover.data.coding import TokenCoder\n"
        "from carryover.data.vocabulary import Vocabulary\n"
        "from carryover.encoders import vector_parts\n"
        "from carryover.encoders.vector_files import save_embedded\n"
        "from carryover.models.bilm import BiLanguageModel\n"
        "from carryover.encoders.bilm import BidirectionalEncoder\n"
        "vector_parts.PART_BYTES = 4 << 20\n"
        "coder = TokenCoder('words', Vocabulary(['the', 'boat', 'sees']))\n"
        "config = BiLanguageModel.Config(input='words', vocabulary_size=len(coder.vocabulary), cells=4, projection=512)\n"
        "model = BidirectionalEncoder(BiLanguageModel(config), coder, {})\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "suffix = sys.argv[1]\n"
        "for count in (500, 500, 3100):\n"
        "    lines = ('the boat sees the boat' if n % 7 else '' for n in range(count))\n"
        "    save_embedded(Path('v' + suffix), model, lines, layers='all')\n"
        "    print(peak(), Path('v' + suffix).stat().st_size)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for suffix in (".safetensors", ".npz", ".hdf5", ".parquet"):
        line = [sys.executable, "-c", program, suffix]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        _, small, large = ([int(number) for number in row.split()] for row in done.stdout.splitlines())
        if suffix != ".parquet":  # which packs the same vectors
            assert large[1] > 150e6
        assert (large[0] - small[0]) * 1024 < 40e6, (suffix, done.stdout)


def test_refusals_leave_nothing(encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.safetensors"
    with pytest.raises(UsageError, match=r"v\.npy: cannot write vectors as \.npy; use \.safetensors, \.npz"):
        save_embedded(tmp_path / "v.npy", encoder, LINES)
    with pytest.raises(UsageError, match="layers 'last' is unknown"):
        save_embedded(path, encoder, LINES, layers="last")
    with pytest.raises(BadData, match="no line of text"):
        save_embedded(path, encoder, [])

    def broken() -> Iterator[str]:
        yield LINES[0]
        raise BadData("is not UTF-8", path="x", line=2)

    with pytest.raises(BadData, match="x:2: is not UTF-8"):
        save_embedded(path, encoder, broken())

    def full(file: Any, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(faults, "write_some", full)
        with pytest.raises(DiskFault):
            save_embedded(path, encoder, LINES)

    def fails(*given: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for suffix in (".npz", ".hdf5", ".parquet"):
        with monkeypatch.context() as patch:
            patch.setattr(storage.files.faults, "flush_file", fails)
            with pytest.raises(DiskFault):
                save_embedded(tmp_path / f"v{suffix}", encoder, LINES)
        left = [place.name for place in tmp_path.iterdir()]
        assert left == [f".v{suffix}.parts"], "the parts are whole and stay for the next run"
        save_embedded(tmp_path / f"v{suffix}", encoder, LINES)
        (tmp_path / f"v{suffix}").unlink()
    assert list(tmp_path.iterdir()) == []


def test_two_runs_of_one_file(encoder: Any, tmp_path: Path) -> None:
    with (
        vector_parts.embedded_parts(tmp_path / "v.npz", encoder, LINES, vector_parts.Choice()),
        pytest.raises(Busy, match="is in use by process"),
    ):
        save_embedded(tmp_path / "v.npz", encoder, LINES)


def test_an_older_file_is_replaced_whole(encoder: Any, tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    path.write_bytes(b"old")
    save_embedded(path, encoder, LINES[:2], layers="top")
    assert load_file(path)["lengths"].shape == (2,)
    assert [place.name for place in tmp_path.iterdir()] == ["v.safetensors"]


def test_words_that_are_cut_are_counted(encoder: Any, tmp_path: Path) -> None:
    assert save_embedded(tmp_path / "v.npz", encoder, ["a " + "b" * 60, "c"])["cut_words"] == 1


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".hdf5", ".parquet"])
def test_a_finished_file_is_said_to_be_there(
    encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    path = tmp_path / f"v{suffix}"
    first = save_embedded(path, encoder, ODD, layers="top")
    before, computed = path.stat().st_mtime_ns, list[str]()
    real = vector_parts.embed_lines
    monkeypatch.setattr(
        vector_parts, "embed_lines", lambda *given, **options: computed.append("") or real(*given, **options)
    )
    assert save_embedded(path, encoder, ODD, layers="top", quiet=False) == first
    assert "finished before with the same model, options and text" in capsys.readouterr().err
    assert (path.stat().st_mtime_ns, computed) == (before, [])
    assert save_embedded(path, encoder, iter(ODD), layers="top") == first, "a stream is not read twice"
    for lines, layers in (([*ODD, "one more"], "top"), (ODD, "mix")):
        computed.clear()
        save_embedded(path, encoder, lines, layers=layers)
        assert computed


def test_a_removed_folder_of_parts_is_no_success(
    encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_parts: None
) -> None:
    real = vector_parts._save

    def removes(file: Path, *given: Any) -> None:
        real(file, *given)
        if len(list(file.parent.glob("*.safetensors"))) == 2:
            shutil.rmtree(file.parent)

    monkeypatch.setattr(vector_parts, "_save", removes)
    with pytest.raises(CannotWrite, match="was removed while it was being written; run the same command again"):
        save_embedded(tmp_path / "v.npz", encoder, LINES)
    monkeypatch.setattr(vector_parts, "_save", real)
    assert save_embedded(tmp_path / "v.npz", encoder, LINES)["lines"] == len(LINES)
