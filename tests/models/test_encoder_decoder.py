"""Encoder–decoders of every kind: teacher forcing equals steps, rows are their own, and all ways of generating."""

from __future__ import annotations

import json

import pytest
import torch

from carryover.errors import UsageError
from carryover.generation import Sampling, beam_search, generate, stream
from carryover.layers import (
    GRU,
    LSTM,
    AdditiveAttention,
    BahdanauDecoder,
    Convolution,
    Embedding,
    InputFeedingDecoder,
    LuongDecoder,
    MultiplicativeAttention,
    Perceptron,
    RepeatedCondition,
    Stacked,
    SummaryDecoder,
    SumPooling,
)
from carryover.models import EncoderDecoder, StackConfig
from carryover.sequence import Sequence
from models.conditional_models import KINDS, SOURCES, V, encoder_decoder, some_ids


def sources(*lengths: int) -> Sequence:
    return some_ids(*lengths, size=7, seed=2)


@pytest.mark.parametrize("kind", KINDS)
def test_teacher_forcing_equals_steps(kind: str) -> None:
    model, source, ids = encoder_decoder(kind), sources(*SOURCES), some_ids(7, 3, 5, 0)
    whole, state, parts = model(source, ids), model.remember(source), []
    for start, stop in ((0, 1), (1, 4), (4, 7)):
        y, state = model.step(ids.slice(start, stop), state)
        parts.append(y)
    torch.testing.assert_close(Sequence.concatenate(parts).values, whole.values)
    assert whole.values.shape == (4, 7, V) and not whole.values[1, 3:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_knows_its_own_source_and_nothing_of_its_neighbours(kind: str) -> None:
    model, source, ids = encoder_decoder(kind), sources(*SOURCES), some_ids(5, 5, 5, 5)
    together = model(source, ids).values
    for row, length in enumerate(SOURCES):
        own = Sequence.of(source.values[row : row + 1, :length])
        torch.testing.assert_close(model(own, Sequence.of(ids.values[row : row + 1])).values[0], together[row])
    other = Sequence(source.values.clone(), source.lengths)
    other.values[0, 2] = (other.values[0, 2] + 1) % 7  # a step in the middle of row 0, and the padding of row 1
    other.values[1, 1:] = (other.values[1, 1:] + 1) % 7
    changed = model(other, ids).values
    assert (changed[0] - together[0]).abs().amax(dim=1).min() > 1e-9  # at every step
    assert torch.equal(changed[1:], together[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_the_future_is_not_seen(kind: str) -> None:
    model, source, ids = encoder_decoder(kind), sources(4), some_ids(9)
    other = Sequence(ids.values.clone(), ids.lengths)
    other.values[0, 6:] = (other.values[0, 6:] + 1) % V
    first, second = model(source, ids).values, model(source, other).values
    assert torch.equal(first[:, :6], second[:, :6]) and not torch.equal(first[:, 6:], second[:, 6:])


@pytest.mark.parametrize("kind", KINDS)
def test_every_way_of_generating(kind: str) -> None:
    """Ragged sources and ragged prompts: each row as by reading its source and prefix anew, alone as in the batch."""
    model, source = encoder_decoder(kind), sources(*SOURCES)
    with torch.no_grad():
        model.output.weight.mul_(6)
    prompts = [[1], [1, 4, 2], [1, 5], [1]]
    for sampling in (None, Sampling(top_k=5, temperature=0.9)):
        found = generate(model.given(source), prompts, max_tokens=8, stop=[2], sampling=sampling, seed=3)
        streamed = list(stream(model.given(source), prompts, max_tokens=8, stop=[2], sampling=sampling, seed=3))
        for row, (prompt, one) in enumerate(zip(prompts, found, strict=True)):
            own = Sequence.of(source.values[row : row + 1, : SOURCES[row]])
            alone = generate(model.given(own), [prompt], max_tokens=8, stop=[2], sampling=sampling, seed=3 + row)[0]
            assert alone.tokens == one.tokens == [token.id for token in streamed if token.row == row and not token.stop]
            made = [*one.tokens, *([2] if one.stopped_by == 2 else [])]
            with torch.inference_mode():
                scores = model(own, Sequence.of(torch.tensor([prompt + made])[:, :-1])).values[0, len(prompt) - 1 :]
            logs = torch.log_softmax(scores, -1)
            assert one.log_probability == pytest.approx(float(logs.gather(1, torch.tensor(made).unsqueeze(1)).sum()))
            if sampling is None:
                assert scores.argmax(-1).tolist() == made
    for prompt, row, best in zip(
        prompts, range(4), beam_search(model.given(source), prompts, beams=3, best=2, max_tokens=5), strict=True
    ):
        own = Sequence.of(source.values[row : row + 1, : SOURCES[row]])
        for one in best:
            with torch.inference_mode():
                logs = torch.log_softmax(model(own, Sequence.of(torch.tensor([prompt + one.tokens]))).values[0], -1)
            nats = logs[len(prompt) - 1 : -1].gather(1, torch.tensor(one.tokens).unsqueeze(1)).sum()
            assert one.log_probability == pytest.approx(float(nats))


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind: str) -> None:
    model = encoder_decoder(kind, dropout=0.3).train()
    model(sources(4, 2), some_ids(5, 3)).values.square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_a_source_of_values() -> None:
    """Series in, ids out; what stands in the padding says nothing."""
    model = encoder_decoder("additive, gru", source="values", source_size=3)
    values = torch.randn(2, 5, 3, dtype=torch.float64)
    values[1, 2:] = float("nan")
    ids = some_ids(4, 4)
    together = model(Sequence.of(values, [5, 2]), ids).values
    torch.testing.assert_close(together[1:], model(Sequence.of(values[1:, :2]), Sequence.of(ids.values[1:])).values)
    (one, two) = generate(model.given(Sequence.of(values, [5, 2])), [[1], [1]], max_tokens=3)
    assert len(one.tokens) == len(two.tokens) == 3


def test_input_feeding_reads_what_was_looked_at_before() -> None:
    """The same weights with the columns for what is fed back set to zero are those of the decoder without feeding."""
    torch.manual_seed(0)
    attention = MultiplicativeAttention(8, 6)
    fed, plain = InputFeedingDecoder(LSTM(9, 8), attention, 4), LuongDecoder(LSTM(5, 8), attention, 4)
    plain.combine = fed.combine
    x, memory = Sequence.of(torch.randn(2, 5, 5)), Sequence.of(torch.randn(2, 3, 6))
    with torch.no_grad():
        for name, weight in plain.layer.named_parameters():
            theirs = fed.layer.get_parameter(name)
            weight.copy_(theirs[:, :5] if name == "input_weight" else theirs)
        first, second = fed(x, memory).values, plain(x, memory).values
        torch.testing.assert_close(first[:, 0], second[:, 0])  # nothing was looked at before the first step
        assert not torch.allclose(first[:, 1:], second[:, 1:])
        fed.layer.input_weight[:, 5:] = 0
        torch.testing.assert_close(fed(x, memory).values, second)


def test_any_layers_of_a_users_own() -> None:
    torch.manual_seed(0)
    encoder = Stacked(Embedding(7, 4), Convolution(4, 6, 3, padding="centred"))
    decoder = LuongDecoder(LSTM(5, 8, peephole=True), AdditiveAttention(8, 6, 4), 9)
    model = EncoderDecoder(encoder, decoder, V).eval()
    assert model(sources(3, 2), some_ids(4, 4)).values.shape == (2, 4, V)
    with pytest.raises(UsageError, match="the encoder gives 4 features and the decoder looks at 6"):
        EncoderDecoder(Embedding(7, 4), decoder, V)


def test_another_number_of_prompts_than_sources_is_refused() -> None:
    model = encoder_decoder("multiplicative, two lstms")
    with pytest.raises(UsageError, match="2 prompts for a state of 3 rows"):
        generate(model.given(sources(3, 2, 1)), [[1], [1]], max_tokens=2)
    with pytest.raises(UsageError, match="training mode"):
        generate(model.train().given(sources(3)), [[1]], max_tokens=2)


def test_decoders_name_what_does_not_fit() -> None:
    attention = AdditiveAttention(8, 6, 4)
    with pytest.raises(ValueError, match="reads 8 features and a layer that gives 5"):
        BahdanauDecoder(GRU(9, 5), attention)
    with pytest.raises(ValueError, match="contexts of 6 features beside the input of a layer that reads 6"):
        BahdanauDecoder(GRU(6, 8), attention)
    with pytest.raises(ValueError, match="Convolution with causal False and a ratio of 1"):
        LuongDecoder(Convolution(3, 8, 3, padding="centred"), attention, 4)
    with pytest.raises(ValueError, match="size 0: it must be positive"):
        LuongDecoder(GRU(3, 8), MultiplicativeAttention(8, 6), 0)
    with pytest.raises(ValueError, match=r"InputFeedingDecoder sets outputs of 3 features beside .* layer that reads 3"):
        InputFeedingDecoder(GRU(3, 8), MultiplicativeAttention(8, 6), 3)
    with pytest.raises(ValueError, match="InputFeedingDecoder has size 0"):
        InputFeedingDecoder(GRU(3, 8), MultiplicativeAttention(8, 6), 0)
    with pytest.raises(ValueError, match="gives vectors of 6 and RepeatedCondition is about vectors of 5"):
        SummaryDecoder(SumPooling(6), RepeatedCondition(GRU(9, 4), 5))
    decoder = BahdanauDecoder(GRU(9, 8), attention)
    with pytest.raises(ValueError, match="BahdanauDecoder was given no memory"):
        decoder(Sequence.of(torch.randn(1, 2, 3)))
    with pytest.raises(ValueError, match=r"memory \[batch, time, 6\] and got \(1, 2, 3\)"):
        decoder.remember(Sequence.of(torch.randn(1, 2, 3)))
    with pytest.raises(ValueError, match="BahdanauDecoder expects 3 features and got 4"):
        decoder.step(Sequence.of(torch.randn(1, 2, 4)), decoder.initial_state(1))
    with pytest.raises(ValueError, match="state of batch size 2 with an input of batch size 1"):
        decoder.step(Sequence.of(torch.randn(1, 2, 3)), decoder.initial_state(2))
    with pytest.raises(ValueError, match="it conditions a causal layer"):
        RepeatedCondition(Stacked(Perceptron(3, (), 4), Convolution(4, 4, 3, stride=2)), 2)


@pytest.mark.parametrize("kind", KINDS)
def test_configuration(kind: str) -> None:
    encoder, decoder, options = KINDS[kind]
    config = EncoderDecoder.Config(
        source_size=7, target_size=V, embedding_size=8, encoder=encoder, decoder=decoder, **options
    )  # type: ignore[arg-type]
    again = EncoderDecoder.Config.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    names = EncoderDecoder.of(again).state_dict()
    assert {"embedding.weight", "output.weight", "output.bias"} <= names.keys()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"attention": "addative"}, "did you mean 'additive'"),
        ({"attention": "heads"}, "attention is 'heads' with a decoder of lstm of size 128"),
        ({"input_feeding": True}, "input_feeding is true and attention 'additive'"),
        ({"how": "repeat"}, "how is 'repeat'"),
        ({"embedding_size": 0}, "embedding_size is 0"),
        ({"decoder": {"layer": "gru", "sise": 3}}, "unknown field 'sise'"),
    ],
)
def test_wrong_configurations_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EncoderDecoder.Config(**{"source_size": 7, "target_size": V, **wrong})  # type: ignore[arg-type]


def test_what_cannot_be_built_is_refused() -> None:
    sizes = {"source_size": 7, "target_size": V}
    with pytest.raises(UsageError, match="a decoder is bidirectional"):
        EncoderDecoder.of(EncoderDecoder.Config(decoder=StackConfig(bidirectional=True), **sizes))
    with pytest.raises(UsageError, match="a tcn has no first state"):
        EncoderDecoder.of(EncoderDecoder.Config(decoder=StackConfig(layer="tcn"), attention="none", **sizes))
