"""Disturbance: shares of samples and of time, and the grade they get."""

from __future__ import annotations

from pathlib import Path

import pytest

from convbench.measures.latency.timing.clock import Sample
from convbench.measures.latency.timing.noise import StealMeter, disturbance, grade


def test_interrupted_are_samples_a_tenth_longer_than_their_cpu_time() -> None:
    samples = [Sample(1, 109, 100), Sample(1, 111, 100), Sample(1, 500, 100), Sample(1, 100, 100)]
    assert disturbance(samples, 1, 0, None).interrupted == 0.5


def test_without_cpu_time_interruptions_are_unknown() -> None:
    assert disturbance([Sample(100), Sample(100)], 1, 0, None).interrupted is None


def test_faults_are_counted_per_call_and_weighed_by_their_cost() -> None:
    samples = [Sample(100_000, 150_000, 150_000, faults=30, switches=1), Sample(100_000, 150_000, 150_000, faults=0)]
    found = disturbance(samples, 2, fault_cost_ns=1_000, steal=None)
    assert found.faults_per_call == 5  # a turn is a priming call and two timed ones
    assert found.faults == pytest.approx(0.1)
    assert found.switches_per_sample == 0.5


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0, "quiet"), (0.0499, "quiet"), (0.05, "noisy"), (0.3999, "noisy"), (0.4, "invalid"), (1, "invalid")],
)
def test_grades(share: float, expected: str) -> None:
    assert grade(share) == expected


def stat(steal: int, busy: int, idle: int) -> str:
    return f"cpu  {busy} 0 0 {idle} 0 0 0 {steal} 0 0\ncpu0 1 2 3\n"


def test_steal_is_of_the_time_that_processors_were_wanted(tmp_path: Path) -> None:
    path = tmp_path / "stat"
    path.write_text(stat(steal=100, busy=1000, idle=5000))
    meter = StealMeter(path)
    path.write_text(stat(steal=110, busy=1030, idle=9000))
    assert meter.share() == pytest.approx(10 / 40)


def test_an_idle_machine_stole_nothing(tmp_path: Path) -> None:
    path = tmp_path / "stat"
    path.write_text(stat(steal=100, busy=1000, idle=5000))
    assert StealMeter(path).share() == 0


def test_where_the_kernel_does_not_tell_steal_is_unknown(tmp_path: Path) -> None:
    assert StealMeter(tmp_path / "stat").share() is None
