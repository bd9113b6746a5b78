"""The keys of `fitting` and `pretraining`: typed, documented and checked as the settings have them."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from carryover import TextClassifier
from carryover.errors import UsageError
from carryover.pretraining.keys import PretrainingKeys
from carryover.pretraining.settings import PretrainSettings
from carryover.transfer.keys import FittingKeys
from carryover.transfer.settings import FitSettings

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "python.md").read_text(encoding="utf-8")
PAIRS = [("fitting", FittingKeys, FitSettings), ("pretraining", PretrainingKeys, PretrainSettings)]


@pytest.mark.parametrize(("name", "keys", "settings"), PAIRS)
def test_keys_are_those_of_the_settings(name: str, keys: Any, settings: Any) -> None:
    assert get_type_hints(keys) == get_type_hints(settings)
    table = PAGE.partition(f"## Keys of `{name}`")[2].partition("\n## ")[0]
    documented = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| `?([^|]*?)`? \|", table, re.MULTILINE))
    assert list(documented) == [one.name for one in fields(settings)]
    for one in fields(settings):
        if documented[one.name] not in ("required", "{}"):
            assert documented[one.name] == repr(one.default), one.name


@pytest.mark.parametrize(
    ("fitting", "says"),
    [
        ({"epoch": 1}, "fitting has no setting 'epoch'; did you mean 'epochs'"),
        ({"epochs": "1"}, "fitting: epochs is '1', which is no whole number"),
        ({"epochs": True}, "fitting: epochs is True, which is no whole number"),
        ({"metric": 3}, "fitting: metric is 3, which is no text"),
        ({"learning_rate": "fast"}, "fitting: learning_rate is 'fast', which is no number"),
        ({"multi_label": 1}, "fitting: multi_label is 1, which is neither True nor False"),
    ],
)
def test_wrong_keys_and_types_are_named(fitting: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("(", r"\(")):
        TextClassifier(fitting=fitting).fit(["a b", "c d", "e f", "g h"], ["x", "y", "x", "y"])
