"""Machines with a time of their own, on which clocks can be checked exactly."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from convbench.measures.latency.timing import accelerator, clock, job, rounds, warmup


class Host:
    """A processor whose time passes only while something is done on it. ns."""

    def __init__(self) -> None:
        self.now = 1_000_000
        self.cpu = 0

    def perf_counter_ns(self) -> int:
        return self.now

    def thread_time_ns(self) -> int:
        return self.cpu

    def work(self, nanoseconds: int, *, on_cpu: bool = True) -> None:
        self.now += nanoseconds
        self.cpu += nanoseconds if on_cpu else 0

    def call(self, nanoseconds: int) -> Callable[[], None]:
        """A call that takes so long."""
        return lambda: self.work(nanoseconds)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Host:
        for module in (clock, accelerator, job, rounds, warmup):
            monkeypatch.setattr(module, "perf_counter_ns", self.perf_counter_ns)
        monkeypatch.setattr(clock, "thread_time_ns", self.thread_time_ns)
        return self


class TickingHost(Host):
    """A processor on which 24 to 26 µs pass whenever the time is read, by luck of a seed, and none in between.

    Whatever runs on it takes as long on a busy machine as on an idle one.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self._luck = random.Random(seed)

    def perf_counter_ns(self) -> int:
        self.work(self._luck.randrange(24_000, 26_000))
        return self.now


class Stamp:
    """An event of a `Device`: reached when everything queued before it is done."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.reached_at: int | None = None

    def query(self) -> bool:
        assert self.reached_at is not None
        return self.reached_at <= self._device.host.now

    def elapsed_time(self, end: Stamp) -> float:
        assert self.reached_at is not None
        assert end.reached_at is not None
        if end.reached_at > self._device.host.now:
            raise RuntimeError("device not ready: the event has not been reached")
        tick = self._device.tick_ns
        return (end.reached_at // tick - self.reached_at // tick) * tick / 1e6


class Device:
    """An accelerator that works through a queue, in order, beside the host. ns; a cycle is one.

    free_at: when it will be done with everything queued. depth: how much may wait before whoever queues more has to.
    tick_ns: its events know the time to so much. dead: why its context is lost; then whatever is asked of it fails.
    flushes, synchronisations: how often each was asked for.
    """

    def __init__(self, host: Host, flush_ns: int = 150_000) -> None:
        self.host = host
        self.flush_ns = flush_ns
        self.free_at = 0
        self.depth = 1024
        self.tick_ns = 1
        self.flushes = 0
        self.synchronisations = 0
        self.dead: str | None = None
        self.log: list[str] = []
        self._ends: list[int] = []

    def launch(self, kernel_ns: int, launch_ns: int, name: str = "kernel") -> None:
        """Queue a kernel, which keeps the host busy for ``launch_ns``."""
        self._answer()
        self.host.work(launch_ns)
        self._ends = [end for end in self._ends if end > self.host.now]
        if len(self._ends) >= self.depth:
            self.host.now = self._ends.pop(0)
        self.free_at = max(self.free_at, self.host.now) + kernel_ns
        self._ends.append(self.free_at)
        self.log.append(name)

    def block(self, kernels: int, kernel_ns: int, launch_ns: int) -> Callable[[], None]:
        """A call that queues so many kernels."""

        def call() -> None:
            for _ in range(kernels):
                self.launch(kernel_ns, launch_ns)

        return call

    def replay(self, kernel_ns: int, launch_ns: int) -> Callable[[], None]:
        """A graph: one launch for everything."""
        return self.block(1, kernel_ns, launch_ns)

    def dies(self, kernel_ns: int, launch_ns: int) -> Callable[[], None]:
        """A call whose kernel reads what it must not: it is queued as any other."""

        def call() -> None:
            self.launch(kernel_ns, launch_ns)
            self.dead = "CUDA error: an illegal memory access was encountered"

        return call

    def event(self) -> Stamp:
        return Stamp(self)

    def record(self, event: Stamp) -> None:
        event.reached_at = max(self.host.now, self.free_at)

    def sleep(self, cycles: int) -> bool:
        self.launch(cycles, 3_000, "sleep")
        return True

    def synchronise(self) -> None:
        self.synchronisations += 1
        self.host.now = max(self.host.now, self.free_at)
        self.log.append("synchronise")
        self._answer()

    def works(self) -> bool:
        return self.dead is None

    def flush(self) -> None:
        self.flushes += 1
        self.launch(self.flush_ns, 3_000, "flush")

    def _answer(self) -> None:
        if self.dead:
            raise RuntimeError(self.dead)
