"""AllenNLP archives: the ELMo inside is found and equals the published files; what is unsafe is refused."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from carryover.encoders.bilm import BidirectionalEncoder
from carryover.encoders.loading import load
from carryover.errors import BadData, CarryoverError
from carryover.interop.elmo.allennlp_archive import import_allennlp
from carryover.interop.elmo.reference_loop import loop_sentence, loop_state
from command_line import Material, Shell
from faults.one_line import Case, refuse
from interop.elmo_files import OPTIONS, changed, random_arrays

BEFORE = "text_field_embedder.token_embedder_elmo._elmo._elmo_lstm."
CONFIG = {"model": {"type": "simple_tagger", "text_field_embedder": {"elmo": {"options_file": "far/away/options.json"}}}}
LINE = "import allennlp --archive model.tar.gz --out new"


def weights_of(arrays: dict[str, np.ndarray], options: dict[str, Any] = OPTIONS) -> dict[str, Tensor]:
    """The published arrays as AllenNLP holds them, beside a tagger's own parameters; written out by hand."""

    def gates(array: np.ndarray) -> np.ndarray:
        i, g, f, o = np.split(array, 4)
        return np.concatenate([i, f, g, o])

    table = arrays["char_embed"]
    found = {"_token_embedder._char_embedding_weights": np.concatenate([0 * table[:1], table])}
    for number in range(len(options["char_cnn"]["filters"])):
        found[f"_token_embedder.char_conv_{number}.weight"] = arrays[f"CNN/W_cnn_{number}"][0].transpose(2, 1, 0)
        found[f"_token_embedder.char_conv_{number}.bias"] = arrays[f"CNN/b_cnn_{number}"]
    for number in range(options["char_cnn"]["n_highway"]):
        high = {name: arrays[f"CNN_high_{number}/{name}"] for name in ("W_transform", "b_transform", "W_carry", "b_carry")}
        to = f"_token_embedder._highways._layers.{number}"
        found[f"{to}.weight"] = np.concatenate([high["W_transform"].T, -high["W_carry"].T])
        found[f"{to}.bias"] = np.concatenate([high["b_transform"], -high["b_carry"]])
    found["_token_embedder._projection.weight"] = arrays["CNN_proj/W_proj"].T
    found["_token_embedder._projection.bias"] = arrays["CNN_proj/b_proj"]
    size, cells = options["lstm"]["projection_dim"], options["lstm"]["dim"]
    for number, side in enumerate(("forward", "backward")):
        for layer in range(options["lstm"]["n_layers"]):
            cell, to = f"RNN_{number}/RNN/MultiRNNCell/Cell{layer}/LSTMCell", f"_elmo_lstm.{side}_layer_{layer}"
            whole, bias = gates(arrays[f"{cell}/W_0"].T), gates(arrays[f"{cell}/B"])
            bias[cells : 2 * cells] += 1
            found |= {f"{to}.input_linearity.weight": whole[:, :size], f"{to}.state_linearity.weight": whole[:, size:]}
            found |= {f"{to}.state_linearity.bias": bias, f"{to}.state_projection.weight": arrays[f"{cell}/W_P_0"].T}
    elmo = {BEFORE + name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in found.items()}
    mix = BEFORE.replace("_elmo_lstm.", "scalar_mix_0.gamma")
    return {**elmo, mix: torch.ones(1), "encoder._module.weight_ih_l0": torch.zeros(3, 4), "tag.bias": torch.zeros(2)}


def saved(weights: Any, **how: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(weights, buffer, **how)
    return buffer.getvalue()


def archive(parts: dict[str, bytes], *more: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, content in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
        for info, content in more:
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def parts(options: dict[str, Any] | None = OPTIONS, **changes: bytes) -> dict[str, bytes]:
    """A whole archive's files; without `options` its own copy of them is missing."""
    found = {"config.json": json.dumps(CONFIG).encode(), "weights.th": saved(weights_of(random_arrays(OPTIONS)))}
    found["vocabulary/tokens.txt"] = b"the\ncow\n"
    if options is not None:
        found["fta/model.text_field_embedder.elmo.options_file"] = json.dumps(options).encode()
    return {**found, **{name.replace("__", "."): content for name, content in changes.items()}}


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before torch 1.6"])
def test_the_elmo_inside_is_the_published_one(tmp_path: Path, old: bool) -> None:
    arrays = random_arrays(OPTIONS)
    weights = saved(weights_of(arrays), _use_new_zipfile_serialization=not old)
    (tmp_path / "model.tar.gz").write_bytes(archive(parts(weights__th=weights)))
    told = import_allennlp(tmp_path / "model.tar.gz", tmp_path / "elmo")
    assert [name.rsplit(".", 2)[-1] for name in told.ignored] == ["gamma", "weight_ih_l0", "bias"]
    encoder: BidirectionalEncoder = load(tmp_path / "elmo")
    sentence = ["the", "cow", "sees", "日本"]
    expected, _ = loop_sentence(sentence, arrays, OPTIONS, loop_state(OPTIONS))
    assert np.abs(encoder.embed([sentence])[0].numpy() - expected).max() < 1e-5
    assert not list(tmp_path.rglob("tokens.txt")), "nothing was unpacked"


def test_through_the_command_line(shell: Shell) -> None:
    Path("model.tar.gz").write_bytes(archive(parts(options=None)))
    done = shell(*LINE.split())
    assert done.code == 65 and "(config.json names 'far/away/options.json'); give that file with --options" in done.err
    Path("options.json").write_text(json.dumps(OPTIONS))
    done = shell(*LINE.split(), "--options", "options.json")
    assert done.code == 0 and "4,186 parameters" in done.out
    assert "ignored, not part of ELMo: " in done.err and "tag.bias" in done.err
    assert shell("embed", "new", stdin="a b\n").code == 0
    document = shell(*LINE.split(), "--options", "options.json", "--json").document
    assert document["format"] == "allennlp" and len(document["ignored"]) == 3


@pytest.mark.parametrize("asked", [True, False])
def test_a_mixture_over_the_batch_is_named(shell: Shell, asked: bool) -> None:
    """AllenNLP's layer norm makes a vector depend on its batch; here none does, and who imports such a model is told."""
    config = json.loads(json.dumps(CONFIG))
    config["model"]["text_field_embedder"]["elmo"]["do_layer_norm"] = asked
    Path("model.tar.gz").write_bytes(archive(parts(config__json=json.dumps(config).encode())))
    done = shell(*LINE.split())
    assert done.code == 0
    assert ("its task mixed the layers with do_layer_norm, by mean and variance over all words" in done.err) == asked
    document = shell(*LINE.split(), "--json").document
    record = json.loads(Path("new/record.json").read_text())
    assert document["remarks"] == record["imported"].get("remarks", []) and len(document["remarks"]) == asked


class Runs:
    """Pickled, it would make a file when it is loaded the trusting way."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def link(kind: bytes, name: str, to: str) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info, b""


def bomb() -> bytes:
    """200 MiB of zeros in 200 KiB."""
    info = tarfile.TarInfo("weights.th")
    info.size = 200 << 20
    buffer = io.BytesIO()
    with gzip.open(buffer, "wb") as file:
        file.write(info.tobuf())
        for _ in range(200):
            file.write(bytes(1 << 20))
    return buffer.getvalue()


def packed_zip() -> bytes:
    buffer = io.BytesIO()
    inner = zipfile.ZipFile(io.BytesIO(saved(weights_of(random_arrays(OPTIONS)))))
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for entry in inner.infolist():
            file.writestr(entry.filename, inner.read(entry))
    return buffer.getvalue()


def without(name: str) -> bytes:
    weights = weights_of(random_arrays(OPTIONS))
    del weights[BEFORE + name]
    return saved(weights)


OUTSIDE = tarfile.TarInfo("../outside")
ABSOLUTE = tarfile.TarInfo("/tmp/outside")
CASES: list[tuple[str, Callable[[], bytes], tuple[str, ...]]] = [
    ("code in the weights", lambda: archive(parts(weights__th=pickle.dumps(Runs()))), ("weights.th does not load as weights and nothing else",)),
    ("code in the weights, zipped", lambda: archive(parts(weights__th=saved({"x": Runs()}))), ("does not load as weights and nothing else",)),
    ("a way out", lambda: archive(parts(), (OUTSIDE, b"")), ("holds '../outside', which leads outside; do not trust",)),
    ("an absolute way", lambda: archive(parts(), (ABSOLUTE, b"")), ("holds '/tmp/outside', which leads outside",)),
    ("a link", lambda: archive(parts(), link(tarfile.SYMTYPE, "fta/x", "/etc/passwd")), ("'fta/x', which is not a plain file",)),
    ("a hard link", lambda: archive(parts(), link(tarfile.LNKTYPE, "y", "weights.th")), ("'y', which is not a plain file",)),
    ("a device", lambda: archive(parts(), link(tarfile.CHRTYPE, "z", "")), ("'z', which is not a plain file",)),
    ("a bomb", bomb, ("unpacks to more than ",)),
    ("a bomb inside", lambda: archive(parts(weights__th=packed_zip())), ("is packed, which PyTorch never does",)),
    ("twice", lambda: archive(parts(), (tarfile.TarInfo("config.json"), b"")), ("holds 'config.json' twice",)),
    ("cut short", lambda: archive(parts())[:-500], ("is not a whole .tar.gz archive",)),
    ("no archive", lambda: b"not an archive", ("is not a whole .tar.gz archive",)),
    ("empty", lambda: b"", ("is not a whole .tar.gz archive",)),
    ("no weights", lambda: archive({"config.json": b"{}"}), ("holds no weights.th; give a model.tar.gz",)),
    ("no configuration", lambda: archive({"weights.th": b""}), ("holds no config.json",)),
    ("configuration no JSON", lambda: archive(parts(options=None, config__json=b"{")), ("config.json is not JSON",)),
    ("no ELMo", lambda: archive(parts(weights__th=saved({"tag.bias": torch.zeros(2)}))), ("holds 0 models of ELMo among 1 tensors",)),
    ("no tensors", lambda: archive(parts(weights__th=saved([1]))), ("holds a list, expected named tensors",)),
    ("no tensor", lambda: archive(parts(weights__th=saved({"a": 1}))), ("holds 'a', which is not a tensor",)),
    ("a tensor too few", lambda: archive(parts(weights__th=without("_token_embedder._projection.bias"))), (f"tensor '{BEFORE}_token_embedder._projection.bias' is absent, the options ask for [6]",)),
    ("other options", lambda: archive(parts(options=changed(lstm__dim=11))), ("is torch.float32 [40, 6], the options ask for [44, 6]",)),
    ("a deeper model", lambda: archive(parts(options=changed(lstm__n_layers=1))), ("has a tensor '", "layer_1.input_linearity.weight' that the options do not ask for")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "says"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_wrong_archives(
    shell: Shell, material: Material, name: str, make: Callable[[], bytes], says: tuple[str, ...]
) -> None:
    refuse(shell, material, Case(name, LINE, 65, ("model.tar.gz: ", *says), {"model.tar.gz": make()}))
    assert not Path("executed").exists()


def test_damaged_archives_end_in_an_error_or_a_model(tmp_path: Path) -> None:
    draw = random.Random(7)
    whole = parts()
    ends = {"model": 0, "error": 0}
    for number in range(200):
        inner = bytearray(whole["weights.th"])
        inner[draw.randrange(len(inner))] ^= draw.randrange(1, 256)
        content = bytearray(archive({**whole, "weights.th": bytes(inner)}) if number % 2 else archive(whole))
        if number % 2 == 0:
            content[draw.randrange(len(content))] ^= draw.randrange(1, 256)
        (tmp_path / "model.tar.gz").write_bytes(content)
        try:
            import_allennlp(tmp_path / "model.tar.gz", tmp_path / str(number))
            ends["model"] += 1
        except CarryoverError as error:
            assert isinstance(error, BadData) and error.repair and "\n" not in str(error)
            ends["error"] += 1
    assert ends["error"] > 20, ends
