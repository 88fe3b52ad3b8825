"""From what processes found to what is reported."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from convbench.measures.latency.combine import comparison_of
from convbench.measures.latency.judge import Gathered
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


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_processes_have_no_interval_and_no_verdict(count: int) -> None:
    """Two medians that agree to 9 digits once gave [5e-9, 7.4e9] where they did not."""
    comparison = report(
        [timing(2.0, half_width=0.1)] * count, [timing(4.0, math.log(2.0))] * count, controls=STILL[:count]
    )
    for latency in comparison.latencies:
        assert (latency.low_ms, latency.high_ms, latency.noise) == (None, None, "noisy")
        assert any("spread not known" in note for note in latency.notes)
    ratio, control = comparison.ratios[1], comparison.control
    assert ratio is not None
    assert control is not None
    assert (ratio.ratio, ratio.low, ratio.high, ratio.verdict) == (pytest.approx(2.0), None, None, "unclear")
    assert "--processes 3" in str(ratio.verdict_reason)
    assert (control.low, control.high) == (None, None)


def test_fewer_than_twenty_rounds_are_told() -> None:
    found = [timing(1.0) for _ in range(3)]
    found[1] = replace(found[1], eager=replace(column(1.0), samples=7))
    (latency,) = report(found).latencies
    assert latency.noise == "noisy"
    assert "only 7 rounds in a process, fewer than 20: give it more --max-time" in latency.notes


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


def test_noise_does_not_widen_the_margin() -> None:
    """A true +3% was called the same, because the control's noise had widened the margin to 7.3%."""
    controls = [interval(value) for value in (0.04, -0.05, 0.06, -0.04, 0.01)]
    target = [timing(1.0, value) for value in (0.031, 0.028, 0.03, 0.029, 0.032)]
    comparison = report(processes(1, 1, 1, 1, 1), target, controls=controls)
    ratio, logs = comparison.ratios[1], [value.centre for value in controls]
    assert ratio is not None
    assert (ratio.margin, ratio.verdict) == (0.01, "slower")
    low, high = stats.t.interval(0.95, 4, np.mean(logs), stats.sem(logs))
    assert ratio.control is not None
    assert (ratio.control.low, ratio.control.high) == (pytest.approx(math.exp(low)), pytest.approx(math.exp(high)))


@pytest.mark.parametrize(
    ("ratios", "disturbed", "reason"),
    [
        ((1.004, 1.0045, 1.005, 1.0042, 1.0048), 0.0, "less than the margin of 1%"),
        ((0.95, 1.05, 1.02, 0.97, 1.0), 0.0, "more --processes and --max-time"),
        ((0.95, 1.05, 1.02, 0.97, 1.0), 0.3, "end what else runs here (30% of the samples"),
        ((1.03, 1.05, 1.001, 1.06, 1.02), 0.0, "does not say whether by over 1%"),
    ],
)
def test_an_unclear_verdict_says_why_and_what_would_help(
    ratios: tuple[float, ...], disturbed: float, reason: str
) -> None:
    noise = replace(QUIET, interrupted=disturbed)
    target = [timing(1.0, math.log(ratio), disturbance=noise) for ratio in ratios]
    ratio = report(processes(1, 1, 1, 1, 1), target).ratios[1]
    assert ratio is not None
    assert (ratio.verdict, ratio.withheld) == ("unclear", None)
    assert reason in str(ratio.verdict_reason)


def test_a_wide_interval_is_never_the_same() -> None:
    """[0.68, 1.51] on three samples read ``same``."""
    target = [timing(1.0, interval(value, 0.3)) for value in (0.0, 0.01, -0.01)]
    ratio = report(processes(1, 1, 1), target).ratios[1]
    assert ratio is not None
    assert ratio.verdict == "unclear"


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


def interrupted(ratio: float, calm: int) -> TargetTiming:
    """A process of 100 rounds of which all but ``calm`` were interrupted, and whose ratio is off for that."""
    return replace(timing(1.0), eager=replace(column(1.0, ratio), calm=calm))


def test_a_disturbed_process_is_left_out_where_three_others_are_there() -> None:
    target = [*processes(1, 1, 1, ratio=math.log(1.1)), interrupted(0.6, calm=5), interrupted(-0.3, calm=19)]
    ratio = report(processes(1, 1, 1, 1, 1), target).ratios[1]
    assert ratio is not None
    assert (ratio.ratio, ratio.verdict) == (pytest.approx(1.1), "slower")


def test_too_few_undisturbed_processes_withhold_the_verdict() -> None:
    target = [*processes(1, 1, ratio=0.5), *(interrupted(0.5, calm=5) for _ in range(3))]
    ratio = report(processes(1, 1, 1, 1, 1), target).ratios[1]
    assert ratio is not None
    assert (ratio.verdict, ratio.ratio) == ("unclear", pytest.approx(math.exp(0.5)))
    assert "3 of 5 processes were interrupted" in str(ratio.withheld)


@pytest.mark.parametrize("disturbed", [0, 1])
def test_time_stolen_from_either_withholds_the_verdict(disturbed: int) -> None:
    targets = [processes(1, 1, 1), processes(1, 1, 1, ratio=0.5)]
    targets[disturbed] = [replace(one, disturbance=replace(QUIET, steal=0.5)) for one in targets[disturbed]]
    comparison = report(*targets)
    assert comparison.latencies[disturbed].noise == "invalid"
    assert comparison.ratios[1] is not None
    assert comparison.ratios[1].verdict == "unclear"
    assert "50% of the processor time" in str(comparison.ratios[1].withheld)


def test_page_faults_are_no_noise_where_the_heap_is_the_allocators() -> None:
    gathered = Gathered({0: [timing(1.0, disturbance=replace(QUIET, faults=0.6, faults_per_call=200.0))] * 3})
    for allocator, noise in (("kept", "invalid"), ("default", "quiet")):
        (latency,) = comparison_of(gathered, 1, 0, replace(SETTINGS, allocator=allocator)).latencies
        assert latency.noise == noise


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
    assert comparison.ratios[1].device is not None
    assert comparison.ratios[1].device.ratio == pytest.approx(1.5)
    assert (comparison.ratios[1].verdict, comparison.ratios[1].device.verdict) == ("same", "slower")


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
