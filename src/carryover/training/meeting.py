"""How the processes of one run find each other, and part at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed

from carryover.errors import UsageError
from carryover.training.launched import REPAIR, started_processes
from carryover.training.processes import ManyProcesses, OneProcess, Processes, ProcessLost
from carryover.training.stopping import StopRequest
from carryover.training.waiting import Waiter, waiting

WAIT_FOR_OTHERS = timedelta(minutes=10)
"""How long a process waits for the others to start."""
COLLECTIVE_LIMIT = timedelta(minutes=60)
"""How long one waits within a step. It is longer than any evaluation, checkpoint or pause of a machine should be."""


@contextmanager
def open_processes(device: str, stop: StopRequest | None = None) -> Iterator[Processes]:
    """Meet the other processes of the run, if there are any, and part from them at the end.

    `stop` holds what signals ask for; those are heard while this process waits for another. Raises UsageError for an
    environment that is not whole or where a process group is there already, ProcessLost when the others do not come.
    """
    if started_processes() == 1:
        yield OneProcess()
        return
    if distributed.is_initialized():
        raise UsageError("a process group is open in this process already", repair="close it: the run opens its own")
    with waiting(stop or StopRequest()) as waiter:
        processes = _meet(device, waiter)
        try:
            yield processes
        except BaseException as error:
            processes.failed(error)
            raise
        finally:
            if not waiter.waits:
                distributed.destroy_process_group()


def _meet(device: str, waiter: Waiter) -> ManyProcesses:
    def meet() -> tuple[distributed.Store, int, int]:
        store, rank, size = next(iter(distributed.rendezvous("env://", timeout=WAIT_FOR_OTHERS)))
        backend = "cpu:gloo,cuda:nccl" if torch.device(device).type == "cuda" else "gloo"
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=COLLECTIVE_LIMIT)
        return store, rank, size

    try:
        store, rank, size = waiter.run(meet)
    except (RuntimeError, ValueError) as error:
        if distributed.is_initialized():
            distributed.destroy_process_group()
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise ProcessLost(
            f"the {os.environ['WORLD_SIZE']} processes did not find each other at {where} ({str(error).splitlines()[0]})",
            repair=REPAIR,
        ) from error
    return ManyProcesses(distributed.PrefixStore("carryover", store), rank, size, waiter)
