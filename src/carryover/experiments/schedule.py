"""Running cells side by side: local processes through joblib, a deadline for new ones, a clean end on Ctrl-C."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from carryover.errors import CarryoverError
from carryover.experiments.process import be_a_worker

Done = Callable[[], None]


class WorkerLost(CarryoverError):
    """A worker process was killed from outside, most often because the machine had no memory left."""

    exit_code = 75  # what failed once may succeed


def default_jobs(device: str) -> int:
    """One cell a core this process may use; one at a time on an accelerator."""
    if device != "cpu":
        return 1
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return (os.cpu_count() or 1) if affinity is None else max(1, len(affinity(0)))


def run_side_by_side(
    run: Callable[[Any], object],
    trials: Sequence[Any],
    *,
    jobs: int,
    backend: str = "loky",
    deadline: float | None = None,
    done: Done = lambda: None,
) -> None:
    """Call `run` with each of the trials in order, `jobs` at once; `done` is called after each. Results are in the store.

    `run` and the trials travel to other processes: a function of a module, and small values. After `deadline` (a time of
    `time.monotonic`) no new trial starts; those that run are finished. One job runs in this
    very process. Whatever is raised here ends the running workers first; what they had finished is stored. Raises
    `WorkerLost` when a worker was killed.
    """
    waiting = _until(trials, deadline)
    if jobs == 1 and backend == "loky":
        for trial in waiting:
            run(trial)
            done()
        return
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import BrokenProcessPool

    options: dict[str, Any] = {}
    if backend == "loky":
        options = {"inner_max_num_threads": 1, "initializer": be_a_worker, "initargs": (os.getpid(),)}
    try:
        with parallel_config(backend=backend, n_jobs=jobs, **options), warnings.catch_warnings():
            # A worker whose memory has grown is renewed between two cells and nothing is lost: no news for the user.
            warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given to the executor")
            # One trial is handed out at a time, when a worker is free: the deadline is looked at no earlier than that.
            work = Parallel(return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1, max_nbytes=None)
            for _ in work(delayed(run)(trial) for trial in waiting):
                done()
    except BrokenProcessPool as error:  # a killed worker among others
        raise WorkerLost(
            "a worker process was killed (by the system when memory runs out)",
            repair=f"run the same command again, with fewer --jobs (now {jobs})"
            if jobs > 1
            else "run the same command again",
        ) from error
    finally:
        if backend == "loky":
            _end_workers()


def _until(trials: Sequence[Any], deadline: float | None) -> Iterator[Any]:
    for trial in trials:
        if deadline is not None and time.monotonic() >= deadline:
            return
        yield trial


def _end_workers() -> None:
    from joblib.externals.loky import get_reusable_executor

    with suppress(Exception):  # they may be gone already
        get_reusable_executor().shutdown(wait=True, kill_workers=True)
