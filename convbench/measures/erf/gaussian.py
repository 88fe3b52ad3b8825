"""The Gaussian a field is compared with: of all maps on the image that share its moments, the most even one.

For B maps at once, the least value of log Σ n·exp(θ·f) − θ·E[f] over θ is found. It is the entropy of the
maximum-entropy map q with those moments, and the cross-entropy −Σ p log q of every map p that has them, so that KL(p‖q)
is this value minus the entropy of p. Source: Cover & Thomas, Elements of Information Theory, section 12.1.
"""

from __future__ import annotations

import numpy as np

from convbench.measures.erf.geometry import Indices, window_around
from convbench.measures.erf.result import Floats

REACH = 8.0
"""Standard deviations kept around the mean: the mass beyond, 1e-14, is near rounding."""
_DECREMENT = 1e-14
_MAX_STEPS = 200


def moment_entropy(image: tuple[int, int], centre: tuple[float, float], mean: Floats, covariance: Floats) -> Floats:
    """Entropy in nats of the discrete Gaussian on the pixels of the image with the given moments: (B,).

    q ∝ exp(θ·f) with f = (y, x, y², yx, x²). image: (H, W). centre: (y, x), where offsets are counted from.
    mean: (B, 2) offsets (y, x) in pixels. covariance: (B, 2, 2) in pixels².
    """
    middle = mean.mean(axis=0)
    sigma = np.sqrt(covariance[:, [0, 1], [0, 1]].mean(axis=0) + mean.var(axis=0))
    spread = sigma > 1e-6  # a strip one pixel wide has no spread across: q lives on that line as well
    if not spread.any():
        return np.zeros(len(mean))
    scale = np.where(spread, sigma, 1.0)
    origin = (centre[0] + middle[0], centre[1] + middle[1])
    window = window_around(image, origin, *np.where(spread, REACH * sigma + 1, 0.0))
    offsets = np.stack([window.y + window.centre[0], window.x + window.centre[1]], axis=-1) - centre
    kept = np.flatnonzero(spread)
    points = ((offsets - middle) / scale)[:, kept]
    mean = ((mean - middle) / scale)[:, kept]
    covariance = covariance[:, kept[:, None], kept] / np.outer(scale[kept], scale[kept])
    upper = np.triu_indices(len(kept))
    features = np.concatenate([points, points[:, upper[0]] * points[:, upper[1]]], axis=1)
    second = covariance + mean[:, :, None] * mean[:, None, :]
    targets = np.concatenate([mean, second[:, upper[0], upper[1]]], axis=1)
    return _least_dual(features, np.ones(len(features)), targets, _gaussian_start(mean, covariance, upper))[0]


def radial_gaussian(distance_px: Floats, pixels: Floats, mean_square_px2: Floats) -> tuple[Floats, Floats]:
    """θ and log Z of q = exp(θ·r²)/Z, maps that depend on the distance alone, with a given E[r²] > 0: both (B,).

    distance_px, pixels: (K,) the distances that occur in the image and how many pixels lie at each.
    """
    scale = float(mean_square_px2.mean())
    targets = mean_square_px2[:, None] / scale
    value, theta = _least_dual((distance_px**2 / scale)[:, None], pixels, targets, -1.0 / targets)
    return theta[:, 0] / scale, value + theta[:, 0] * targets[:, 0]


def _gaussian_start(mean: Floats, covariance: Floats, upper: tuple[Indices, Indices]) -> Floats:
    """θ of the Gaussian on the whole plane, exact but for truncation and the pixel grid."""
    precision = np.linalg.inv(covariance + 1e-9 * np.eye(covariance.shape[-1]))
    linear = np.einsum("bij,bj->bi", precision, mean)
    weight = np.where(upper[0] == upper[1], -0.5, -1.0)
    return np.concatenate([linear, weight * precision[:, upper[0], upper[1]]], axis=1)


def _least_dual(features: Floats, counts: Floats, targets: Floats, theta: Floats) -> tuple[Floats, Floats]:
    """min over θ of log Σ_k counts·exp(θ·features) − θ·targets, by damped Newton steps: (B,), and where (B, F).

    features: (K, F). counts: (K,). targets, theta: (B, F). On the border of what moments are possible (all mass on a
    line) θ runs away while the value converges, and the value is what is asked for.
    """
    size = features.shape[1]
    upper = np.triu_indices(size)
    columns = np.concatenate([features, features[:, upper[0]] * features[:, upper[1]]], axis=1)
    value, moments = _dual(theta, columns, counts, targets)
    active = np.arange(len(targets))
    for _ in range(_MAX_STEPS):
        mean = moments[active, :size]
        hessian = np.empty((len(active), size, size))
        hessian[:, upper[0], upper[1]] = hessian[:, upper[1], upper[0]] = moments[active, size:]
        hessian -= mean[:, :, None] * mean[:, None, :]
        hessian += 1e-12 * np.eye(size)
        gradient = mean - targets[active]
        step = -np.linalg.solve(hessian, gradient[..., None])[..., 0]
        decrement = -np.sum(gradient * step, axis=1)
        moving = decrement > _DECREMENT
        active, step, decrement = active[moving], step[moving], decrement[moving]
        if not len(active):
            break
        length = np.ones(len(active))
        for _ in range(40):
            trial, trial_moments = _dual(theta[active] + length[:, None] * step, columns, counts, targets[active])
            worse = trial > value[active] - 0.25 * length * decrement + 1e-15 * np.abs(value[active])
            if not worse.any():
                break
            length[worse] /= 2
        better = trial < value[active]
        theta[active[better]] += length[better, None] * step[better]
        value[active[better]] = trial[better]
        moments[active[better]] = trial_moments[better]
        active = active[better]
        if not len(active):
            break
    return value, theta


def _dual(theta: Floats, columns: Floats, counts: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """The function to minimise (B,), and the means (B, columns) of every column under exp(θ·f)."""
    logits = theta @ columns[:, : theta.shape[1]].T
    largest = logits.max(axis=1, keepdims=True)
    weights = counts * np.exp(logits - largest)
    partition = weights.sum(axis=1)
    value = np.log(partition) + largest[:, 0] - np.sum(theta * targets, axis=1)
    return value, (weights @ columns) / partition[:, None]
