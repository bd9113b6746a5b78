"""What the environment says of the processes that were started together, as `torchrun` sets it."""

from __future__ import annotations

import os

from carryover.errors import UsageError

_NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
REPAIR = (
    "start the processes with `torchrun --nproc-per-node N -m carryover pretrain …`, or unset WORLD_SIZE for one process"
)


def started_processes() -> int:
    """How many processes the environment says there are (`WORLD_SIZE`, set by torchrun); 1 where it says nothing.

    Raises UsageError when it says something that is not whole.
    """
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"the environment has WORLD_SIZE = {text!r}", repair=REPAIR)
    size = int(text)
    if size > 1:
        missing = [name for name in _NAMES if not os.environ.get(name)]
        if missing:
            raise UsageError(f"the environment has WORLD_SIZE = {size} but no {' and no '.join(missing)}", repair=REPAIR)
        rank = os.environ["RANK"]
        if not rank.isdigit() or int(rank) >= size:
            raise UsageError(f"the environment has RANK = {rank!r} of WORLD_SIZE = {size}", repair=REPAIR)
    return size
