"""Contextual vectors of lines: the right ones, alone or among others, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from carryover.encoders import embed_lines as module
from carryover.encoders import vector_cache
from carryover.encoders.embed_lines import embed_lines
from carryover.errors import UsageError
from carryover.sequence import Sequence
from encoders.material import ENCODERS, SENTENCES
from task_material import classified, language_model

LINES = [example.input.text for example in classified(30)]


@pytest.fixture(scope="module")
def encoder() -> Any:
    return language_model()


@pytest.mark.parametrize("layers", ["mix", "top", "all"])
def test_the_vectors_are_those_of_the_model(encoder: Any, layers: str) -> None:
    for line in embed_lines(encoder, LINES[:5], layers=layers):
        (every,) = encoder.embed([line.words])
        wanted = {"mix": every.mean(1), "top": every[:, -1], "all": every}[layers]
        assert torch.allclose(line.vectors, wanted, atol=1e-6) and line.vectors.shape == wanted.shape


def test_words_and_order(encoder: Any) -> None:
    lines = [*LINES, "", "Don't stop."]
    found = list(embed_lines(encoder, lines))
    assert [one.words for one in found] == [encoder.coder.tokenize(line) for line in lines]
    assert [len(one.vectors) for one in found] == [len(one.words) for one in found]
    assert len(found[-2].vectors) == 0 and len(found[-1].words) == 4


def test_a_line_is_the_same_alone_and_among_others(encoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(embed_lines(encoder, LINES))
    alone = [next(embed_lines(encoder, [line])) for line in LINES]
    monkeypatch.setattr(module, "LINES_AT_ONCE", 7)
    in_parts = list(embed_lines(encoder, LINES))
    for one, other, third in zip(whole, alone, in_parts, strict=True):
        # To the last bit with models of a useful size; in one of eight numbers a product may be summed otherwise.
        assert torch.allclose(one.vectors, other.vectors, atol=1e-6) and torch.allclose(
            one.vectors, third.vectors, atol=1e-6
        )


def test_it_reads_no_further_than_it_gives(encoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream without end can be embedded."""
    monkeypatch.setattr(module, "LINES_AT_ONCE", 4)
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "the boat"

    stream = embed_lines(encoder, endless())
    for count in range(1, 10):
        assert next(stream).words == ["the", "boat"]
        assert taken <= 4 * -(-count // 4)


def test_one_layer_and_pooled(encoder: Any) -> None:
    (every,) = encoder.embed([LINES[0].split()])
    for layers, wanted in (("0", every[:, 0]), ("1", every[:, 1]), ("all", every)):
        for pool, pooled in (("mean", wanted.mean(0)), ("max", wanted.amax(0))):
            (found,) = embed_lines(encoder, [LINES[0]], layers=layers, pool=pool)
            assert torch.equal(found.vectors, pooled)
    (empty,) = embed_lines(encoder, [""], pool="max")
    assert torch.equal(empty.vectors, torch.zeros(encoder.model.out_size))


def test_sentences_as_words_are_not_cut_again(encoder: Any) -> None:
    text, words = embed_lines(encoder, ["Don't stop.", ["Don't", "stop."]])
    assert len(text.words) == 4 and words.words == ["Don't", "stop."] and len(words.vectors) == 2


def test_refusals(encoder: Any) -> None:
    for choice, message in (
        ({"layers": "last"}, "layers 'last' is unknown; use one of mix, top, all"),
        ({"layers": "3"}, r"there is no layer 3; the model has 0 \(the tokens\) to 2"),
        ({"pool": "sum"}, "pool 'sum' is unknown; use one of mean, max"),
        ({"carry_rows": 0}, "a batch of 0 lines"),
    ):
        with pytest.raises(UsageError, match=message):
            list(embed_lines(encoder, LINES, **choice))


@pytest.mark.parametrize("pool", [None, "mean"])
@pytest.mark.parametrize("layers", ["mix", "all", "1"])
def test_a_line_too_long_to_be_read_at_once(
    encoder: Any, layers: str, pool: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces, with neighbours, in its place: the vectors of the whole, and it is said how many pieces there were."""
    book = " ".join(LINES)
    (whole,) = embed_lines(encoder, [book], layers=layers, pool=pool)
    assert whole.pieces == 1
    monkeypatch.setattr(module, "LONG", 20)
    embed = encoder.embed
    monkeypatch.setattr(encoder, "embed", lambda sentences, **how: embed(sentences, batch_tokens=20, **how))
    before, long, after = embed_lines(encoder, ["a b", book, "c"], layers=layers, pool=pool)
    assert (before.pieces, after.pieces) == (1, 1) and long.pieces == -(-(len(long.words) + 2) // 20) > 5
    assert long.words == whole.words == encoder.coder.tokenize(book)
    assert torch.allclose(long.vectors, whole.vectors, atol=1e-6)


@pytest.mark.parametrize("layers", ["mix", "all"])
@pytest.mark.parametrize("rows", [1, 3])
def test_carried_state_goes_through_long_lines_in_pieces(
    encoder: Any, rows: int, layers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long and short lines side by side, a line without words among them, and what follows them, which knows their state."""
    book = " ".join(LINES)
    lines = [LINES[0], book, LINES[1], "", LINES[2], " ".join(LINES[5:15]), LINES[3], LINES[4]]
    whole = list(embed_lines(encoder, lines, layers=layers, carry_rows=rows))
    monkeypatch.setattr(module, "LONG", 20)
    monkeypatch.setattr(module, "FEWEST_STEPS", 7)
    at_once: list[int] = []
    run = encoder.model._run
    monkeypatch.setattr(
        encoder.model, "_run", lambda tokens, state: at_once.append(tokens[0].values[..., 0].numel()) or run(tokens, state)
    )
    in_pieces = list(embed_lines(encoder, lines, layers=layers, carry_rows=rows))
    assert max(at_once) <= max(20, 7 * rows)
    assert in_pieces[1].pieces == -(-(len(whole[1].words) + 2) // (20 if rows == 1 else 7))
    for one, other in zip(whole, in_pieces, strict=True):
        assert one.words == other.words and torch.allclose(one.vectors, other.vectors, atol=1e-6)


def test_a_task_reads_long_sentences_in_pieces_too(encoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = [encoder.coder.tokenize(line) for line in (LINES[0], " ".join(LINES))]
    whole = vector_cache.represent(encoder, sentences)
    monkeypatch.setattr(vector_cache, "LONG", 20)
    monkeypatch.setattr(vector_cache, "_BATCH_TOKENS", 20)
    read: list[int] = []
    advance = encoder.advance
    monkeypatch.setattr(
        encoder, "advance", lambda *parts, steps, **how: read.append(steps) or advance(*parts, steps=steps, **how)
    )
    for one, other in zip(whole, vector_cache.represent(encoder, sentences), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert read == [20]


@pytest.mark.parametrize("name", ["lstm-words", "gru-characters", "tcn-characters", "transformer-subwords"])
def test_a_causal_model_reads_on_from_the_line_before(name: str) -> None:
    """As in pretraining, where the sign for the beginning of the next line follows the last word of a line."""
    encoder: Any = ENCODERS[name](0)
    lines = [line for line in SENTENCES if line]
    carried = list(embed_lines(encoder, lines, layers="all", carry_rows=1))
    batches = [encoder.batch([line]) for line in lines]
    ids = torch.cat([batch.index.values[0] for batch in batches])
    with torch.no_grad():
        whole = encoder.model.representations(Sequence.of(ids[None])).values[0]
    start = 0
    for batch, line, plain in zip(batches, carried, embed_lines(encoder, lines, layers="all"), strict=True):
        assert torch.allclose(line.vectors, whole[start + batch.ends.values[0]], atol=2e-6)
        assert (start == 0) == torch.allclose(line.vectors, plain.vectors, atol=2e-6)
        start += batch.index.time


def test_what_has_no_state_carries_none() -> None:
    with pytest.raises(UsageError, match="an encoder of words and their spelling has no state to carry; leave it out"):
        next(embed_lines(ENCODERS["static"](0), LINES, carry_rows=1))
