"""From what processes found to what is reported."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from convbench.measures.latency.combine import Gathered, comparison_of
from convbench.measures.latency.result import LatencyComparison
from convbench.measures.latency.settings import LatencySettings
from convbench.measures.latency.timing.result import TargetTiming
from tests.latency.made import QUIET, column, interval, timing

SETTINGS = LatencySettings()
STILL = [interval(value) for value in (0.0, 0.001, -0.001, 0.0005, -0.0005)]


def report(*targets: list[TargetTiming], controls: object = STILL, **changes: object) -> LatencyComparison:
    """The comparison of targets, the first being the baseline."""
    gathered = Gathered(timings=dict(enumerate(targets)), controls=list(controls), **changes)  # type: ignore[call-overload]
    return comparison_of(gathered, len(targets), 0, SETTINGS)


def processes(*medians: float, ratio: float | None = None) -> list[TargetTiming]:
    return [timing(value, ratio) for value in medians]


def test_the_median_is_the_geometric_mean_with_a_t_interval_over_processes() -> None:
    medians = (2.0, 2.1, 2.3)
    (latency,) = report(processes(*medians)).latencies
    logs = np.log(medians)
    low, high = np.exp(stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs)))
    assert latency.median_ms == pytest.approx(stats.gmean(medians))
    assert (latency.low_ms, latency.high_ms) == (pytest.approx(low), pytest.approx(high))
    assert (latency.processes, latency.samples) == (3, 300)
    assert latency.p10_ms == pytest.approx(0.9 * stats.gmean(medians))
    assert latency.p90_ms == pytest.approx(1.2 * stats.gmean(medians))
    assert latency.throughput_per_s == pytest.approx(4 / stats.gmean(medians) * 1e3)


def test_one_process_reports_its_order_statistic_interval() -> None:
    (latency,) = report([timing(2.0, half_width=0.1)]).latencies
    assert (latency.low_ms, latency.high_ms) == (pytest.approx(1.9), pytest.approx(2.1))


def test_first_call_is_a_median_and_compiling_that_from_the_empty_cache() -> None:
    found = [timing(1, first_ms=a, compile_ms=b) for a, b in ((9.0, 20_000.0), (50.0, 900.0), (8.0, 950.0))]
    (latency,) = report(found).latencies
    assert (latency.first_ms, latency.compile_ms) == (9.0, 20_000.0)


def test_kernels_are_those_of_the_process_that_recorded_them() -> None:
    (latency,) = report([timing(1.0), timing(1.0, kernels=("aten::gelu×3",))]).latencies
    assert latency.kernels == ("aten::gelu×3",)


def test_the_ratio_is_that_of_the_pairs_and_not_of_the_medians() -> None:
    # The machine was twice as slow for the target's median, and every pair says 1.1.
    comparison = report(processes(1, 1, 1), processes(2.2, 2.2, 2.2, ratio=math.log(1.1)))
    ratio = comparison.ratios[1]
    assert comparison.ratios[0] is None
    assert ratio is not None
    assert ratio.ratio == pytest.approx(1.1)
    assert ratio.verdict == "slower"


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ((1.10, 1.11, 1.09, 1.10, 1.10), "slower"),
        ((0.90, 0.91, 0.89, 0.90, 0.90), "faster"),
        ((1.002, 0.999, 1.001, 1.0, 1.0), "same"),
        ((1.10, 1.00, 1.20, 0.95, 1.15), "unclear"),
        ((1.009, 1.012, 1.011, 1.010, 1.013), "unclear"),  # astride the margin
    ],
)
def test_verdicts(ratios: tuple[float, ...], expected: str) -> None:
    target = [timing(1.0, math.log(ratio)) for ratio in ratios]
    ratio = report(processes(1, 1, 1, 1, 1), target).ratios[1]
    assert ratio is not None
    assert ratio.verdict == expected


def test_the_margin_grows_with_the_controls_upper_bound() -> None:
    controls = [interval(value) for value in (0.01, -0.01, 0.012, -0.008, 0.004)]
    logs = [value.centre for value in controls]
    low, high = stats.t.interval(0.95, 4, np.mean(logs), stats.sem(logs))
    comparison = report(processes(1, 1, 1, 1, 1), processes(1, 1, 1, 1, 1, ratio=0.03), controls=controls)
    ratio = comparison.ratios[1]
    assert ratio is not None
    assert ratio.margin == pytest.approx(math.expm1(1.5 * max(abs(low), abs(high))))
    assert ratio.margin > 0.01
    assert comparison.control is not None
    assert (comparison.control.low, comparison.control.high) == (
        pytest.approx(math.exp(low)),
        pytest.approx(math.exp(high)),
    )


def test_a_quiet_control_leaves_the_margin_asked_for() -> None:
    ratio = report(processes(1, 1, 1), processes(1, 1, 1, ratio=0.0)).ratios[1]
    assert ratio is not None
    assert ratio.margin == 0.01


def test_a_control_beyond_the_margin_withholds_every_verdict() -> None:
    controls = [interval(value) for value in (0.05, 0.051, 0.049, 0.05, 0.05)]
    comparison = report(processes(1, 1, 1), processes(1, 1, 1, ratio=0.5), controls=controls)
    ratio = comparison.ratios[1]
    assert ratio is not None
    assert ratio.verdict == "unclear"
    assert ratio.withheld is not None
    assert "1.051× [1.050, 1.052]" in ratio.withheld
    assert {latency.noise for latency in comparison.latencies} == {"invalid"}
    assert all("two instances of one target differ" in latency.notes[0] for latency in comparison.latencies)


def test_without_a_control_there_is_no_verdict() -> None:
    ratio = report(processes(1, 1, 1), processes(1, 1, 1, ratio=0.5), controls=[]).ratios[1]
    assert ratio is not None
    assert (ratio.verdict, ratio.control) == ("unclear", None)
    assert "second instance" in str(ratio.withheld)


@pytest.mark.parametrize("disturbed", [0, 1])
def test_invalid_samples_of_either_withhold_the_verdict(disturbed: int) -> None:
    loud = replace(QUIET, interrupted=0.5)
    targets = [processes(1, 1, 1), processes(1, 1, 1, ratio=0.5)]
    targets[disturbed] = [replace(one, disturbance=loud) for one in targets[disturbed]]
    comparison = report(*targets)
    assert comparison.latencies[disturbed].noise == "invalid"
    assert comparison.ratios[1] is not None
    assert comparison.ratios[1].verdict == "unclear"
    assert "40%" in str(comparison.ratios[1].withheld)


@pytest.mark.parametrize(
    ("change", "noise", "told"),
    [
        ({}, "quiet", None),
        ({"interrupted": 0.04}, "quiet", None),
        ({"interrupted": None}, "quiet", None),
        ({"interrupted": 0.2}, "noisy", "20% of its samples were interrupted"),
        ({"steal": 0.1}, "noisy", "10% of the processor time"),
        ({"faults": 0.3, "faults_per_call": 196.0}, "noisy", "30% of its time goes into 196 page faults a call"),
        ({"interrupted": 0.41}, "invalid", "41% of its samples"),
    ],
)
def test_noise_classes_and_their_reasons(change: dict[str, float], noise: str, told: str | None) -> None:
    disturbance = replace(QUIET, **change)
    (latency,) = report([timing(1.0, disturbance=disturbance)] * 3).latencies
    assert latency.noise == noise
    assert any(told in note for note in latency.notes) if told else not latency.notes


def test_processes_that_disagree_are_noise() -> None:
    (latency,) = report(processes(1.0, 1.2, 1.4)).latencies
    assert latency.noise == "noisy"
    assert "processes differ by 17%" in latency.notes[0]


def test_many_targets_are_corrected_together() -> None:
    """One target alone is slower at 95%; as one of thirty that are not, it is unclear."""
    borderline = [timing(1.0, value) for value in (0.02, 0.03, 0.05, 0.03, 0.06)]
    others = [processes(1, 1, 1, 1, 1, ratio=0.0) for _ in range(29)]
    alone = report(processes(1, 1, 1, 1, 1), borderline).ratios[1]
    among = report(processes(1, 1, 1, 1, 1), borderline, *others).ratios[1]
    assert alone is not None
    assert among is not None
    assert (alone.verdict, among.verdict) == ("slower", "unclear")
    assert (alone.low, alone.high) == (among.low, among.high)
    assert alone.adjusted_p is not None
    assert among.adjusted_p == pytest.approx(min(1.0, 30 * alone.adjusted_p))


def test_device_columns_tell_launch_bound_calls() -> None:
    bound = [timing(1.3, device=column(1.0)) for _ in range(3)]
    free = [timing(1.1, 0.0, device=column(1.0, math.log(1.5))) for _ in range(3)]
    comparison = report(bound, free)
    first, second = (latency.device for latency in comparison.latencies)
    assert first is not None
    assert second is not None
    assert (first.median_ms, first.launch_bound, first.cache) == (pytest.approx(1.0), True, "cold")
    assert not second.launch_bound
    assert comparison.ratios[1] is not None
    assert comparison.ratios[1].device_ratio == pytest.approx(1.5)


def test_a_failed_target_has_its_status_and_no_ratio() -> None:
    failed = {1: TargetTiming("oom", "OutOfMemoryError: 20 GiB")}
    comparison = report(processes(1, 1, 1), processes(1, 1, ratio=0.1), failures=failed)
    assert (comparison.latencies[1].status, comparison.latencies[1].error) == ("oom", "OutOfMemoryError: 20 GiB")
    assert comparison.latencies[1].median_ms is None
    assert comparison.ratios == (None, None)
    assert comparison.latencies[0].status == "ok"


def test_without_the_baseline_there_are_no_ratios() -> None:
    failed = {0: TargetTiming("timeout", "hung")}
    comparison = report([], processes(1, 1, 1, ratio=0.1), failures=failed)
    assert comparison.latencies[1].status == "ok"
    assert comparison.ratios == (None, None)


def test_what_was_complete_survives_an_interruption() -> None:
    comparison = report(processes(1.0, 1.1), processes(1, 1, ratio=0.1), [], interrupted=True)
    assert [latency.status for latency in comparison.latencies] == ["interrupted"] * 3
    assert comparison.latencies[0].median_ms == pytest.approx(math.sqrt(1.1))
    assert comparison.latencies[2].median_ms is None
    assert comparison.ratios[1] is not None
    assert comparison.interrupted
