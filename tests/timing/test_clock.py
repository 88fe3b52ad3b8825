"""The CPU's clock, on a processor whose time is known exactly."""

from __future__ import annotations

import gc

import pytest

from convbench.measures.latency.timing.clock import CpuClock, Sample, collector_off, fault_cost_ns
from tests.timing.machines import Host


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host().install(monkeypatch)


@pytest.mark.parametrize("repeats", [1, 7])
@pytest.mark.parametrize("primings", [[900_000, 80_000], [1_100_000]])
def test_a_sample_holds_its_calls_and_not_the_priming_ones(host: Host, repeats: int, primings: list[int]) -> None:
    durations = iter([*primings, *[70_000] * repeats])  # the first call of a turn finds the caches cold
    clock = CpuClock(cpu_time=True)
    clock.sample(lambda: host.work(next(durations)), repeats)
    (sample,) = clock.collect()
    turn = sum(primings) + 70_000 * repeats
    assert sample == (70_000 * repeats, turn, turn, sample.faults, sample.switches, len(primings))
    assert next(durations, None) is None


def test_time_off_the_processor_is_wall_and_not_cpu_time(host: Host) -> None:
    clock = CpuClock(cpu_time=True)
    clock.sample(lambda: host.work(50_000, on_cpu=False), 1)
    (sample,) = clock.collect()
    assert (sample.wall_ns, sample.turn_ns, sample.cpu_ns) == (50_000, 150_000, 0)


def test_where_cpu_time_is_too_coarse_there_is_none(host: Host) -> None:
    clock = CpuClock(cpu_time=False)
    clock.sample(host.call(50_000), 1)
    assert clock.collect()[0].cpu_ns is None


@pytest.mark.parametrize(("step", "usable"), [(500, True), (4_000, False), (0, False)])
def test_cpu_time_is_used_where_its_clock_is_fine_against_a_sample(
    monkeypatch: pytest.MonkeyPatch, step: int, usable: bool
) -> None:
    ticks = iter(range(0, 10**9, step)) if step else iter([5] * 1000)
    monkeypatch.setattr("convbench.measures.latency.timing.clock.thread_time_ns", lambda: next(ticks))
    clock = CpuClock()
    clock.sample(lambda: None, 1)
    assert (clock.collect()[0].cpu_ns is not None) == usable


def test_collecting_empties(host: Host) -> None:
    clock = CpuClock(cpu_time=True)
    for nanoseconds in (10, 20, 30):
        clock.sample(host.call(nanoseconds), 1)
    assert [sample.wall_ns for sample in clock.collect()] == [10, 20, 30]
    assert clock.collect() == []


def test_page_faults_of_a_turn_are_counted() -> None:
    import mmap

    pages = 500

    def touch() -> None:
        with mmap.mmap(-1, pages * mmap.PAGESIZE) as memory:
            for page in range(pages):
                memory[page * mmap.PAGESIZE] = 1

    clock = CpuClock()
    clock.sample(touch, 2)
    (sample,) = clock.collect()
    # The kernel may map several pages at a time, but not fewer than one of sixteen.
    calls = 2 + sample.primings
    assert calls * pages / 16 <= sample.faults <= calls * pages + 200


@pytest.mark.parametrize(("first_ns", "second_ns", "cost_ns"), [(5_000, 1_000, 250.0), (1_000, 1_500, 0.0)])
def test_a_page_fault_costs_what_the_first_touch_takes_longer(first_ns: int, second_ns: int, cost_ns: float) -> None:
    readings = iter([100, 100 + first_ns, 100 + first_ns + second_ns])
    assert fault_cost_ns(16, lambda: next(readings)) == cost_ns


def test_the_collector_is_off_inside_and_as_it_was_after() -> None:
    with collector_off():
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_a_sample_without_a_system_to_ask_has_no_counts() -> None:
    assert Sample(5.0) == (5.0, 0, None, 0, 0, 1)
