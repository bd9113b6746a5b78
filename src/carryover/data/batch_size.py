"""How many lanes of text are read side by side, in training and for measuring."""

from __future__ import annotations

from collections.abc import Callable

from carryover.data.shards import Shards
from carryover.data.stream import LanguageModelStream

_FEW_LANES, _MANY_LANES = 16, 32
_FEW_STEPS, _MANY_STEPS = 50, 10_000


def lanes_for(tokens: int, steps: int) -> int:
    """Lanes of text side by side for a corpus of `tokens` and chunks of `steps` tokens.

    16, because on a few million tokens twice as many updates are worth more than the fifth of speed that 32 lanes gain;
    up to 32 once an epoch has more than 10,000 updates anyway; fewer where it would have less than 50.
    """
    enough = max(_FEW_LANES, min(_MANY_LANES, tokens // (steps * _MANY_STEPS)))
    return max(1, min(enough, tokens // (steps * _FEW_STEPS)))


def held_out_stream(
    shards: Shards, *, lanes: int, steps: int, block_tokens: int, both_ways: bool, part: Callable[[int], range] = range
) -> LanguageModelStream:
    """Held-out text in its own order, in at most so many lanes as the model is trained with: a lane begins at a line, without
    what stands before.

    `part` says which of so many lanes are read here.
    """
    count = min(lanes, lanes_for(shards.tokens, steps))
    return LanguageModelStream(
        shards,
        batch_size=count,
        steps=steps,
        block_tokens=block_tokens,
        shuffle=False,
        part=part(count),
        both_ways=both_ways,
    )
