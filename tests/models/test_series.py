"""Models of series: the contract of their layers, and vectors that agree whole and step by step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from carryover.errors import UsageError
from carryover.layers import Stacked, check
from carryover.models.series import STACKS, ConvolutionBlock, SeriesModel
from carryover.sequence import Sequence


def series(lengths: list[int], channels: int = 2) -> Sequence:
    torch.manual_seed(1)
    return Sequence.of(torch.randn(len(lengths), max(lengths), channels), lengths)


def model(**options: Any) -> SeriesModel:
    torch.manual_seed(0)
    return SeriesModel(SeriesModel.Config(**{"in_size": 2, "size": 6, "layers": 2, "kernel": 3, **options})).eval()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_convolution_block_keeps_the_contract(causal: bool, dilation: int) -> None:
    check(ConvolutionBlock(6, 3, dilation=dilation, causal=causal))


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("causal", [True, False])
def test_the_stack_keeps_the_contract(stack: str, causal: bool) -> None:
    whole = model(stack=stack, causal=causal)
    stacked = Stacked(*whole.layers)  # type: ignore[arg-type]
    check(stacked)
    assert stacked.causal == causal
    assert stacked.receptive_field == whole.receptive_field


@pytest.mark.parametrize("stack", STACKS)
def test_vectors_agree_whole_and_read_on(stack: str) -> None:
    net, x = model(stack=stack), series([9, 5])
    whole = net.representations(x)
    assert whole.values.shape == (2, 9, net.mixed_layers, 6)
    state = net.initial_state(2)
    first, state = net.continue_representations(x.slice(0, 4), state)
    second, _ = net.continue_representations(x.slice(4, 9), state)
    joined = torch.cat([first.values, second.values], dim=1)
    assert torch.allclose(joined, whole.values, atol=1e-5)


@pytest.mark.parametrize("stack", STACKS)
def test_a_guess_knows_nothing_of_the_value_it_guesses(stack: str) -> None:
    net, x = model(stack=stack), series([8])
    x.values.requires_grad_(True)
    guess = net(x).values[0, 4].sum()
    (gradient,) = torch.autograd.grad(guess, x.values)
    assert bool((gradient[0, 5:] == 0).all())
    assert bool((gradient[0, 4] != 0).any())


def test_the_output_layer_can_be_taken_off() -> None:
    net = model()
    before = net.representations(series([4])).values
    net.drop_output_layer()
    assert not any(name.startswith("output") for name in net.state_dict())
    assert torch.equal(net.representations(series([4])).values, before)
    with pytest.raises(ValueError, match="no output layer"):
        net(series([4]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stack": "lstms"}, "stack is 'lstms'"),
        ({"size": 0}, "size is 0"),
        ({"stack": "lstm", "causal": False, "size": 5}, "size is 5 and the model is bidirectional"),
        ({"stack": "cnn", "causal": False, "kernel": 4}, "kernel is 4 and has no middle step"),
    ],
)
def test_wrong_configurations_name_the_field(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model(**options)


def test_sizes_have_names() -> None:
    config = SeriesModel.Config.of_size("tiny", in_size=3, kernel=7)
    assert (config.in_size, config.kernel, config.size) == (3, 7, 32)
    assert SeriesModel.Config.from_json(config.to_json()) == config
    with pytest.raises(UsageError, match="did you mean 'tiny'"):
        SeriesModel.Config.of_size("tny", in_size=3)
