"""A fitted model of hand-made features as what an artefact holds: JSON, lists of names and arrays. Nothing of it can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryover.classical.linear import LinearModel


@dataclass(frozen=True)
class Stored:
    """`config` says which model it is and what it chose, `names` the features, `arrays` the numbers."""

    config: dict[str, Any]
    names: dict[str, list[str]] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    def array(self, name: str, *shape: int | None, kind: str = "f") -> NDArray[Any]:
        """An array of `shape`, None for any size, of a NumPy `kind`. Raises ValueError showing both values where it is another
        one, or not finite, KeyError where it is missing."""
        found = self.arrays[name]
        if (
            found.dtype.kind != kind
            or found.ndim != len(shape)
            or any(wanted is not None and wanted != size for wanted, size in zip(shape, found.shape, strict=True))
        ):
            wanted = ["any" if size is None else size for size in shape]
            raise ValueError(f"{name} is {found.dtype} {list(found.shape)}, expected {kind} {wanted}")
        if kind == "f" and not np.isfinite(found).all():
            raise ValueError(f"{name} holds NaN or infinity")
        return found

    def listed(self, name: str) -> list[str]:
        """A list of different names. Raises ValueError, KeyError."""
        found = self.names[name]
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise ValueError(f"{name} is no list of names")
        if len(set(found)) != len(found):
            raise ValueError(f"{name} has {len(found)} names of which only {len(set(found))} differ")
        return found

    def value(self, name: str, kind: type) -> Any:
        """An entry of the configuration. Raises KeyError, ValueError where it is of another type."""
        found = self.config[name]
        if type(found) is not kind:
            raise ValueError(f"{name} is {str(found)[:60]!r}, expected {kind.__name__}")
        return found

    def linear(self, answers: int, features: int) -> LinearModel:
        """The linear model for so many answers and features. Raises ValueError where it has others."""
        model = LinearModel(self.array("weights", None, features), self.array("bias", None), self.value("link", str))
        if model.classes != max(1, answers):
            raise ValueError(f"the weights are for {model.classes} answers, labels.json has {answers}")
        return model


def with_linear(
    model: LinearModel, config: Mapping[str, Any], names: Mapping[str, list[str]], arrays: Mapping[str, NDArray[Any]]
) -> Stored:
    """What is stored of a model that ends in a linear one."""
    return Stored({**config, "link": model.link}, dict(names), {**arrays, "weights": model.weights, "bias": model.bias})
