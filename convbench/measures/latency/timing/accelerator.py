"""Clocks of CUDA, XPU and MPS devices."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from time import perf_counter_ns
from typing import Any, Protocol

import torch

from convbench.execution.device import synchronise
from convbench.measures.latency.timing.calls import Guard
from convbench.measures.latency.timing.clock import Call, Clock, CpuClock, Sample
from convbench.measures.latency.timing.order import Cache

_FLUSH_BYTES = 256 * 2**20
_CAPTURE_WARM_UP = 3


class Event(Protocol):
    """A point in a device's stream of work, with the device's own time at which it was reached."""

    def record(self) -> None: ...
    def elapsed_time(self, end: Any) -> float:
        """Milliseconds from this event to ``end``; both must have been reached."""


class Accelerator(Protocol):
    """What the clocks need of ``torch.cuda``, ``torch.xpu`` or ``torch.mps``."""

    def event(self) -> Event: ...
    def synchronize(self) -> None: ...
    def flush(self) -> None:
        """Queue a write that displaces everything in the last cache."""


class EventClock:
    """Device time between two events around the calls.

    eager: the calls are queued by the host one kernel after another, and that is part of the figure. The device is
    idle when the first event is recorded, for a host that has a flush or another target's work to hide behind runs
    ahead, and its share would go unseen. Without ``eager`` the call is one replay of a graph: nothing is waited for,
    and a whole chunk is queued before the device is synchronised once.
    cache: ``cold`` overwrites the last cache before each sample, so that a call reads its input and weights from
    memory; ``warm`` leaves what the priming call left.
    """

    warm_up_ns = 500_000_000
    chunk = 50

    def __init__(self, accelerator: Accelerator, *, eager: bool, cache: Cache) -> None:
        self.minimum_ns = 0 if cache == "cold" else 50_000  # a repeated call would find the cache warm
        self._accelerator = accelerator
        self._eager = eager
        self._cold = cache == "cold"
        self._pending: list[tuple[Event, Event]] = []

    def once(self, call: Call) -> int:
        return _synchronous(self._accelerator, call, 1)

    def sample(self, call: Call, repeats: int) -> None:
        call()
        if self._cold:
            self._accelerator.flush()
        if self._eager:
            self._accelerator.synchronize()
        start, end = self._accelerator.event(), self._accelerator.event()
        start.record()
        for _ in range(repeats):
            call()
        end.record()
        self._pending.append((start, end))

    def collect(self) -> list[Sample]:
        pending, self._pending = self._pending, []
        if pending:
            self._accelerator.synchronize()
        return [Sample(start.elapsed_time(end) * 1e6) for start, end in pending]


class WallClock:
    """Wall time from an idle device to an idle device, over samples long enough for the waiting not to matter.

    For MPS, whose events have been seen to hang and to run backwards.
    """

    minimum_ns = 5_000_000
    warm_up_ns = 500_000_000
    chunk = 50

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._pending: list[Sample] = []

    def once(self, call: Call) -> int:
        return _synchronous(self._accelerator, call, 1)

    def sample(self, call: Call, repeats: int) -> None:
        call()
        self._pending.append(Sample(_synchronous(self._accelerator, call, repeats)))

    def collect(self) -> list[Sample]:
        samples, self._pending = self._pending, []
        return samples


def _synchronous(accelerator: Accelerator, call: Call, repeats: int) -> int:
    accelerator.synchronize()
    start = perf_counter_ns()
    for _ in range(repeats):
        call()
    accelerator.synchronize()
    return perf_counter_ns() - start


class TorchAccelerator:
    """``torch.cuda``, ``torch.xpu`` or ``torch.mps`` as an `Accelerator`; ``device`` such as ``cuda:1``."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._module: Any = getattr(torch, self._device.type)
        self._scratch: torch.Tensor | None = None

    def event(self) -> Event:
        event: Event = self._module.Event(enable_timing=True)
        return event

    def synchronize(self) -> None:
        synchronise(self._device)

    def flush(self) -> None:
        if self._scratch is None:
            properties = self._module.get_device_properties(self._device)
            size = max(_FLUSH_BYTES, 2 * int(getattr(properties, "L2_cache_size", 0)))
            self._scratch = torch.empty(size, dtype=torch.int8, device=self._device)
        self._scratch.zero_()


@lru_cache
def _accelerator(device: str) -> TorchAccelerator:
    """One for all lanes of a device, which share the memory that flushes its cache."""
    return TorchAccelerator(device)


def host_clock(device: str, cache: Cache) -> Clock:
    """The clock of eager calls on ``device``."""
    kind = device.partition(":")[0]
    if kind == "cpu":
        return CpuClock()
    if kind == "mps":
        return WallClock(_accelerator(device))
    return EventClock(_accelerator(device), eager=True, cache=cache)


def graph_clock(device: str, cache: Cache) -> Clock:
    """The clock of graph replays on ``device``."""
    return EventClock(_accelerator(device), eager=False, cache=cache)


def capture(call: Call, guard: Guard) -> Callable[[], object]:
    """``call`` as one CUDA graph; the result replays it.

    Raises whatever capturing raises: calls that wait for the device or allocate outside its pool cannot be captured.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), guard():
        for _ in range(_CAPTURE_WARM_UP):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with guard(), torch.cuda.graph(graph):
        call()
    replay: Callable[[], object] = graph.replay
    return replay
