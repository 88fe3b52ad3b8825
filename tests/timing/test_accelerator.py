"""Clocks of accelerators, on a device with a queue and a time of its own."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

from convbench.errors import DeviceLostError
from convbench.measures.latency.timing import job
from convbench.measures.latency.timing.accelerator import EventClock, WallClock, unrolled
from convbench.measures.latency.timing.clock import Sample
from convbench.measures.latency.timing.rounds import Lane, Rounds, Witness
from tests.timing.machines import Device, Host

US = 1_000


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(Host().install(monkeypatch))


def microseconds(samples: list[Sample]) -> list[float]:
    return [round(sample.wall_ns / US, 6) for sample in samples]


def eager(device: Device, cache: str = "warm") -> EventClock:
    return EventClock(device, eager=True, cache=cache)  # type: ignore[arg-type]


def graph(device: Device, cache: str = "warm") -> EventClock:
    return EventClock(device, eager=False, cache=cache)  # type: ignore[arg-type]


def test_eager_time_of_a_launch_bound_call_is_the_hosts(device: Device) -> None:
    clock = eager(device)
    clock.sample(device.block(kernels=20, kernel_ns=2 * US, launch_ns=10 * US), 1)
    assert microseconds(clock.collect()) == [202.0]  # 20 launches, and the last kernel


def test_eager_time_of_a_device_bound_call_is_the_devices(device: Device) -> None:
    clock = eager(device)
    clock.sample(device.block(kernels=20, kernel_ns=50 * US, launch_ns=10 * US), 1)
    assert microseconds(clock.collect()) == [1010.0]  # the first launch, and 20 kernels


def test_the_flush_does_not_hide_the_host(device: Device) -> None:
    """While the device overwrites its cache the host could queue the whole call, whose launches would go unseen."""
    clock = eager(device, "cold")
    clock.sample(device.block(kernels=10, kernel_ns=2 * US, launch_ns=10 * US), 1)
    assert microseconds(clock.collect()) == [102.0]
    assert device.log.index("flush") < device.log.index("synchronise")


def test_another_targets_queue_does_not_hide_the_host(device: Device) -> None:
    heavy = Lane(0, device.block(kernels=1, kernel_ns=5_000 * US, launch_ns=10 * US), nullcontext, eager(device))
    light = Lane(1, device.block(kernels=10, kernel_ns=2 * US, launch_ns=10 * US), nullcontext, eager(device))
    Rounds([heavy, light], np.random.default_rng(0)).run(20, 10**18)
    assert microseconds(light.samples) == [102.0] * 20
    assert microseconds(heavy.samples) == [5010.0] * 20


@pytest.mark.parametrize("cache", ["cold", "warm"])
@pytest.mark.parametrize("launch_us", [8, 60, 700])
def test_a_graph_shows_the_device_alone(device: Device, cache: str, launch_us: int) -> None:
    """However long the host takes to launch it, against a kernel of 40 µs and a flush of 150 µs."""
    clock = graph(device, cache)
    for _ in range(5):
        clock.sample(device.replay(40 * US, launch_us * US), 1)
    assert microseconds(clock.collect()) == [40.0] * 5
    assert clock.exposed == 0


def test_a_device_that_cannot_be_held_back_says_so(device: Device) -> None:
    device.sleep = lambda cycles: False  # type: ignore[method-assign]
    clock = graph(device, "warm")
    clock.sample(device.replay(40 * US, 100 * US), 1)
    assert clock.exposed == 1
    assert microseconds(clock.collect()) == [100.0]


def test_a_host_that_is_always_slower_is_not_waited_for_without_end(device: Device) -> None:
    clock = graph(device, "warm")
    clock.sample(device.replay(40 * US, 90_000 * US), 1)
    assert clock.exposed == 1
    assert device.log.count("sleep") == 10  # 2¹⁷ to 2²⁶ cycles


def test_a_queue_that_is_full_does_not_show_the_host(device: Device) -> None:
    """A sample is waited for before the next is queued, however many samples a chunk has."""
    device.depth = 6
    clock = graph(device, "cold")
    for _ in range(clock.chunk):
        clock.sample(device.replay(40 * US, 8 * US), 1)
    assert microseconds(clock.collect()) == [40.0] * clock.chunk
    assert clock.exposed == 0


def test_events_that_tick_are_off_by_a_tick_at_most(device: Device) -> None:
    device.tick_ns = 512
    clock = graph(device, "warm")
    for _ in range(20):
        clock.sample(device.replay(3_300, 8_123), 1)
    assert {sample.wall_ns for sample in clock.collect()} <= {3_072.0, 3_584.0}


def test_short_replays_are_unrolled(device: Device) -> None:
    device.tick_ns = 500
    assert unrolled(device.replay(3 * US, 8 * US), graph(device, "warm")) in (17, 20)  # 50 µs of 2.5 or 3 µs each
    assert unrolled(device.replay(90 * US, 8 * US), graph(device, "warm")) == 1
    assert unrolled(device.replay(0, 8 * US), graph(device, "warm")) == 100  # no time seen to pass
    assert unrolled(device.replay(3 * US, 8 * US), graph(device, "cold")) == 1  # the second would find the cache warm


def test_no_time_seen_to_pass_is_half_a_tick() -> None:
    made = Lane(0, lambda: None, nullcontext, eager(Device(Host())), unrolled=10)
    made.samples = [Sample(0.0), Sample(5_000.0)]
    assert made.resolution_ms == pytest.approx(50e-6)
    assert made.times_ms.tolist() == pytest.approx([25e-6, 500e-6])


def test_the_ticks_are_in_the_interval() -> None:
    """A hundred samples that all say 5.0 µs by a clock of 0.5 µs: the call takes 4.75 to 5.25 µs."""
    made, base = (Lane(0, lambda: None, nullcontext, eager(Device(Host()))) for _ in range(2))
    made.samples, base.samples = [Sample(5_000.0)] * 100, [Sample(10_000.0)] * 100
    found = job._column(made, [base])
    assert found is not None
    assert found.log_ratio is not None
    assert (found.median_ms.low * 1e3, found.median_ms.high * 1e3) == pytest.approx((4.75, 5.25))
    assert found.log_ratio.half_width == pytest.approx((0.5 / 5 + 0.5 / 10) / 2)
    made.samples = [Sample(0.0)] * 100
    blind = job._column(made, [base])
    assert blind is not None
    assert 0 < blind.median_ms.low < blind.median_ms.high


def test_a_context_that_dies_is_noticed_in_the_turn_of_whoever_ended_it(device: Device) -> None:
    """Its kernel is queued as any other; the next that is asked of the device would fail."""
    turns: list[int] = []
    lanes = [
        Lane(0, device.block(3, 20 * US, 5 * US), nullcontext, eager(device)),
        Lane(1, device.dies(20 * US, 5 * US), nullcontext, eager(device)),
        Lane(2, device.block(3, 20 * US, 5 * US), nullcontext, graph(device)),
    ]
    witness = Witness(turn=turns.append, lost=lambda: not device.works())
    with pytest.raises(DeviceLostError, match="illegal memory access"):
        Rounds(lanes, np.random.default_rng(3), witness).run(20, 10**18)
    assert turns[-1] == 1


def test_a_failure_of_ones_own_is_nobody_elses(device: Device) -> None:
    def fails() -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    lanes = [
        Lane(0, device.block(3, 20 * US, 5 * US), nullcontext, eager(device)),
        Lane(1, fails, nullcontext, eager(device)),
    ]
    rounds = Rounds(lanes, np.random.default_rng(0), Witness(lost=lambda: not device.works()))
    assert rounds.run(20, 10**18)
    assert set(rounds.failed) == {1}


@pytest.mark.parametrize("make", [eager, graph])
def test_the_cache_is_flushed_between_priming_and_timing_where_cold(device: Device, make: object) -> None:
    clock = make(device, "cold")  # type: ignore[operator]
    clock.sample(lambda: device.launch(US, US, "call"), 1)
    order = [entry for entry in device.log if entry not in ("synchronise", "sleep")]
    assert order == ["call", "flush", "call"]


def test_a_warm_cache_is_left_alone(device: Device) -> None:
    clock = eager(device)
    clock.sample(device.block(1, US, US), 1)
    assert device.flushes == 0


def test_cold_samples_are_single_calls(device: Device) -> None:
    assert eager(device, "cold").minimum_ns == 0  # a repeated call finds what the first one left
    assert eager(device, "warm").minimum_ns == 50 * US


def test_a_single_synchronous_call_begins_and_ends_idle(device: Device) -> None:
    device.launch(500 * US, US)
    assert eager(device).once(device.block(kernels=2, kernel_ns=30 * US, launch_ns=5 * US)) == 65 * US


def test_wall_clock_waits_before_and_after(device: Device) -> None:
    device.launch(500 * US, US)  # left over from another target
    clock = WallClock(device)
    clock.sample(device.block(kernels=1, kernel_ns=100 * US, launch_ns=10 * US), 60)
    (sample,) = clock.collect()
    assert sample.wall_ns / US == pytest.approx(10 + 60 * 100)
    assert clock.collect() == []


def test_wall_clock_wants_samples_of_5_ms(device: Device) -> None:
    assert WallClock(device).minimum_ns == 5_000 * US


def test_accelerators_are_warmed_for_half_a_second(device: Device) -> None:
    assert eager(device).warm_up_ns == WallClock(device).warm_up_ns == 500_000 * US


def test_late_failures_surface_in_their_own_sample(device: Device) -> None:
    with pytest.raises(RuntimeError, match="illegal memory access"):
        graph(device).sample(device.dies(US, US), 1)
