"""Models of ELMoForManyLangs (Che et al. 2018): a folder of plain state dictionaries and tables becomes an artefact.

```
config.json          of the training; its `config_path` names the file with the structure, which is often elsewhere
char.dic, word.dic   a sign and its number, tab separated, a line each
token_embedder.pkl   tables of characters and words, convolutions, highways, projection
encoder.pkl          the LSTMs
```

The LSTMs and highways are laid out as in AllenNLP (see `allennlp_archive`). Words are read by their characters, not bytes,
and where there is a `word.dic` by a vector of the whole word too; the projection reads both side by side, the word first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from carryover.data.lexicon import Lexicon
from carryover.data.vocabulary import Vocabulary
from carryover.errors import BadData, CarryoverError, InputMissing, UsageError
from carryover.interop.elmo.allennlp_modules import lstm_shapes, lstms_to_state, spelling_shapes, spelling_to_state
from carryover.interop.elmo.pickled_weights import read_pickled_weights
from carryover.interop.elmo.published import Imported, described, keep_imported
from carryover.models.bilm import BiLanguageModel
from carryover.models.output import NO_SOFTMAX
from carryover.storage import read_json

CONFIG, CHARACTERS, WORDS, TOKENS, ENCODER = "config.json", "char.dic", "word.dic", "token_embedder.pkl", "encoder.pkl"
_MOST, _LARGEST = 64, 1 << 20
_CHARACTER_TABLE, _WORD_TABLE = "char_emb_layer.embedding.weight", "word_emb_layer.embedding.weight"
_SPELLING = ("convolutions.", "highways._layers.")
_SPACE = "\u3000"
"""What their reader makes of every sign that is white space: the ideographic space."""


def import_many_langs(folder: Path, out: Path, *, options: Path | None = None, tokenizer: str = "words") -> Imported:
    """Write the model in a folder of ELMoForManyLangs as an artefact into `out`; the same call again changes nothing.

    `options` is the JSON file with `encoder` and `token_embedder`, needed where the folder has no copy of it. Raises
    InputMissing, BadData naming what is missing, left over, of another shape or not plain tensors, UsageError.
    """
    folder = Path(folder)
    structure, where = _structure(folder, options)
    tensors = {name: _tensors(folder / name) for name in (TOKENS, ENCODER)}
    table = _required_tensor(tensors[TOKENS], _CHARACTER_TABLE, folder / TOKENS)
    forms = tensors[TOKENS].get(_WORD_TABLE)
    config = _config(structure, where, characters=len(table) + 1, forms=None if forms is None else len(forms))
    lexicon = Lexicon(
        _read_table(folder / CHARACTERS, len(table)),
        None if forms is None else _read_table(folder / WORDS, len(forms)),
        _whole(structure["token_embedder"], "max_characters_per_token", where, "token_embedder."),
    )
    state = _to_state(tensors, config, folder, where)
    names = [CHARACTERS, TOKENS, ENCODER, *([] if forms is None else [WORDS])]
    files = {name: described(folder / name) for name in names} | {"options": described(where)}
    known = {CONFIG, WORDS, where.name, *names}
    ignored = sorted(place.name for place in folder.iterdir() if place.name not in known)
    return keep_imported(
        Path(out), "elmo-many-langs", config, state, files, ignored=ignored, tokenizer=tokenizer, lexicon=lexicon
    )


# ---------------------------------------------------------------------- what the folder says


def _structure(folder: Path, options: Path | None) -> tuple[dict[str, Any], Path]:
    """The document with `encoder` and `token_embedder`, and the file it comes from."""
    if not folder.is_dir():
        raise InputMissing("is not a folder", path=folder, repair="give the folder of a model of ELMoForManyLangs")
    if options is not None:
        return _document(Path(options)), Path(options)
    found = _json(folder / CONFIG)
    if "encoder" in found and "token_embedder" in found:
        return _document(folder / CONFIG), folder / CONFIG
    named = found.get("config_path")
    name = PurePosixPath(named.replace("\\", "/")).name if isinstance(named, str) else ""
    for place in (folder / name, folder / "configs" / name):
        if name and place.is_file():
            return _document(place), place
    raise BadData(
        f"names the structure of the model as {str(named)[:120]!r}, which is not in its folder",
        path=folder / CONFIG,
        repair="give that file with --options",
    )


def _json(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise BadData(f"holds a {type(found).__name__}, expected an object", path=path, repair="fetch it again")
    return found


def _document(path: Path) -> dict[str, Any]:
    found = _json(path)
    for part in ("encoder", "token_embedder"):
        if not isinstance(found.get(part), dict):
            raise BadData(f"has no part {part}", path=path, repair="give the file that the model's config_path names")
    return found


def _config(structure: dict[str, Any], path: Path, *, characters: int, forms: int | None) -> BiLanguageModel.Config:
    encoder, tokens = structure["encoder"], structure["token_embedder"]
    for part, key, wanted in ((encoder, "name", "elmo"), (tokens, "name", "cnn"), (tokens, "activation", "relu")):
        at = "encoder" if part is encoder else "token_embedder"
        if str(part.get(key)).lower() != wanted:
            raise BadData(
                f"{at}.{key} is {str(part.get(key))[:40]!r}, and only {wanted!r} is read",
                path=path,
                repair="import a model with character convolutions and ELMo's LSTMs",
            )
    filters = tokens.get("filters")
    pairs = isinstance(filters, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(type(one) is int and 0 < one <= _LARGEST for one in pair)
        for pair in filters
    )
    if not filters or not pairs or len(filters) > _MOST:
        raise BadData(f"token_embedder.filters is {str(filters)[:80]}, expected pairs", path=path, repair="restore the file")
    word_size = _whole(tokens, "word_dim", path, "token_embedder.", least=0)
    if (word_size > 0) != (forms is not None):
        there = "no table" if forms is None else "a table"
        raise BadData(
            f"token_embedder.word_dim is {word_size} and {TOKENS} has {there} of words",
            path=path,
            repair="give the file that belongs to the weights",
        )
    try:
        return BiLanguageModel.Config(
            vocabulary_size=len(Vocabulary.FIXED),
            input="characters",
            character_size=_whole(tokens, "char_dim", path, "token_embedder."),
            filters=tuple((width, count) for width, count in filters),
            highway_layers=_whole(tokens, "n_highway", path, "token_embedder.", least=0, most=_MOST),
            projection=_whole(encoder, "projection_dim", path, "encoder."),
            cells=_whole(encoder, "dim", path, "encoder."),
            layers=_whole(encoder, "n_layers", path, "encoder.", most=_MOST),
            cell_clip=_clip(encoder, "cell_clip", path),
            projection_clip=_clip(encoder, "proj_clip", path),
            softmax=NO_SOFTMAX,
            characters=characters,
            word_forms=forms or 0,
            word_size=word_size,
        )
    except UsageError as error:
        raise BadData(error.message, path=path, repair=error.repair) from error


def _whole(part: dict[str, Any], key: str, path: Path, before: str, *, least: int = 1, most: int = _LARGEST) -> int:
    value = part.get(key)
    if type(value) is not int or not least <= value <= most:
        raise BadData(
            f"{before}{key} is {str(value)[:40]!r}, expected a whole number from {least} to {most}",
            path=path,
            repair="give the file that belongs to the weights",
        )
    return value


def _clip(part: dict[str, Any], key: str, path: Path) -> float | None:
    value = part.get(key, "missing")
    if value is None or value == 0:  # their code clips only by a number that counts as true
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
        raise BadData(
            f"encoder.{key} is {str(value)[:40]!r}, expected a positive number or null", path=path, repair="restore the file"
        )
    return float(value)


def _read_table(path: Path, rows: int) -> dict[str, int]:
    """A table of signs. A sign that is white space is lost in it, as to their own reader: its line counts for U+3000."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise InputMissing(f"cannot be read: {error.strerror or error}", path=path, repair="check the folder") from error
    except UnicodeDecodeError as error:
        raise BadData("is not UTF-8", path=path, repair="fetch it again") from error
    found: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() and number == len(lines):
            continue
        parts = line.strip().split("\t")
        token, value = parts if len(parts) == 2 else (_SPACE, parts[0])
        if len(parts) > 2 or not (value.isascii() and value.isdigit()):
            raise BadData(
                f"expected a character or word and its number, got {line[:40]!r}",
                path=path,
                line=number,
                repair="fetch it again",
            )
        if int(value) >= rows:
            raise BadData(
                f"number {int(value)} for {token!r}, and the weights have {rows} rows",
                path=path,
                line=number,
                repair="give tables and weights of one model",
            )
        found[token] = int(value)
    return found


# ---------------------------------------------------------------------- weights


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return read_pickled_weights(path.read_bytes(), path, "")
    except CarryoverError:
        raise
    except OSError as error:
        raise InputMissing(f"cannot be read: {error.strerror or error}", path=path, repair="check the folder") from error


def _required_tensor(tensors: Mapping[str, Tensor], name: str, path: Path) -> Tensor:
    if name not in tensors:
        raise BadData(f"has no tensor {name!r}", path=path, repair="give a model that reads characters")
    if tensors[name].dim() != 2:
        raise BadData(f"{name} has shape {list(tensors[name].shape)}, expected two axes", path=path, repair="fetch it again")
    return tensors[name]


def _to_state(
    tensors: Mapping[str, Mapping[str, Tensor]], config: BiLanguageModel.Config, folder: Path, asked_by: Path
) -> dict[str, Tensor]:
    """The parameters of `BiLanguageModel(config)`. Raises BadData naming the first that does not fit."""
    checked: dict[str, Tensor] = {}
    for file, shapes in ((TOKENS, _token_shapes(config)), (ENCODER, lstm_shapes(config))):
        found = tensors[file]
        for name in sorted({*shapes, *found}):
            if name not in shapes:
                raise BadData(
                    f"has a tensor {name!r} that {asked_by} does not ask for",
                    path=folder / file,
                    repair="give options and weights of one model",
                )
            shape = "nothing" if name not in found else list(found[name].shape)
            if shape != list(shapes[name]):
                raise BadData(
                    f"{name!r} has shape {shape}, {asked_by} asks for {list(shapes[name])}",
                    path=folder / file,
                    repair="give options and weights of one model",
                )
            if not found[name].is_floating_point() or not bool(torch.isfinite(found[name]).all()):
                raise BadData(f"{name!r} holds a value that is not finite", path=folder / file, repair="fetch it again")
            checked[name] = found[name].float()
    at = "token_encoder.spelling" if config.word_forms else "token_encoder"
    table = checked[_CHARACTER_TABLE]
    state = {f"{at}.characters": torch.cat([torch.zeros_like(table[:1]), table])}
    state |= spelling_to_state(checked, config, *_SPELLING, to=at)
    for part in ("weight", "bias"):
        state[f"token_encoder.projection.{part}"] = checked[f"projection.{part}"]
    if config.word_forms:
        state["token_encoder.forms.weight"] = checked[_WORD_TABLE]
    state |= lstms_to_state(checked, config)
    return {name: tensor.contiguous() for name, tensor in state.items()}


def _token_shapes(config: BiLanguageModel.Config) -> dict[str, tuple[int, ...]]:
    """Every tensor of `token_embedder.pkl`, with its shape."""
    total = sum(count for _, count in config.filters)
    shapes: dict[str, tuple[int, ...]] = {_CHARACTER_TABLE: (config.characters - 1, config.character_size)}
    if config.word_forms:
        shapes[_WORD_TABLE] = (config.word_forms, config.word_size)
    return (
        shapes
        | spelling_shapes(config, *_SPELLING)
        | {
            "projection.weight": (config.projection, config.word_size + total),
            "projection.bias": (config.projection,),
        }
    )
