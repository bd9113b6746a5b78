"""Published ELMo files that are damaged, mistaken or hostile: one clear line, the documented exit code, nothing written."""

from __future__ import annotations

import errno
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carryover.errors import BadData, CarryoverError, ExtraMissing
from carryover.interop.elmo.published import read_elmo
from carryover.storage import hdf5
from command_line import Material, Shell
from faults.one_line import Case, refuse
from interop.elmo_files import OPTIONS, changed, random_arrays, write_files, write_weights

h5py = pytest.importorskip("h5py", reason="published ELMo files need h5py: pip install carryover[published]")

IMPORT = "import elmo --options files/options.json --weights files/weights.hdf5 --out new"
CELL = "RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell"
MUTANTS = 200


def of(options: dict[str, Any]) -> Callable[[Shell, Material], object]:
    """Other options beside weights that fit the usual ones."""

    def write(shell: Shell, material: Material) -> None:
        write_files(Path("files"))
        Path("files/options.json").write_text(json.dumps(options))

    return write


def raw(content: bytes) -> Callable[[Shell, Material], object]:
    def write(shell: Shell, material: Material) -> None:
        write_files(Path("files"))
        Path("files/options.json").write_bytes(content)

    return write


def weights(change: Callable[[Any], object]) -> Callable[[Shell, Material], object]:
    """Usual files, then a change of the open HDF5 file."""

    def write(shell: Shell, material: Material) -> None:
        write_files(Path("files"))
        with h5py.File("files/weights.hdf5", "r+") as file:
            change(file)

    return write


def replaced(name: str, **how: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[name]
        file.create_dataset(name, **how)

    return change


def in_another_file(file: Any) -> None:
    """What would read any file of the machine into the model."""
    del file[f"{CELL}/B"]
    Path("files/secret").write_bytes(b"s" * 160)
    file.create_dataset(f"{CELL}/B", (40,), "f4", external=[("files/secret", 0, 160)])


def by_link(file: Any) -> None:
    write_weights(Path("files/other.hdf5"), {"x": np.zeros(40, np.float32)})
    del file[f"{CELL}/B"]
    file[f"{CELL}/B"] = h5py.ExternalLink("other.hdf5", "x")


def virtual(file: Any) -> None:
    write_weights(Path("files/other.hdf5"), {"x": np.zeros(40, np.float32)})
    del file[f"{CELL}/B"]
    layout = h5py.VirtualLayout((40,), "f4")
    layout[:] = h5py.VirtualSource("files/other.hdf5", "x", (40,))
    file.create_virtual_dataset(f"{CELL}/B", layout)


def cut(shell: Shell, material: Material) -> None:
    _, path = write_files(Path("files"))
    path.write_bytes(path.read_bytes()[:-1000])


def deeper(shell: Shell, material: Material) -> None:
    """Weights of three layers, options of two."""
    write_files(Path("files"), changed(lstm__n_layers=3))
    Path("files/options.json").write_text(json.dumps(OPTIONS))


def one_value(file: Any) -> None:
    file[f"{CELL}/B"][3] = np.nan


OPTION_CASES = [
    ("not JSON", raw(b"{\"lstm\": "), ("options.json:1: is not JSON",)),
    ("not UTF-8", raw(b"{\"a\": \"\xff\"}"), ("is not UTF-8",)),
    ("a list", raw(b"[]"), ("holds a list, expected an object",)),
    ("empty", raw(b""), ("is not JSON",)),
    ("nested without end", raw(b"[" * 100_000), ("is not JSON that can be read",)),
    ("no lstm", of(changed(lstm=...)), ("has no lstm; give the options.json that came with the weights",)),
    ("no characters", of(changed(char_cnn=...)), ("has no char_cnn",)),
    ("a misspelled clip", of(changed(lstm__cell_clip=..., lstm__cellclip=3)), ("has no lstm.cell_clip",)),
    ("a part that is none", of(changed(lstm=3)), ("lstm is '3', expected an object",)),
    ("a size of text", of(changed(lstm__dim="10")), ("lstm.dim is '10', expected a whole number from 1",)),
    ("a size of nothing", of(changed(lstm__dim=0)), ("lstm.dim is '0'",)),
    ("a size that is true", of(changed(lstm__n_layers=True)), ("lstm.n_layers is 'True'",)),
    ("very many layers", of(changed(lstm__n_layers=10**9)), ("from 1 to 64",)),
    ("a negative clip", of(changed(lstm__proj_clip=-3)), ("lstm.proj_clip is '-3', expected a positive number or null",)),
    ("an endless clip", raw(json.dumps(changed(lstm__proj_clip=float("inf"))).encode()), ("lstm.proj_clip is 'inf'",)),
    ("filters of one number", of(changed(char_cnn__filters=[3])), ("char_cnn.filters is '3', expected pairs",)),
    ("a filter too wide", of(changed(char_cnn__filters=[[51, 3]])), ("char_cnn.filters is '[51, 3]'", "a width up to 50")),
    ("no filters", of(changed(char_cnn__filters=[])), ("char_cnn.filters is '[]'",)),
    ("another activation", of(changed(char_cnn__activation="tanh")), ("char_cnn.activation is 'tanh', expected 'relu'",)),
    ("another alphabet", of(changed(char_cnn__n_characters=100)), ("char_cnn.n_characters is '100', expected 262 or 261",)),
    ("a wrong dropout", of(changed(dropout=2)), ("dropout is '2', expected a probability",)),
    ("longer words", of(changed(char_cnn__max_characters_per_token=64)), ("char_cnn.max_characters_per_token is '64', expected 50",)),
]  # fmt: skip
DISAGREEMENTS = [
    ("more cells", of(changed(lstm__dim=11)), (f"'{CELL}/W_0' has shape [12, 40], files/options.json asks for [12, 44]",)),
    ("a wider projection", of(changed(lstm__projection_dim=7)), ("'CNN_proj/W_proj' has shape [12, 6]", "asks for [12, 7]")),
    ("larger characters", of(changed(char_cnn__embedding={"dim": 5})), ("'char_embed' has shape [261, 4]", "[261, 5]")),
    ("other filters", of(changed(char_cnn__filters=[[1, 3], [2, 4], [3, 6]])), ("'CNN/W_cnn_2' has shape [1, 3, 4, 5]", "[1, 3, 4, 6]")),
    ("more layers", of(changed(lstm__n_layers=3)), ("has no data set 'RNN_0/RNN/MultiRNNCell/Cell2/LSTMCell/W_0', which files/options.json asks for",)),
    ("fewer layers", deeper, ("has a data set 'RNN_0/RNN/MultiRNNCell/Cell2/LSTMCell/B' that files/options.json does not ask for (2 layers",)),
    ("fewer highways", of(changed(char_cnn__n_highway=1)), ("has a data set 'CNN_high_1/W_carry'",)),
]  # fmt: skip
WEIGHT_CASES = [
    ("cut short", cut, ("files/weights.hdf5: is not a whole HDF5 file: ", "truncated file", "fetch it again")),
    ("missing data set", weights(lambda f: f.__delitem__(f"{CELL}/W_P_0")), (f"has no data set '{CELL}/W_P_0'",)),
    ("missing group", weights(lambda f: f.__delitem__("CNN")), ("has no data set 'CNN/W_cnn_0'",)),
    ("a group for a data set", weights(lambda f: (f.__delitem__("char_embed"), f.create_group("char_embed"))), ("has no data set 'char_embed'",)),
    ("not a number", weights(one_value), (f"data set '{CELL}/B' holds a value that is not finite",)),
    ("text", weights(replaced(f"{CELL}/B", shape=(40,), dtype=h5py.string_dtype())), ("is of object, expected float32",)),
    ("whole numbers", weights(replaced(f"{CELL}/B", data=np.zeros(40, np.int32))), ("is of int32, expected float32",)),
    ("a claim without content", weights(replaced(f"{CELL}/B", shape=(40,), dtype="f4")), ("claims 160 bytes and holds 0",)),
    ("no shape", weights(replaced(f"{CELL}/B", data=h5py.Empty("f4"))), ("has shape None",)),
    ("another file's content", weights(in_another_file), (f"data set '{CELL}/B' is stored in another file",)),
    ("a virtual data set", weights(virtual), (f"data set '{CELL}/B' is stored in another file",)),
    ("a link to another file", weights(by_link), (f"has no data set '{CELL}/B'",)),
    ("a foreign filter", weights(replaced(f"{CELL}/B", data=np.zeros(40, np.float32), compression="lzf")), ("is packed with filter 32000",)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "prepare", "says"),
    [*OPTION_CASES, *DISAGREEMENTS, *WEIGHT_CASES],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_wrong_files(
    shell: Shell, material: Material, name: str, prepare: Callable[[Shell, Material], object], says: tuple[str, ...]
) -> None:
    refuse(shell, material, Case(name, IMPORT, 65, says, prepare=prepare))


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (IMPORT.replace("files/options", "files/option"), 66, ("files/option.json: cannot be read",)),
        (IMPORT.replace("weights.hdf5", "nothing.hdf5"), 66, ("files/nothing.hdf5: cannot be read",)),
        (IMPORT.replace("files/weights.hdf5", "files"), 66, ("files: cannot be read: Is a directory",)),
        (IMPORT.replace("files/weights.hdf5", "files/options.json"), 65, ("is not a whole HDF5 file",)),
        (IMPORT.replace("files/options.json", "files/weights.hdf5"), 65, ("weights.hdf5: is not",)),
        (IMPORT.replace("elmo", "emlo"), 2, ("cannot import 'emlo'; did you mean 'elmo'?",)),
        ("import elmo --options files/options.json --out new", 2, ("needs --weights; give --options and --weights",)),
        (IMPORT.replace("--out new", ""), 2, ("--out",)),
        (IMPORT.replace("--out new", "--out files/options.json"), 73, ("files/options.json",)),
        (IMPORT.replace("--out new", "--out {encoder}"), 2, ("holds another model; choose another folder",)),
        (IMPORT + " --tokenizer moses", 2, ("tokenizer 'moses' is unknown; use words or whitespace",)),
        (
            "export elmo {classifier} --out new",
            2,
            ("is a task model, not a bidirectional language model; give a pretrained language model",),
        ),
        ("export elmo nowhere --out new", 66, ("nowhere: does not exist",)),
        ("export elmo {encoder} --out files/options.json", 73, ("is a file",)),
        ("export elmo {encoder} --out other", 2, ("other: holds 'mine.txt'; give a folder that does not exist yet",)),
        ("export onxn {encoder} --out new", 2, ("cannot export 'onxn'",)),
    ],
)
def test_wrong_command_lines(shell: Shell, material: Material, line: str, code: int, says: tuple[str, ...]) -> None:
    def prepare(shell: Shell, material: Material) -> None:
        write_files(Path("files"))
        Path("other").mkdir()
        Path("other/mine.txt").write_text("mine")

    refuse(shell, material, Case(line, line, code, says, prepare=prepare))


def test_a_model_of_words_cannot_be_exported(shell: Shell, material: Material) -> None:
    line = ["pretrain", "--raw", material.raw, "--out", "words", "--size", "tiny", "--epochs", 1, "--input", "words", "-q"]
    assert shell(*line).code == 0
    done = shell("export", "elmo", "words", "--out", "new")
    assert done.code == 2 and "reads words and the published layout has characters only" in done.err
    assert not Path("new").exists()


def test_a_full_disk_leaves_nothing_of_an_export(shell: Shell, material: Material) -> None:
    """Whichever write it is that fails."""
    from carryover.storage import faults

    write = faults.write_some
    for failing in range(3):
        left = [failing]

        def fail(file: Any, data: memoryview, left: list[int] = left) -> int:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(file, data)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(faults, "write_some", fail)
            done = shell("export", "elmo", material.encoder, "--out", "new")
        assert done.code == 74 and "No space left" in done.err and done.err.count("\n") == 1
        assert list(shell.folder.iterdir()) == []
    assert shell("export", "elmo", material.encoder, "--out", "new").code == 0


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = write_files(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ExtraMissing, match=r"HDF5 files need h5py; pip install carryover\[published\]"):
        read_elmo(*files)


def test_packed_weights_and_foreign_parts_are_read(tmp_path: Path) -> None:
    """Compression by the library's own filters is fine; what is no part of ELMo is named and left."""
    options, path = write_files(tmp_path)
    _, state, ignored = read_elmo(options, path)
    with h5py.File(path, "w") as file:
        for name, array in random_arrays(OPTIONS).items():
            file.create_dataset(name, data=array.astype(np.float64), compression="gzip", shuffle=True, fletcher32=True)
        file["softmax/W"] = np.zeros(3)
        file["loop"] = file["/"]
    _, again, more = read_elmo(options, path)
    assert ignored == [] and more == ["softmax/W"]
    assert all((again[name] == tensor).all() for name, tensor in state.items())


def test_a_file_of_very_many_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_MOST_OBJECTS", 20)
    with pytest.raises(BadData, match="holds more than 20 objects; is it the right file"):
        read_elmo(*write_files(tmp_path))


@pytest.mark.parametrize("flipped", ["options.json", "weights.hdf5"])
@pytest.mark.parametrize("how", ["one byte", "several bytes", "cut"])
def test_damaged_bytes_end_in_an_error_or_a_model(tmp_path: Path, flipped: str, how: str) -> None:
    """A changed number cannot be told from another number: the format keeps no checksum."""
    files = write_files(tmp_path)
    path = tmp_path / flipped
    whole = path.read_bytes()
    draw = random.Random(f"{flipped} {how}")
    ends = {"model": 0, "error": 0}
    for _ in range(MUTANTS):
        mutant = bytearray(whole)
        for _ in range({"one byte": 1, "several bytes": 5, "cut": 0}[how]):
            mutant[draw.randrange(len(mutant))] ^= draw.randrange(1, 256)
        path.write_bytes(mutant[: draw.randrange(len(mutant))] if how == "cut" else mutant)
        began = time.monotonic()
        try:
            read_elmo(*files)
            ends["model"] += 1
        except CarryoverError as error:
            assert isinstance(error, BadData) and error.path is not None and error.repair and "\n" not in str(error)
            ends["error"] += 1
        assert time.monotonic() - began < 5
    assert ends["error"] > 0, ends
    if how == "cut":
        assert ends["model"] == 0
