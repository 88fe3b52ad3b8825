"""Uncertainty of figures, against what repeated sampling shows."""

from __future__ import annotations

import numpy as np
import pytest

from convbench.measures.erf.interval import Assessment, assess, pooled_weights, precise_enough
from convbench.measures.erf.metrics import Ruler, measure_map
from convbench.measures.erf.result import Box, Floats

SIZE = 21
CENTRE = (10.0, 10.0)
_Y, _X = np.mgrid[:SIZE, :SIZE] - 10
FIELD = np.exp(-(_Y**2 + _X**2) / 2 / 2.5**2)


def noisy_maps(rng: np.random.Generator, count: int, noise: float = 1.0) -> Floats:
    """Samples whose mean is FIELD."""
    shape = 1 / noise**2
    return FIELD * rng.gamma(shape, 1 / shape, size=(count, SIZE, SIZE))


def assessed(maps: Floats, labels: list[int] | None = None) -> Assessment:
    ruler = Ruler(maps.sum(axis=0), Box.whole(SIZE, SIZE), (SIZE, SIZE), CENTRE)
    return assess(ruler, ruler.sums(maps), np.array(labels or [0] * len(maps)))


def is_precise(maps: Floats, labels: list[int], precision: float) -> bool:
    ruler = Ruler(maps.sum(axis=0), Box.whole(SIZE, SIZE), (SIZE, SIZE), CENTRE)
    return precise_enough(ruler, ruler.sums(maps), np.array(labels), precision)


def test_each_initialisation_counts_alike_whatever_its_samples() -> None:
    assert pooled_weights(np.array([0, 0, 0, 1])) == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_equal_samples_leave_no_doubt() -> None:
    found = assessed(np.repeat(FIELD[None], 6, axis=0))
    assert max(found.uncertainty.errors.values()) < 1e-9
    assert max(abs(bias) for bias in found.uncertainty.biases.values()) < 1e-9
    for name, interval in found.uncertainty.intervals.items():
        assert interval.high - interval.low < 1e-9, name


def test_jackknife_errors_are_those_that_repetition_shows() -> None:
    rng = np.random.default_rng(0)
    repeated = [assessed(noisy_maps(rng, 16)) for _ in range(80)]
    for name in ("sigma_px", "entropy_area_px2", "centre_share"):
        values = [getattr(found.metrics, name) for found in repeated]
        errors = [found.uncertainty.errors[name] for found in repeated]
        assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(values), rel=0.3), name


def test_agd_is_biased_down_as_one_over_samples_and_reported_without_that() -> None:
    rng = np.random.default_rng(1)
    truth = assessed(FIELD[None]).metrics.agd
    few = [assessed(noisy_maps(rng, 16, 0.4)) for _ in range(60)]
    many = [assessed(noisy_maps(rng, 64, 0.4)) for _ in range(20)]
    bias, smaller = (np.mean([found.uncertainty.biases["agd"] for found in each]) for each in (few, many))
    assert bias < 0
    assert smaller == pytest.approx(bias / 4, rel=0.15)
    reported = np.mean([found.metrics.agd for found in few])
    assert abs(reported - truth) < 0.1 * abs(bias)


def test_a_single_map_is_reported_as_it_is() -> None:
    alone, map_ = assessed(FIELD[None]).metrics, measure_map(FIELD, CENTRE)
    assert (alone.agd, alone.sigma_px, alone.entropy_area_px2) == (map_.agd, map_.sigma_px, map_.entropy_area_px2)


def drawn_hierarchically(rng: np.random.Generator, initialisations: int, samples: int) -> tuple[Floats, list[int]]:
    """Initialisations that differ in width, and samples of each that differ in noise."""
    widths = 2.5 * np.exp(0.08 * rng.standard_normal(initialisations))
    fields = np.exp(-(_Y**2 + _X**2) / 2 / widths[:, None, None] ** 2)
    maps = np.repeat(fields, samples, axis=0)
    return maps * rng.gamma(4, 0.25, size=maps.shape), [i for i in range(initialisations) for _ in range(samples)]


@pytest.mark.parametrize(("initialisations", "samples"), [(5, 3), (1, 12)])
def test_intervals_cover_what_repetition_converges_to(initialisations: int, samples: int) -> None:
    """Of a nominal 95%, as often as a hundred repetitions can tell. One initialisation is given weights."""
    rng = np.random.default_rng(2)

    def drawn() -> tuple[Floats, list[int]]:
        if initialisations > 1:
            return drawn_hierarchically(rng, initialisations, samples)
        return noisy_maps(rng, samples, 0.5), [0] * samples

    truth = (
        assessed(drawn_hierarchically(rng, 2000, 1)[0]).metrics if initialisations > 1 else measure_map(FIELD, CENTRE)
    )
    found = [assessed(*drawn()).uncertainty.intervals for _ in range(100)]
    for name in ("sigma_px", "agd", "kurtosis", "side_50_px", "radius_50_px", "entropy_area_px2"):
        covered = np.mean([each[name].low <= getattr(truth, name) <= each[name].high for each in found])
        assert covered >= 0.87, name


def test_every_interval_holds_its_figure() -> None:
    rng = np.random.default_rng(5)
    for initialisations in (1, 2, 5):
        found = assessed(*drawn_hierarchically(rng, initialisations, 4))
        assert len(found.uncertainty.intervals) > 25
        for name, interval in found.uncertainty.intervals.items():
            assert interval.low <= getattr(found.metrics, name) <= interval.high, name


def test_intervals_extend_to_other_initialisations_where_several_were_drawn() -> None:
    """Two initialisations without noise: with t of one degree of freedom, 12.7 times half their logarithms' gap."""
    wide = np.exp(-(_Y**2 + _X**2) / 2 / 4.0**2)
    found = assessed(np.stack([FIELD] * 4 + [wide] * 4), [0] * 4 + [1] * 4)
    widths = [metrics.sigma_px for metrics in found.per_initialisation]
    assert found.uncertainty.spread["sigma_px"] == pytest.approx(abs(widths[0] - widths[1]) / np.sqrt(2))
    assert found.uncertainty.errors["sigma_px"] == pytest.approx(abs(widths[0] - widths[1]) / 2)
    assert (found.uncertainty.units, found.uncertainty.degrees_of_freedom) == ("initialisations", 1)
    interval, value = found.uncertainty.intervals["sigma_px"], found.metrics.sigma_px
    factor = np.exp(12.7062 * abs(widths[0] - widths[1]) / 2 / value)
    assert (interval.low, interval.high) == pytest.approx((value / factor, value * factor), rel=1e-4)


def test_precision_is_that_of_inputs_for_the_initialisations_drawn() -> None:
    wide = np.exp(-(_Y**2 + _X**2) / 2 / 4.0**2)
    assert is_precise(np.stack([FIELD] * 4 + [wide] * 4), [0] * 4 + [1] * 4, 1e-6)
    rng = np.random.default_rng(6)
    assert not is_precise(noisy_maps(rng, 4), [0] * 4, 0.01)
    assert is_precise(noisy_maps(rng, 2000), [0] * 2000, 0.01)


def test_one_sample_an_initialisation_is_resampled_across_them() -> None:
    rng = np.random.default_rng(3)
    found = assessed(noisy_maps(rng, 6), list(range(6)))
    assert found.uncertainty.errors["sigma_px"] > 0
    assert found.uncertainty.intervals["sigma_px"].low < found.metrics.sigma_px


def test_a_single_sample_has_no_uncertainty() -> None:
    found = assessed(FIELD[None])
    assert (found.uncertainty.intervals, found.uncertainty.errors, found.uncertainty.spread) == ({}, {}, {})
    assert not is_precise(FIELD[None], [0], 0.5)


def test_figures_that_move_in_steps_have_intervals_of_values_they_can_take() -> None:
    found = assessed(noisy_maps(np.random.default_rng(4), 8))
    interval = found.uncertainty.intervals["side_50_px"]
    assert interval.low % 2 == interval.high % 2 == 1
    assert interval.low <= found.metrics.side_50_px <= interval.high


def test_an_initialisation_that_sees_nothing_has_no_figures() -> None:
    found = assessed(np.stack([FIELD, FIELD, 0 * FIELD, 0 * FIELD]), [0, 0, 1, 1])
    blind = found.per_initialisation[1]
    assert (blind.sigma_px, blind.side_50_px, blind.agd) == (None, None, None)
    assert blind.agd_reason == "the map is zero everywhere"
    assert found.metrics.sigma_px == pytest.approx(found.per_initialisation[0].sigma_px)
    assert "sigma_px" not in found.uncertainty.spread


def test_no_area_is_larger_than_the_pixels_that_are_seen() -> None:
    rng = np.random.default_rng(8)
    even = np.zeros((SIZE, SIZE))
    even[9:12, 9:12] = 1.0
    found = [assessed(even * rng.gamma(200, 1 / 200, size=(6, SIZE, SIZE))) for _ in range(5)]
    for each in found:
        assert each.metrics.entropy_area_px2 <= 9
        assert each.uncertainty.intervals["entropy_area_px2"].high <= 9


def test_directions_stay_within_half_a_turn() -> None:
    """Round maps have no direction: its interval is all of them."""
    interval = assessed(noisy_maps(np.random.default_rng(9), 4)).uncertainty.intervals["orientation_deg"]
    assert -90 <= interval.low < interval.high <= 90
