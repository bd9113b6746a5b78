"""A wrong choice is answered with the spelling that is nearest, or with all there are."""

from __future__ import annotations

import pytest

from carryover.errors import UsageError, check_choice, nearest


def test_the_nearest_spelling_is_suggested() -> None:
    assert nearest("clasify", ["tag", "classify"]) == "did you mean 'classify'?"


def test_all_choices_are_listed_in_their_order_when_none_is_near() -> None:
    assert nearest("zzz", ["tag", "classify"]) == "use one of tag, classify"
    assert nearest("zzz", ["tag"], otherwise="leave it out") == "leave it out"


def test_how_alike_a_suggestion_must_be_can_be_said() -> None:
    assert nearest("tog", ["tagger"], cutoff=0.4) == "did you mean 'tagger'?"
    assert nearest("tog", ["tagger"]) == "use one of tagger"


def test_a_choice_that_exists_passes_and_another_is_named_with_its_repair() -> None:
    check_choice("task", "tag", ("tag", "classify"))
    with pytest.raises(UsageError, match=r"^task 'tug' is unknown; did you mean 'tag'\?$"):
        check_choice("task", "tug", ("tag", "classify"))
    with pytest.raises(UsageError, match=r"^top None is unknown; use one of all$"):
        check_choice("top", None, ["all"])
