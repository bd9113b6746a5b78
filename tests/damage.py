"""Files that are damaged for a moment."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path


def one_bit_flipped(folder: Path, count: int, draw: random.Random) -> Iterator[Path]:
    """So many times one bit of one file below `folder` is another, as long as its turn in the loop lasts."""
    places = sorted(place for place in folder.rglob("*") if place.is_file())
    for _ in range(count):
        place = draw.choice(places)
        whole = place.read_bytes()
        damaged = bytearray(whole)
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        place.write_bytes(damaged)
        yield place
        place.write_bytes(whole)
