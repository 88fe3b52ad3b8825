"""Clocks of accelerators, on a device with a queue and a time of its own."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

from convbench.measures.latency.timing.accelerator import EventClock, WallClock
from convbench.measures.latency.timing.clock import Sample
from convbench.measures.latency.timing.rounds import Lane, Rounds
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


def test_a_graph_shows_the_device_alone(device: Device) -> None:
    clock = graph(device, "cold")
    for _ in range(3):
        clock.sample(device.block(kernels=1, kernel_ns=40 * US, launch_ns=8 * US), 1)
    assert microseconds(clock.collect()) == [40.0] * 3


def test_a_chunk_of_replays_is_synchronised_once(device: Device) -> None:
    clock = graph(device, "cold")
    for _ in range(clock.chunk):
        clock.sample(device.block(kernels=1, kernel_ns=40 * US, launch_ns=8 * US), 1)
    assert device.synchronisations == 0
    assert len(clock.collect()) == clock.chunk == 50
    assert device.synchronisations == 1


def test_events_are_read_only_once_they_are_reached(device: Device) -> None:
    clock = graph(device)
    clock.sample(device.block(kernels=1, kernel_ns=40 * US, launch_ns=8 * US), 1)
    start, end = clock._pending[0]
    with pytest.raises(RuntimeError, match="not been reached"):
        start.elapsed_time(end)
    assert microseconds(clock.collect()) == [40.0]


@pytest.mark.parametrize("make", [eager, graph])
def test_the_cache_is_flushed_between_priming_and_timing_where_cold(device: Device, make: object) -> None:
    clock = make(device, "cold")  # type: ignore[operator]
    clock.sample(lambda: device.launch(US, US, "call"), 1)
    order = [entry for entry in device.log if entry != "synchronise"]
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


def test_late_failures_surface_when_collected(device: Device) -> None:
    def fails() -> None:
        raise RuntimeError("an illegal memory access was encountered")

    device.synchronize = fails  # type: ignore[method-assign]
    clock = graph(device)
    clock.sample(device.block(1, US, US), 1)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        clock.collect()
