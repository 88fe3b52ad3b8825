"""Warm-up: until the time stands still, but neither too short nor for ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from convbench.measures.latency.timing.clock import CpuClock
from convbench.measures.latency.timing.warmup import WarmUp, longest_ns, warm_up
from tests.timing.machines import Host

MS = 1_000_000


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host().install(monkeypatch)


def warm(host: Host, durations: Iterator[int], longest: int = 3_000 * MS) -> WarmUp:
    return warm_up(lambda: host.work(next(durations)), CpuClock(cpu_time=False), longest)


def forever(value: int) -> Iterator[int]:
    while True:
        yield value


def test_a_steady_call_is_called_25_times_at_least(host: Host) -> None:
    warmed = warm(host, forever(50 * MS))
    assert (warmed.calls, warmed.settled, warmed.median_ns) == (30, True, 50 * MS)


def test_a_fast_call_is_warmed_for_200_ms_at_least(host: Host) -> None:
    warmed = warm(host, forever(MS // 10))
    assert (warmed.calls, warmed.elapsed_ns) == (2000, 200 * MS)


def test_it_goes_on_while_calls_still_get_faster(host: Host) -> None:
    def cooling() -> Iterator[int]:
        for step in range(10**6):
            yield int(MS * (1 + 5 * 0.98**step))

    warmed = warm(host, cooling())
    assert warmed.settled
    # Ten calls before its last ten it was no more than 2% slower, which is so from the 200th call on.
    last, before = (1 + 5 * 0.98 ** (warmed.calls - back) for back in (5, 15))
    assert before / last < 1.021
    assert warmed.calls >= 200


def test_it_ends_after_its_longest_time_and_says_so(host: Host) -> None:
    def wild() -> Iterator[int]:
        while True:
            yield from [10 * MS] * 10 + [13 * MS] * 10

    warmed = warm(host, wild())
    assert not warmed.settled
    assert 3_000 * MS <= warmed.elapsed_ns <= 3_013 * MS


def test_a_call_longer_than_all_is_made_once(host: Host) -> None:
    warmed = warm(host, forever(60_000 * MS))
    assert (warmed.calls, warmed.settled) == (1, False)


@pytest.mark.parametrize(("budget_s", "expected_ms"), [(100, 3000), (4, 1000), (0.1, 400)])
def test_the_longest_time_is_a_quarter_of_the_budget_within_bounds(budget_s: float, expected_ms: int) -> None:
    assert longest_ns(CpuClock(cpu_time=False), budget_s) == expected_ms * MS
