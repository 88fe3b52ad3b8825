"""Figures of effective receptive fields.

A map enters its figures through sums that are linear in it (moments, mass by distance, sections) and through its
entropy. So the sums are taken once of every group of samples, and any resample of the groups is a weighted sum of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import comb

import numpy as np

from convbench.errors import EmptyMapError
from convbench.measures.erf.gaussian import REACH, moment_entropy, radial_entropy
from convbench.measures.erf.geometry import Groups, Indices, Window, support_window, window_around
from convbench.measures.erf.result import Box, ErfMetrics, Floats, RadialProfile

SMALLEST_SIGMA_PX = 0.5
"""Below this spread a map is little but one pixel, which any Gaussian of its moments fits: AGD says nothing."""
_SQUARE_SHARES = (20, 30, 50, 99)
_RADIUS_SHARES = (50, 90, 99)
_POWERS = [(i, j) for total in range(5) for i in range(total, -1, -1) for j in (total - i,)]
_BLOCK_ELEMENTS = 1 << 22


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
        self.window: Window = support_window(total, box, image, centre)
        self.rings: Groups = self.window.rings()
        self.squares: Groups = self.window.squares()
        self.annuli: Groups = self.window.annuli()
        self._monomials: Floats = np.stack([self.window.y**i * self.window.x**j for i, j in _POWERS], axis=1)
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
        """Every numeric figure of ErfMetrics, NaN where undefined: name → (B,)."""
        block = max(1, _BLOCK_ELEMENTS // sums.pixels.shape[1])
        parts = []
        for start in range(0, len(sums.pixels), block):
            part = Sums(*(getattr(sums, name)[start : start + block] for name in Sums.__slots__))
            parts.append(self._figures(part.normalised()))
        return {name: np.concatenate([part[name] for part in parts]) for name in ErfMetrics.names()}

    def _figures(self, p: Sums) -> dict[str, Floats]:
        entropy = _entropy(p.pixels)
        moments = _Moments.of(p.moments)
        lowered, lowered_entropy = self._without_centre(p, entropy)
        return {
            **_spread(moments),
            **_widths(p.section_y, p.section_x),
            **self._squares(p.squares),
            **self._radii(p.rings),
            "entropy_area_px2": np.exp(entropy),
            "centre_share": p.pixels[:, self._centre].sum(axis=1),
            "monotonicity": _monotonicity(p.annuli / self.annuli.pixels),
            **_kurtosis(moments),
            "agd": self._agd(moments, entropy),
            "agd_radial": self._agd_radial(p.rings),
            "sigma_without_centre_px": np.where(lowered.total > 0, lowered.sigma, np.nan),
            "agd_without_centre": self._agd(lowered, lowered_entropy),
        }

    def _squares(self, mass: Floats) -> dict[str, Floats]:
        side = 2 * self.squares.distance_px + 1
        area = np.cumsum(self.squares.pixels)
        ratio = area / (self.window.image[0] * self.window.image[1])
        figures = {}
        for share in _SQUARE_SHARES:
            index = _first_reaching(mass, share / 100)
            figures[f"side_{share}_px"] = side[index]
            figures[f"area_ratio_{share}"] = ratio[index]
        return figures

    def _radii(self, mass: Floats) -> dict[str, Floats]:
        return {
            f"radius_{share}_px": self.rings.distance_px[_first_reaching(mass, share / 100)] for share in _RADIUS_SHARES
        }

    def _agd(self, moments: _Moments, entropy: Floats) -> Floats:
        result = np.full(len(entropy), np.nan)
        defined = moments.sigma >= SMALLEST_SIGMA_PX
        if defined.any():
            cross = moment_entropy(
                self.window.image, self.window.centre, moments.mean[defined], moments.covariance[defined]
            )
            result[defined] = np.exp(np.minimum(entropy[defined] - cross, 0.0))
        return result

    def _agd_radial(self, mass: Floats) -> Floats:
        mean_square = mass @ self.rings.distance_px**2
        result = np.full(len(mass), np.nan)
        defined = np.sqrt(mean_square / 2) >= SMALLEST_SIGMA_PX
        if defined.any():
            rings = self._plane_rings(mean_square)
            cross, _ = radial_entropy(rings.distance_px, rings.pixels, mean_square[defined])
            entropy = _entropy(mass) + mass @ np.log(self.rings.pixels)
            result[defined] = np.exp(np.minimum(entropy[defined] - cross, 0.0))
        return result

    def profile(self, sums: Sums) -> RadialProfile:
        """The radial profile of the first map and of the Gaussian behind its ``agd_radial``."""
        p = sums.normalised()
        mean_square = p.rings[:1] @ self.rings.distance_px**2
        gaussian = np.full(len(self.annuli.distance_px), np.nan)
        if mean_square[0] > 0:
            rings = self._plane_rings(mean_square)
            entropy, theta = radial_entropy(rings.distance_px, rings.pixels, mean_square)
            # The dual value is log Z − θ·E[r²].
            gaussian = np.exp(theta[0] * (self.annuli.distance_px**2 - mean_square[0]) - entropy[0])
        return RadialProfile(self.annuli.distance_px, p.annuli[0] / self.annuli.pixels, gaussian)

    def _plane_rings(self, mean_square: Floats) -> Groups:
        """The rings of the image that the map or its Gaussian reaches."""
        reach = max(REACH * np.sqrt(mean_square.mean() / 2) + 1, float(self.rings.distance_px[-1]) + 1)
        return window_around(self.window.image, self.window.centre, reach, reach).rings()

    def _without_centre(self, p: Sums, entropy: Floats) -> tuple[_Moments, Floats]:
        """Moments and entropy of the maps with the centre no higher than the mean of its neighbours."""
        if not len(self._neighbours):
            return _Moments.of(p.moments), entropy
        centre = p.pixels[:, self._centre]
        level = p.pixels[:, self._neighbours].mean(axis=1, keepdims=True)
        excess = np.maximum(centre - level, 0.0)
        remaining = p.moments - excess @ self._monomials[self._centre]
        total = np.where(remaining[:, 0] > 1e-12, remaining[:, 0], 0.0)
        log_terms = -entropy - _plogp(centre).sum(axis=1) + _plogp(centre - excess).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            lowered = _Moments.of(np.where(total[:, None] > 0, remaining / total[:, None], np.nan), total)
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
    if values["agd"] is None:
        reason = (
            f"σ is {figures['sigma_px']:.3g} px, below {SMALLEST_SIGMA_PX} px: "
            "a map of little more than one pixel fits any Gaussian"
        )
    elif values["agd_without_centre"] is None:
        reason = f"without its centre the map has a σ below {SMALLEST_SIGMA_PX} px"
    return ErfMetrics(**values, agd_reason=reason)


@dataclass(frozen=True, slots=True)
class _Moments:
    """Normalised moments of B maps. total: (B,) mass. mean: (B, 2). covariance: (B, 2, 2). raw: (B, 15)."""

    total: Floats
    mean: Floats
    covariance: Floats
    raw: Floats

    @classmethod
    def of(cls, raw: Floats, total: Floats | None = None) -> _Moments:
        mean = raw[:, [_POWERS.index((1, 0)), _POWERS.index((0, 1))]]
        yy, yx, xx = (raw[:, _POWERS.index(power)] for power in ((2, 0), (1, 1), (0, 2)))
        second = np.stack([np.stack([yy, yx], axis=-1), np.stack([yx, xx], axis=-1)], axis=-2)
        covariance = second - mean[:, :, None] * mean[:, None, :]
        diagonal = covariance[:, [0, 1], [0, 1]]
        covariance[:, [0, 1], [0, 1]] = np.maximum(diagonal, 0.0)
        return cls(raw[:, 0] if total is None else total, mean, covariance, raw)

    @property
    def sigma(self) -> Floats:
        result: Floats = np.sqrt((self.covariance[:, 0, 0] + self.covariance[:, 1, 1]) / 2)
        return result

    def central(self, i: int, j: int) -> Floats:
        """E[(y − ȳ)ⁱ(x − x̄)ʲ]."""
        y, x = self.mean[:, 0], self.mean[:, 1]
        total = np.zeros(len(self.raw))
        for a in range(i + 1):
            for b in range(j + 1):
                factor = comb(i, a) * comb(j, b) * (-y) ** (i - a) * (-x) ** (j - b)
                total += factor * self.raw[:, _POWERS.index((a, b))]
        return total


def _spread(moments: _Moments) -> dict[str, Floats]:
    sigma_y, sigma_x = np.sqrt(moments.covariance[:, 0, 0]), np.sqrt(moments.covariance[:, 1, 1])
    yy, xx, yx = moments.covariance[:, 0, 0], moments.covariance[:, 1, 1], moments.covariance[:, 0, 1]
    half_gap = np.hypot((xx - yy) / 2, yx)
    middle = (xx + yy) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        aspect = np.sqrt(np.maximum(middle - half_gap, 0.0) / (middle + half_gap))
    angle = np.degrees(np.arctan2(2 * yx, xx - yy)) / 2
    is_round = half_gap <= 1e-9 * np.maximum(middle, 1e-300)
    return {
        "sigma_px": moments.sigma,
        "sigma_y_px": sigma_y,
        "sigma_x_px": sigma_x,
        "offset_y_px": moments.mean[:, 0],
        "offset_x_px": moments.mean[:, 1],
        "aspect": np.where(middle > 0, aspect, np.nan),
        "orientation_deg": np.where(is_round, np.nan, angle),
    }


def _kurtosis(moments: _Moments) -> dict[str, Floats]:
    yy, xx, yx = moments.covariance[:, 0, 0], moments.covariance[:, 1, 1], moments.covariance[:, 0, 1]
    determinant = yy * xx - yx**2
    with np.errstate(divide="ignore", invalid="ignore"):
        # (dᵀΣ⁻¹d)² multiplied out: Σ⁻¹ = [[xx, −yx], [−yx, yy]]/determinant.
        mardia = (
            xx**2 * moments.central(4, 0)
            + yy**2 * moments.central(0, 4)
            + (4 * yx**2 + 2 * xx * yy) * moments.central(2, 2)
            - 4 * yx * (xx * moments.central(3, 1) + yy * moments.central(1, 3))
        ) / determinant**2
        along_y, along_x = moments.central(4, 0) / yy**2, moments.central(0, 4) / xx**2
    flat_y, flat_x = yy < 1e-12, xx < 1e-12
    singular = flat_y | flat_x | (determinant < 1e-9 * yy * xx)
    return {
        "kurtosis": np.where(singular, np.nan, mardia - 8),
        "kurtosis_y": np.where(flat_y, np.nan, along_y - 3),
        "kurtosis_x": np.where(flat_x, np.nan, along_x - 3),
    }


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
