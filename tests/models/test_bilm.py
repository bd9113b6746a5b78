"""The bidirectional language model: what it may see, that chunks equal one pass, that a sentence is itself in any batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from carryover.data.coding import TokenBatch, TokenCoder
from carryover.data.subwords import SubwordTokenizer
from carryover.data.vocabulary import Vocabulary
from carryover.errors import UsageError
from carryover.models.bilm import BiLanguageModel
from carryover.sequence import Sequence

SENTENCES = [
    ["the", "old", "dog", "barks", "at", "the", "old", "tree"],
    ["rain"],
    ["a", "dog", "sees", "the", "rain", "and", "barks"],
    [],
    ["trees", "stand"],
]
KINDS = ("characters", "words", "subwords")


def coder(kind: str) -> TokenCoder:
    words = [word for sentence in SENTENCES for word in sentence]
    if kind == "subwords":
        return TokenCoder("subwords", subwords=SubwordTokenizer.train([" ".join(words)] * 3, size=270))
    return TokenCoder(kind, Vocabulary.count(words))


def make(
    kind: str = "characters", dtype: torch.dtype = torch.float64, **others: object
) -> tuple[BiLanguageModel, TokenCoder]:
    torch.manual_seed(0)
    coded = coder(kind)
    config = {"cells": 16, "projection": 8, "filters": ((1, 8), (3, 8)), "dropout": 0.0, "layers": 2, **others}
    model = BiLanguageModel(
        BiLanguageModel.Config(vocabulary_size=len(coded.vocabulary), input=kind, **config)  # type: ignore[arg-type]
    )
    return model.to(dtype).eval(), coded


def backwards(batch: TokenBatch) -> TokenBatch:
    return TokenBatch(batch.index.reverse(), batch.characters, None, batch.word_lengths)


@pytest.mark.parametrize("kind", KINDS)
def test_representations_are_one_vector_a_layer_and_word(kind: str) -> None:
    model, coded = make(kind)
    found = model.representations(coded.batch(SENTENCES, borders=True))
    assert found.lengths.tolist() == [len(sentence) for sentence in SENTENCES]
    assert found.values.shape == (5, 8, model.mixed_layers, model.out_size) == (5, 8, 3, 16)
    assert (found.values[~found.mask] == 0).all()
    assert torch.equal(found.values[:, :, 0, :8], found.values[:, :, 0, 8:])  # layer 0 is the token vector twice


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sentence_is_the_same_alone_and_in_any_batch(kind: str, dtype: torch.dtype) -> None:
    model, coded = make(kind, dtype)
    with torch.no_grad():
        together = model.representations(coded.batch(SENTENCES, borders=True)).rows()
        for position, sentence in enumerate(SENTENCES):
            (alone,) = model.representations(coded.batch([sentence], borders=True)).rows()
            assert torch.allclose(alone, together[position], atol=1e-6)
        shuffled = model.representations(coded.batch(SENTENCES[::-1], borders=True)).rows()[::-1]
        for one, other in zip(together, shuffled, strict=True):
            assert torch.equal(one, other)  # equal shapes: equal to the last bit
        again = model.representations(coded.batch(SENTENCES, borders=True)).rows()
        assert all(torch.equal(one, other) for one, other in zip(together, again, strict=True))


def test_neighbours_of_equal_shape_change_no_bit() -> None:
    model, coded = make(dtype=torch.float32)
    first, other, third = SENTENCES[0], ["what", "a", "very", "different", "set", "of", "words"], SENTENCES[2]
    with torch.no_grad():
        one = model.representations(coded.batch([first, third], borders=True)).rows()[0]
        two = model.representations(coded.batch([first, other], borders=True)).rows()[0]
    assert torch.equal(one, two)


@pytest.mark.parametrize("kind", KINDS)
def test_forward_never_sees_the_future_nor_backward_the_past(kind: str) -> None:
    model, coded = make(kind)
    batch = coded.batch([SENTENCES[0]], borders=True)
    tokens = model.token_representations(batch)
    leaf = tokens.values.detach().requires_grad_()
    model.token_representations = lambda _: tokens.with_values(leaf)  # type: ignore[method-assign]
    found = model.representations(batch).values[0]  # [W, L+1, 2P]
    places = _places(batch, len(SENTENCES[0]))
    half = model.out_size // 2
    for layer in (1, 2):
        for word, (first, last) in enumerate(places):
            for columns, unseen, seen in (
                (slice(0, half), slice(last + 1, None), slice(0, last + 1)),
                (slice(half, None), slice(0, first), slice(first, None)),
            ):
                (gradient,) = torch.autograd.grad(found[word, layer, columns].sum(), [leaf], retain_graph=True)
                assert (gradient[0, unseen] == 0).all()
                assert (gradient[0, seen].abs().sum(dim=1) > 0).all()


def _places(batch: TokenBatch, words: int) -> list[tuple[int, int]]:
    """First and last position of every word in a batch of one."""
    if batch.word_of_unit is None:
        return [(word + 1, word + 1) for word in range(words)]
    owner = batch.word_of_unit[0].tolist()
    return [(owner.index(word), len(owner) - 1 - owner[::-1].index(word)) for word in range(words)]


@pytest.mark.parametrize("kind", ["characters", "words"])
def test_chunks_with_carried_state_equal_one_pass(kind: str) -> None:
    model, coded = make(kind)
    forward = coded.batch([SENTENCES[0], SENTENCES[2], []], borders=True)
    backward = backwards(forward)
    state = model.initial_state(3)
    whole_forward, whole_backward, last = model.advance(forward, backward, state)
    pieces: list[tuple[Sequence, Sequence]] = []
    for start, stop in ((0, 1), (1, 4), (4, 4), (4, 50)):
        chunks = [
            TokenBatch(one.index.slice(start, stop), one.characters, None, one.word_lengths) for one in (forward, backward)
        ]
        one, two, state = model.advance(chunks[0], chunks[1], state)
        pieces.append((one, two))
    for side, whole in enumerate((whole_forward, whole_backward)):
        joined = Sequence.concatenate([piece[side] for piece in pieces])
        assert torch.allclose(joined.values, whole.values, atol=1e-12)
    for pair, expected in zip(state, last, strict=True):
        for got, want in zip(pair, expected, strict=True):
            assert torch.allclose(got.hidden, want.hidden) and torch.allclose(got.cell, want.cell)


@pytest.mark.parametrize("residual", [True, False])
def test_directions_together_equal_each_layer_by_itself(residual: bool) -> None:
    model, coded = make(residual=residual)
    forward = coded.batch(SENTENCES, borders=True)
    backward = backwards(forward)
    tops = model.advance(forward, backward, model.initial_state(len(SENTENCES)))
    for batch, layers, top in ((forward, model.forward_layers, tops[0]), (backward, model.backward_layers, tops[1])):
        first = layers[0](model.token_representations(batch))
        second = layers[1](first)
        expected = second.values + first.values if residual else second.values
        assert torch.allclose(top.values, expected, atol=1e-12)


def test_representations_are_what_advance_computes() -> None:
    model, coded = make()
    batch = coded.batch([SENTENCES[0]], borders=True)
    forward, backward, _ = model.advance(batch, backwards(batch), model.initial_state(1))
    top = model.representations(batch).values[:, :, -1]
    assert torch.allclose(top[..., :8], forward.values[:, 1:-1])
    assert torch.allclose(top[..., 8:], backward.reverse().values[:, 1:-1])


def test_a_word_of_pieces_is_their_mean() -> None:
    model, coded = make("subwords")
    batch = coded.batch(SENTENCES[:1], borders=True)
    assert batch.word_of_unit is not None
    pieces = model.token_representations(batch).values[0]
    found = model.representations(batch).values[0, :, 0, :8]
    assert batch.index.time > len(SENTENCES[0]) + 2  # some word has several
    for word in range(len(SENTENCES[0])):
        assert torch.allclose(found[word], pieces[batch.word_of_unit[0] == word].mean(dim=0))


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_below_the_output_receives_a_gradient(kind: str) -> None:
    model, coded = make(kind)
    model.representations(coded.batch(SENTENCES, borders=True)).values.square().sum().backward()
    for name, parameter in model.named_parameters():
        if not name.startswith("output."):
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_padding_holds_nothing_that_matters() -> None:
    """Other ids in the padding change neither representations nor gradients."""
    model, coded = make()
    batch = coded.batch(SENTENCES, borders=True)
    index = batch.index.with_values(batch.index.values.masked_fill(~batch.index.mask, 3))
    poisoned = TokenBatch(index, batch.characters, None, batch.word_lengths)
    results = []
    for one in (batch, poisoned):
        model.zero_grad()
        found = model.representations(one).values
        found.square().sum().backward()
        results.append([found.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


def test_dropout_is_for_training_only() -> None:
    model, coded = make(dropout=0.5)
    batch = coded.batch(SENTENCES, borders=True)
    fixed = model.representations(batch).values
    assert torch.equal(fixed, model.representations(batch).values)
    model.train()
    torch.manual_seed(1)
    dropped = model.representations(batch).values
    assert not torch.allclose(fixed, dropped)
    torch.manual_seed(1)
    assert torch.equal(dropped, model.representations(batch).values)


def test_state_dict_goes_round() -> None:
    model, coded = make()
    other = BiLanguageModel(BiLanguageModel.Config.from_json(model.config.to_json())).double().eval()
    other.load_state_dict(model.state_dict())
    batch = coded.batch(SENTENCES, borders=True)
    assert torch.equal(model.representations(batch).values, other.representations(batch).values)


@pytest.mark.parametrize("size", sorted(BiLanguageModel.SIZES))
def test_sizes(size: str) -> None:
    config = BiLanguageModel.Config.of_size(size, vocabulary_size=50)
    assert BiLanguageModel.Config.from_json(config.to_json()) == config
    with torch.device("meta"):
        model = BiLanguageModel(config)
    if size == "original":  # 93.6 million, Peters et al. 2018, with one bias for each gate
        encoder = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("output."))
        assert encoder == 93_600_864


def scores(model: BiLanguageModel, batch: TokenBatch) -> Tensor:
    return model.representations(batch).values


def test_wrong_batches_teach() -> None:
    model, coded = make()
    with pytest.raises(ValueError, match="borders=True"):
        scores(model, coded.batch(SENTENCES, borders=False))
    with pytest.raises(ValueError, match="borders=True"):
        scores(make("subwords")[0], coder("subwords").batch(SENTENCES, borders=False))
    with pytest.raises(ValueError, match="reads characters but the batch holds words"):
        scores(model, coder("words").batch(SENTENCES, borders=True))
    with pytest.raises(ValueError, match="reads words but the batch holds characters"):
        scores(make("words")[0], coded.batch(SENTENCES, borders=True))
    batch, short = coded.batch(SENTENCES, borders=True), coded.batch([["a"]] * 5, borders=True)
    with pytest.raises(ValueError, match="the same number of tokens"):
        model.advance(batch, short, model.initial_state(5))
    with pytest.raises(ValueError, match=r"batch size 2 and the batch 5"):
        model.advance(batch, backwards(batch), model.initial_state(2))
    with pytest.raises(ValueError, match=r"the state has 1 layers and the model 2"):
        model.advance(batch, backwards(batch), model.initial_state(5)[:1])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("input", "word", "did you mean 'words'"),
        ("softmax", "hierarchical", "must be one of full, sampled, adaptive"),
        ("cells", 0, "cells is 0"),
        ("dropout", 1.0, "dropout is 1.0"),
        ("cell_clip", -1.0, "cell_clip is -1.0"),
        ("filters", (), "filters is"),
        ("filters", ((51, 4),), "a width from 1 to 50 characters"),
        ("highway_layers", -1, "highway_layers is -1"),
    ],
)
def test_wrong_configurations_teach(field: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BiLanguageModel.Config(vocabulary_size=10, **{field: value})  # type: ignore[arg-type]


def test_unknown_names_in_a_stored_configuration_teach() -> None:
    with pytest.raises(UsageError, match="did you mean 'cells'"):
        BiLanguageModel.Config.from_json({"vocabulary_size": 10, "cell": 5})
    with pytest.raises(UsageError, match="no vocabulary_size"):
        BiLanguageModel.Config.from_json({"cells": 5})
    with pytest.raises(UsageError, match="did you mean 'small'"):
        BiLanguageModel.Config.of_size("smal", vocabulary_size=10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 3, 20, 1000])
def test_a_long_sentence_in_pieces_is_the_whole(kind: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, coded = make(kind)
    sentence = [word for words in SENTENCES for word in words] * 3
    batch = coded.batch([sentence], borders=True)
    (whole,) = model.representations(batch).rows()
    read: list[int] = []
    run = model._run

    def watched(tokens: tuple[Sequence, Sequence], state):  # type: ignore[no-untyped-def]
        read.append(tokens[0].time)
        assert tokens[0].lengths.tolist() == tokens[1].lengths.tolist() == [tokens[0].time]
        return run(tokens, state)

    monkeypatch.setattr(model, "_run", watched)
    found = in_pieces(model, batch, steps)
    assert torch.allclose(found, whole, atol=1e-12) and found.shape == whole.shape
    assert sum(read) == batch.index.time and max(read) <= steps
    top = in_pieces(model, batch, steps, lambda layers: layers[:, -1])
    assert torch.equal(top, found[:, -1])
    nothing = in_pieces(model, coded.batch([[]], borders=True), steps)
    assert nothing.shape == (0, 3, 16)


def in_pieces(model: BiLanguageModel, batch: TokenBatch, steps: int, *choose: Callable[[Tensor], Tensor]) -> Tensor:
    """A batch of one sentence, read from its beginning."""
    weight = next(model.parameters())
    return model.continue_long_representations(batch, model.initial_state(1, dtype=weight.dtype), steps, *choose)[0][0]


def test_pieces_need_borders() -> None:
    model, coded = make()
    with pytest.raises(ValueError, match="without sentence borders"):
        in_pieces(model, coded.batch(SENTENCES[:1], borders=False), 3)


@pytest.mark.parametrize("steps", [1, 3, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_continued_in_pieces(kind: str, steps: int) -> None:
    """Rows of several lengths, an empty one among them: the vectors and the state of reading them at once, twice in a row."""
    model, coded = make(kind)
    state = pieces = model.initial_state(len(SENTENCES), dtype=torch.float64)
    for sentences in (SENTENCES, [[], *SENTENCES[1:]]):
        batch = coded.batch(sentences, borders=True)
        with torch.no_grad():
            whole, state = model.continue_representations(batch, state)
        found, pieces = model.continue_long_representations(batch, pieces, steps)
        for one, other in zip(whole.rows(), found, strict=True):
            torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(state, pieces, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_borders_are_read_once_for_all_rows(kind: str) -> None:
    """Without gradients only one row reads the first border and none the last: the numbers are those of reading them all."""
    model, coded = make(kind)
    batch = coded.batch(SENTENCES, borders=True)

    def both() -> tuple[Tensor, Tensor]:
        state = model.initial_state(len(SENTENCES), dtype=torch.float64)
        with torch.no_grad():
            assert not model._needs_borders(model.token_representations(batch))
            return model.representations(batch).values, model.continue_representations(batch, state)[0].values

    first, whole = both()
    torch.testing.assert_close(first, whole, atol=1e-12, rtol=1e-12)
    assert torch.equal(both()[0], first)
    with torch.enable_grad():
        torch.testing.assert_close(model.representations(batch).values, whole, atol=1e-12, rtol=1e-12)
    with torch.no_grad():
        model.forward_layers[0].bias.add_(0.5)  # type: ignore[operator,union-attr]
    changed, wanted = both()
    assert (changed - first).abs().max() > 1e-3
    torch.testing.assert_close(changed, wanted, atol=1e-12, rtol=1e-12)
    empty = model.representations(coded.batch([[], []], borders=True))
    assert empty.values.shape == (2, 0, 3, 16)
    with torch.inference_mode():
        found = model.representations(batch).values
    torch.testing.assert_close(found.clone(), changed, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("clip", [1e308, 1e31, 0.0, -3.0])
def test_a_clip_that_no_number_type_holds_is_refused(clip: float) -> None:
    for name in ("cell_clip", "projection_clip"):
        with pytest.raises(UsageError, match=name):
            BiLanguageModel.Config.of_size("tiny", **{"vocabulary_size": 9, name: clip})
