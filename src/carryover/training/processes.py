"""One run shared by processes: each reads its lanes of every batch, and the update is that of the whole batch.

`torchrun` starts the processes and says to each which it is. Of a batch of B lanes a process reads a contiguous part, keeps
the recurrent state of those lanes, and computes the gradient of its part's summed loss. The gradients are added up and
divided by the whole batch's targets, so all processes take the same step, and it is the step that one process alone would
take, but for the order in which numbers are added. The first process leads: it alone writes, and what depends on a clock
is decided by it.

The sums are collectives of `torch.distributed` in a fixed order. `DistributedDataParallel`, with `accelerate` around it or
without, regroups the gradients after its first step and thereby the order of their sums, so that from three processes on a
resumed run would not take the steps of the uninterrupted one.

A collective waits in C++, where Python hears no signal: all of them run in a thread apart, in their order (see `waiting`).
"""

from __future__ import annotations

import json
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, final

import torch
from torch import Tensor, distributed, nn

from carryover.errors import CarryoverError, ExtraMissing
from carryover.layers.base import State, map_state, state_tensors
from carryover.layers.dropout import part_of_batch
from carryover.training.stopping import Interrupted, Stopping, Terminated
from carryover.training.waiting import Waiter

BUNDLED = 2**16
"""Gradients of up to this many numbers travel together; a larger one is added up where it lies."""

_CARRY_BITS = 16
T = TypeVar("T")
_STATES = ("states", "clipped_states")


class ProcessLost(CarryoverError):
    """Another process of the run ended; what it said and its exit code are passed on where they are known."""

    def __init__(self, message: str, *, exit_code: int = 1, **where: Any) -> None:
        super().__init__(message, **where)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Update:
    """What a backward pass learned of the whole batch: its mean loss, forward targets, the digest of what was read, and of
    how many carried `states` how many were at their clip."""

    loss: float
    tokens: int
    digest: int
    states: float
    clipped_states: float


class Processes(ABC):
    """The processes of a run, seen from number `rank` of `size`. The first one leads."""

    rank: int
    size: int

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def part(self, lanes: int) -> range:
        """The lanes of this process; the first processes have one more where they do not come out even."""
        share, more = divmod(lanes, self.size)
        start = self.rank * share + min(self.rank, more)
        return range(start, start + share + (self.rank < more))

    @abstractmethod
    def device(self, device: str) -> str:
        """The device of this process, where `device` was chosen for the run."""

    @abstractmethod
    def of_part(self, function: Callable[..., Any], lanes: int) -> Callable[..., Any]:
        """`function`, drawing at random what this process's share of the lanes needs."""

    @abstractmethod
    def backward(self, model: nn.Module, loss: Tensor, figures: Mapping[str, float], digest: int) -> Update:
        """Fill in the gradients of the whole batch's mean loss, given the part's mean loss and its figures."""

    @abstractmethod
    def all_reduce(self, numbers: list[float]) -> list[float]:
        """Sums over the processes."""

    @abstractmethod
    def all_equal(
        self, stop: type[CarryoverError] | None, seconds: float, due: bool
    ) -> tuple[type[CarryoverError] | None, float, bool]:
        """What all do after a step, equal in all of them: stop if any was asked to; time and checkpoint are the leader's."""

    @abstractmethod
    def gather(self, carried: State) -> State:
        """The state of all lanes in order, for the leader; the others give theirs and keep it."""

    @abstractmethod
    def broadcast(self, content: Any) -> None:
        """Send a JSON value from the leader to all others; they wait for it however long it takes."""

    @abstractmethod
    def receive(self) -> Any:
        """The next value that the leader broadcasts. Raises ProcessLost when it ends before."""


@final
class OneProcess(Processes):
    """A run of one process: every sum is what was given."""

    rank, size = 0, 1

    def device(self, device: str) -> str:
        return device

    def of_part(self, function: Callable[..., Any], lanes: int) -> Callable[..., Any]:
        return function

    def backward(self, model: nn.Module, loss: Tensor, figures: Mapping[str, float], digest: int) -> Update:
        value = float(loss.detach())
        if loss.requires_grad:
            loss.backward()
        return Update(value, int(figures.get("tokens", 1)), digest, *(figures.get(name, 0.0) for name in _STATES))

    def all_reduce(self, numbers: list[float]) -> list[float]:
        return numbers

    def all_equal(
        self, stop: type[CarryoverError] | None, seconds: float, due: bool
    ) -> tuple[type[CarryoverError] | None, float, bool]:
        return stop, seconds, due

    def gather(self, carried: State) -> State:
        return carried

    def broadcast(self, content: Any) -> None:
        pass

    def receive(self) -> Any:
        raise RuntimeError("one process alone has nothing to receive")


@final
class ManyProcesses(Processes):
    """One of several processes; see `open_processes`, which makes it."""

    def __init__(self, store: distributed.Store, rank: int, size: int, waiter: Waiter) -> None:
        self.store, self.rank, self.size, self._waiter = store, rank, size, waiter
        self._broadcasts = 0

    def device(self, device: str) -> str:
        if torch.device(device).type != "cuda":
            return device
        number, present = int(os.environ.get("LOCAL_RANK", self.rank)), torch.cuda.device_count()
        if number >= present:
            raise ExtraMissing(
                f"process {number} on this machine has no GPU left: PyTorch sees {present}",
                repair=f"start at most {present} processes a machine, or give --device cpu",
            )
        torch.cuda.set_device(number)
        return f"cuda:{number}"

    def of_part(self, function: Callable[..., Any], lanes: int) -> Callable[..., Any]:
        part = self.part(lanes)

        def within(*arguments: Any, **named: Any) -> Any:
            with part_of_batch(part, lanes):
                return function(*arguments, **named)

        return within

    def backward(self, model: nn.Module, loss: Tensor, figures: Mapping[str, float], digest: int) -> Update:
        targets = figures["targets"]
        if loss.requires_grad:
            (loss * targets).backward()
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        pieces = [float(digest >> shift & (1 << _CARRY_BITS) - 1) for shift in range(0, 64, _CARRY_BITS)]
        reached = [float(parameter.grad is not None) for parameter in parameters]
        sparse = [float(parameter.grad is not None and parameter.grad.is_sparse) for parameter in parameters]
        own = [float(loss.detach()) * targets, targets, figures["tokens"], *(figures.get(name, 0.0) for name in _STATES)]
        sums = self.all_reduce([*own, *pieces, *reached, *sparse])
        nats, targets, tokens, *states = sums[:5]
        digest = sum(int(piece) << _CARRY_BITS * place for place, piece in enumerate(sums[5 : 5 + len(pieces)]))
        counts = sums[5 + len(pieces) :]
        found = list(zip(parameters, counts[: len(parameters)], counts[len(parameters) :], strict=True))
        scale = 1 / max(1.0, targets)
        self._add_gradients([parameter for parameter, count, rows in found if count and not rows], scale)
        for parameter in (parameter for parameter, _, rows in found if rows):
            self._add_rows(parameter, scale)
        return Update(nats / max(1.0, targets), int(tokens), digest & (1 << 64) - 1, *states)

    def _add_gradients(self, parameters: list[nn.Parameter], scale: float) -> None:
        """Sum every gradient over the processes and multiply it by `scale`, always in the same order."""
        gradients = []
        for parameter in parameters:
            if parameter.grad is None:  # no lane here reached it, one elsewhere did
                parameter.grad = torch.zeros_like(parameter)
            elif not parameter.grad.is_contiguous():
                parameter.grad = parameter.grad.contiguous()
            gradients.append(parameter.grad)
        small = [gradient for gradient in gradients if gradient.numel() <= BUNDLED]
        bundle = [torch.cat([gradient.flatten() for gradient in small])] if small else []

        def add() -> None:
            work = [distributed.all_reduce(gradient, async_op=True) for gradient in gradients if gradient.numel() > BUNDLED]
            for one in bundle:
                distributed.all_reduce(one)
            for one in work:
                one.wait()

        self._together(add)
        for one in bundle:
            pieces = one.split([gradient.numel() for gradient in small])
            torch._foreach_copy_([gradient.view(-1) for gradient in small], list(pieces))
        if gradients:
            torch._foreach_mul_(gradients, scale)

    def _add_rows(self, parameter: nn.Parameter, scale: float) -> None:
        """The same of a sparse gradient: rows that any process touched, their parts added in the order of the processes."""
        gradient = torch.zeros_like(parameter, layout=torch.sparse_coo) if parameter.grad is None else parameter.grad
        gradient = gradient.coalesce()
        counts = [
            int(count)
            for count in self.all_reduce([float(rank == self.rank) * gradient._nnz() for rank in range(self.size)])
        ]
        rows, values = gradient.indices()[0], gradient.values()
        parts = []
        for tensor in (rows, values):
            longest = tensor.new_zeros(max(counts), *tensor.shape[1:])
            longest[: len(tensor)] = tensor
            gathered = [torch.empty_like(longest) for _ in counts]
            self._together(partial(distributed.all_gather, gathered, longest))
            parts.append(torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)]))
        touched, place = torch.unique(parts[0], return_inverse=True)
        sums = values.new_zeros(len(touched), *values.shape[1:])
        for here, part in zip(place.split(counts), parts[1].split(counts), strict=True):
            sums[here] += part  # distinct rows of one process
        parameter.grad = torch.sparse_coo_tensor(
            touched.unsqueeze(0), sums.mul_(scale), parameter.shape, check_invariants=True, is_coalesced=True
        )

    def all_reduce(self, numbers: list[float]) -> list[float]:
        def add() -> list[float]:
            sums = torch.tensor(numbers, dtype=torch.float64)
            distributed.all_reduce(sums)
            return sums.tolist()

        return self._together(add)

    def all_equal(
        self, stop: type[CarryoverError] | None, seconds: float, due: bool
    ) -> tuple[type[CarryoverError] | None, float, bool]:
        own = [float(stop is Interrupted), float(stop not in (None, Interrupted))]
        interrupted, terminated, seconds, late = self.all_reduce(
            [*own, *([seconds, float(due)] if self.leads else [0.0, 0.0])]
        )
        return (Terminated if terminated else Interrupted if interrupted else None), seconds, bool(late)

    def gather(self, carried: State) -> State:
        rows = [
            int(count) for count in self.all_reduce([float(rank == self.rank) * _rows(carried) for rank in range(self.size)])
        ]
        return map_state(lambda tensor: self._gathered(tensor, rows), carried)

    def _gathered(self, own: Tensor, rows: list[int]) -> Tensor:
        """Rows of all processes one below the other, [Σ rows, ...]; as bytes, whatever the numbers are."""
        if own.numel() == 0 and own.dim() > 1 and 0 in own.shape[1:]:
            return own.new_zeros(sum(rows), *own.shape[1:])

        def collect() -> list[Tensor]:
            if not self.leads:
                distributed.send(own.detach().cpu().contiguous().view(-1).view(torch.uint8), 0)
                return [own]
            parts = [own.detach().cpu()]
            for rank in range(1, self.size):
                part = torch.empty(rows[rank], *own.shape[1:], dtype=own.dtype)
                distributed.recv(part.view(-1).view(torch.uint8), rank)
                parts.append(part)
            return parts

        return torch.cat(self._together(collect)) if self.leads else self._together(collect)[0]

    def broadcast(self, content: Any) -> None:
        self._broadcasts += 1

        def send() -> None:
            message = torch.frombuffer(bytearray(json.dumps(content).encode()), dtype=torch.uint8)
            self.store.set(f"broadcast {self._broadcasts}", str(len(message)))
            distributed.broadcast(message, 0)

        self._together(send)

    def receive(self) -> Any:
        self._broadcasts += 1

        def wait() -> bytes:
            pause = 0.01
            while not self.store.check([f"broadcast {self._broadcasts}"]):
                if self.store.check(["failed"]):
                    raise self._lost()
                time.sleep(pause)
                pause = min(1.0, 1.5 * pause)
            message = torch.empty(int(self.store.get(f"broadcast {self._broadcasts}")), dtype=torch.uint8)
            distributed.broadcast(message, 0)
            return message.numpy().tobytes()

        return json.loads(self._together(wait))

    def failed(self, error: BaseException) -> None:
        """Tell the others why this process ends, so that they can say so."""
        if isinstance(error, ProcessLost):
            return
        if isinstance(error, Stopping):
            error = error.error
        words = str(error) if isinstance(error, CarryoverError) else f"unexpected {type(error).__name__}: {error}"
        code = getattr(error, "exit_code", 1)

        def note() -> None:
            with suppress(RuntimeError):
                if not self.store.check(["failed"]):
                    self.store.set("failed", json.dumps([self.rank, words, code]))

        # The process that keeps the notes may be the one that does not answer.
        (noting := threading.Thread(target=note, daemon=True)).start()
        noting.join(1.0)

    def _lost(self, error: Exception | None = None) -> ProcessLost:
        with suppress(RuntimeError):
            if self.store.check(["failed"]):
                rank, words, code = json.loads(self.store.get("failed"))
                return ProcessLost(f"process {rank} of {self.size} ended the run: {words}", exit_code=code)
        return ProcessLost(
            f"another of the {self.size} processes is gone (it was killed, or its machine failed); what was saved last is intact "
            f"({str(error).splitlines()[0]})",
            repair="run the same command again to continue",
        )

    def _together(self, call: Callable[[], T]) -> T:
        """What a call returns that waits for the others. What goes wrong in it is the end of another. Raises ProcessLost."""
        try:
            return self._waiter.run(call)
        except RuntimeError as error:
            time.sleep(0.1)  # the other may still be writing down why
            raise self._lost(error) from error


def _rows(state: State) -> int:
    tensors = state_tensors(state)
    return len(tensors[0]) if tensors else 0
