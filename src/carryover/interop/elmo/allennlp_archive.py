"""AllenNLP archives (`model.tar.gz`) of models that contain ELMo: its part becomes an artefact, the rest is named.

Such an archive holds `config.json`, `weights.th` (a pickled state dictionary), `vocabulary/` and, below `fta/`, copies of
files that the configuration names. Its ELMo has our gates' order (i, f, g, o), the 1 already added to the forget bias, and a
highway layer in one matrix: transform above, gate below, where the gate g counts for carrying,
y = g ⊙ x + (1 − g) ⊙ f(W x + b), so it is ours with the sign turned.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from carryover.data.coding import CHARACTER_IDS
from carryover.errors import BadData
from carryover.interop.elmo.allennlp_modules import lstm_shapes, lstms_to_state, spelling_shapes, spelling_to_state
from carryover.interop.elmo.layout import parse_options, read_options
from carryover.interop.elmo.pickled_weights import read_archive, read_pickled_weights
from carryover.interop.elmo.published import Imported, described, keep_imported
from carryover.models.bilm import BiLanguageModel

CONFIG, WEIGHTS = "config.json", "weights.th"
_TABLE = "_token_embedder._char_embedding_weights"
_LSTMS = "_elmo_lstm."
_SPELLING = ("_token_embedder.char_conv_", "_token_embedder._highways._layers.")


def import_allennlp(archive: Path, out: Path, *, options: Path | None = None, tokenizer: str = "words") -> Imported:
    """Write the ELMo in an AllenNLP archive as an artefact into `out`.

    `options` is ELMo's `options.json`, needed where the archive has no copy of it: clips and residuals show in no shape.
    Raises InputMissing, BadData when the archive is damaged, unsafe, without ELMo, or not what the options say, UsageError.
    """
    archive = Path(archive)
    parts, _ = read_archive(archive, lambda name: name in (CONFIG, WEIGHTS) or name.startswith("fta/"))
    for name in (CONFIG, WEIGHTS):
        if name not in parts:
            raise BadData(f"holds no {name}", path=archive, repair="give a model.tar.gz of AllenNLP")
    config = read_options(options) if options is not None else _options_inside(parts, archive)
    tensors = read_pickled_weights(parts[WEIGHTS], archive, WEIGHTS)
    prefix = _prefix(tensors, archive)
    inner = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    state = _to_state(inner, config, archive, prefix)
    known = set(_names(config))
    ignored = [name for name in tensors if not name.startswith(prefix) or name.removeprefix(prefix) not in known]
    stray = [name for name in ignored if name.startswith(prefix)]
    if stray:  # a deeper model than the options say
        raise BadData(
            f"{WEIGHTS} has a tensor {stray[0]!r} that the options do not ask for",
            path=archive,
            repair="give the options.json of this model",
        )
    files = {"archive": described(archive)} | ({} if options is None else {"options": described(Path(options))})
    remarks = _remarks(_document(parts[CONFIG], archive, CONFIG))
    return keep_imported(Path(out), "allennlp", config, state, files, ignored=ignored, tokenizer=tokenizer, remarks=remarks)


def _remarks(config: dict[str, Any]) -> tuple[str, ...]:
    """What the archive's task did with ELMo's layers that is done otherwise here. The layers themselves are the same."""
    if not any(value is True for value in _values_of(config, "do_layer_norm")):
        return ()
    return (
        "its task mixed the layers with do_layer_norm, by mean and variance over all words of a batch; here a mixture "
        "normalises each word separately or not at all, so its learned weights do not carry over and vectors of the mix differ",
    )


def _options_inside(parts: Mapping[str, bytes], archive: Path) -> BiLanguageModel.Config:
    """ELMo's options from the copy in the archive."""
    for name, content in sorted(parts.items()):
        if name.startswith("fta/") and "options" in name:
            return parse_options(_document(content, archive, name), archive)
    named = _named_options(_document(parts[CONFIG], archive, CONFIG))
    raise BadData(
        f"holds no copy of ELMo's options ({CONFIG} names {named[:120]!r})" if named else "holds no copy of ELMo's options",
        path=archive,
        repair="give that file with --options",
    )


def _document(content: bytes, archive: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise BadData(f"{name} is not JSON: {str(error)[:100]}", path=archive, repair="fetch it again") from error
    if not isinstance(found, dict):
        raise BadData(f"{name} holds a {type(found).__name__}, expected an object", path=archive, repair="fetch it again")
    return found


def _named_options(config: Any) -> str:
    """The value of the first `options_file` anywhere in the configuration."""
    return next((value for value in _values_of(config, "options_file") if isinstance(value, str)), "")


def _values_of(config: Any, name: str) -> Iterator[Any]:
    """The value of `name` anywhere in the configuration."""
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if name in part:
                yield part[name]
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _prefix(tensors: Mapping[str, Tensor], archive: Path) -> str:
    """The prefix of the names of ELMo's own tensors."""
    found = [name.removesuffix(_TABLE) for name in tensors if name.endswith(_TABLE)]
    if len(found) != 1:
        raise BadData(
            f"{WEIGHTS} holds {len(found)} models of ELMo among {len(tensors)} tensors, expected one",
            path=archive,
            repair="give the archive of a model that contains ELMo",
        )
    return found[0]


def _names(config: BiLanguageModel.Config) -> dict[str, tuple[int, ...]]:
    """Every tensor of ELMo in such an archive, with its shape."""
    size, total = config.projection, sum(count for _, count in config.filters)
    names: dict[str, tuple[int, ...]] = {_TABLE: (CHARACTER_IDS, config.character_size)}
    names |= spelling_shapes(config, *_SPELLING)
    names |= {"_token_embedder._projection.weight": (size, total), "_token_embedder._projection.bias": (size,)}
    return names | lstm_shapes(config, _LSTMS)


def _to_state(
    tensors: Mapping[str, Tensor], config: BiLanguageModel.Config, archive: Path, prefix: str
) -> dict[str, Tensor]:
    """The parameters of `BiLanguageModel(config)`."""
    checked: dict[str, Tensor] = {}
    for name, shape in _names(config).items():
        if name not in tensors or tuple(tensors[name].shape) != shape or not tensors[name].dtype.is_floating_point:
            there = "absent" if name not in tensors else f"{tensors[name].dtype} {list(tensors[name].shape)}"
            raise BadData(
                f"{WEIGHTS}: tensor {prefix + name!r} is {there}, the options ask for {list(shape)}",
                path=archive,
                repair="give the options.json of this model",
            )
        checked[name] = tensors[name].float()
        if not bool(torch.isfinite(checked[name]).all()):
            raise BadData(
                f"{WEIGHTS}: tensor {prefix + name!r} holds a value that is not finite",
                path=archive,
                repair="fetch it again",
            )
    table = checked[_TABLE].clone()
    table[0] = 0
    state = {"token_encoder.characters": table}
    state |= spelling_to_state(checked, config, *_SPELLING, to="token_encoder")
    for part in ("weight", "bias"):
        state[f"token_encoder.projection.{part}"] = checked[f"_token_embedder._projection.{part}"]
    state |= lstms_to_state(checked, config, _LSTMS)
    return {name: tensor.contiguous() for name, tensor in state.items()}
