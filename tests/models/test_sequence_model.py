"""Sequence models over every named layer: read-outs, steps, delays, configuration, and that a delay is worth something."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn.functional import mse_loss

from carryover.errors import UsageError
from carryover.generation import generate
from carryover.layers import TCN, Convolution, Perceptron, Stacked
from carryover.models import SequenceModel
from carryover.models.stacks import LAYERS
from carryover.sequence import Sequence

LENGTHS = [9, 4, 0, 1]


def make(layer: str, **others: object) -> SequenceModel:
    torch.manual_seed(0)
    options = {"in_size": 3, "out_size": 2, "size": 8, "depth": 2, "heads": 2, **others}
    return SequenceModel.of(SequenceModel.Config(layer=layer, **options)).double().eval()  # type: ignore[arg-type]


def values(*lengths: int, size: int = 3) -> Sequence:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(len(lengths), max(lengths), size, generator=generator, dtype=torch.float64)
    x = Sequence.of(drawn, list(lengths))
    return Sequence(drawn.masked_fill(~x.expand_mask(), float("nan")), x.lengths)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_every_step_and_every_readout_say_what_the_parts_say(layer: str, bidirectional: bool) -> None:
    model, x = make(layer, bidirectional=bidirectional), values(*LENGTHS)
    width = 16 if bidirectional and layer != "transformer" else 8
    assert model.layer.out_size == width and model.layer.causal != bidirectional
    hidden = model.layer(x)
    y = model(x)
    torch.testing.assert_close(y.values, hidden.map(model.output).values)
    assert y.values.shape == (4, 9, 2) and not y.values[1, 4:].any()
    last = make(layer, bidirectional=bidirectional, readout="last")
    torch.testing.assert_close(last(x), last.output(last.layer(x).last()))
    ends = make(layer, bidirectional=bidirectional, readout="ends+max")
    hidden, half = ends.layer(x), width // 2
    for row, (one, length) in enumerate(zip(hidden.rows(), LENGTHS, strict=True)):
        if length:
            pooled = torch.cat([one[-1, :half], one[0, half:], one.amax(0)])
            torch.testing.assert_close(ends(x)[row], ends.output(pooled))
        else:
            torch.testing.assert_close(ends(x)[row], ends.output.bias)


def test_last_output_of_a_tcn_is_all_that_is_computed() -> None:
    model, x = make("tcn", readout="last"), values(64, 40, 0)
    assert isinstance(model.layer, TCN)
    ran = []
    model.layer.register_forward_hook(lambda *_: ran.append("whole"))
    torch.testing.assert_close(model(x), model.output(model.layer.last_output(x)))
    assert ran == []


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("delay", [0, 3])
def test_steps_equal_the_whole_pass(layer: str, delay: int) -> None:
    model, x = make(layer, delay=delay, input_size=5), values(11, 11)
    whole, state, parts = model(x).values, model.initial_state(2), []
    for start, stop in ((0, 1), (1, 4), (4, 11)):
        y, state = model.step(x.slice(start, stop), state)
        parts.append(y)
    found = Sequence.concatenate([*parts, model.finish(state)]).values[:, delay:]
    torch.testing.assert_close(found, whole)
    last = make(layer, readout="last", input_size=5)
    state = last.initial_state(2)
    for t in range(11):
        y, state = last.step(x.slice(t, t + 1), state)
        torch.testing.assert_close(y.values[:, 0], last(x.slice(0, t + 1)))


@pytest.mark.parametrize("layer", LAYERS)
def test_a_row_is_the_same_alone_and_its_padding_says_nothing(layer: str) -> None:
    for model in (make(layer, delay=2), make(layer, readout="last"), make(layer, readout="mean", bidirectional=True)):
        x = values(*LENGTHS)
        together = model(x)
        for row, length in enumerate(LENGTHS):
            alone = model(Sequence.of(x.values[row : row + 1, :length]))
            if isinstance(together, Sequence):
                torch.testing.assert_close(together.values[row : row + 1, :length], alone.values)
            else:
                torch.testing.assert_close(together[row : row + 1], alone)


@pytest.mark.parametrize("layer", LAYERS)
def test_ids_in_and_scores_out_can_be_generated_from(layer: str) -> None:
    model = make(layer, input="ids", in_size=7, out_size=7)
    (found,) = generate(model, [[2, 5]], max_tokens=8)
    ids = [2, 5]
    for number in found.tokens:
        assert number == int(model(Sequence.of(torch.tensor([ids]))).values[0, -1].argmax())
        ids.append(number)
    model.train()
    model(Sequence.of(torch.tensor([[1, 2, 3]]))).values.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_delay_lets_a_causal_layer_see_ahead() -> None:
    """y_t = x_t + x_{t+2}: half of the variance comes later, so without a delay the error stays near 1."""

    def trained(delay: int) -> float:
        torch.manual_seed(0)
        config = SequenceModel.Config(in_size=1, out_size=1, layer="tcn", size=16, depth=2, delay=delay)
        model = SequenceModel.of(config)
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
        for step in range(220):
            if step == 170:
                optimiser.param_groups[0]["lr"] = 0.002
            drawn = torch.randn(16, 42, 1)
            loss = mse_loss(model(Sequence.of(drawn[:, :40])).values[:, :38], drawn[:, :38] + drawn[:, 2:40])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return float(loss.detach())

    assert trained(2) < 0.05
    assert trained(0) > 0.8


def test_any_layer_can_stand_in_the_middle() -> None:
    layer = Stacked(Convolution(3, 4, 3, stride=2), Perceptron(4, (), 4))
    model = SequenceModel(layer, 5)
    assert model(Sequence.of(torch.randn(2, 7, 3), [7, 4])).lengths.tolist() == [4, 2]
    with pytest.raises(UsageError, match=r"delay is 1 .* Stacked"):
        SequenceModel(layer, 5, delay=1)
    with pytest.raises(UsageError, match="gives 4 features and the layer reads 3"):
        SequenceModel(layer, 5, input_layer=Perceptron(2, (), 4))
    with pytest.raises(UsageError, match="out_size is 0"):
        SequenceModel(layer, 0)
    with pytest.raises(UsageError, match="'middle' is unknown"):
        SequenceModel(layer, 5, readout="middle")


def test_steps_of_a_pooled_readout_are_refused() -> None:
    model = make("gru", readout="mean")
    with pytest.raises(TypeError, match="readout 'mean' has no steps"):
        model.step(values(3), model.initial_state(1))
    with pytest.raises(TypeError, match="causal is False"):
        make("gru", bidirectional=True).initial_state(1)


def test_configuration() -> None:
    config = SequenceModel.Config(in_size=2, out_size=1, layer="tcn", size=24, depth=8, kernel=7, readout="last")
    assert SequenceModel.Config.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert SequenceModel.of(config).layer.receptive_field == 1 + 2 * 6 * 255
    for wrong, message in [
        ({"layer": "lstn"}, "did you mean 'lstm'"),
        ({"input": "id"}, "did you mean 'ids'"),
        ({"size": 0}, "size is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"layer": "transformer", "size": 6}, "size is 6 and heads 4"),
    ]:
        with pytest.raises(UsageError, match=message):
            SequenceModel.Config(**{"in_size": 2, "out_size": 1, **wrong})
    with pytest.raises(UsageError, match=r"unknown field .sizes.*did you mean .size"):
        SequenceModel.Config.from_json({"in_size": 1, "out_size": 1, "sizes": 3})
    with pytest.raises(UsageError, match="in_size"):
        SequenceModel.Config.from_json({"out_size": 1})
