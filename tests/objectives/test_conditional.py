"""Teacher forcing over pairs: the loss is plain cross entropy, and a row is exact only if every id and its end are."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from carryover.models import EncoderDecoder
from carryover.objectives import ConditionalObjective, Pairs, evaluate_conditional
from carryover.sequence import Sequence
from models.conditional_models import KINDS, V, encoder_decoder, some_ids

BEGIN, END = 1, 2


def test_what_is_read_and_what_is_guessed() -> None:
    target = Sequence.of(torch.tensor([[5, 6, 7], [8, 99, 99], [99, 99, 99]]), [3, 1, 0])
    inputs, guessed = ConditionalObjective(begin=BEGIN, end=END).shift(target)
    assert [row.tolist() for row in inputs.rows()] == [[1, 5, 6, 7], [1, 8], [1]]
    assert guessed.tolist() == [[5, 6, 7, 2], [8, 2, -1, -1], [2, -1, -1, -1]]


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_and_its_gradient_are_those_of_plain_cross_entropy(kind: str) -> None:
    model = encoder_decoder(kind)
    batch = Pairs(some_ids(6, 2, 4, size=7), some_ids(5, 3, 0, seed=3))
    loss, figures = ConditionalObjective(begin=BEGIN, end=END, chunk_rows=4)(model, batch)
    loss.backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    for source, row in zip(batch.source.rows(), batch.target.rows(), strict=True):
        read, guessed = torch.cat([torch.tensor([BEGIN]), row]), torch.cat([row, torch.tensor([END])])
        scores = model(Sequence.of(source.unsqueeze(0)), Sequence.of(read.unsqueeze(0))).values[0]
        total, tokens = total + cross_entropy(scores, guessed, reduction="sum"), tokens + len(guessed)
    (total / tokens).backward()
    assert loss.item() == pytest.approx(total.item() / tokens) and figures == {
        "nll": pytest.approx(total.item()),
        "tokens": tokens,
    }
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)
    scored = evaluate_conditional(model, [batch], begin=BEGIN, end=END, max_tokens=6)
    assert scored["perplexity"] == pytest.approx(math.exp(total.item() / tokens))
    assert scored["rows"] == 3 and scored["tokens"] == tokens
    with pytest.raises(ValueError, match="no row to score"):
        evaluate_conditional(model, [], begin=BEGIN, end=END, max_tokens=6)


def test_a_row_is_exact_only_if_it_ends_where_it_should() -> None:
    """A model that always writes its fixed sentence: 5, 6, then the end."""
    model = encoder_decoder("additive, gru")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.embedding.weight[:, :3] = 0
    scripted = {BEGIN: 5, 5: 6, 6: END}

    class Scripted(EncoderDecoder):
        def step(self, ids: Sequence, state: object) -> tuple[Sequence, object]:
            scores = torch.zeros(*ids.values.shape, V)
            for place, number in enumerate(ids.values[:, -1].tolist()):
                scores[place, -1, scripted[number]] = 9
            return ids.with_values(scores), state

    model.__class__ = Scripted
    source = some_ids(2, 2, 2, size=7)
    target = Sequence.pad([torch.tensor([5, 6]), torch.tensor([5, 6, 6]), torch.tensor([5])])
    assert evaluate_conditional(model, [Pairs(source, target)], begin=1, end=2, max_tokens=9)["exact"] == 1 / 3
    # the end token is the third: with room for two the right ids are there and the row is not ended
    assert evaluate_conditional(model, [Pairs(source, target)], begin=1, end=2, max_tokens=2)["exact"] == 0
