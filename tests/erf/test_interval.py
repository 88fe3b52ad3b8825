"""Uncertainty of figures, against what repeated sampling shows."""

from __future__ import annotations

import numpy as np
import pytest

from convbench.measures.erf.interval import Assessment, assess, pooled_weights, precise_enough
from convbench.measures.erf.metrics import Ruler
from convbench.measures.erf.result import Box, Floats

SIZE = 21
CENTRE = (10.0, 10.0)
_Y, _X = np.mgrid[:SIZE, :SIZE] - 10
FIELD = np.exp(-(_Y**2 + _X**2) / 2 / 2.5**2)


def noisy_maps(rng: np.random.Generator, count: int, noise: float = 1.0) -> Floats:
    """Samples whose mean is FIELD."""
    shape = 1 / noise**2
    return FIELD * rng.gamma(shape, 1 / shape, size=(count, SIZE, SIZE))


def assessed(maps: Floats, labels: list[int] | None = None, resamples: int = 200) -> Assessment:
    ruler = Ruler(maps.sum(axis=0), Box.whole(SIZE, SIZE), (SIZE, SIZE), CENTRE)
    return assess(ruler, ruler.sums(maps), np.array(labels or [0] * len(maps)), resamples, 0)


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
    repeated = [assessed(noisy_maps(rng, 16), resamples=0) for _ in range(80)]
    for name in ("sigma_px", "entropy_area_px2", "centre_share"):
        values = [getattr(found.metrics, name) for found in repeated]
        errors = [found.uncertainty.errors[name] for found in repeated]
        assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(values), rel=0.3), name


def test_agd_is_biased_down_as_one_over_samples_and_the_jackknife_sees_it() -> None:
    rng = np.random.default_rng(1)
    truth = assessed(FIELD[None]).metrics.agd
    few = [assessed(noisy_maps(rng, 16, 0.4), resamples=0) for _ in range(60)]
    many = [assessed(noisy_maps(rng, 64, 0.4), resamples=0) for _ in range(20)]
    lack = truth - np.mean([found.metrics.agd for found in few])
    assert lack > 0
    assert (truth - np.mean([found.metrics.agd for found in many])) == pytest.approx(lack / 4, rel=0.15)
    assert np.mean([found.uncertainty.biases["agd"] for found in few]) == pytest.approx(-lack, rel=0.15)


@pytest.mark.slow
def test_intervals_cover_the_figure_of_infinitely_many_samples() -> None:
    rng = np.random.default_rng(2)
    truth = assessed(FIELD[None]).metrics
    found = [assessed(noisy_maps(rng, 24, 0.5), resamples=100).uncertainty.intervals for _ in range(100)]
    for name in ("sigma_px", "agd", "entropy_area_px2"):
        covered = np.mean([each[name].low <= getattr(truth, name) <= each[name].high for each in found])
        assert covered >= 0.85, name  # of a nominal 0.95, with 24 samples


def test_initialisations_are_resampled_within_themselves() -> None:
    """Two initialisations of different widths: their difference is spread, not sampling error."""
    wide = np.exp(-(_Y**2 + _X**2) / 2 / 4.0**2)
    found = assessed(np.stack([FIELD] * 4 + [wide] * 4), [0] * 4 + [1] * 4)
    assert found.uncertainty.errors["sigma_px"] < 1e-9
    widths = [metrics.sigma_px for metrics in found.per_initialisation]
    assert found.uncertainty.spread["sigma_px"] == pytest.approx(abs(widths[0] - widths[1]) / np.sqrt(2))


def test_one_sample_an_initialisation_is_resampled_across_them() -> None:
    rng = np.random.default_rng(3)
    found = assessed(noisy_maps(rng, 6), list(range(6)))
    assert found.uncertainty.errors["sigma_px"] > 0
    assert found.uncertainty.intervals["sigma_px"].low < found.metrics.sigma_px


def test_a_single_sample_has_no_uncertainty() -> None:
    found = assessed(FIELD[None])
    assert (found.uncertainty.intervals, found.uncertainty.errors, found.uncertainty.spread) == ({}, {}, {})
    assert not precise_enough(found, 0.5)


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
