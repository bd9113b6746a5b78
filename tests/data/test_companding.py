"""μ-law companding: known values, levels that survive, finer steps where it is quiet."""

from __future__ import annotations

import math

import pytest
import torch

from carryover.data.companding import mu_law_decode, mu_law_encode
from carryover.errors import UsageError


def test_known_values() -> None:
    signal = torch.tensor([-1.0, 0.0, 1.0, 0.5])
    half = math.log(1 + 255 * 0.5) / math.log(256)
    assert mu_law_encode(signal).tolist() == [0, 128, 255, round((half + 1) / 2 * 255)]
    assert mu_law_decode(torch.tensor([0, 255])).tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("classes", [2, 16, 256])
def test_every_class_survives_and_is_the_nearest(classes: int) -> None:
    ids = torch.arange(classes)
    levels = mu_law_decode(ids, classes)
    assert torch.equal(mu_law_encode(levels, classes), ids) and (levels.diff() > 0).all()
    torch.testing.assert_close(levels, -levels.flip(0))
    signal = torch.linspace(-1, 1, 4001, dtype=torch.float64)
    found = mu_law_decode(mu_law_encode(signal, classes), classes)
    gaps = levels.diff().max() if classes == 2 else 2 * math.log(classes) / (classes - 1)
    assert (found - signal).abs().max() <= gaps


def test_quiet_samples_keep_more() -> None:
    quiet = torch.linspace(-0.01, 0.01, 1001)
    error = (mu_law_decode(mu_law_encode(quiet)) - quiet).abs().max()
    assert error < 1 / 256 / 8, "an even division has an error of 1 / 256"
    assert mu_law_encode(torch.zeros(2, 0)).shape == (2, 0)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: mu_law_encode(torch.tensor([0.0, 1.5])), "reaches from 0 to 1.5"),
        (lambda: mu_law_encode(torch.tensor([0.0, math.nan])), "reaches from nan to nan"),
        (lambda: mu_law_encode(torch.zeros(1), 1), "classes is 1"),
        (lambda: mu_law_decode(torch.tensor([256])), "of class 256 of 256"),
        (lambda: mu_law_decode(torch.tensor([-1])), "of class -1 of 256"),
    ],
)
def test_what_cannot_be(wrong: object, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        wrong()  # type: ignore[operator]
