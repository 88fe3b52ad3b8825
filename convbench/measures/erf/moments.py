"""Moments of maps up to the fourth order, and what follows from them alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np

from convbench.measures.erf.result import Floats

POWERS = [(total - j, j) for total in range(5) for j in range(total + 1)]
"""Exponents (i, j) of the monomials yⁱxʲ, in the order of the columns of moments."""


def monomials(y: Floats, x: Floats) -> Floats:
    """yⁱxʲ for every pair of exponents: (P, 15)."""
    rows, columns = [np.ones_like(y)], [np.ones_like(x)]
    for _ in range(4):
        rows.append(rows[-1] * y)
        columns.append(columns[-1] * x)
    return np.stack([rows[i] * columns[j] for i, j in POWERS], axis=1)


@dataclass(frozen=True, slots=True)
class Moments:
    """Normalised moments of B maps. total: (B,) mass. mean: (B, 2). covariance: (B, 2, 2). raw: (B, 15)."""

    total: Floats
    mean: Floats
    covariance: Floats
    raw: Floats

    @classmethod
    def of(cls, raw: Floats, total: Floats | None = None) -> Moments:
        """raw: (B, 15) Σ p·yⁱxʲ of normalised maps. total: the mass they had before, 1 unless given."""
        mean = raw[:, [POWERS.index((1, 0)), POWERS.index((0, 1))]]
        yy, yx, xx = (raw[:, POWERS.index(power)] for power in ((2, 0), (1, 1), (0, 2)))
        second = np.stack([np.stack([yy, yx], axis=-1), np.stack([yx, xx], axis=-1)], axis=-2)
        covariance = second - mean[:, :, None] * mean[:, None, :]
        diagonal = covariance[:, [0, 1], [0, 1]]
        covariance[:, [0, 1], [0, 1]] = np.maximum(diagonal, 0.0)
        return cls(raw[:, 0] if total is None else total, mean, covariance, raw)

    @property
    def sigma(self) -> Floats:
        """√((σ_y² + σ_x²)/2): (B,)."""
        result: Floats = np.sqrt((self.covariance[:, 0, 0] + self.covariance[:, 1, 1]) / 2)
        return result

    def central(self, i: int, j: int) -> Floats:
        """E[(y − ȳ)ⁱ(x − x̄)ʲ]."""
        y, x = self.mean[:, 0], self.mean[:, 1]
        total = np.zeros(len(self.raw))
        for a in range(i + 1):
            for b in range(j + 1):
                factor = comb(i, a) * comb(j, b) * (-y) ** (i - a) * (-x) ** (j - b)
                total += factor * self.raw[:, POWERS.index((a, b))]
        return total


def spread(moments: Moments) -> dict[str, Floats]:
    """Widths, centroid, aspect and orientation."""
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


def kurtosis(moments: Moments) -> dict[str, Floats]:
    """Excess kurtosis of both marginals and of both axes together, NaN for maps that lie on a line."""
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
