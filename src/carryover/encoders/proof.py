"""The proof that what was trained before is what a run begins with: tensors loaded, the held-out score measured again, layers moved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from carryover.encoders.encoder import Encoder
from carryover.errors import BadData
from carryover.storage import fingerprint

AGREEMENT = 1e-4  # relative: how far the held-out perplexity may be from the stored one after loading


@dataclass(frozen=True, kw_only=True)
class CarryProof:
    """Evidence that what was trained before is what the task began with, and of what became of it.

    `vocabulary_rows_matched` of `vocabulary_rows` words found their row among what was carried over (for spelling: all).
    Perplexities are the encoder's `proved_figures` of what was held out (of series `mse`), None where none are stored.
    `scored` is whether what is carried over has held-out figures at all: word vectors have none.
    `moved` is ‖after − before‖ / ‖before‖ of each layer that was carried over, 0 where it stayed fixed.
    """

    mode: str
    tensors_loaded: int = 0
    numbers_loaded: int = 0
    tensors_new: int = 0
    vocabulary_rows: int = 0
    vocabulary_rows_matched: int = 0
    stored_perplexity: dict[str, float] | None = None
    measured_perplexity: dict[str, float] | None = None
    moved: dict[str, float] = field(default_factory=dict)
    scored: bool = True

    def to_json(self) -> dict[str, Any]:
        stored = asdict(self)
        del stored["scored"]  # follows from the mode
        return stored

    def lines(self) -> list[str]:
        """The proof as sentences."""
        if not self.tensors_loaded:
            return [f"carried over: nothing, {self.tensors_new} tensors new"]
        first = (
            f"carried over ({self.mode}): {self.tensors_loaded} tensors with {self.numbers_loaded:,} numbers loaded, "
            f"{self.tensors_new} tensors new"
        )
        found = [first]
        if self.vocabulary_rows:
            found.append(f"vocabulary: {self.vocabulary_rows_matched:,} of {self.vocabulary_rows:,} words matched")
        if self.measured_perplexity and self.stored_perplexity:
            parts = [
                f"{name.replace('_', ' ')} {self.measured_perplexity[name]:.4f} (stored {stored:.4f})"
                for name, stored in self.stored_perplexity.items()
            ]
            found.append(f"held-out {', '.join(parts)}, measured again after loading")
        elif self.scored:
            found.append("held-out figures: none is stored with the model to compare with")
        if self.moved:
            found.append(moved_line(self.moved))
        return found


def moved_line(moved: Mapping[str, float]) -> str:
    """`weights changed: none (frozen)`, or by how much each layer did."""
    if not any(moved.values()):
        return "weights changed: none (frozen)"
    return "weights changed: " + ", ".join(f"{name} {distance:.2%}" for name, distance in moved.items())


def carry_weights(source: Mapping[str, Tensor], target: nn.Module, what: str) -> tuple[int, int]:
    """Copy every tensor of `source` into the one of the same name in `target`: how many tensors and numbers there were.

    Raises BadData naming the first that is missing, left over, or of another shape, with both shapes.
    """
    wanted = target.state_dict()
    for name in sorted({*source, *wanted}):
        if name not in wanted or name not in source:
            where = "the stored weights" if name in wanted else "the configured model"
            raise BadData(
                f"{what}: tensor {name!r} is missing from {where}", repair="use weights and configuration of one run"
            )
        if source[name].shape != wanted[name].shape:
            raise BadData(
                f"{what}: tensor {name!r} has shape {list(source[name].shape)}, the model needs {list(wanted[name].shape)}",
                repair="use weights and configuration of one run",
            )
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(source[name])
    return len(wanted), sum(tensor.numel() for tensor in wanted.values())


_MEASURED: dict[str, dict[str, float]] = {}  # by the bits measured: hundreds of fits carry the same model over


def measure_again(copy: Encoder, encoder: Encoder) -> tuple[dict[str, float] | None, dict[str, float] | None]:
    """The held-out figures stored with `encoder`, and those that `copy`, which was filled from it, has now.

    Raises BadData when they differ by more than one part in 10⁴: then the copy is not the model that was trained.
    """
    check = encoder.record.get("heldout_check")
    if not check or not encoder.heldout or not encoder.proved_figures:
        return None, None
    stored = {name: float(check[name]) for name in encoder.proved_figures}
    tensors = copy.model.state_dict().items()
    parts = (part for name, tensor in tensors for part in (name, tensor))
    key = fingerprint(repr(copy.model.config), *parts, *encoder.heldout)
    if key not in _MEASURED:
        _MEASURED[key] = copy.score(encoder.heldout)
    measured = {name: float(_MEASURED[key][name]) for name in encoder.proved_figures}
    check_agreement(stored, measured, len(encoder.heldout))
    return stored, measured


def check_agreement(stored: Mapping[str, float], measured: Mapping[str, float], lines: int) -> None:
    """Raise BadData where a perplexity of the held-out lines is off by more than one part in 10⁴ from the stored one."""
    for name, value in stored.items():
        if not abs(measured[name] - value) <= AGREEMENT * value:
            raise BadData(
                f"after loading, the {name.replace('_', ' ')} of the {lines} held-out lines is "
                f"{measured[name]:.6g}, stored is {value:.6g}: what was loaded is not what was trained",
                repair="restore the language model from a copy, or pretrain again",
            )


def distances_moved(
    before: Mapping[str, Mapping[str, Tensor]], after: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, float]:
    """‖after − before‖ / ‖before‖ of each layer: two mappings layer → parameter → tensor."""
    return {
        layer: _norm(after[layer][name] - tensor for name, tensor in tensors.items()) / max(_norm(tensors.values()), 1e-30)
        for layer, tensors in before.items()
    }


def _norm(tensors: Iterable[Tensor]) -> float:
    return float(sum(float(tensor.detach().double().square().sum()) for tensor in tensors) ** 0.5)
