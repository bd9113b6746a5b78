"""Units that follow a property: found on one part, tested on the other, drawn where they belong."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from carryover.encoders.encoder import Reading
from carryover.encoders.loading import load_encoder
from carryover.errors import BadData, UsageError
from carryover.inspect.neuron import PROPERTIES, area, find_units, marked_pieces, property_of, unit_of, unit_values
from carryover.inspect.neuron_page import coloured, neuron_page
from command_line import Shell, shell
from task_material import language_model

__all__ = ["shell"]

TEXT = 'She said "yes" and (no) at www.x.org, 12 times.\n' * 30


def characters(text: str, planted: tuple[int, int] | None = None, property: str = "quote") -> Reading:
    """Characters with random vectors, one unit of which follows a property."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(len(text), 3, 7)).astype(np.float32)
    reading = Reading(list(text), torch.from_numpy(vectors))
    if planted is not None:
        marks = marked_pieces(reading, PROPERTIES[property])
        vectors[:, planted[0], planted[1]] -= 3.0 * marks
    return reading


def test_the_area_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(1)
    values, marks = random.integers(5, size=(200, 6)).astype(float), random.random(200) < 0.3
    values[:, 2] += 2 * marks
    expected = [roc_auc_score(marks, values[:, column]) for column in range(6)]
    np.testing.assert_allclose(area(values, marks), expected, atol=1e-12)


def test_a_planted_unit_is_found_and_holds_on_the_rest() -> None:
    best, second, *_ = find_units(characters(TEXT, (2, 4)), PROPERTIES["quote"])
    assert best.name == "2:4" and best.sign == -1 and best.found > 0.95 and best.tested > 0.95
    assert abs(second.tested - 0.5) < 0.15, "what fits by chance does not hold on the rest"


def test_properties_mark_what_they_say() -> None:
    marked = {
        name: "".join(c for c, m in zip(TEXT[:47], mark(TEXT), strict=False) if m) for name, mark in PROPERTIES.items()
    }
    assert marked["quote"] == '"yes"' and marked["bracket"] == "(no)" and marked["url"] == "www.x.org,"
    assert marked["digit"] == "12" and marked["upper"] == "S" and marked["line-start"] == 'She said "'
    assert property_of(None, "t[a-z]mes")(TEXT)[41:46] == [True] * 5
    words = Reading(["She ", "said ", "12 "], torch.zeros(3, 1, 1))
    assert marked_pieces(words, PROPERTIES["digit"]).tolist() == [False, False, True]


def test_what_cannot_be_found_is_named() -> None:
    with pytest.raises(BadData, match="a half of the text has 0 pieces with the property"):
        find_units(characters("no digits here " * 20), PROPERTIES["digit"])
    with pytest.raises(UsageError, match="did you mean 'quote'"):
        property_of("quotes", None)
    with pytest.raises(UsageError, match="is no regular expression"):
        property_of(None, "(")
    with pytest.raises(UsageError, match="layers 0 to 2, numbers 0 to 6"):
        unit_of("3:0", characters("abc"))


def test_values_are_scaled_and_drawn_at_their_pieces() -> None:
    reading = Reading(["a", "<", "\n"], torch.tensor([[[1.5]], [[-1.0]], [[1.0]]]))
    assert unit_values(reading, 0, 0).tolist() == [0.25, -1.0, 0.0]
    page = neuron_page(reading, 0, 0, model="<m>")
    assert '#d43c2b 20%,transparent)" title="+0.25">a</span>' in page
    assert '#2b6cd4 80%,transparent)" title="-1.00">&lt;</span>' in page and "&lt;m&gt;" in page
    assert re.sub("\x1b\\[[0-9;]*m", "", coloured(reading, 0, 0)) == "a<\n\n"


def test_words_of_a_bidirectional_model_are_those_of_embed() -> None:
    encoder = language_model()
    reading = encoder.read("the boat\n\nAnn sees it")
    assert reading.pieces == ["the ", "boat ", "\n", "\n", "Ann ", "sees ", "it "]
    (first,) = encoder.embed([["the", "boat"]])
    assert torch.equal(reading.vectors[:2], first.cpu()) and reading.vectors.shape[0] == 7


def test_on_the_command_line(shell: Shell) -> None:
    raw = "builtin:grammar?raw=150&words=30"
    assert (
        shell("pretrain", "--raw", raw, "--objective", "lm", "--size", "tiny", "--epochs", "1", "--out", "lm", "-q").code
        == 0
    )
    Path("text.txt").write_text("They see the house of Ann .\n" * 30, encoding="utf-8")
    done = shell("inspect", "neuron", "lm", "text.txt", "--find", "upper", "--following", "2", "--out", "page.html")
    assert done.code == 0 and done.out.count("where it was found") == 5
    page = Path("page.html").read_text(encoding="utf-8")
    assert "Units that follow" in page and page.count('class="piece"') > 500
    document = shell("inspect", "neuron", "lm", "--text", "the house", "--unit", "1:3", "--json").document
    assert "".join(document["pieces"]).strip() == "the house" and len(document["values"]) == len(document["pieces"])
    generator = load_encoder("lm")
    whole = generator.read("the house", most=1)
    assert torch.allclose(whole.vectors[-1, -1], generator.embed([["the", "house"]])[0][-1, -1].cpu(), atol=1e-5)
    assert len(whole.following) == len(whole.pieces) and 0 < whole.following[3][0][1] <= 1
    assert shell("inspect", "neuron", "lm", "--text", "x").code == 2
    assert "inspect has no 'neurn'; did you mean 'neuron'" in shell("inspect", "neurn", "lm", "--unit", "1:1").err
