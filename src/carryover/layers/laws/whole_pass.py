"""Laws of the whole pass: any length, padding, batch."""

from __future__ import annotations

import torch
from torch import Tensor

from carryover.layers.base import Layer
from carryover.layers.laws.case import (
    LONG,
    Case,
    fill_padding,
    gradients,
    leaf,
    loss_weights,
    require_equal_gradients,
)
from carryover.sequence import Sequence


def any_length(case: Case) -> None:
    """The same weights run any length: batches of one and of many, rows of length 0, and no step at all.

    Outputs have `out_size` features and as many steps as `output_lengths` says, which grows as `ratio` says, are finite
    and so are all gradients, and recording gradients does not change them.
    """
    law = "any length"
    for lengths in ([1], [2], [LONG], [0], [LONG, 0, 1, 2], [0, 0]):
        x = leaf(case.make(*lengths))
        try:
            y = case.run(x)
        except Exception as error:
            raise case.broken(law, f"lengths {lengths} raise {type(error).__name__}: {error}") from error
        _require_shape(case, x, y)
        backward = gradients(case, x, y.values.sum())
        of_input = {} if backward.of_input is None else {"gradient of the input": backward.of_input}
        of_parameters = {f"gradient of {name}": gradient for name, gradient in backward.of_parameters.items()}
        for what, tensor in {"output": y.values, **of_input, **of_parameters}.items():
            if not tensor.isfinite().all():
                raise case.broken(law, f"{what} is not finite for lengths {lengths} where finite numbers were expected")
        with torch.no_grad():
            case.require_equal(law, f"output for lengths {lengths} without gradients", case.run(x).values, y.values)


def _require_shape(case: Case, x: Sequence, y: Sequence) -> None:
    law = "any length"
    if y.values.dim() < 3 or y.values.shape[_feature_axis(case)] != case.layer.out_size:
        raise case.broken(
            law, f"output shape {tuple(y.values.shape)} where [batch, time, {case.layer.out_size}] was expected"
        )
    if y.values.dtype != case.like.dtype:
        raise case.broken(law, f"output type {y.values.dtype} where the layer's {case.like.dtype} was expected")
    if y.batch_size != x.batch_size:
        raise case.broken(law, f"{y.batch_size} rows of output where {x.batch_size} rows were given")
    if not isinstance(case.layer, Layer):
        return
    ratio, promised = case.layer.ratio, case.layer.output_lengths(x.lengths)
    for length, found, expected in zip(x.lengths.tolist(), y.lengths.tolist(), promised.tolist(), strict=True):
        if found != expected:
            raise case.broken(
                law,
                f"{found} outputs for {length} steps where the ratio {ratio} was declared and output_lengths says {expected}",
            )
    # Borders may cost outputs, but from some length on each `denominator` steps more give `numerator` outputs more.
    far = 1000 * ratio.denominator
    few, many = case.layer.output_lengths(torch.tensor([far, 2 * far])).tolist()
    if many - few != 1000 * ratio.numerator:
        raise case.broken(law, f"{far} steps more give {many - few} outputs more where the ratio {ratio} was declared")
    if y.lengths.numel() and int(y.lengths.max()) > y.time:
        raise case.broken(law, f"a length of {int(y.lengths.max())} in an output of {y.time} steps")


def _feature_axis(case: Case) -> int:
    return case.layer.feature_axis if isinstance(case.layer, Layer) else -1


def padding(case: Case) -> None:
    """The content and the amount of padding change no output and no gradient.

    Padding full of NaN (impossible numbers for ids) against padding of zeros, and five more steps of it; padded
    outputs are exactly zero and no gradient reaches padded inputs, whatever the loss does with padded outputs.
    """
    law = "padding"
    clean = leaf(case.make(LONG, 5, 0, 1, 2).zero_padding())
    y = case.run(clean)
    weights = loss_weights(y)
    expected = gradients(case, clean, (y.values * weights * y.expand_mask()).sum())
    _require_zero_padding(case, y, "with zeros in the padding")

    for filling, what in ((torch.nan, "with NaN in the padding"), (torch.inf, "with infinity in the padding")):
        x = leaf(fill_padding(clean, filling))
        found = case.run(x)
        _require_zero_padding(case, found, what)
        case.require_equal(law, f"output {what}", found.values, y.values)
        # The loss weighs padded outputs too: being constant, they may not contribute.
        require_equal_gradients(case, law, what, gradients(case, x, (found.values * weights).sum()), expected)

    x = leaf(_pad_further(clean, 5))
    found = case.run(x)
    _require_zero_padding(case, found, "with more padding")
    case.require_equal(law, "output with more padding", found.values[:, : y.time], y.values)
    number = (found.values[:, : y.time] * weights).sum()
    got = gradients(case, x, number)
    if got.of_input is not None:
        got = type(got)(got.of_input[:, : clean.time], got.of_parameters)
    require_equal_gradients(case, law, "with more padding", got, expected)


def _pad_further(x: Sequence, steps: int) -> Sequence:
    values = x.values.detach()
    more = values.new_zeros(values.shape[0], steps, *values.shape[2:])
    return fill_padding(x.with_values(torch.cat([values, more], dim=1)), torch.nan)


def _require_zero_padding(case: Case, y: Sequence, what: str) -> None:
    wrong = y.values.masked_select(~y.expand_mask())
    wrong = wrong[wrong != 0]
    if len(wrong):
        raise case.broken("padding", f"a padded output is {wrong[0].item():.6g} where 0 was expected, {what}")


def batch(case: Case) -> None:
    """A row's output and gradient do not depend on its neighbours.

    Alone and without padding, in a batch in any order, and beside neighbours full of NaN (other ids for ids).
    """
    law = "batch"
    lengths = [5, LONG, 1, 0, 7]
    together = leaf(case.make(*lengths))
    y = case.run(together)
    weights = loss_weights(y)
    all_gradients = gradients(case, together, (y.values * weights).sum()).of_input

    order = torch.tensor([3, 0, 4, 2, 1], device=together.device)
    permuted = case.run(Sequence(together.values.detach()[order], together.lengths[order]))
    case.require_equal(law, "output after permuting the rows", permuted.values, y.values[order])

    for row, length in enumerate(lengths):
        outputs = int(y.lengths[row])
        one = leaf(Sequence(together.values.detach()[row : row + 1, :length], together.lengths[row : row + 1]))
        alone = case.run(one)
        _compare_row(case, "alone", alone.values[0, :outputs], y.values[row, :outputs])
        if all_gradients is not None:
            number = (alone.values[:, :outputs] * weights[row : row + 1, :outputs]).sum()
            found = gradients(case, one, number).of_input
            assert found is not None
            case.require_equal(law, f"gradient of row {row} alone", found[0], all_gradients[row, :length])

        hostile = leaf(_spoil_neighbours(case, together, row))
        beside = case.run(hostile).values[row, :outputs]
        _compare_row(case, "beside neighbours full of NaN", beside, y.values[row, :outputs])
        found = gradients(case, hostile, (beside * weights[row, :outputs]).sum()).of_input
        if found is not None and all_gradients is not None:
            what = f"gradient of row {row} beside neighbours full of NaN"
            case.require_equal(law, what, found[row, :length], all_gradients[row, :length])


def _compare_row(case: Case, what: str, found: Tensor, expected: Tensor) -> None:
    case.require_equal("batch", f"output of a row {what}", found, expected)


def _spoil_neighbours(case: Case, x: Sequence, row: int) -> Sequence:
    if x.values.is_floating_point():
        values = torch.full_like(x.values, torch.nan)
    else:
        values = case.make(*[x.time] * x.batch_size, seed=99).values.clone()
    values[row] = x.values.detach()[row]
    return x.with_values(values)
