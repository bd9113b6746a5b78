"""The objectives of pretraining by name. Nothing else in carryover knows their names.

A further objective is a class in a new file and one line of `RECIPES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from carryover.errors import check_choice
from carryover.models.sizes import NEXT_TOKEN_SIZES, SERIES_SIZES, SIZES

if TYPE_CHECKING:
    from carryover.objectives.objective import Objective, Source


@dataclass(frozen=True)
class Recipe:
    """What a name means: the objective, as `module:Class`, what it makes in a few words, and its models' named sizes."""

    objective: str
    summary: str
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def load(self) -> type[Objective[Any]]:
        """The class of the objective, imported on first use."""
        module, _, name = self.objective.partition(":")
        found: type[Objective[Any]] = getattr(import_module(module), name)
        return found


RECIPES: dict[str, Recipe] = {
    "bilm": Recipe(
        "carryover.objectives.bilm:BiLanguageModelObjective", "a forward and a backward language model, for vectors", SIZES
    ),
    "lm": Recipe(
        "carryover.objectives.next_token:NextTokenObjective", "a language model that generates text", NEXT_TOKEN_SIZES
    ),
    "next-value": Recipe(
        "carryover.objectives.next_value:NextValueObjective", "a model of series, for vectors", SERIES_SIZES
    ),
}
"""Objective by name."""
DEFAULT = "bilm"
"""The objective where none is named."""


def summaries() -> str:
    """What each objective makes, in a sentence for people."""
    return "; ".join(f"{name}: {recipe.summary}" for name, recipe in RECIPES.items()) + "."


def build_objective(name: str) -> Objective[Any]:
    """The objective of this name. Raises UsageError, with the nearest spelling, for an unknown one."""
    check_choice("objective", name, RECIPES)
    return RECIPES[name].load()()


def usual_settings(raw: Source, format: str | None) -> dict[str, Any]:
    """The objective for this raw data, with the settings that are usual for it; nothing where it is that of `DEFAULT`."""
    for name, recipe in RECIPES.items():
        usual = recipe.load().usual_for(raw, format)
        if usual is not None:
            return {"objective": name, **usual}
    return {}


def objective_name(kind: str, record: Mapping[str, Any]) -> str | None:
    """The name of the objective that an artefact of this kind was trained by, from its record or, where that holds none, by its
    kind; None where no objective makes such artefacts."""
    stored = record.get("objective")
    names = [name for name, recipe in RECIPES.items() if recipe.load().kind == kind]
    return stored if stored in names else next(iter(names), None)


def names_with_option(option: str) -> list[str]:
    """Names of the objectives whose models have an option, such as `stack`."""
    return [name for name, recipe in RECIPES.items() if option in recipe.load().model_options]
