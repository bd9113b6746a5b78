"""μ-law companding: a signal as one of 256 classes a sample, finer where it is quiet, and back.

    f(x) = sign(x) · ln(1 + μ|x|) / ln(1 + μ),   −1 ≤ x ≤ 1

(ITU-T G.711; as targets of a softmax: van den Oord et al. 2016, "WaveNet: a generative model for raw audio", section 2.2).
With μ = classes − 1, f(x) is rounded to the nearest of `classes` levels that lie evenly from −1 to 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from carryover.errors import UsageError

CLASSES = 256


def mu_law_encode(signal: Tensor, classes: int = CLASSES) -> Tensor:
    """Classes (int64, 0 … classes − 1) of samples in [−1, 1], of any shape.

    Raises UsageError for a sample outside, which would have to be clipped, for NaN, and for fewer than two classes.
    """
    _check_classes(classes)
    if signal.numel():
        low, high = (float(bound) for bound in torch.aminmax(signal))
        if not -1 <= low <= high <= 1:  # also where a sample is NaN
            raise UsageError(
                f"the signal reaches from {low:g} to {high:g}, and μ-law companding takes samples from -1 to 1",
                repair="divide it by its largest absolute value, and fill what is missing",
            )
    mu = classes - 1
    companded = signal.sign() * torch.log1p(mu * signal.abs()) / math.log1p(mu)
    return ((companded + 1) / 2 * mu).round().to(torch.int64)


def mu_law_decode(ids: Tensor, classes: int = CLASSES) -> Tensor:
    """The sample in [−1, 1] (float32) in the middle of each class; encoding it gives the class again.

    Raises UsageError for a class that is none.
    """
    _check_classes(classes)
    if ids.numel():
        low, high = (int(bound) for bound in torch.aminmax(ids))
        if low < 0 or high >= classes:
            wrong = low if low < 0 else high
            raise UsageError(f"a sample is of class {wrong} of {classes}", repair=f"classes are 0 to {classes - 1}")
    mu = classes - 1
    companded = 2 * ids.to(torch.float64) / mu - 1
    return (companded.sign() * torch.expm1(companded.abs() * math.log1p(mu)) / mu).float()


def _check_classes(classes: int) -> None:
    if classes < 2:
        raise UsageError(f"classes is {classes}", repair="give at least 2; 256 is usual")
