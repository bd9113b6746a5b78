"""From the parts of an artefact to a model: a network filled with its weights, and the checks that the parts fit together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from carryover.ambient import default_torch_state
from carryover.errors import BadData
from carryover.storage.artefact import Artefact

if TYPE_CHECKING:
    from torch import Tensor, nn

    from carryover.models.bilm import BiLanguageModel
    from carryover.models.language_model import LanguageModel

Model = TypeVar("Model", bound="nn.Module")
Value = TypeVar("Value")

_CALLS = 50
"""Of PyTorch, more than building a module takes for each of its tensors."""
_SPARE = 64
"""Tensors of parts that are built and then taken off, such as the output layer below a task."""
_OBJECTS = ("heldout_check", "settings", "corpus", "columns", "plan", "versions", "mix", "imported", "held_out")
"""Entries of a record that are read again, and are objects where they are there."""


def check_vocabulary(kind: str, entries: int, config: BiLanguageModel.Config | LanguageModel.Config) -> None:
    """Raise BadData where the tokenizer, which has this many entries of a kind, and the configuration disagree."""
    if kind != config.input or entries != config.vocabulary_size:
        raise BadData(
            f"tokenizer.json has {kind} with {entries} entries, config.json {config.input} with {config.vocabulary_size}",
            repair="restore the folder from a copy",
        )


@default_torch_state()
def fill(build: Callable[[], Model], tensors: Mapping[str, Tensor], folder: Path) -> Model:
    """The module that `build` makes, with `tensors` for its parameters and buffers.

    It is built without memory and without random numbers, and no further than the weights go: a configuration that does not
    fit them costs nothing, however large the sizes and however many the layers it names. Raises BadData naming the first
    tensor that is missing, unknown, of another shape or not finite.
    """
    import torch

    path = Path(folder) / "model.safetensors"
    try:
        with torch.device("meta"), _no_more_than(_CALLS * (len(tensors) + _SPARE), len(tensors)):
            module = build()
    except Exception as error:  # whatever a forged configuration makes a constructor stumble over
        raise BadData(
            f"cannot be built: {_short(error)}", path=Path(folder) / "config.json", repair="restore it from a copy"
        ) from error
    wanted = module.state_dict()
    for name, tensor in wanted.items():
        if name not in tensors:
            raise BadData(
                f"has no tensor {name!r}, which config.json asks for", path=path, repair="restore the folder from a copy"
            )
        if tensors[name].shape != tensor.shape or tensors[name].dtype != tensor.dtype:
            raise BadData(
                f"tensor {name!r} is {_describe(tensors[name])}, config.json asks for {_describe(tensor)}",
                path=path,
                repair="restore the folder from a copy",
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensors[name]).all()):
            raise BadData(
                f"tensor {name!r} holds NaN or infinity, and weights are finite",
                path=path,
                repair="restore the folder from a copy",
            )
    unknown = sorted(set(tensors) - set(wanted))
    if unknown:
        raise BadData(
            f"has a tensor {unknown[0][:80]!r} that config.json does not ask for",
            path=path,
            repair="restore the folder from a copy",
        )
    module.load_state_dict(dict(tensors), assign=True)
    return module


def _no_more_than(calls: int, stored: int) -> AbstractContextManager[Any]:
    """While the block runs, raise ValueError in this thread after `calls` calls of PyTorch.

    Never where gradients are switched: a block without them, left by the error, could not switch them on again.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Counting(TorchFunctionMode):
        made = 0

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.made += 1
            if self.made > calls and function is not torch._C._set_grad_enabled:
                raise ValueError(f"it asks for far more tensors than the {stored} of model.safetensors")
            return function(*args, **(kwargs or {}))

    return Counting()


def read_heldout(stored: Artefact) -> list[str]:
    """The held-out lines that go with a language model. Raises BadData when they are not UTF-8."""
    try:
        return stored.files.get("heldout.txt", b"").decode().splitlines()
    except UnicodeDecodeError as error:
        raise BadData("is not UTF-8", path=stored.folder / "heldout.txt", repair="restore it from a copy") from error


def check_record(record: Mapping[str, Any], folder: Path) -> None:
    """Raise BadData where an entry of a record that carryover reads again is not what it writes there."""

    def wrong(name: str, value: object, wanted: str) -> BadData:
        return BadData(
            f"{name} is {str(value)[:60]!r}, expected {wanted}",
            path=Path(folder) / "record.json",
            repair="restore it from a copy",
        )

    for name in _OBJECTS:
        if not isinstance(record.get(name), dict | None):
            raise wrong(name, record[name], "an object")
    for name, value in (record.get("heldout_check") or {}).items():
        if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
            raise wrong(f"{name} of heldout_check", value, "a finite number of at least 0")
    lines = record.get("proof_lines") or []
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise wrong("proof_lines", lines, "a list of texts")
    tokens = (record.get("corpus") or {}).get("tokens", 0)
    for name, value in (("seconds", record.get("seconds") or 0), ("tokens of corpus", tokens)):
        if type(value) not in (int, float) or not math.isfinite(value):
            raise wrong(name, value, "a finite number")


def parsed(parse: Callable[[Any], Value], content: Any, path: Path) -> Value:
    """What `parse` makes of a stored document; whatever it stumbles over is a fault of the document: BadData with its path."""
    try:
        return parse(content)
    except BadData as error:
        raise BadData(error.message, path=path, repair=error.repair) from error
    except Exception as error:
        raise BadData(f"cannot be used: {_short(error)}", path=path, repair="restore it from a copy") from error


def _short(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error)[:300] or type(error).__name__


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
