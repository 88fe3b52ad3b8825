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
    """An event of a `Device`."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._reached_at: int | None = None

    def record(self) -> None:
        self._device.host.work(self._device.record_ns)
        self._reached_at = max(self._device.host.now, self._device.free_at)

    def elapsed_time(self, end: Stamp) -> float:
        assert self._reached_at is not None
        assert end._reached_at is not None
        if end._reached_at > self._device.host.now:
            raise RuntimeError("device not ready: the event has not been reached")
        return (end._reached_at - self._reached_at) / 1e6


class Device:
    """An accelerator that works through a queue, in order, beside the host. ns.

    free_at: when it will be done with everything queued. flushes, synchronisations: how often each was asked for.
    """

    def __init__(self, host: Host, flush_ns: int = 150_000) -> None:
        self.host = host
        self.flush_ns = flush_ns
        self.record_ns = 0
        self.free_at = 0
        self.flushes = 0
        self.synchronisations = 0
        self.log: list[str] = []

    def launch(self, kernel_ns: int, launch_ns: int, name: str = "kernel") -> None:
        """Queue a kernel, which keeps the host busy for ``launch_ns``."""
        self.host.work(launch_ns)
        self.free_at = max(self.free_at, self.host.now) + kernel_ns
        self.log.append(name)

    def block(self, kernels: int, kernel_ns: int, launch_ns: int) -> Callable[[], None]:
        """A call that queues so many kernels."""

        def call() -> None:
            for _ in range(kernels):
                self.launch(kernel_ns, launch_ns)

        return call

    def event(self) -> Stamp:
        return Stamp(self)

    def synchronize(self) -> None:
        self.synchronisations += 1
        self.host.now = max(self.host.now, self.free_at)
        self.log.append("synchronise")

    def flush(self) -> None:
        self.flushes += 1
        self.launch(self.flush_ns, 3_000, "flush")
