"""Published ELMo files in and out: `options.json` and HDF5 weights become an artefact, and a language model becomes them."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import carryover
from carryover import storage
from carryover.data.coding import TokenCoder
from carryover.data.lexicon import Lexicon
from carryover.data.token import Tokenizer
from carryover.data.tokenizers import WhitespaceTokenizer
from carryover.data.words import WordTokenizer
from carryover.encoders.bilm import BidirectionalEncoder
from carryover.encoders.loading import load, require
from carryover.errors import BadData, CannotWrite, CarryoverError, UsageError
from carryover.interop.elmo.layout import (
    Arrays,
    from_state,
    options_of,
    published_shapes,
    read_options,
    to_state,
)
from carryover.models.bilm import BiLanguageModel
from carryover.objectives.model_card import imported_model_card
from carryover.storage.artefact import has_artefact, load_artefact, save_artefact
from carryover.storage.hdf5 import data_sets, load_h5py, open_hdf5, read_arrays

OPTIONS, WEIGHTS = "options.json", "weights.hdf5"
TOKENIZERS: dict[str, type[Tokenizer]] = {"words": WordTokenizer, "whitespace": WhitespaceTokenizer}
_OURS = ("CNN", "CNN_proj", "char_embed", "CNN_high_", "RNN_")


@dataclass(frozen=True)
class Imported:
    """What was imported: `ignored` are the parts of the source that ELMo has no place for, `remarks` what is done otherwise
    here than by the program that made it."""

    folder: Path
    record: dict[str, Any]
    ignored: list[str]
    remarks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        imported = self.record["imported"]
        return {
            "schema": "carryover.import/1",
            "folder": str(self.folder),
            "format": imported["format"],
            "parameters": self.record["parameters"],
            "files": imported["files"],
            "ignored": self.ignored,
            "remarks": list(self.remarks),
        }


def read_elmo(options: Path, weights: Path) -> tuple[BiLanguageModel.Config, dict[str, Tensor], list[str]]:
    """Configuration and parameters from published files, and the data sets that belong to no part of ELMo.

    Raises InputMissing, BadData where a file is damaged or the two disagree, ExtraMissing without h5py.
    """
    config = read_options(options)
    arrays, ignored = read_weights(weights, config, options)
    return config, to_state(arrays, config), ignored


def read_weights(path: Path, config: BiLanguageModel.Config, asked_by: Path) -> tuple[Arrays, list[str]]:
    """The published arrays of an HDF5 file, shaped as `published_shapes` says, and the names of what else it holds.

    Raises InputMissing and ExtraMissing as `open_hdf5` does, BadData where an array is missing, of another shape, not
    finite, or of a layer that `asked_by`, the file of the options, does not ask for.
    """
    shapes = published_shapes(config)
    with open_hdf5(path) as file:
        others = [name for name in data_sets(file) if name not in shapes]
        arrays = read_arrays(file, shapes, asked_by)
    for name in others:
        if name.split("/")[0].startswith(_OURS):  # a deeper or wider model than the options say
            raise BadData(
                f"has a data set {name!r} that {asked_by} does not ask for ({config.layers} layers, "
                f"{config.highway_layers} highways, {len(config.filters)} filters)",
                path=path,
                repair="give options and weights of one model",
            )
    return arrays, others


def import_elmo(options: Path, weights: Path, out: Path, *, tokenizer: str = "words") -> Imported:
    """Read published files and write an artefact into `out`; the same call again changes nothing.

    `tokenizer` finds the words in running text: "words" by rule, "whitespace" for text that is tokenised already.
    Raises what `read_elmo` does, UsageError when `out` holds another model or the tokenizer is unknown, CannotWrite.
    """
    options, weights = Path(options), Path(weights)
    config, state, ignored = read_elmo(options, weights)
    files = {"options": described(options), "weights": described(weights)}
    return keep_imported(Path(out), "elmo", config, state, files, ignored=ignored, tokenizer=tokenizer)


def keep_imported(
    out: Path,
    format: str,
    config: BiLanguageModel.Config,
    state: Mapping[str, Tensor],
    files: dict[str, dict[str, Any]],
    *,
    ignored: list[str],
    tokenizer: str = "words",
    lexicon: Lexicon | None = None,
    remarks: tuple[str, ...] = (),
) -> Imported:
    """Write what was read of `files` as an artefact. Raises UsageError when `out` holds another model."""
    if tokenizer not in TOKENIZERS:
        raise UsageError(f"tokenizer {tokenizer!r} is unknown", repair=f"use {' or '.join(TOKENIZERS)}")
    imported = {"format": format, "files": files, "tokenizer": tokenizer}
    if remarks:
        imported["remarks"] = list(remarks)
    record = {
        "schema": "carryover.record/1",
        "objective": "bilm",
        "imported": imported,
        "parameters": sum(tensor.numel() for tensor in state.values()),
        "versions": {
            "carryover": carryover.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "command": shlex.join(sys.argv),
    }
    if has_artefact(out):
        _check_same(out, imported)
    save_artefact(
        out,
        kind="bilm",
        config=config.to_json(),
        tensors=state,
        tokenizer=TokenCoder("characters", tokenizer=TOKENIZERS[tokenizer](), lexicon=lexicon).to_json(),
        labels=None,
        record=record,
        card=imported_model_card(config.to_json(), record),
    )
    return Imported(out, record, ignored, remarks)


def export_elmo(folder: Path, out: Path) -> dict[str, Any]:
    """Write the language model in `folder` as `options.json` and `weights.hdf5` into the folder `out`, whole or not at all.

    The output layer stays behind: the layout has no place for it. Before the files take their place they are read back and
    compared. Raises UsageError when `folder` is no such model or `out` holds anything but an earlier export, CannotWrite,
    ExtraMissing without h5py.
    """
    repair = "give a pretrained language model of objective bilm"
    encoder = require(load(folder), BidirectionalEncoder, folder, but="not a bidirectional language model", repair=repair)
    config, out = encoder.model.config, Path(out)
    try:
        options = options_of(config)
    except UsageError as error:
        raise UsageError(error.message, path=folder, repair=error.repair) from error
    _check_free(out)
    state = {name: tensor for name, tensor in encoder.model.state_dict().items() if not name.startswith("output.")}
    content = _packed(from_state(state, config), out / WEIGHTS)
    with storage.atomic_folder(out) as temporary:
        storage.write_file(temporary / OPTIONS, [json.dumps(options, indent=2).encode()])
        storage.write_file(temporary / WEIGHTS, [content])
        _, again, _ = read_elmo(temporary / OPTIONS, temporary / WEIGHTS)
        difference = max(float((again[name] - tensor.cpu()).abs().max()) for name, tensor in state.items())
        if not difference <= 1e-6:
            raise BadData(
                f"the written weights differ by {difference:.3g} when read back", path=out, repair="report this as a bug"
            )
    return {
        "schema": "carryover.export/1",
        "folder": str(out),
        "format": "elmo",
        "files": {"options": OPTIONS, "weights": WEIGHTS},
        "parameters": sum(tensor.numel() for tensor in state.values()),
        "largest_difference": difference,
        "left_out": [name for name in encoder.model.state_dict() if name.startswith("output.")],
    }


def _packed(arrays: Arrays, path: Path) -> bytes:
    """An HDF5 file made in memory, so that it is written like every other file. Equal arrays make equal bytes."""
    h5py = load_h5py(path)
    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, track_times=False)
        file.flush()
        return bytes(file.id.get_file_image())


def described(path: Path) -> dict[str, Any]:
    """What the record says of a source file."""
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": storage.file_digest(path)}


def _check_same(out: Path, imported: dict[str, Any]) -> None:
    """Raise UsageError unless `out` holds what is about to be written there, or a damaged copy of it."""
    try:
        there = load_artefact(out).record.get("imported")
    except CarryoverError:
        there = None
    if there is None or _identity(there) != _identity(imported):
        raise UsageError("holds another model", path=out, repair="choose another folder for --out")


def _identity(imported: Any) -> Any:
    if not isinstance(imported, dict) or not isinstance(imported.get("files"), dict):
        return None
    digests = {name: file.get("sha256") for name, file in imported["files"].items() if isinstance(file, dict)}
    return imported.get("format"), imported.get("tokenizer"), digests


def _check_free(out: Path) -> None:
    """Raise CannotWrite or UsageError when `out` holds anything but an earlier export."""
    if not out.exists():
        return
    if not out.is_dir():
        raise CannotWrite("is a file", path=out, repair="give a folder that does not exist yet")
    strange = sorted({file.name for file in out.iterdir()} - {OPTIONS, WEIGHTS, storage.MANIFEST})
    if strange:
        raise UsageError(f"holds {strange[0]!r}", path=out, repair="give a folder that does not exist yet")
