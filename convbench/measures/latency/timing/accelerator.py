"""Clocks of CUDA, XPU and MPS devices."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from time import perf_counter_ns
from typing import Any, Protocol

import torch

from convbench.execution.device import Device
from convbench.measures.latency.timing.calls import Guard
from convbench.measures.latency.timing.clock import Call, Clock, CpuClock, Sample
from convbench.measures.latency.timing.order import Cache

_FLUSH_BYTES = 256 * 2**20
_CAPTURE_WARM_UP = 3
_UNROLLED_AT_MOST = 100
_RESOLUTION_NS = 500  # CUDA's documentation gives events a resolution of around half a microsecond
_FIRST_HOLD, _LONGEST_HOLD = 2**17, 2**26  # cycles: at 1 to 2 GHz about 0.1 and 50 ms


class Event(Protocol):
    """A point in a device's stream of work, with the device's own time at which it was reached."""

    def query(self) -> bool:
        """Whether it has been reached."""

    def elapsed_time(self, end: Any) -> float:
        """Milliseconds from this event to ``end``; both must have been reached."""


class Accelerator(Protocol):
    """What the clocks need of a device; see `convbench.execution.device.Device`."""

    def event(self) -> Event: ...
    def record(self, event: Event) -> None: ...
    def synchronise(self) -> None: ...
    def sleep(self, cycles: int) -> bool: ...
    def flush(self) -> None:
        """Queue a write that displaces everything in the last cache."""


class EventClock:
    """Device time between two events around the calls. Each sample is waited for, so that a failure is its own.

    eager: the calls are queued by the host one kernel after another, and that is part of the figure. The device is
    idle when the first event is recorded, for a host that has a flush or another target's work to hide behind runs
    ahead, and its share would go unseen.
    Without ``eager`` the call is one replay of a graph, and the host must not be seen: the device is kept busy while
    events and replay are queued, and if it reached the first event before the last was queued, it is kept busy for
    longer and the sample taken again. exposed: samples of which the host may still be a part.
    cache: ``cold`` overwrites the last cache before each sample, so that a call reads its input and weights from
    memory; ``warm`` leaves what the priming call left.
    """

    warm_up_ns = 500_000_000
    chunk = 50
    resolution_ns = _RESOLUTION_NS

    def __init__(self, accelerator: Accelerator, *, eager: bool, cache: Cache) -> None:
        self.minimum_ns = 0 if cache == "cold" else 50_000  # a repeated call would find the cache warm
        self.exposed = 0
        self._accelerator = accelerator
        self._eager = eager
        self._cold = cache == "cold"
        self._hold = _FIRST_HOLD
        self._pending: list[tuple[Event, Event]] = []

    def once(self, call: Call) -> int:
        return _synchronous(self._accelerator, call, 1)

    def sample(self, call: Call, repeats: int) -> None:
        call()
        if self._eager:
            self._empty_cache()
            self._accelerator.synchronise()
            self._pending.append(self._between_events(call, repeats)[:2])
            return
        while True:
            held = self._accelerator.sleep(self._hold)
            self._empty_cache()
            start, end, hidden = self._between_events(call, repeats)
            if hidden or not held or self._hold >= _LONGEST_HOLD:
                break
            self._hold *= 2
        self.exposed += not hidden
        self._pending.append((start, end))

    def _empty_cache(self) -> None:
        if self._cold:
            self._accelerator.flush()

    def _between_events(self, call: Call, repeats: int) -> tuple[Event, Event, bool]:
        """The events, and whether the device reached the first only after everything was queued."""
        device = self._accelerator
        start, end = device.event(), device.event()
        device.record(start)
        for _ in range(repeats):
            call()
        device.record(end)
        hidden = not start.query()
        device.synchronise()
        return start, end, hidden

    def collect(self) -> list[Sample]:
        pending, self._pending = self._pending, []
        return [Sample(start.elapsed_time(end) * 1e6) for start, end in pending]


class WallClock:
    """Wall time from an idle device to an idle device, over samples long enough for the waiting not to matter.

    For MPS, whose events have been seen to hang and to run backwards.
    """

    minimum_ns = 5_000_000
    warm_up_ns = 500_000_000
    chunk = 50
    resolution_ns = 0

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
    accelerator.synchronise()
    start = perf_counter_ns()
    for _ in range(repeats):
        call()
    accelerator.synchronise()
    return perf_counter_ns() - start


class TorchAccelerator(Device):
    """A device of torch as an `Accelerator`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._scratch: torch.Tensor | None = None

    def flush(self) -> None:
        if self._scratch is None:
            size = max(_FLUSH_BYTES, 2 * int(self.told("L2_cache_size") or 0))
            self._scratch = torch.empty(size, dtype=torch.int8, device=self.torch)
        self._scratch.zero_()


@lru_cache
def _accelerator(device: str) -> TorchAccelerator:
    """One for all lanes of a device, which share the memory that flushes its cache."""
    return TorchAccelerator(device)


def host_clock(device: str, cache: Cache, *, own_threads: bool = False) -> Clock:
    """The clock of eager calls on ``device``; own_threads: whether others than the caller's carry them out."""
    kind = device.partition(":")[0]
    if kind == "cpu":
        return CpuClock(own_threads=own_threads)
    if kind == "mps":
        return WallClock(_accelerator(device))
    return EventClock(_accelerator(device), eager=True, cache=cache)


def graph_clock(device: str, cache: Cache) -> EventClock:
    """The clock of graph replays on ``device``."""
    return EventClock(_accelerator(device), eager=False, cache=cache)


def capture(call: Call, guard: Guard, device: str, calls: int = 1) -> Callable[[], object]:
    """So many calls as one CUDA graph; the result replays it.

    Raises whatever capturing raises: calls that wait for the device or allocate outside its pool cannot be captured.
    """
    here = torch.device(device)
    with torch.cuda.device(here), guard():
        stream = torch.cuda.Stream(here)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(here))
        with torch.cuda.stream(stream):
            for _ in range(_CAPTURE_WARM_UP):
                call()
        torch.cuda.current_stream(here).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(calls):
                call()
    replay: Callable[[], object] = graph.replay
    return replay


def unrolled(call: Call, clock: Clock) -> int:
    """How many calls one graph must hold for a sample to be as long as the clock needs."""
    for _ in range(_CAPTURE_WARM_UP):
        clock.sample(call, 1)
    shortest = min(sample.wall_ns for sample in clock.collect())
    return min(_UNROLLED_AT_MOST, max(1, math.ceil(clock.minimum_ns / max(shortest, clock.resolution_ns))))
