"""Figures of pooled maps and how sure they are: bootstrap intervals, jackknife errors, spread over initialisations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convbench.measures.erf.metrics import Ruler, Sums, metrics_at
from convbench.measures.erf.result import ErfMetrics, Floats, Interval, Uncertainty

Labels = NDArray[np.intp]
Columns = Mapping[str, Floats]
_STEPPED = ("side_", "area_ratio_", "radius_", "fwhm_")
_AT_MOST_ONE = ("agd", "agd_radial", "agd_without_centre", "aspect", "centre_share", "monotonicity")
_STOPPING = ("sigma_px", "entropy_area_px2", "agd")


@dataclass(frozen=True, slots=True)
class Assessment:
    """Figures of the pooled map, of the map of each initialisation, and how sure the first are."""

    metrics: ErfMetrics
    per_initialisation: tuple[ErfMetrics, ...]
    uncertainty: Uncertainty


def pooled_weights(labels: Labels) -> Floats:
    """Weight of every group in the pooled map, in which each initialisation counts alike: (G,).

    labels: (G,) the initialisation of each group, from 0.
    """
    counts = np.bincount(labels)
    result: Floats = 1.0 / (len(counts) * counts[labels])
    return result


def assess(ruler: Ruler, sums: Sums, labels: Labels, resamples: int, seed: int, jackknife: bool = True) -> Assessment:
    """sums: of the mean map of every group. resamples: of the bootstrap; 0 leaves the intervals out.

    jackknife: whether errors and biases are wanted.
    """
    # With one group an initialisation there is nothing to resample within: initialisations themselves are resampled.
    strata = labels if np.bincount(labels).min() > 1 else np.zeros_like(labels)
    known = len(strata) > 1
    weights = {
        "pooled": pooled_weights(labels)[None],
        "each": _initialisation_weights(labels),
        "left_out": _left_out_weights(strata) if known and jackknife else np.empty((0, len(labels))),
        "drawn": _resampled_weights(strata, resamples if known else 0, seed),
    }
    # All at once: most of the time of a small map goes into calls, not numbers.
    columns = ruler.figures(sums.mixed(np.concatenate(list(weights.values()))))
    ends = np.cumsum([len(part) for part in weights.values()])
    parts = {
        name: {figure: column[end - len(part) : end] for figure, column in columns.items()}
        for (name, part), end in zip(weights.items(), ends, strict=True)
    }
    value = {name: float(column[0]) for name, column in parts["pooled"].items()}
    errors, biases = _jackknife(parts["left_out"], strata, value) if known and jackknife else ({}, {})
    intervals = _intervals(parts["drawn"], value) if known and resamples else {}
    count = len(weights["each"])
    spread = {}
    if count > 1:
        spread = {name: float(column.std(ddof=1)) for name, column in parts["each"].items() if _finite(column)}
    return Assessment(
        metrics_at(parts["pooled"], 0),
        tuple(metrics_at(parts["each"], index) for index in range(count)),
        Uncertainty(intervals, errors, biases, spread),
    )


def precise_enough(found: Assessment, precision: float) -> bool:
    """Whether the jackknife errors of σ, entropy area and AGD (its bias added) are all below the relative precision."""
    for name in _STOPPING:
        value = getattr(found.metrics, name)
        if value is None:
            continue
        if name not in found.uncertainty.errors:
            return False
        worst = found.uncertainty.errors[name] + (abs(found.uncertainty.biases[name]) if name == "agd" else 0.0)
        if worst > precision * abs(value):
            return False
    return True


def _initialisation_weights(labels: Labels) -> Floats:
    """Weights that give the map of each initialisation: (I, G)."""
    counts = np.bincount(labels)
    result: Floats = (np.arange(len(counts))[:, None] == labels) / counts[:, None]
    return result


def _left_out_weights(strata: Labels) -> Floats:
    """Weights that leave one group out of its stratum: (G, G)."""
    counts = np.bincount(strata)
    weights = np.tile(pooled_weights(strata), (len(strata), 1))
    for group, stratum in enumerate(strata):
        weights[group, strata == stratum] = 1 / (len(counts) * (counts[stratum] - 1))
        weights[group, group] = 0.0
    return weights


def _resampled_weights(strata: Labels, resamples: int, seed: int) -> Floats:
    """Weights of groups drawn with replacement within their strata: (resamples, G)."""
    generator = np.random.default_rng(seed)
    weights = np.zeros((resamples, len(strata)))
    counts = np.bincount(strata)
    for stratum, count in enumerate(counts):
        members = np.flatnonzero(strata == stratum)
        weights[:, members] = generator.multinomial(count, np.full(count, 1 / count), size=resamples) / count
    return weights / len(counts)


def _jackknife(
    left_out: Columns, strata: Labels, value: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Standard errors and biases from the figures with one group left out of its stratum."""
    errors, biases = {}, {}
    counts = np.bincount(strata)
    for name, column in left_out.items():
        if not (np.isfinite(value[name]) and _finite(column)):
            continue
        variance = bias = 0.0
        for stratum, count in enumerate(counts):
            part = column[strata == stratum]
            variance += (count - 1) / count * float(np.sum((part - part.mean()) ** 2))
            bias += (count - 1) * (float(part.mean()) - value[name])
        errors[name], biases[name] = float(np.sqrt(variance)), bias
    return errors, biases


def _intervals(drawn: Columns, value: Mapping[str, float]) -> dict[str, Interval]:
    return {
        name: _interval(name, value[name], column)
        for name, column in drawn.items()
        if np.isfinite(value[name]) and _finite(column)
    }


def _interval(name: str, value: float, drawn: Floats) -> Interval:
    """The basic bootstrap, which takes the bias out; percentiles for figures that move in steps."""
    low, high = (float(bound) for bound in np.quantile(drawn, [0.025, 0.975]))
    if name.startswith(_STEPPED):
        return Interval(low, high)
    low, high = 2 * value - high, 2 * value - low
    return Interval(low, min(high, 1.0) if name in _AT_MOST_ONE else high)


def _finite(column: Floats) -> bool:
    return bool(np.isfinite(column).all())
