"""A pretrained model as it comes out of a folder, and the checks that its parts fit together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as ListOf
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from carryover.errors import BadData
from carryover.training.artefact import Artefact

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from carryover.data.coding import TokenCoder
    from carryover.models.bilm import BiLanguageModel
    from carryover.models.language_model import LanguageModel

Model = TypeVar("Model", bound="nn.Module")
Value = TypeVar("Value")


class Pretrained:
    """A network in evaluation mode with what belongs to it.

    `model` is the network, `coder` turns text into its input, `record` says how it came about, `heldout` are the lines
    whose perplexity `record["heldout_check"]` holds, `folder` is where it was stored, None where it was not.
    """

    model: Any

    def __init__(
        self,
        model: nn.Module,
        coder: TokenCoder,
        record: dict[str, Any],
        heldout: ListOf[str] = (),
        folder: Path | None = None,
    ) -> None:
        self.model = model.eval()
        self.coder = coder
        self.record = record
        self.heldout = list(heldout)
        self.folder = folder

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self.model.parameters()).device
        return device


def check_vocabulary(
    stored: Artefact, kind: str, entries: int, config: BiLanguageModel.Config | LanguageModel.Config
) -> None:
    """Raise BadData where the tokenizer, which has so many entries of a kind, and the configuration disagree."""
    if kind != config.input or entries != config.vocabulary_size:
        raise BadData(
            f"tokenizer.json has {kind} with {entries} entries, config.json {config.input} with {config.vocabulary_size}",
            path=stored.folder,
            repair="restore the folder from a copy",
        )


def check_layers(stored: Artefact, layers: int) -> None:
    """Raise BadData where the configuration asks for more layers than there are tensors, before any is built."""
    if layers > len(stored.tensors):
        raise BadData(
            f"config.json asks for {layers} layers, model.safetensors has {len(stored.tensors)} tensors",
            path=stored.folder,
            repair="restore the folder from a copy",
        )


def fill(build: Callable[[], Model], tensors: Mapping[str, Tensor], folder: Path) -> Model:
    """The module that `build` makes, with `tensors` for its parameters and buffers.

    It is first built without memory, so that a configuration which does not fit its weights costs nothing, however large
    the sizes it names. Raises BadData naming the first tensor that is missing, unknown or of another shape.
    """
    import torch

    path = Path(folder) / "model.safetensors"
    try:
        with torch.device("meta"):
            wanted = build().state_dict()
    except Exception as error:  # whatever a forged configuration makes a constructor stumble over
        raise BadData(
            f"cannot be built: {_short(error)}", path=Path(folder) / "config.json", repair="restore it from a copy"
        ) from error
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
    unknown = sorted(set(tensors) - set(wanted))
    if unknown:
        raise BadData(
            f"has a tensor {unknown[0][:80]!r} that config.json does not ask for",
            path=path,
            repair="restore the folder from a copy",
        )
    module = build()
    module.load_state_dict(dict(tensors))
    return module


def read_heldout(stored: Artefact) -> list[str]:
    """The held-out lines that go with a language model. Raises BadData when they are not UTF-8."""
    try:
        return stored.files.get("heldout.txt", b"").decode().splitlines()
    except UnicodeDecodeError as error:
        raise BadData("is not UTF-8", path=stored.folder / "heldout.txt", repair="restore it from a copy") from error


def parsed(parse: Callable[[Any], Value], content: Any, path: Path) -> Value:
    """What `parse` makes of a stored document; whatever it stumbles over is a fault of the document: BadData with its path."""
    try:
        return parse(content)
    except BadData as error:
        raise BadData(error.message, path=path, repair=error.repair) from error
    except Exception as error:
        raise BadData(f"cannot be used: {_short(error)}", path=path, repair="restore it from a copy") from error


def _short(error: Exception) -> str:
    return str(error)[:300] or type(error).__name__


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
