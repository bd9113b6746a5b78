"""Every causal layer of the inventory generates: by steps as by reading the whole prefix anew, alone as in a batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from carryover.data.order import uniform
from carryover.generation import Sampling, beam_search, generate
from carryover.layers import Embedding, Layer, Perceptron, Stacked
from carryover.sequence import Sequence
from laws.inventory import ROWS, Row

VOCABULARY = 9
PROMPTS = [[3], [1, 4, 1, 5, 8, 2, 6], [5, 3, 5]]


def generators() -> list[Row]:
    """Rows of causal layers that read a vector and give one at every step."""
    found = []
    for row in ROWS:
        layer = row.make(0)
        if isinstance(layer, Layer) and layer.causal and layer.keeps_length:
            x = row.case().make(2)
            if x.values.is_floating_point() and x.values.dim() == 3:
                found.append(row)
    return found


GENERATORS = generators()


def language_model(row: Row) -> Stacked:
    """Ids → the layer → scores, in float64 so that no order of summation decides what comes."""
    layer = row.make(0)
    assert isinstance(layer, Layer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Stacked(Embedding(VOCABULARY, layer.in_size), layer, Perceptron(layer.out_size, (), VOCABULARY))
        with torch.no_grad():
            for parameter in model.layers[2].parameters():
                parameter.mul_(5)
    return model.double().eval()


def by_reading_all(model: Stacked, prompt: list[int], tokens: int, sampling: Sampling | None, seed: int) -> list[int]:
    made: list[int] = []
    with torch.inference_mode():
        for number in range(tokens):
            scores = model(Sequence.of(torch.tensor([prompt + made]))).values[:, -1]
            if sampling is None:
                made.append(int(scores.argmax()))
            else:
                drawn = sampling.draw(torch.log_softmax(scores, -1), torch.tensor(uniform(1, seed, number)))
                made.append(int(drawn))
    return made


def test_the_layers_that_matter_are_among_them() -> None:
    names = " ".join(row.name for row in GENERATORS)
    assert len(GENERATORS) > 20
    for name in ("LSTM", "GRU", "Elman", "TCN", "WaveNet", "Transformer", "SelfAttention"):
        assert name in names


@pytest.mark.parametrize("row", GENERATORS, ids=lambda row: row.name)
def test_steps_equal_reading_the_whole_prefix(row: Row) -> None:
    model = language_model(row)
    for sampling in (None, Sampling(top_k=5, temperature=0.9)):
        found: list[Any] = generate(model, PROMPTS, max_tokens=12, sampling=sampling, seed=3)
        for number, (prompt, one) in enumerate(zip(PROMPTS, found, strict=True)):
            assert one.tokens == by_reading_all(model, prompt, 12, sampling, 3 + number)
            assert generate(model, [prompt], max_tokens=12, sampling=sampling, seed=3 + number)[0].tokens == one.tokens


@pytest.mark.parametrize("row", GENERATORS, ids=lambda row: row.name)
def test_beams_carry_their_own_states(row: Row) -> None:
    model = language_model(row)
    for prompt, found in zip(PROMPTS, beam_search(model, PROMPTS, beams=3, best=3, max_tokens=6), strict=True):
        for one in found:
            whole = Sequence.of(torch.tensor([prompt + one.tokens]))
            with torch.inference_mode():
                logs = torch.log_softmax(model(whole).values[0], -1)
            made = torch.tensor(one.tokens).unsqueeze(1)
            nats = logs[len(prompt) - 1 : -1].gather(1, made).sum()
            assert one.log_probability == pytest.approx(float(nats))
