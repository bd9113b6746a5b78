"""The published layout of ELMo: what `options.json` says, and where each number of the model is in the weight file.

M. E. Peters et al., "Deep contextualized word representations", NAACL 2018; the files are those of its first
implementation, read by many programs since. Against our own layout

* matrices multiply from the right, so all are transposed; a convolution is [1, width, character size, filters];
* a highway's gate is called carry there and is our gate: y = g ⊙ f(W x + b) + (1 − g) ⊙ x;
* the weights of an LSTM's input and state are one matrix [in + P, 4C], its gates in the order i, g, f, o;
* the forget gate's stored bias lacks the 1 that is added to it whenever it is used;
* the table of characters has no row for padding; ours has it in front, all zero;
* there is no output layer: what the language model predicted with was not published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from carryover.data.coding import CHARACTER_IDS, CHARACTERS_PER_WORD
from carryover.data.vocabulary import Vocabulary
from carryover.errors import BadData, CarryoverError, UsageError
from carryover.models.bilm import BiLanguageModel
from carryover.models.output import NO_SOFTMAX
from carryover.storage import read_json

Arrays = Mapping[str, np.ndarray]

_MOST_LAYERS = 64
_LARGEST = 1 << 20
_SIDES = ("forward_layers", "backward_layers")


# ---------------------------------------------------------------------- options


def read_options(path: Path) -> BiLanguageModel.Config:
    """The configuration that an `options.json` describes.

    Raises InputMissing, or BadData naming the key that is missing, of another kind, or that asks for what this model does
    not have: another table of characters than 256 bytes and signs, another activation than the rectifier.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise BadData(f"holds a {type(found).__name__}, expected an object", path=path, repair="give ELMo's options.json")
    return parse_options(found, path)


def parse_options(options: dict[str, Any], path: Path) -> BiLanguageModel.Config:
    """As `read_options`, from the document itself; `path` is its file. Raises BadData naming the field."""
    lstm, characters = _part(options, "lstm", path), _part(options, "char_cnn", path)
    embedding = _part(characters, "embedding", path, "char_cnn.")
    number = _required(characters, "n_characters", path, "char_cnn.")
    if number not in (CHARACTER_IDS, CHARACTER_IDS - 1):  # 261 while training: then without the row for padding
        raise _wrong("char_cnn.n_characters", number, f"{CHARACTER_IDS} or {CHARACTER_IDS - 1}", path)
    longest = _required(characters, "max_characters_per_token", path, "char_cnn.")
    if longest != CHARACTERS_PER_WORD:
        raise _wrong("char_cnn.max_characters_per_token", longest, str(CHARACTERS_PER_WORD), path)
    activation = _required(characters, "activation", path, "char_cnn.")
    if activation != "relu":
        raise _wrong("char_cnn.activation", activation, "'relu'", path)
    skips = _required(lstm, "use_skip_connections", path, "lstm.")
    if not isinstance(skips, bool):
        raise _wrong("lstm.use_skip_connections", skips, "true or false", path)
    dropout = options.get("dropout", 0.1)  # of the training, which published options leave out
    if not _is_number(dropout) or not 0 <= dropout < 1:
        raise _wrong("dropout", dropout, "a probability below 1", path)
    try:
        return BiLanguageModel.Config(
            vocabulary_size=len(Vocabulary.FIXED),
            input="characters",
            character_size=_whole(embedding, "dim", path, "char_cnn.embedding."),
            filters=_filters(characters, path),
            highway_layers=_whole(characters, "n_highway", path, "char_cnn.", least=0, most=_MOST_LAYERS, default=0),
            projection=_whole(lstm, "projection_dim", path, "lstm."),
            cells=_whole(lstm, "dim", path, "lstm."),
            layers=_whole(lstm, "n_layers", path, "lstm.", most=_MOST_LAYERS),
            dropout=float(dropout),
            cell_clip=_clip(lstm, "cell_clip", path),
            projection_clip=_clip(lstm, "proj_clip", path),
            residual=skips,
            softmax=NO_SOFTMAX,
        )
    except UsageError as error:
        raise BadData(error.message, path=path, repair=error.repair) from error


def options_of(config: BiLanguageModel.Config) -> dict[str, Any]:
    """Inverse of `parse_options`. Raises UsageError for a model that the published layout cannot describe."""
    if config.input != "characters":
        raise UsageError(
            f"the model reads {config.input} and the published layout has characters only",
            repair="pretrain with --input characters",
        )
    if config.word_forms or config.characters != CHARACTER_IDS:
        raise UsageError(
            "the model reads words through word tables, but the published layout has only the bytes of words",
            repair="export a model that was pretrained here or imported from that layout",
        )
    return {
        "lstm": {
            "cell_clip": config.cell_clip,
            "use_skip_connections": config.residual,
            "n_layers": config.layers,
            "proj_clip": config.projection_clip,
            "projection_dim": config.projection,
            "dim": config.cells,
        },
        "char_cnn": {
            "embedding": {"dim": config.character_size},
            "filters": [list(pair) for pair in config.filters],
            "n_highway": config.highway_layers,
            "n_characters": CHARACTER_IDS,
            "max_characters_per_token": CHARACTERS_PER_WORD,
            "activation": "relu",
        },
        "dropout": config.dropout,
    }


def _part(whole: dict[str, Any], key: str, path: Path, before: str = "") -> dict[str, Any]:
    found = _required(whole, key, path, before)
    if not isinstance(found, dict):
        raise _wrong(f"{before}{key}", found, "an object", path)
    return found


def _required(part: dict[str, Any], key: str, path: Path, before: str) -> Any:
    """No key has a default, so that a misspelled one is not overlooked: a clip that is not applied shows in no shape."""
    if key not in part:
        raise BadData(f"has no {before}{key}", path=path, repair="give the options.json that came with the weights")
    return part[key]


def _whole(
    part: dict[str, Any],
    key: str,
    path: Path,
    before: str,
    *,
    least: int = 1,
    most: int = _LARGEST,
    default: int | None = None,
) -> int:
    value = _required(part, key, path, before) if default is None else part.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _wrong(f"{before}{key}", value, f"a whole number from {least} to {most}", path)
    return value


def _filters(characters: dict[str, Any], path: Path) -> tuple[tuple[int, int], ...]:
    found = _required(characters, "filters", path, "char_cnn.")
    if not isinstance(found, list) or not 0 < len(found) <= CHARACTERS_PER_WORD:
        raise _wrong("char_cnn.filters", found, "a list of pairs [width, number]", path)
    pairs = []
    for pair in found:
        if not (isinstance(pair, list) and len(pair) == 2 and all(type(part) is int for part in pair)):
            raise _wrong("char_cnn.filters", pair, "pairs [width, number]", path)
        if not (1 <= pair[0] <= CHARACTERS_PER_WORD and 1 <= pair[1] <= _LARGEST):
            raise _wrong("char_cnn.filters", pair, f"a width up to {CHARACTERS_PER_WORD}, a number up to {_LARGEST}", path)
        pairs.append((pair[0], pair[1]))
    return tuple(pairs)


def _clip(lstm: dict[str, Any], key: str, path: Path) -> float | None:
    value = _required(lstm, key, path, "lstm.")
    if value is None:
        return None
    if not _is_number(value) or not 0 < value < math.inf:
        raise _wrong(f"lstm.{key}", value, "a positive number or null", path)
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30


def _wrong(key: str, value: Any, expected: str, path: Path) -> CarryoverError:
    return BadData(f"{key} is {str(value)[:80]!r}, expected {expected}", path=path, repair="give ELMo's own options.json")


# ---------------------------------------------------------------------- weights


def published_shapes(config: BiLanguageModel.Config) -> dict[str, tuple[int, ...]]:
    """Every data set of the weight file of such a model, with its shape."""
    size, cells, total = config.projection, config.cells, sum(count for _, count in config.filters)
    shapes: dict[str, tuple[int, ...]] = {"char_embed": (CHARACTER_IDS - 1, config.character_size)}
    for number, (width, count) in enumerate(config.filters):
        shapes[f"CNN/W_cnn_{number}"] = (1, width, config.character_size, count)
        shapes[f"CNN/b_cnn_{number}"] = (count,)
    for number in range(config.highway_layers):
        for part in ("transform", "carry"):
            shapes[f"CNN_high_{number}/W_{part}"] = (total, total)
            shapes[f"CNN_high_{number}/b_{part}"] = (total,)
    shapes["CNN_proj/W_proj"], shapes["CNN_proj/b_proj"] = (total, size), (size,)
    for side in range(len(_SIDES)):
        for layer in range(config.layers):
            cell = _cell(side, layer)
            shapes |= {f"{cell}/W_0": (2 * size, 4 * cells), f"{cell}/B": (4 * cells,), f"{cell}/W_P_0": (cells, size)}
    return shapes


def to_state(arrays: Arrays, config: BiLanguageModel.Config) -> dict[str, Tensor]:
    """The published arrays as the parameters of `BiLanguageModel(config)`."""
    size = config.projection
    state: dict[str, np.ndarray] = {}
    table = arrays["char_embed"]
    state["token_encoder.characters"] = np.concatenate([np.zeros_like(table[:1]), table])
    for number in range(len(config.filters)):
        to = f"token_encoder.convolutions.{number}"
        state[f"{to}.weight"] = arrays[f"CNN/W_cnn_{number}"][0].transpose(2, 1, 0)  # [filters, character size, width]
        state[f"{to}.bias"] = arrays[f"CNN/b_cnn_{number}"]
    for number in range(config.highway_layers):
        for ours, theirs in (("transform", "transform"), ("gate", "carry")):
            state[f"token_encoder.highways.{number}.{ours}.weight"] = arrays[f"CNN_high_{number}/W_{theirs}"].T
            state[f"token_encoder.highways.{number}.{ours}.bias"] = arrays[f"CNN_high_{number}/b_{theirs}"]
    state["token_encoder.projection.weight"] = arrays["CNN_proj/W_proj"].T
    state["token_encoder.projection.bias"] = arrays["CNN_proj/b_proj"]
    for side, name in enumerate(_SIDES):
        for layer in range(config.layers):
            to, cell = f"{name}.{layer}", _cell(side, layer)
            whole = _swap_gates(arrays[f"{cell}/W_0"].T)  # [4C, in + P]
            bias = _swap_gates(arrays[f"{cell}/B"])
            bias[config.cells : 2 * config.cells] += 1
            state[f"{to}.input_weight"], state[f"{to}.hidden_weight"] = whole[:, :size], whole[:, size:]
            state[f"{to}.bias"] = bias
            state[f"{to}.projection_weight"] = arrays[f"{cell}/W_P_0"].T
    return {name: torch.from_numpy(np.ascontiguousarray(array, np.float32)) for name, array in state.items()}


def from_state(state: Mapping[str, Tensor], config: BiLanguageModel.Config) -> dict[str, np.ndarray]:
    """Inverse of `to_state`; the output layer stays behind.

    A forget bias below 0.5 comes back up to 6e-8 off: the layout stores it less 1, and float32 rounds. All else is exact.
    """
    arrays = {name: tensor.detach().cpu().float().numpy() for name, tensor in state.items()}
    found: dict[str, np.ndarray] = {"char_embed": arrays["token_encoder.characters"][1:]}
    for number in range(len(config.filters)):
        of = f"token_encoder.convolutions.{number}"
        found[f"CNN/W_cnn_{number}"] = arrays[f"{of}.weight"].transpose(2, 1, 0)[None]
        found[f"CNN/b_cnn_{number}"] = arrays[f"{of}.bias"]
    for number in range(config.highway_layers):
        for ours, theirs in (("transform", "transform"), ("gate", "carry")):
            found[f"CNN_high_{number}/W_{theirs}"] = arrays[f"token_encoder.highways.{number}.{ours}.weight"].T
            found[f"CNN_high_{number}/b_{theirs}"] = arrays[f"token_encoder.highways.{number}.{ours}.bias"]
    found["CNN_proj/W_proj"] = arrays["token_encoder.projection.weight"].T
    found["CNN_proj/b_proj"] = arrays["token_encoder.projection.bias"]
    for side, name in enumerate(_SIDES):
        for layer in range(config.layers):
            of, cell = f"{name}.{layer}", _cell(side, layer)
            whole = np.concatenate([arrays[f"{of}.input_weight"], arrays[f"{of}.hidden_weight"]], axis=1)
            bias = arrays[f"{of}.bias"].copy()
            bias[config.cells : 2 * config.cells] -= 1
            found[f"{cell}/W_0"], found[f"{cell}/B"] = _swap_gates(whole).T, _swap_gates(bias)
            found[f"{cell}/W_P_0"] = arrays[f"{of}.projection_weight"].T
    return {name: np.ascontiguousarray(array, np.float32) for name, array in found.items()}


def _cell(side: int, layer: int) -> str:
    """The place of an LSTM: side 0 reads forward, side 1 backward."""
    return f"RNN_{side}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"


def _swap_gates(array: np.ndarray) -> np.ndarray:
    """A copy of [4C, …] with the gates i, g, f, o as i, f, g, o, or back."""
    first, second, third, fourth = np.split(array, 4)
    return np.concatenate([first, third, second, fourth])
