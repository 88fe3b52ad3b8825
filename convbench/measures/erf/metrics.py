"""Figures of effective receptive fields.

A map enters its figures through sums that are linear in it (moments, mass by distance, sections) and through its
entropy. So the sums are taken once of every group of samples, and any resample of the groups is a weighted sum of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from convbench.errors import EmptyMapError
from convbench.measures.erf.gaussian import REACH, moment_entropy, radial_gaussian
from convbench.measures.erf.geometry import Groups, Indices, Window, support_window, window_around
from convbench.measures.erf.mixture import two_gaussians
from convbench.measures.erf.moments import Moments, kurtosis, monomials, spread
from convbench.measures.erf.result import Box, ErfMetrics, Floats, RadialProfile, TwoGaussians

SMALLEST_SIGMA_PX = 0.5
"""Below this spread a map is little but one pixel, which any Gaussian of its moments fits: AGD says nothing."""
_SQUARE_SHARES = (20, 30, 50, 99)
_RADIUS_SHARES = (50, 90, 99)
_BLOCK_ELEMENTS = 1 << 22


@dataclass(frozen=True, slots=True)
class Steps:
    """A figure that is the first of growing sizes to hold a share of the map.

    kind: the field of `Sums` with the map's mass by size. sizes: (K,) the figure's value at each.
    """

    kind: Literal["squares", "rings"]
    share: float
    sizes: Floats


@dataclass(frozen=True, slots=True)
class Sums:
    """What a map's figures are computed from, for B maps; linear in the map.

    pixels: (B, P). moments: (B, 15) Σ map·yⁱxʲ, i + j ≤ 4. rings: (B, K). squares: (B, S). annuli: (B, A).
    sections: along y and x through the centre. centre, neighbours: (B, ·) the pixels there.
    """

    pixels: Floats
    moments: Floats
    rings: Floats
    squares: Floats
    annuli: Floats
    section_y: Floats
    section_x: Floats

    def mixed(self, weights: Floats) -> Sums:
        """The sums of R weighted sums of the maps: weights (R, B)."""
        return Sums(*(weights @ getattr(self, name) for name in self.__slots__))

    def normalised(self) -> Sums:
        """The sums of the maps divided by their totals."""
        total = self.moments[:, :1]
        return Sums(*(getattr(self, name) / total for name in self.__slots__))


class Ruler:
    """Measures maps of one field: the geometry around its centre, prepared once.

    total: (h, w), the sum of every map to come, so that no map is non-zero where it is zero. box: the part of the image
    that the maps cover; they are zero outside. image: (H, W). centre: (y, x) of the theoretical receptive field.
    Raises EmptyMapError when ``total`` is zero.
    """

    def __init__(self, total: Floats, box: Box, image: tuple[int, int], centre: tuple[float, float]) -> None:
        if not total.any():
            raise EmptyMapError("the map is zero everywhere: nothing of the input reaches the probed output")
        self._box = box
        self.seen_pixels = int(np.count_nonzero(total))
        self.window: Window = support_window(total, box, image, centre)
        self.rings: Groups = self.window.rings()
        self.squares: Groups = self.window.squares()
        self.annuli: Groups = self.window.annuli()
        self._radius_px: Floats = np.hypot(self.window.y, self.window.x)
        self._monomials: Floats = monomials(self.window.y, self.window.x)
        self._centre = self.window.centre_pixels()
        self._neighbours = self.window.neighbour_pixels()

    def sums(self, maps: Floats) -> Sums:
        """maps: (B, h, w) over the box, non-negative."""
        pixels = self.window.cut(maps, self._box)
        image = pixels.reshape(-1, *self.window.shape)
        columns = np.abs(self.window.x.reshape(self.window.shape)[0]) <= 0.5
        rows = np.abs(self.window.y.reshape(self.window.shape)[:, 0]) <= 0.5
        return Sums(
            pixels=pixels,
            moments=pixels @ self._monomials,
            rings=self.rings.sums(pixels),
            squares=self.squares.sums(pixels),
            annuli=self.annuli.sums(pixels),
            section_y=image[:, :, columns].mean(axis=2),
            section_x=image[:, rows, :].mean(axis=1),
        )

    def figures(self, sums: Sums) -> dict[str, Floats]:
        """Every numeric figure of ErfMetrics, NaN where undefined (all of them for a zero map): name → (B,)."""
        block = max(1, _BLOCK_ELEMENTS // sums.pixels.shape[1])
        figures = {name: np.full(len(sums.pixels), np.nan) for name in ErfMetrics.names()}
        filled, steps = np.flatnonzero(sums.moments[:, 0] > 0), self.steps()
        for start in range(0, len(filled), block):
            chosen = filled[start : start + block]
            part = Sums(*(getattr(sums, name)[chosen] for name in Sums.__slots__))
            for name, column in self._figures(part.normalised(), steps).items():
                figures[name][chosen] = column
        return figures

    def steps(self) -> dict[str, Steps]:
        """The sides and areas of squares and the radii of circles that hold given shares."""
        side = 2 * self.squares.distance_px + 1
        ratio = np.cumsum(self.squares.pixels) / (self.window.image[0] * self.window.image[1])
        found: dict[str, Steps] = {}
        for share in _SQUARE_SHARES:
            found[f"side_{share}_px"] = Steps("squares", share / 100, side)
            found[f"area_ratio_{share}"] = Steps("squares", share / 100, ratio)
        for share in _RADIUS_SHARES:
            found[f"radius_{share}_px"] = Steps("rings", share / 100, self.rings.distance_px)
        return found

    def _figures(self, p: Sums, steps: Mapping[str, Steps]) -> dict[str, Floats]:
        entropy = _entropy(p.pixels)
        moments = Moments.of(p.moments)
        lowered, lowered_entropy = self._without_centre(p, entropy)
        agd, lowered_agd = self._agd([moments, lowered], [entropy, lowered_entropy])
        return {
            **spread(moments),
            **_widths(p.section_y, p.section_x),
            **{name: step.sizes[_first_reaching(getattr(p, step.kind), step.share)] for name, step in steps.items()},
            "entropy_area_px2": np.exp(entropy),
            "centre_share": p.pixels[:, self._centre].sum(axis=1),
            "monotonicity": _monotonicity(p.annuli / self.annuli.pixels),
            **kurtosis(moments),
            "agd": agd,
            "agd_radial": self._agd_radial(p),
            "sigma_without_centre_px": np.where(lowered.total > 0, lowered.sigma, np.nan),
            "agd_without_centre": lowered_agd,
        }

    def _agd(self, moments: Sequence[Moments], entropies: Sequence[Floats]) -> list[Floats]:
        """The scores of several kinds of maps, B of each."""
        sigma, mean, covariance, entropy = (
            np.concatenate(parts)
            for parts in (
                [item.sigma for item in moments],
                [item.mean for item in moments],
                [item.covariance for item in moments],
                entropies,
            )
        )
        result = np.full(len(entropy), np.nan)
        defined = sigma >= SMALLEST_SIGMA_PX
        if defined.any():
            cross = moment_entropy(self.window.image, self.window.centre, mean[defined], covariance[defined])
            result[defined] = np.exp(np.minimum(entropy[defined] - cross, 0.0))
        return np.split(result, len(moments))

    def _agd_radial(self, p: Sums) -> Floats:
        result = np.full(len(p.rings), np.nan)
        mean_square = p.rings @ self.rings.distance_px**2
        defined = np.sqrt(mean_square / 2) >= SMALLEST_SIGMA_PX
        if defined.any():
            mass, gaussian = p.annuli[defined], self._radial_gaussian(mean_square[defined], self._radius_px)
            in_annuli = self.annuli.sums(gaussian)
            logarithm = np.log(np.divide(mass, in_annuli, out=np.ones_like(mass), where=mass > 0))
            result[defined] = np.exp(np.minimum(-np.sum(mass * logarithm, axis=1), 0.0))
        return result

    def profile(self, sums: Sums) -> RadialProfile:
        """The radial profile of the first map and of the Gaussian behind its ``agd_radial``."""
        p = sums.normalised()
        distance = self.annuli.distance_px
        mean_square = p.rings[:1] @ self.rings.distance_px**2
        is_pixel = mean_square[0] == 0
        gaussian = np.full(len(distance), np.nan) if is_pixel else self._radial_gaussian(mean_square, distance)[0]
        return RadialProfile(distance, p.annuli[0] / self.annuli.pixels, gaussian)

    def two_gaussians(self, sums: Sums, agd: float | None) -> TwoGaussians | None:
        """The mixture that the first map is, where it is one rather than a Gaussian of that AGD."""
        p = sums.normalised()
        sizes = self._image_rings(float(p.rings[0] @ self.rings.distance_px**2))
        mass = np.zeros_like(sizes[0])
        mass[np.searchsorted(sizes[0], self.rings.distance_px - 1e-9)] = p.rings[0]
        return two_gaussians(sizes[0], mass, sizes[1], float(_entropy(p.pixels)[0]), agd)

    def _image_rings(self, mean_square: float) -> tuple[Floats, Floats]:
        """Distances from the centre and pixels at each, as far as the map or a Gaussian of that E[r²] reaches."""
        reach = max(REACH * np.sqrt(mean_square / 2) + 1, float(self.rings.distance_px[-1]) + 1)
        return window_around(self.window.image, self.window.centre, reach, reach).ring_sizes()

    def _radial_gaussian(self, mean_square: Floats, distance_px: Floats) -> Floats:
        """The Gaussians on the image with E[r²] (B,), at these distances (K,): (B, K)."""
        theta, log_partition = radial_gaussian(*self._image_rings(float(mean_square.mean())), mean_square)
        result: Floats = np.exp(theta[:, None] * distance_px**2 - log_partition[:, None])
        return result

    def _without_centre(self, p: Sums, entropy: Floats) -> tuple[Moments, Floats]:
        """Moments and entropy of the maps with the centre no higher than the mean of its neighbours."""
        if not len(self._neighbours):
            return Moments.of(p.moments), entropy
        centre = p.pixels[:, self._centre]
        level = p.pixels[:, self._neighbours].mean(axis=1, keepdims=True)
        excess = np.maximum(centre - level, 0.0)
        remaining = p.moments - excess @ self._monomials[self._centre]
        total = np.where(remaining[:, 0] > 1e-12, remaining[:, 0], 0.0)
        log_terms = -entropy - _plogp(centre).sum(axis=1) + _plogp(centre - excess).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            lowered = Moments.of(np.where(total[:, None] > 0, remaining / total[:, None], np.nan), total)
            return lowered, np.log(total) - log_terms / total


def measure_map(map_: Floats, centre: tuple[float, float]) -> ErfMetrics:
    """The figures of one map (H, W), non-negative, about a centre (y, x) in pixels.

    Raises EmptyMapError when the map is zero, ValueError when it is negative or not finite.
    """
    map_ = np.asarray(map_, np.float64)
    if not np.isfinite(map_).all() or (map_ < 0).any():
        raise ValueError("a map of an effective receptive field must be finite and non-negative")
    height, width = map_.shape
    ruler = Ruler(map_, Box.whole(height, width), (height, width), centre)
    return metrics_at(ruler.figures(ruler.sums(map_[None])), 0)


def metrics_at(columns: Mapping[str, Floats], index: int) -> ErfMetrics:
    """The figures of one of the maps as a dataclass, with None for NaN and the reason why AGD is empty."""
    figures = {name: float(column[index]) for name, column in columns.items()}
    values = {name: None if np.isnan(value) else value for name, value in figures.items()}
    reason = None
    if values["sigma_px"] is None:
        reason = "the map is zero everywhere"
    elif values["agd"] is None:
        reason = (
            f"σ is {figures['sigma_px']:.3g} px, below {SMALLEST_SIGMA_PX} px: "
            "a map of little more than one pixel fits any Gaussian"
        )
    elif values["agd_without_centre"] is None:
        reason = f"without its centre the map has a σ below {SMALLEST_SIGMA_PX} px"
    return ErfMetrics(**values, agd_reason=reason)


def _widths(section_y: Floats, section_x: Floats) -> dict[str, Floats]:
    width_y = np.array([_full_width(section) for section in section_y])
    width_x = np.array([_full_width(section) for section in section_x])
    return {"fwhm_px": np.sqrt(width_y * width_x), "fwhm_y_px": width_y, "fwhm_x_px": width_x}


def _full_width(section: Floats) -> float:
    """Width around the peak where the section, interpolated linearly, passes half of it; NaN if it never does."""
    peak = int(section.argmax())
    half = section[peak] / 2
    if half == 0:
        return float("nan")
    return _fall(section[peak:], half) + _fall(section[peak::-1], half)


def _fall(section: Floats, level: float) -> float:
    """Distance from the start at which a section falls to the level."""
    below = np.flatnonzero(section < level)
    if not len(below):
        return float("nan")
    last = int(below[0])
    return float(last - (level - section[last]) / (section[last - 1] - section[last]))


def _monotonicity(profile: Floats) -> Floats:
    steps = np.diff(profile, axis=1)
    total = np.abs(steps).sum(axis=1)
    falls = -np.minimum(steps, 0.0).sum(axis=1)
    result: Floats = np.divide(falls, total, out=np.full(len(total), np.nan), where=total > 0)
    return result


def _first_reaching(mass: Floats, share: float) -> Indices:
    """Index of the first group at which the cumulative mass reaches the share, to rounding."""
    reached = np.cumsum(mass, axis=1) >= share * (1 - 1e-12)
    return np.asarray(reached.argmax(axis=1))


def _entropy(p: Floats) -> Floats:
    result: Floats = -_plogp(p).sum(axis=1)
    return result


def _plogp(p: Floats) -> Floats:
    result: Floats = p * np.log(p, out=np.zeros_like(p), where=p > 0)
    return result
