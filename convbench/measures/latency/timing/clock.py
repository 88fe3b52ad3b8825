"""The interface of clocks, and the clock of the CPU."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from time import perf_counter_ns, process_time_ns, thread_time_ns
from types import ModuleType
from typing import NamedTuple, Protocol

resource: ModuleType | None
try:
    import resource
except ImportError:  # Windows
    resource = None

Call = Callable[[], object]

_SHORT_NS = 1_000_000


class Sample(NamedTuple):
    """One timed sample: its wall time, and what the operating system did in its turn where that can be known.

    turn_ns, cpu_ns: wall time of the turn, priming calls included, and how much of it the calling thread was on a
    processor. primings: untimed calls before the timed ones. faults, switches: pages faulted in during the turn, and
    times that the process was taken off a processor.
    """

    wall_ns: float
    turn_ns: int = 0
    cpu_ns: int | None = None
    faults: int = 0
    switches: int = 0
    primings: int = 1


class Clock(Protocol):
    """Times calls on one device. A sample may stay pending until `collect`, which waits for the device once.

    minimum_ns: shortest sample worth taking; shorter calls are repeated within a sample.
    warm_up_ns: shortest warm-up. chunk: most samples between two calls of `collect`.
    resolution_ns: how far a sample may be off because the clock ticks; 0 where that is nothing against the shortest.
    """

    resolution_ns: int
    minimum_ns: int
    warm_up_ns: int
    chunk: int

    def once(self, call: Call) -> int:
        """Wall time of one call from an idle device to an idle device, ns; for warm-up and first calls."""

    def sample(self, call: Call, repeats: int) -> None:
        """Make one untimed call, so that the caches hold this block's data, then time ``repeats`` calls."""

    def collect(self) -> list[Sample]:
        """Wait for the device; the samples taken since the last time, in order."""


class CpuClock:
    """``perf_counter_ns`` around the calls; CPU time, page faults and switches around the whole turn.

    CPU time is the calling thread's; of a runtime that calls with threads of its own, the process's.
    Nothing but ``perf_counter_ns`` stands between the priming calls and the timed ones: a single system call there
    added 2 µs to a call of 80 µs, through what it evicts. A short call is primed twice, for the first still meets what
    came between the turns: that is worth 0.4 to 0.9% of a call of 70 to 80 µs.
    """

    minimum_ns = 50_000
    warm_up_ns = 200_000_000
    chunk = 400
    resolution_ns = 0

    def __init__(self, *, cpu_time: bool | None = None, own_threads: bool = False) -> None:
        self._used_ns = process_time_ns if own_threads else thread_time_ns  # of whoever carries out the calls
        self._cpu_time = _cpu_time_is_fine(self.minimum_ns) if cpu_time is None else cpu_time
        self._pending: list[Sample] = []

    def once(self, call: Call) -> int:
        start = perf_counter_ns()
        call()
        return perf_counter_ns() - start

    def sample(self, call: Call, repeats: int) -> None:
        turns = repeat(None, repeats)
        faults, switches = _usage()
        cpu = self._used_ns() if self._cpu_time else 0
        begin = perf_counter_ns()
        call()
        primings = 1
        if perf_counter_ns() - begin < _SHORT_NS:
            call()
            primings = 2
        if repeats == 1:
            start = perf_counter_ns()
            call()
            end = perf_counter_ns()
        else:
            start = perf_counter_ns()
            for _ in turns:
                call()
            end = perf_counter_ns()
        used = self._used_ns() - cpu if self._cpu_time else None
        faults_after, switches_after = _usage()
        sample = Sample(end - start, end - begin, used, faults_after - faults, switches_after - switches, primings)
        self._pending.append(sample)

    def collect(self) -> list[Sample]:
        samples, self._pending = self._pending, []
        return samples


@contextmanager
def collector_off() -> Iterator[None]:
    """Keep Python's garbage collector from running inside samples; what exists already is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def fault_cost_ns(pages: int = 1024, now_ns: Callable[[], int] = perf_counter_ns) -> float:
    """What one page fault costs on this machine: the time to touch fresh anonymous memory, page by page."""
    import mmap

    with mmap.mmap(-1, pages * mmap.PAGESIZE) as memory:
        offsets = range(0, pages * mmap.PAGESIZE, mmap.PAGESIZE)
        start = now_ns()
        for offset in offsets:
            memory[offset] = 1
        fresh = now_ns()
        for offset in offsets:
            memory[offset] = 2
        again = now_ns()
    return max(0.0, ((fresh - start) - (again - fresh)) / pages)


def _cpu_time_is_fine(sample_ns: int) -> bool:
    """Whether reading the thread's CPU time costs, and steps by, little against the shortest sample."""
    steps = []
    for _ in range(100):
        before = thread_time_ns()
        steps.append(thread_time_ns() - before)
    return 0 < max(sorted(steps)[:95]) <= 0.02 * sample_ns


def _usage() -> tuple[int, int]:
    """Page faults, and how often others took the processor, of this process so far; zeros where nobody counts them."""
    if resource is None:
        return 0, 0
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt + usage.ru_majflt, usage.ru_nivcsw
