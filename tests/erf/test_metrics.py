"""Figures of maps whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from convbench.errors import EmptyMapError
from convbench.measures.erf import ErfMetrics, measure_map
from convbench.measures.erf.metrics import Ruler, _first_reaching
from convbench.measures.erf.result import Box, Floats, TwoGaussians
from tests.erf.closed_form import composed, placed


def stacked_boxes(kernel: int, depth: int, size: int = 224) -> tuple[Floats, tuple[float, float]]:
    taps = composed(*[np.ones(kernel)] * depth)
    start = (size - len(taps)) // 2
    centre = start + (len(taps) - 1) / 2
    return placed(np.outer(taps, taps), size, start), (centre, centre)


def gaussian(
    size: int, sigma_y: float, sigma_x: float, centre: tuple[float, float], correlation: float = 0.0
) -> Floats:
    covariance = np.array(
        [[sigma_y**2, correlation * sigma_y * sigma_x], [correlation * sigma_y * sigma_x, sigma_x**2]]
    )
    y, x = np.meshgrid(np.arange(size) - centre[0], np.arange(size) - centre[1], indexing="ij")
    offset = np.stack([y, x], axis=-1)
    return np.exp(-np.einsum("...i,ij,...j", offset, np.linalg.inv(covariance), offset) / 2)


@pytest.mark.parametrize(("kernel", "depth", "agd"), [(25, 1, 0.70), (13, 2, 0.950), (7, 4, 0.9933)])
def test_agd_of_stacked_boxes(kernel: int, depth: int, agd: float) -> None:
    digits = len(str(agd)) - 2
    assert round(measure_map(*stacked_boxes(kernel, depth)).agd, digits) == agd


def test_agd_of_a_cross() -> None:
    cross = placed(np.ones((51, 5)), 224, 87, 110) + placed(np.ones((5, 51)), 224, 110, 87)
    assert measure_map(cross, (112.0, 112.0)).agd == pytest.approx(0.255, abs=5e-4)


def test_agd_sees_a_spike_that_least_squares_would_not() -> None:
    field = gaussian(225, 8, 8, (112, 112))
    spiked = field / field.sum()
    spiked[112, 112] += 1
    metrics = measure_map(spiked, (112, 112))
    assert metrics.agd == pytest.approx(0.12, abs=5e-3)
    assert metrics.agd_without_centre == pytest.approx(1.0, abs=1e-6)
    assert metrics.sigma_without_centre_px == pytest.approx(8.0, rel=1e-4)
    assert metrics.centre_share == pytest.approx(0.5, abs=2e-3)


def test_agd_of_a_box_does_not_depend_on_where_it_lies() -> None:
    middle, corner = placed(np.ones((9, 9)), 96, 44), placed(np.ones((9, 9)), 96, 20, 60)
    assert measure_map(middle, (48, 48)).agd == pytest.approx(measure_map(corner, (48, 48)).agd, rel=1e-9)


def test_agd_is_taken_on_the_image_not_on_the_crop() -> None:
    assert measure_map(np.ones((25, 25)), (12, 12)).agd == pytest.approx(1.0)
    assert measure_map(*stacked_boxes(25, 1)).agd < 0.71


@pytest.mark.parametrize(
    ("sigma_y", "sigma_x", "correlation", "centre"),
    [
        (6, 6, 0, (32, 32)), (3, 9, 0, (32, 32)), (5, 8, 0.6, (32, 32)), (12, 12, 0, (10, 40)), (0.7, 0.7, 0, (32, 32)),
        (40, 25, 0.3, (31.5, 31.5)),
    ],
)  # fmt: skip
def test_a_gaussian_scores_one_cut_by_the_image_or_not(
    sigma_y: float, sigma_x: float, correlation: float, centre: tuple[float, float]
) -> None:
    metrics = measure_map(gaussian(64, sigma_y, sigma_x, centre, correlation), centre)
    assert metrics.agd == pytest.approx(1.0, abs=1e-9)


def test_the_compared_gaussian_is_the_most_even_map_with_the_same_moments() -> None:
    """The cross-entropy by a general optimiser, for a map that is cut by the image and skew."""
    rng = np.random.default_rng(3)
    p = gaussian(16, 4, 3, (5, 9), 0.4) * rng.uniform(0.5, 1.5, (16, 16))
    p /= p.sum()
    y, x = np.mgrid[:16, :16] / 8.0 - 1
    features = np.stack([y, x, y * y, y * x, x * x]).reshape(5, -1)
    target = features @ p.ravel()
    dual = minimize(
        lambda theta: np.log(np.exp(theta @ features).sum()) - theta @ target, np.zeros(5), tol=1e-14, method="BFGS"
    ).fun
    entropy = -(p * np.log(p)).sum()
    assert measure_map(p, (7.5, 7.5)).agd == pytest.approx(np.exp(entropy - dual), rel=1e-7)


def test_a_pixel_has_no_agd_but_a_reason() -> None:
    delta = placed(np.ones((1, 1)), 9, 4)
    metrics = measure_map(delta, (4, 4))
    assert (metrics.agd, metrics.agd_radial, metrics.agd_without_centre) == (None, None, None)
    assert "below 0.5 px" in metrics.agd_reason
    assert (metrics.sigma_px, metrics.radius_99_px, metrics.side_99_px, metrics.entropy_area_px2) == (0, 0, 1, 1)


def test_a_line_is_a_gaussian_in_one_dimension() -> None:
    taps = np.exp(-((np.arange(64) - 32.0) ** 2) / 2 / 4**2)
    metrics = measure_map(placed(taps[None], 64, 32, 0), (32, 32))
    assert metrics.agd == pytest.approx(1.0, abs=1e-9)
    assert (metrics.sigma_y_px, metrics.aspect, metrics.kurtosis_y) == (0, 0, None)


def test_a_diagonal_line_is_measured_too() -> None:
    metrics = measure_map(np.eye(65), (32, 32))
    assert metrics.orientation_deg == pytest.approx(45)
    assert metrics.aspect == pytest.approx(0, abs=1e-6)
    # Along the line it is a box of 65 points between the borders of the image: as even as can be.
    assert metrics.agd == pytest.approx(1.0, abs=1e-6)


def test_moments_shares_and_radii_of_a_small_map() -> None:
    map_ = placed(np.array([[0, 1, 0], [2, 4, 2], [0, 1, 0]], float), 9, 3)
    metrics = measure_map(map_, (4, 4))
    assert metrics.sigma_y_px == pytest.approx(np.sqrt(2 / 10))
    assert metrics.sigma_x_px == pytest.approx(np.sqrt(4 / 10))
    assert metrics.sigma_px == pytest.approx(np.sqrt(3 / 10))
    assert metrics.aspect == pytest.approx(np.sqrt(1 / 2))
    assert metrics.centre_share == pytest.approx(0.4)
    assert (metrics.side_20_px, metrics.side_30_px, metrics.side_50_px, metrics.side_99_px) == (1, 1, 3, 3)
    assert metrics.area_ratio_50 == pytest.approx(9 / 81)
    assert (metrics.radius_50_px, metrics.radius_90_px) == (1, 1)
    assert metrics.entropy_area_px2 == pytest.approx(
        np.exp(-(0.4 * np.log(0.4) + 0.4 * np.log(0.2) + 0.2 * np.log(0.1)))
    )
    # Sections 1, 4, 1 and 2, 4, 2: half of the peak is 2.
    assert metrics.fwhm_y_px == pytest.approx(2 * (1 / 1.5) * 1.0)
    assert metrics.fwhm_x_px == pytest.approx(2.0)


@pytest.mark.parametrize(("kernel", "depth"), [(5, 1), (9, 1), (5, 3), (3, 6)])
def test_kurtosis_of_boxes(kernel: int, depth: int) -> None:
    """Excess kurtosis of k equal points is −6/5·(k² + 1)/(k² − 1); of n such in sequence, one n-th of it."""
    metrics = measure_map(*stacked_boxes(kernel, depth, 65))
    excess = -6 / 5 * (kernel**2 + 1) / (kernel**2 - 1) / depth
    assert metrics.kurtosis_y == pytest.approx(excess, abs=1e-10)
    assert metrics.kurtosis == pytest.approx(2 * excess, abs=1e-10)


def test_full_width_of_a_box_and_of_a_gaussian() -> None:
    assert measure_map(*stacked_boxes(7, 1, 33)).fwhm_px == pytest.approx(7.0)
    wide = measure_map(gaussian(129, 10, 10, (64, 64)), (64, 64))
    assert wide.fwhm_px == pytest.approx(2 * np.sqrt(2 * np.log(2)) * 10, rel=1e-3)


def test_squares_are_even_where_the_centre_lies_between_pixels() -> None:
    metrics = measure_map(placed(np.ones((4, 4)), 16, 6), (7.5, 7.5))
    assert (metrics.side_20_px, metrics.side_30_px, metrics.side_99_px) == (2, 4, 4)
    assert metrics.radius_99_px == pytest.approx(1.5 * np.sqrt(2))


def test_a_square_that_passes_the_border_counts_the_pixels_inside() -> None:
    map_ = np.zeros((8, 8))
    map_[0, 0] = map_[0, 6] = 1
    metrics = measure_map(map_, (0, 0))
    assert metrics.side_99_px == 13
    assert metrics.area_ratio_99 == pytest.approx(7 * 7 / 64)


@pytest.mark.parametrize(
    ("mass", "share", "index"),
    [
        ([0.5, 0.5], 0.5, 0),  # reached exactly is reached
        ([0.5, 0.5], 0.5 + 1e-9, 1),
        ([0.1] * 10, 0.8, 7),  # eight tenths add up to 0.7999999999999999
        ([0.0, 0.99, 0.01], 0.99, 1),
        ([0.2, 0.3, 0.5], 0.2, 0),
    ],
)
def test_a_share_is_reached_by_the_first_group_that_holds_it(mass: list[float], share: float, index: int) -> None:
    assert _first_reaching(np.array([mass, mass[::-1]]), share)[0] == index


def test_the_lowered_centre_is_the_mean_of_its_neighbours() -> None:
    """Against the map that is lowered by hand; one whose centre does not stand out stays as it is."""
    rng = np.random.default_rng(3)
    map_ = rng.uniform(1, 2, size=(9, 9))
    map_[4, 4] = 50.0
    by_hand = map_.copy()
    by_hand[4, 4] = (map_[3:6, 3:6].sum() - map_[4, 4]) / 8
    found, expected = measure_map(map_, (4, 4)), measure_map(by_hand, (4, 4))
    assert found.sigma_without_centre_px == pytest.approx(expected.sigma_px, rel=1e-12)
    assert found.agd_without_centre == pytest.approx(expected.agd, rel=1e-9)
    assert expected.sigma_without_centre_px == pytest.approx(expected.sigma_px, rel=1e-12)
    assert expected.agd_without_centre == pytest.approx(expected.agd, rel=1e-9)


@pytest.mark.parametrize(("side_mass", "defined"), [(0.499, False), (0.501, True)])
def test_radial_agd_needs_half_a_pixel_of_spread(side_mass: float, defined: bool) -> None:
    """Of a centre and four neighbours with ``side_mass`` in all, E[r²] is that mass, and σ = √(E[r²]/2)."""
    map_ = np.zeros((7, 7))
    map_[3, 3] = 1 - side_mass
    map_[[2, 4, 3, 3], [3, 3, 2, 4]] = side_mass / 4
    assert (measure_map(map_, (3, 3)).agd_radial is not None) == defined


def test_a_ring_is_not_monotonic() -> None:
    y, x = np.mgrid[-20:21, -20:21]
    radius = np.hypot(y, x)
    ring = measure_map(np.exp(-((radius - 10) ** 2) / 8), (20, 20)).monotonicity
    assert ring == pytest.approx(0.5, abs=0.01)  # it rises from nothing as far as it falls
    assert measure_map(np.exp(-radius), (20, 20)).monotonicity == 1


def test_radial_agd_forgives_what_turns_round_the_centre() -> None:
    y, x = np.mgrid[-32:33, -32:33]
    field = np.exp(-(y**2 + x**2) / 2 / 6**2) * (1 + 0.8 * np.cos(4 * np.arctan2(y, x)))
    metrics = measure_map(field, (32, 32))
    assert metrics.agd < 0.9
    assert metrics.agd_radial > 0.97


@given(st.integers(0, 2**32 - 1), st.integers(5, 20), st.integers(5, 20), st.floats(1e-3, 1e6))
@settings(max_examples=60)
def test_figures_do_not_depend_on_scale_and_turn_with_the_map(seed: int, height: int, width: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    map_ = rng.exponential(size=(height, width)) * (rng.uniform(size=(height, width)) < 0.6)
    map_[height // 2, width // 2] += 0.1
    centre = ((height - 1) / 2, (width - 1) / 2)
    first, scaled, turned = (
        measure_map(map_, centre), measure_map(scale * map_, centre), measure_map(map_.T.copy(), centre[::-1])
    )  # fmt: skip
    swapped = {"y": "x", "x": "y"}
    for name in ErfMetrics.names():
        value = getattr(first, name)
        if value is None:
            continue
        assert getattr(scaled, name) == pytest.approx(value, rel=1e-6, abs=1e-9), name
        parts = name.split("_")
        twin = "_".join(swapped.get(part, part) for part in parts)
        if name != "orientation_deg":
            assert getattr(turned, twin) == pytest.approx(value, rel=1e-6, abs=1e-9), name
    assert 0 < (first.agd or 1) <= 1
    assert first.entropy_area_px2 <= np.count_nonzero(map_) * (1 + 1e-12)
    assert first.radius_50_px <= first.radius_90_px <= first.radius_99_px
    assert first.side_20_px <= first.side_30_px <= first.side_50_px <= first.side_99_px


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_maps_must_be_finite_and_not_negative(bad: float) -> None:
    map_ = np.ones((4, 4))
    map_[1, 1] = bad
    with pytest.raises(ValueError, match="finite and non-negative"):
        measure_map(map_, (2, 2))


def test_an_empty_map_is_an_error() -> None:
    with pytest.raises(EmptyMapError, match="zero everywhere"):
        measure_map(np.zeros((4, 4)), (2, 2))


def mixture_of(map_: Floats, centre: tuple[float, float]) -> TwoGaussians | None:
    image = (map_.shape[0], map_.shape[1])
    ruler = Ruler(map_, Box.whole(*image), image, centre)
    sums = ruler.sums(map_[None])
    return ruler.two_gaussians(sums, float(ruler.figures(sums)["agd"][0]))


def test_a_mixture_of_two_gaussians_is_found_again() -> None:
    narrow, wide = (gaussian(65, sigma, sigma, (32.0, 32.0)) for sigma in (1.5, 6.0))
    found = mixture_of(0.4 * narrow / narrow.sum() + 0.6 * wide / wide.sum(), (32.0, 32.0))
    assert found is not None
    # The wide one is cut at 5.3 standard deviations, which changes it by less than 1e-5.
    assert (found.inner_share, found.inner_sigma_px, found.outer_sigma_px) == pytest.approx((0.4, 1.5, 6.0), rel=3e-3)
    assert found.agd == pytest.approx(1.0, abs=1e-6)


def test_a_pixel_on_a_gaussian_is_two_of_which_one_has_no_width() -> None:
    map_ = gaussian(65, 4.0, 4.0, (32.0, 32.0))
    map_ /= map_.sum()
    map_[32, 32] += 1.0
    found = mixture_of(map_, (32.0, 32.0))
    assert found is not None
    assert found.inner_sigma_px == 0
    assert (found.inner_share, found.outer_sigma_px) == pytest.approx((0.5, 4.0), rel=1e-2)


@pytest.mark.parametrize("map_", [gaussian(65, 4.0, 4.0, (32.0, 32.0)), placed(np.ones((1, 1)), 65, 32)])
def test_what_one_gaussian_fits_is_not_called_two(map_: Floats) -> None:
    assert mixture_of(map_, (32.0, 32.0)) is None
