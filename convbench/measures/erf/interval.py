"""How sure the figures are: bootstrap intervals, jackknife errors, spread over initialisations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from convbench.measures.erf.metrics import Ruler, Sums
from convbench.measures.erf.result import ErfMetrics, Floats, Interval, Uncertainty

Labels = NDArray[np.intp]
_STEPPED = ("side_", "area_ratio_", "radius_", "fwhm_")
_AT_MOST_ONE = ("agd", "agd_radial", "agd_without_centre", "aspect", "centre_share", "monotonicity")
_STOPPING = ("sigma_px", "entropy_area_px2", "agd")


def pooled_weights(labels: Labels) -> Floats:
    """Weight of every group in the pooled map, in which each initialisation counts alike: (G,).

    labels: (G,) the initialisation of each group, from 0.
    """
    counts = np.bincount(labels)
    result: Floats = 1.0 / (len(counts) * counts[labels])
    return result


def initialisation_weights(labels: Labels) -> Floats:
    """Weights that give the map of each initialisation: (I, G)."""
    counts = np.bincount(labels)
    result: Floats = (np.arange(len(counts))[:, None] == labels) / counts[:, None]
    return result


def uncertainty(ruler: Ruler, sums: Sums, labels: Labels, resamples: int, seed: int) -> Uncertainty:
    """Of the pooled map's figures.

    sums: of the mean map of every group. resamples: of the bootstrap; 0 leaves the intervals out.
    """
    value = {name: float(column[0]) for name, column in _figures(ruler, sums, pooled_weights(labels)[None]).items()}
    strata = _strata(labels)
    intervals: dict[str, Interval] = {}
    errors: dict[str, float] = {}
    biases: dict[str, float] = {}
    if np.bincount(strata).min() > 1:
        errors, biases = _jackknife(ruler, sums, strata, value)
        if resamples:
            drawn = _figures(ruler, sums, _resampled_weights(strata, resamples, seed))
            intervals = {
                name: _interval(name, value[name], column)
                for name, column in drawn.items()
                if np.isfinite(value[name]) and np.isfinite(column).all()
            }
    spread: dict[str, float] = {}
    if labels.max() > 0:
        each = _figures(ruler, sums, initialisation_weights(labels))
        spread = {name: float(column.std(ddof=1)) for name, column in each.items() if np.isfinite(column).all()}
    return Uncertainty(intervals, errors, biases, spread)


def precise_enough(found: Uncertainty, metrics: ErfMetrics, precision: float) -> bool:
    """Whether the jackknife errors of σ, entropy area and AGD (its bias added) are all below the relative precision."""
    for name in _STOPPING:
        value = getattr(metrics, name)
        if value is None:
            continue
        if name not in found.errors:
            return False
        worst = found.errors[name] + (abs(found.biases[name]) if name == "agd" else 0.0)
        if worst > precision * abs(value):
            return False
    return True


def _figures(ruler: Ruler, sums: Sums, weights: Floats) -> dict[str, Floats]:
    return ruler.figures(sums.mixed(weights))


def _strata(labels: Labels) -> Labels:
    """Initialisations are resampled from within; with one sample each, they are themselves what is resampled."""
    return labels if np.bincount(labels).min() > 1 else np.zeros_like(labels)


def _resampled_weights(strata: Labels, resamples: int, seed: int) -> Floats:
    generator = np.random.default_rng(seed)
    weights = np.zeros((resamples, len(strata)))
    counts = np.bincount(strata)
    for stratum, count in enumerate(counts):
        members = np.flatnonzero(strata == stratum)
        weights[:, members] = generator.multinomial(count, np.full(count, 1 / count), size=resamples) / count
    return weights / len(counts)


def _jackknife(
    ruler: Ruler, sums: Sums, strata: Labels, value: dict[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Standard errors and biases by leaving out one group at a time, within its stratum."""
    counts = np.bincount(strata)
    weights = np.tile(pooled_weights(strata), (len(strata), 1))
    for group, stratum in enumerate(strata):
        members = strata == stratum
        weights[group, members] = 1 / (len(counts) * (counts[stratum] - 1))
        weights[group, group] = 0.0
    left_out = _figures(ruler, sums, weights)
    errors, biases = {}, {}
    for name, column in left_out.items():
        if not (np.isfinite(value[name]) and np.isfinite(column).all()):
            continue
        variance = bias = 0.0
        for stratum, count in enumerate(counts):
            part = column[strata == stratum]
            variance += (count - 1) / count * float(np.sum((part - part.mean()) ** 2))
            bias += (count - 1) * (float(part.mean()) - value[name])
        errors[name], biases[name] = float(np.sqrt(variance)), bias
    return errors, biases


def _interval(name: str, value: float, drawn: Floats) -> Interval:
    """The basic bootstrap, which takes the bias out; percentiles for figures that move in steps."""
    low, high = (float(bound) for bound in np.quantile(drawn, [0.025, 0.975]))
    if name.startswith(_STEPPED):
        return Interval(low, high)
    low, high = 2 * value - high, 2 * value - low
    return Interval(low, min(high, 1.0) if name in _AT_MOST_ONE else high)
