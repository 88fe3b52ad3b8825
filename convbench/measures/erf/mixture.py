"""Two Gaussians instead of one: the shape of maps with a sharp core on a wide skirt."""

from __future__ import annotations

import numpy as np

from convbench.measures.erf.gaussian import radial_gaussian
from convbench.measures.erf.result import Floats, TwoGaussians

BETTER = 0.02
"""By how much the mixture's AGD must exceed that of one Gaussian to be reported: less than that is in the noise."""
_FAINT = 0.01
_ROUNDS = 200
_MOST_RINGS = 4096
_CONVERGED = 1e-7
_PIXEL = 0.01  # px²: E[r²] below which a part is called one pixel, with less than 1% of its mass beside it


def two_gaussians(
    distance_px: Floats, mass: Floats, pixels: Floats, entropy: float, agd: float | None
) -> TwoGaussians | None:
    """The mixture that fits best; None where it is not better than one Gaussian, or one part has next to no mass.

    distance_px: (K,) the distances from the centre that occur in the image. mass: (K,) the map's at each, of sum 1.
    pixels: (K,) how many lie at each. entropy: of the map over pixels, in nats. agd: of one Gaussian; None
    where the map is little but a pixel, which anything fits.
    Expectation maximisation; each part is the most even map of its E[r²] on the image, as the single Gaussian is.
    Source: Dempster, Laird & Rubin, J. R. Statist. Soc. B 39 (1977), 1–38, section 4.3.
    """
    square, mass, pixels = _rings(distance_px, mass, pixels)
    distance_px = np.sqrt(square)
    mean_square = float(mass @ square)
    if mean_square == 0 or agd is None:
        return None
    # Started from a core of a third of the width, and a skirt of half as much again.
    weights, moments = np.array([0.5, 0.5]), mean_square * np.array([0.11, 1.9])
    moments = np.minimum(moments, 0.9 * float(pixels @ square / pixels.sum()))
    likelihood = -np.inf
    for _ in range(_ROUNDS):
        theta, log_partition = radial_gaussian(distance_px, pixels, moments)
        parts = np.log(np.maximum(weights, 1e-300))[:, None] + theta[:, None] * square - log_partition[:, None]
        top = parts.max(axis=0)
        together = top + np.log(np.exp(parts - top).sum(axis=0))
        reached = float(mass @ together)
        if reached - likelihood < _CONVERGED:
            break
        likelihood = reached
        owned = np.exp(parts - together) * mass
        weights = owned.sum(axis=1)
        if weights.min() < _FAINT:
            return None
        moments = np.maximum(owned @ square / weights, _PIXEL)
    score = float(np.exp(min(likelihood + entropy, 0.0)))
    if score < agd + BETTER:
        return None
    inner, outer = np.argsort(moments)
    sigma = np.where(moments > _PIXEL, np.sqrt(moments / 2), 0.0)
    return TwoGaussians(float(weights[inner]), float(sigma[inner]), float(sigma[outer]), score)


def _rings(distance_px: Floats, mass: Floats, pixels: Floats) -> tuple[Floats, Floats, Floats]:
    """Squared distance, mass and pixels by ring; of an eighth of a pixel where there are many, 10⁵ in large images."""
    if len(distance_px) <= _MOST_RINGS:
        return distance_px**2, mass, pixels
    ring = np.rint(8 * distance_px).astype(np.int64)
    count, shares, squares = (
        np.bincount(ring, values).astype(np.float64) for values in (pixels, mass, pixels * distance_px**2)
    )
    kept = count > 0
    return squares[kept] / count[kept], shares[kept], count[kept]
