"""Comparing ways of using raw text: rungs × label budgets × seeds, with intervals, costs and a verdict."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carryover.compare.ladder import parse_rungs
    from carryover.compare.plan import ComparePlan, parse_budgets
    from carryover.compare.result import CompareResult
    from carryover.compare.run import compare

__all__ = ["ComparePlan", "CompareResult", "compare", "parse_budgets", "parse_rungs"]

_PLACES = {
    "ComparePlan": "plan",
    "CompareResult": "result",
    "compare": "run",
    "parse_budgets": "plan",
    "parse_rungs": "ladder",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})


def __getattr__(name: str) -> Any:
    # Loaded on first use: the command line reads plans without paying for numpy and torch.
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(f"carryover.compare.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'carryover.compare' has no attribute {name!r}")


class _Callable(ModuleType):
    """`carryover.compare(...)` is a call of the module, whose name it has."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """See `carryover.compare.python.compare_data`."""
        from carryover.compare.python import compare_data

        return compare_data(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
