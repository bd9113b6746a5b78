"""One spelling of every metric, and the one that does not hide a rare label."""

from __future__ import annotations

import pytest

from carryover.data.metric_names import largest_share, metric_name, metric_of_labels
from carryover.errors import UsageError


@pytest.mark.parametrize("text", ["macro_f1", "macro-f1", "Macro F1", "MACRO-F1"])
def test_every_spelling_is_one_name(text: str) -> None:
    assert metric_name(text) == "macro_f1"


def test_another_word_is_refused_with_the_nearest() -> None:
    assert metric_name("auto", also=("auto",)) == "auto"
    with pytest.raises(UsageError, match="'acuracy' is unknown; did you mean 'accuracy'"):
        metric_name("acuracy")
    with pytest.raises(UsageError, match="'auto'"):
        metric_name("auto")


def test_more_than_two_thirds_of_one_label_ask_for_macro_f1() -> None:
    assert metric_of_labels([("a",)] * 67 + [("b",)] * 33) == "macro_f1"
    assert metric_of_labels([("a",)] * 66 + [("b",)] * 34) == "accuracy"
    assert metric_of_labels([("a",)] * 2 + [("b",)]) == "accuracy", "two thirds are not more than two thirds"
    assert metric_of_labels([("a",), ("b",)], multi_label=True) == "macro_f1"
    assert largest_share([]) == 0
