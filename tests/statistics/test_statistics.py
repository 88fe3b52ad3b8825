"""Intervals and verdicts: against closed forms, against scipy, and by their coverage in simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from convbench.statistics import (
    Interval,
    Replicated,
    beyond_margin,
    holm,
    log_ratio_interval,
    median_interval,
    median_ranks,
    outlier_share,
    replicate,
    stated,
    verdict,
)


@given(st.integers(6, 30_000), st.sampled_from([0.9, 0.95, 0.99]))
def test_ranks_are_the_tightest_with_the_asked_coverage(n: int, confidence: float) -> None:
    low, high = median_ranks(n, confidence)
    assert low + high == n - 1
    if low > 0:
        assert 1 - 2 * stats.binom.cdf(low, n, 0.5) >= confidence - 1e-9
    tighter = 1 - 2 * stats.binom.cdf(low + 1, n, 0.5)
    # Above 10,000 samples the normal limit may be one rank wider.
    assert tighter < confidence or (n > 10_000 and 1 - 2 * stats.binom.cdf(low + 2, n, 0.5) < confidence)


def test_ranks_of_small_samples_by_hand() -> None:
    # 1 − 2/2^6 = 0.969; of 5 samples the extremes cover only 1 − 2/2^5 = 0.9375.
    assert median_ranks(6) == (0, 5)
    assert median_ranks(5) == (0, 4)
    assert median_ranks(1) == (0, 0)
    # Tables of the sign test: n = 10 gives the 2nd and 9th, n = 20 the 6th and 15th, n = 100 the 40th and 61st.
    assert median_ranks(10) == (1, 8)
    assert median_ranks(20) == (5, 14)
    assert median_ranks(100) == (39, 60)


def test_no_samples_give_no_interval() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        median_ranks(0)


@pytest.mark.parametrize("n", [10, 101, 400])
@pytest.mark.parametrize("draw", ["lognormal", "bimodal"])
def test_median_interval_covers_the_median_of_skewed_times(n: int, draw: str) -> None:
    rng = np.random.default_rng(n)
    hits = 0
    for _ in range(2000):
        if draw == "lognormal":
            samples, truth = np.exp(rng.normal(0, 0.5, n)), 1.0
        else:  # 40% of the calls pre-empted: the median is the 5/6 quantile of the undisturbed ones
            slow = rng.random(n) < 0.4
            samples = rng.random(n) + 10 * slow
            truth = 0.5 / 0.6
        interval = median_interval(samples)
        hits += interval.low <= truth <= interval.high
    # Coverage is at least 95% by construction; three standard errors of 2000 trials are 1.5%.
    assert hits / 2000 >= 0.935


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=60), st.floats(0.01, 100))
def test_median_interval_encloses_the_median_and_scales(values: list[float], factor: float) -> None:
    samples = np.array(values)
    interval, scaled = median_interval(samples), median_interval(samples * factor)
    assert interval.low <= interval.centre <= interval.high
    assert scaled.centre == pytest.approx(interval.centre * factor)
    assert (scaled.low, scaled.high) == (pytest.approx(interval.low * factor), pytest.approx(interval.high * factor))


def test_paired_log_ratio_cancels_what_disturbs_both() -> None:
    rng = np.random.default_rng(0)
    drift = np.exp(np.cumsum(rng.normal(0, 0.05, 400)))  # the machine's speed wanders by far more than 5%
    times, baseline = 1.05 * drift * np.exp(rng.normal(0, 0.01, 400)), drift * np.exp(rng.normal(0, 0.01, 400))
    interval = log_ratio_interval(times, baseline).exp
    assert interval.low < 1.05 < interval.high
    assert interval.half_width < 0.002
    assert median_interval(times).half_width / np.median(times) > 0.05


@given(st.lists(st.floats(0.1, 10), min_size=5, max_size=40), st.randoms(use_true_random=False))
def test_swapping_target_and_baseline_inverts_the_ratio(times: list[float], random: object) -> None:
    a, b = np.array(times), np.array(times[::-1])
    forth, back = log_ratio_interval(a, b), log_ratio_interval(b, a)
    assert forth.centre == pytest.approx(-back.centre, abs=1e-12)
    assert (forth.low, forth.high) == (pytest.approx(-back.high, abs=1e-12), pytest.approx(-back.low, abs=1e-12))


def test_outliers_are_those_beyond_tukeys_fences() -> None:
    assert outlier_share(np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 100])) == pytest.approx(1 / 9)
    assert outlier_share(np.full(20, 3.0)) == 0.0
    normal = np.random.default_rng(0).normal(size=100_000)
    assert outlier_share(normal) == pytest.approx(2 * stats.norm.sf(2.698), abs=5e-4)


def exact(*values: float) -> list[Interval]:
    """Processes whose own uncertainty is nil."""
    return [Interval(value, value, value) for value in values]


def test_replicates_combine_by_students_t() -> None:
    values = (0.10, 0.12, 0.11, 0.14, 0.09)
    combined = replicate(exact(*values))
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert (combined.low, combined.centre, combined.high) == (
        pytest.approx(low),
        pytest.approx(0.112),
        pytest.approx(high),
    )
    assert combined.degrees_of_freedom == 4


def test_processes_that_agree_by_chance_keep_their_own_uncertainty() -> None:
    combined = replicate([Interval(0.1, 0.06, 0.14)] * 4)
    assert combined.half_width == pytest.approx(0.04 / math.sqrt(4))
    assert combined.degrees_of_freedom == math.inf


def test_a_process_that_knows_less_counts_for_less() -> None:
    """Weights 1/(s² + τ²) by hand: three at 0.1 ± 0.01 and one at 0.4 ± 0.8 fit together with τ² = 0."""
    combined = replicate([Interval(0.1, 0.09, 0.11)] * 3 + [Interval(0.4, -0.4, 1.2)])
    assert combined.centre == pytest.approx((3 * 0.1 * 80**2 + 0.4) / (3 * 80**2 + 1))
    assert combined.half_width < 0.011


def test_processes_that_differ_by_more_than_they_know_count_alike() -> None:
    estimates = [Interval(v, v - 0.001 * w, v + 0.001 * w) for v, w in ((0.0, 1), (0.3, 2), (0.1, 1), (0.2, 3))]
    combined = replicate(estimates)
    assert combined.centre == pytest.approx(0.15, abs=1e-3)
    low, high = stats.t.interval(0.95, 3, 0.15, stats.sem([0.0, 0.3, 0.1, 0.2]))
    assert (combined.low, combined.high) == (pytest.approx(low, abs=2e-3), pytest.approx(high, abs=2e-3))


@pytest.mark.parametrize(
    ("verdict_", "text"),
    [("same", "same within 1%"), ("slower", "slower by over 1%"), ("faster", "faster by over 1%")],
)
def test_a_verdict_says_its_margin(verdict_: str, text: str) -> None:
    assert stated(verdict_, 0.01) == text  # type: ignore[arg-type]
    assert stated("unclear", 0.025) == "unclear at 2.5%"


def test_one_process_keeps_its_own_interval() -> None:
    combined = replicate([Interval(0.1, 0.05, 0.2)])
    assert (combined.low, combined.high) == (0.05, 0.2)
    # Half of the interval's width, 0.075, is 1.96 standard errors of a normal distribution.
    assert combined.standard_error == pytest.approx(0.075 / stats.norm.ppf(0.975))


@pytest.mark.parametrize("processes", [2, 3, 5, 8])
def test_replicated_interval_covers_the_truth_where_a_process_alone_does_not(processes: int) -> None:
    """Processes differ by 2% from each other, calls within one by 5%: the measured situation."""
    rng = np.random.default_rng(processes)
    hits = alone = 0
    for _ in range(400):
        shifts = rng.normal(0, 0.02, processes)
        estimates = [median_interval(rng.normal(shift, 0.05, 400)) for shift in shifts]
        combined = replicate(estimates)
        hits += combined.low <= 0 <= combined.high
        alone += estimates[0].low <= 0 <= estimates[0].high
    assert hits / 400 >= 0.92
    assert alone / 400 < 0.5


def test_p_value_is_that_of_the_t_test_against_the_margin() -> None:
    values = (0.10, 0.12, 0.11, 0.14, 0.09)
    expected = stats.ttest_1samp(values, math.log(1.05)).pvalue
    assert beyond_margin(replicate(exact(*values)), 0.05) == pytest.approx(expected)
    mirrored = replicate(exact(*(-value for value in values)))
    assert beyond_margin(mirrored, 0.05) == pytest.approx(expected)


def test_p_value_within_the_margin_is_one_and_of_certainty_nil() -> None:
    assert beyond_margin(replicate(exact(0.01, 0.02, 0.03)), 0.05) == 1.0
    assert beyond_margin(replicate(exact(0.2, 0.2)), 0.05) == 0.0


@given(st.floats(-0.3, 0.3), st.floats(1e-4, 0.1), st.integers(1, 30), st.floats(0.001, 0.1))
def test_p_value_and_interval_agree(centre: float, error: float, freedom: int, margin: float) -> None:
    half = float(stats.t.ppf(0.975, freedom)) * error
    interval = Replicated(centre, centre - half, centre + half, error, freedom)
    outside = interval.low > math.log1p(margin) or interval.high < -math.log1p(margin)
    if abs(abs(centre) - half - math.log1p(margin)) > 1e-9:
        assert (beyond_margin(interval, margin) < 0.05) == outside


def test_holm_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1, made monotone.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.5, 0.9]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_lies_between_no_correction_and_bonferroni(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1.0, len(p_values) * p * (1 + 1e-12))
    by_p = [q for _, q in sorted(zip(p_values, adjusted, strict=True))]
    assert by_p == sorted(by_p)
    # The smallest is corrected as Bonferroni would.
    assert min(adjusted) == pytest.approx(min(1.0, len(p_values) * min(p_values)))


def test_holm_keeps_the_family_error_where_single_tests_do_not() -> None:
    rng = np.random.default_rng(1)
    families = rng.random((2000, 20))
    single = np.mean([(family < 0.05).any() for family in families])
    corrected = np.mean([min(holm(list(family))) < 0.05 for family in families])
    assert single > 0.6
    assert corrected < 0.065


@pytest.mark.parametrize(
    ("low", "high", "adjusted_p", "expected"),
    [
        (0.02, 0.04, 0.01, "slower"),
        (-0.04, -0.02, 0.01, "faster"),
        (-0.004, 0.006, 1.0, "same"),
        (0.001, 0.006, 1.0, "unclear"),  # within the margin, but not 1
        (-0.006, -0.001, 1.0, "unclear"),
        (0.002, 0.04, 1.0, "unclear"),
        (-0.04, 0.04, 1.0, "unclear"),
        (0.02, 0.04, 0.2, "unclear"),  # significant alone, not among its many siblings
        (-0.02, 0.001, 0.9, "unclear"),
        (0.02, 0.04, 1 - 0.95, "unclear"),  # at the level is not below it
    ],
)
def test_verdicts(low: float, high: float, adjusted_p: float, expected: str) -> None:
    assert verdict(Interval((low + high) / 2, low, high), 0.01, adjusted_p) == expected
