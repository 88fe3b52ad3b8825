"""Latency from end to end, in real worker processes; nothing is asserted about how long anything takes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import convbench
from convbench.case import Case
from convbench.errors import OptionError, UnknownNameError, UsageError
from convbench.measures.latency import (
    LatencyInterrupted,
    LatencySettings,
    Progress,
    compare_latency,
    measure,
    measure_latency,
    start_workers,
)
from convbench.measures.latency.settings import COMPARE, PROFILE
from convbench.registry import _runtime
from tests.timing.targets import Plain

TARGETS = Path(__file__).parent.parent / "timing" / "targets.py"
QUICK = LatencySettings(processes=1, max_time_s=0.5, precision=1.0, margin=1.0)


def case(name: str = "Plain", size: int = 6, **options: Any) -> Case:
    return Case(f"{TARGETS}:{name}", dim=8, size=size, options=tuple(options.items()))


def test_one_case_from_two_processes() -> None:
    told: list[Progress] = []
    latency = measure_latency(replace(case(), batch=2), replace(QUICK, processes=2), told.append)
    assert (latency.status, latency.error, latency.processes) == ("ok", None, 2)
    assert latency.median_ms is not None
    assert (latency.low_ms, latency.high_ms, latency.allocator) == (None, None, "kept")
    assert latency.first_ms is not None
    assert latency.throughput_per_s == pytest.approx(2e3 / latency.median_ms)
    assert latency.samples >= 6
    assert latency.noise in ("quiet", "noisy", "invalid")
    assert latency.kernels
    assert latency.device is None
    assert {progress.process for progress in told} == {1, 2}
    assert {"building", "warming up", "measuring"} <= {progress.phase for progress in told}


def test_processes_may_come_up_while_the_caller_does_other_things() -> None:
    with start_workers(case(), QUICK) as pool:
        assert pool.waiting == 1
        assert measure_latency(case(), QUICK, pool=pool).status == "ok"
        assert pool.waiting == 0


def test_bad_targets_have_a_status_and_the_others_their_figures() -> None:
    cases = [
        case(),
        case("Counting", fail_at=1, how="error"),
        case("Counting", fail_at=1, how="hang"),
        case("Counting", fail_at=1, how="exit"),
        case("Unbuildable"),
        case(size=7),
    ]
    comparison = compare_latency(cases, 0, replace(QUICK, timeout_s=3))
    assert [latency.status for latency in comparison.latencies] == ["ok", "error", "timeout", "error", "error", "ok"]
    errors = [latency.error for latency in comparison.latencies]
    assert errors[1] == "RuntimeError: shapes do not match"
    assert "3 s" in str(errors[2])
    assert "exit code 7" in str(errors[3])
    assert "dim must be a multiple of 3, got 8" in str(errors[4])
    assert comparison.ratios[:5] == (None,) * 5
    assert comparison.ratios[5] is not None
    assert comparison.ratios[5].verdict == "unclear"


def test_a_target_that_the_kernel_kills_ran_out_of_memory() -> None:
    comparison = compare_latency([case(), case("Counting", fail_at=1, how="killed")], 0, QUICK)
    assert [latency.status for latency in comparison.latencies] == ["ok", "oom"]


def test_ctrl_c_raises_with_what_was_complete() -> None:
    def stop_in_the_second(progress: Progress) -> None:
        if progress.process == 2:
            raise KeyboardInterrupt

    with pytest.raises(LatencyInterrupted) as caught:
        compare_latency([case(), case(size=7)], 0, replace(QUICK, processes=3), stop_in_the_second)
    partial = caught.value.partial
    assert isinstance(caught.value, KeyboardInterrupt)
    assert partial.interrupted
    assert [latency.processes for latency in partial.latencies] == [1, 1]
    assert all(latency.median_ms for latency in partial.latencies)
    assert partial.ratios[1] is not None


@pytest.fixture
def _registered() -> Iterator[None]:
    width = 8
    convbench.register("LocalPlain", lambda dim: nn.Sequential(Plain(dim), nn.Conv2d(dim, width, 1)))
    yield
    del _runtime["localplain"]


@pytest.mark.usefixtures("_registered")
def test_a_target_registered_in_this_process_reaches_the_others() -> None:
    latency = measure_latency(Case("LocalPlain", dim=8, size=6), QUICK)
    assert latency.status == "ok"


def test_wrong_requests_are_refused_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "idle_cores", lambda: 2)
    for cases, text in [
        ([Case("Plane")], "nothing is registered as 'Plane'"),
        ([replace(case(), device="meta")], "meta"),
        ([replace(case(), threads=3)], r"3 threads need 3 idle cores, and 2 .* --threads 2"),
        ([case(), replace(case(), threads=2)], "share their threads, got 1 and 2"),
        ([case(), replace(case(), device="cuda")], "share their device, got cpu and cuda"),
        ([], "baseline 0 is not the index of one of 0 cases"),
    ]:
        with pytest.raises(UsageError, match=text):
            compare_latency(cases, 0, QUICK)
    with pytest.raises(UnknownNameError):
        measure_latency(Case("Plane"), QUICK)


def test_one_target_that_cannot_be_built_is_a_wrong_request() -> None:
    with pytest.raises(OptionError, match=r"^Unbuildable: dim must be a multiple of 3, got 8"):
        measure_latency(case("Unbuildable"), QUICK)


def test_threads_are_as_asked_and_force_overrides_idle_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "idle_cores", lambda: 1)
    latency = measure_latency(replace(case(), threads=2), replace(QUICK, force_threads=True))
    assert latency.status == "ok"


def test_idle_cores_are_those_this_process_may_use() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert 0 <= measure.idle_cores() <= cores


def test_asking_imports_no_torch() -> None:
    import subprocess

    code = "import sys, convbench.measures.latency; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"processes": 0}, "processes must be at least 1, got 0"),
        ({"max_time_s": 0.0}, "max_time_s must be positive"),
        ({"precision": -0.1}, "precision must be positive"),
        ({"timeout_s": float("nan")}, "timeout_s must be positive"),
        ({"metric": "cycles"}, "'cycles' is not one of time, instructions"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        LatencySettings(**changes)


@pytest.mark.parametrize(
    ("settings", "processes", "budget_s"),
    [
        (LatencySettings(), 5, 10),
        (LatencySettings(processes=2), 2, 10),
        (LatencySettings(rigorous=True), 8, 30),
        (LatencySettings(rigorous=True, processes=4), 4, 30),
    ],
)
def test_rigour_means_more_processes_and_more_time(settings: LatencySettings, processes: int, budget_s: float) -> None:
    assert (settings.replicates(COMPARE), settings.budget_s(COMPARE)) == (processes, budget_s)


def test_one_target_takes_fewer_processes_and_less_time_than_a_comparison() -> None:
    settings = LatencySettings()
    assert settings.replicates(PROFILE) < settings.replicates(COMPARE)
    assert settings.budget_s(PROFILE) < settings.budget_s(COMPARE)


@pytest.mark.slow
def test_compiling_has_a_time_of_its_own() -> None:
    latency = measure_latency(replace(case(), execution="compiled"), replace(QUICK, processes=2))
    assert latency.status == "ok", latency.error
    assert latency.compile_ms is not None
    assert latency.first_ms is not None
    assert latency.compile_ms > latency.first_ms


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{"memory_format": "channels_last"}, {"autocast": "bfloat16"}, {"mode": "training"}]
)
def test_other_conditions(changes: dict[str, Any]) -> None:
    assert measure_latency(replace(case(), **changes), QUICK).status == "ok"
