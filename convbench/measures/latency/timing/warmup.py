"""Warming a call up until its time stands still."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns

from convbench.measures.latency.timing.clock import Call, Clock

_CALLS = 25
_TEN = 10
_TOLERANCE = 0.02
_LONGEST_NS = 3_000_000_000
_SHARE_OF_BUDGET = 0.25


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How a warm-up went. median_ns: of its last calls. settled: whether two successive tens agreed."""

    calls: int
    elapsed_ns: int
    median_ns: float
    settled: bool


def longest_ns(clock: Clock, budget_s: float) -> int:
    """Longest warm-up: 3 s, or a quarter of the time for the block where that is less, but twice the shortest."""
    return max(2 * clock.warm_up_ns, min(_LONGEST_NS, int(_SHARE_OF_BUDGET * budget_s * 1e9)))


def warm_up(call: Call, clock: Clock, longest_ns: int = _LONGEST_NS) -> WarmUp:
    """Call until at least 25 calls and the clock's shortest warm-up are done and the medians of successive tens agree
    to 2%; at most ``longest_ns``, and at least once."""
    start = perf_counter_ns()
    times: list[int] = []
    while True:
        times.append(clock.once(call))
        elapsed = perf_counter_ns() - start
        settled = len(times) % _TEN == 0 and _stands_still(times)
        if settled and len(times) >= _CALLS and elapsed >= clock.warm_up_ns:
            return WarmUp(len(times), elapsed, median(times[-_TEN:]), True)
        if elapsed >= longest_ns:
            return WarmUp(len(times), elapsed, median(times[-_TEN:]), len(times) >= 2 * _TEN and _stands_still(times))


def _stands_still(times: list[int]) -> bool:
    if len(times) < 2 * _TEN:
        return False
    before, now = median(times[-2 * _TEN : -_TEN]), median(times[-_TEN:])
    return abs(now - before) <= _TOLERANCE * before
