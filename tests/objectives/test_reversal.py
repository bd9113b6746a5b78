"""End to end: sequences of distinct symbols written backwards. Attention learns it; one vector does markedly worse."""

from __future__ import annotations

import pytest
import torch

from carryover.models import EncoderDecoder, StackConfig
from carryover.objectives import ConditionalObjective, Pairs, evaluate_conditional
from carryover.sequence import Sequence

SYMBOLS = range(3, 35)
BEGIN, END = 1, 2


def reversals(count: int, generator: torch.Generator) -> Pairs:
    """Rows of 4 to 10 of 32 symbols, each at most once, and the same backwards: more than 10^14 different ones."""
    lengths = torch.randint(4, 11, (count,), generator=generator).tolist()
    rows = [SYMBOLS.start + torch.randperm(len(SYMBOLS), generator=generator)[:length] for length in lengths]
    source = Sequence.pad(rows)
    return Pairs(source, source.reverse())


def trained(attention: str, steps: int) -> dict[str, float]:
    """Figures on rows that were never trained on."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    config = EncoderDecoder.Config(
        source_size=SYMBOLS.stop,
        target_size=SYMBOLS.stop,
        embedding_size=32,
        encoder=StackConfig(layer="gru", size=32, bidirectional=True),
        decoder=StackConfig(layer="gru", size=64),
        attention=attention,
        attention_size=64,
    )
    model, objective = EncoderDecoder.of(config), ConditionalObjective(begin=BEGIN, end=END)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, (step + 1) / 25) * (1 - step / steps))
    for _ in range(steps):
        loss, _ = objective(model, reversals(64, generator))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    held_out = reversals(200, torch.Generator().manual_seed(2))
    return evaluate_conditional(model, [held_out], begin=BEGIN, end=END, max_tokens=12)


@pytest.mark.parametrize("attention", ["multiplicative", "additive"])
def test_attention_learns_to_reverse(attention: str) -> None:
    found = trained(attention, 200)
    assert found["exact"] > 0.95, found


def test_one_vector_does_not_hold_the_sequence() -> None:
    found = trained("none", 200)
    assert found["exact"] < 0.3, found
