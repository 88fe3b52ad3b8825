"""Figures of pooled maps and how sure they are: intervals and biases by the jackknife, spread over initialisations.

What is left out in turn is what was drawn independently: an initialisation with all of its inputs where several were
pooled, so that the spread of both enters; for weights that are given, an input. Few of them make a t distribution of as
many degrees of freedom, less one. Source: Shao & Tu, The Jackknife and Bootstrap, 1995, sections 1.3 and 6.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convbench.measures.erf.metrics import Ruler, Steps, Sums, metrics_at
from convbench.measures.erf.result import ErfMetrics, Floats, Interval, Uncertainty
from convbench.statistics import t_quantile

Labels = NDArray[np.intp]
Columns = Mapping[str, Floats]
_CORRECTED = ("agd", "agd_radial", "agd_without_centre", "entropy_area_px2")
"""Figures with an entropy in them: noise of the map makes it less even, and so biases them as 1/samples."""
_BOUNDS = {
    **dict.fromkeys(("offset_y_px", "offset_x_px"), (-math.inf, math.inf)),
    **dict.fromkeys(("agd", "agd_radial", "agd_without_centre", "aspect", "centre_share", "monotonicity"), (0.0, 1.0)),
    # E[z²] ≥ E[z]², z the squared distance in standard deviations, whose mean is the number of axes.
    "kurtosis": (-4.0, math.inf),
    **dict.fromkeys(("kurtosis_y", "kurtosis_x"), (-2.0, math.inf)),
    "orientation_deg": (-90.0, 90.0),
}
_LENGTH = (0.0, math.inf)
_EVEN_HANDED = ("offset_y_px", "offset_x_px", "orientation_deg")
_STOPPING = ("sigma_px", "entropy_area_px2", "agd")


@dataclass(frozen=True, slots=True)
class Assessment:
    """Figures of the pooled map, of the map of each initialisation, and how sure the first are.

    metrics: those of `_CORRECTED` less their bias, where it can be known.
    """

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


def assess(ruler: Ruler, sums: Sums, labels: Labels, *, intervals: bool = True) -> Assessment:
    """sums: of the mean map of every group. labels: (G,) the initialisation of each."""
    each = _initialisation_weights(labels)
    many = len(each) > 1
    left_out = _left_out(each if many else np.eye(len(labels)))
    weights = np.concatenate([pooled_weights(labels)[None], each, left_out])
    # All at once: most of the time of a small map goes into calls, not numbers.
    mixed = sums.mixed(weights)
    columns = ruler.figures(mixed)
    first = 1 + len(each)
    value = {name: float(column[0]) for name, column in columns.items()}
    errors, biases = _jackknife({name: column[first:] for name, column in columns.items()}, value)
    # No map is more even than one that is the same on every pixel that can be seen.
    bounds = {**_BOUNDS, "entropy_area_px2": (0.0, float(ruler.seen_pixels))}
    for name in _CORRECTED:
        if name in biases:
            columns[name][0] = np.clip(value[name] - biases[name], *bounds[name])
    spread = {}
    if many:
        parts = {name: column[1:first] for name, column in columns.items()}
        spread = {name: float(part.std(ddof=1)) for name, part in parts.items() if np.isfinite(part).all()}
    metrics = metrics_at(columns, 0)
    found: dict[str, Interval] = {}
    if intervals and len(left_out):
        found = _intervals(metrics, errors, bounds, len(left_out)) | _stepped(ruler.steps(), mixed, first, errors)
    return Assessment(
        metrics,
        tuple(metrics_at(columns, index) for index in range(1, first)),
        Uncertainty(found, errors, biases, spread, "initialisations" if many else "inputs", max(len(left_out) - 1, 0)),
    )


def precise_enough(ruler: Ruler, sums: Sums, labels: Labels, precision: float) -> bool:
    """Whether more inputs for the same initialisations would change σ, entropy area and AGD by less than that share.

    By the jackknife over inputs within each initialisation; over all where each has a single group.
    """
    strata = labels if np.bincount(labels).min() > 1 else np.zeros_like(labels)
    if len(strata) < 2:
        return False
    counts = np.bincount(strata)
    left_out = np.tile(pooled_weights(strata), (len(strata), 1))
    for group, stratum in enumerate(strata):
        left_out[group, strata == stratum] = 1 / (len(counts) * (counts[stratum] - 1))
        left_out[group, group] = 0.0
    columns = ruler.figures(sums.mixed(np.concatenate([pooled_weights(labels)[None], left_out])))
    for name in _STOPPING:
        value, parts = float(columns[name][0]), columns[name][1:]
        if not np.isfinite(value):
            continue
        found = [_error_and_bias(parts[strata == stratum], value) for stratum in range(len(counts))]
        error, bias = math.hypot(*(error for error, _ in found)), sum(bias for _, bias in found)
        if not error + (abs(bias) if name == "agd" else 0.0) <= precision * abs(value):
            return False
    return True


def _initialisation_weights(labels: Labels) -> Floats:
    """Weights that give the map of each initialisation: (I, G)."""
    counts = np.bincount(labels)
    result: Floats = (np.arange(len(counts))[:, None] == labels) / counts[:, None]
    return result


def _left_out(units: Floats) -> Floats:
    """Weights of the mean of all units but one, for each: (U, G); none of a single one. units: (U, G)."""
    count = len(units)
    if count < 2:
        return units[:0]
    result: Floats = (units.sum(axis=0) - units) / (count - 1)
    return result


def _jackknife(left_out: Columns, value: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Standard errors and biases of the figures that are defined whatever is left out."""
    errors, biases = {}, {}
    for name, column in left_out.items():
        if len(column) and np.isfinite(value[name]) and np.isfinite(column).all():
            errors[name], biases[name] = _error_and_bias(column, value[name])
    return errors, biases


def _error_and_bias(left_out: Floats, value: float) -> tuple[float, float]:
    """Of a figure, from its values with one unit left out: (U,)."""
    count = len(left_out)
    mean = float(left_out.mean())
    return math.sqrt((count - 1) / count * float(np.sum((left_out - mean) ** 2))), (count - 1) * (mean - value)


def _intervals(
    metrics: ErfMetrics, errors: Mapping[str, float], bounds: Mapping[str, tuple[float, float]], units: int
) -> dict[str, Interval]:
    """t intervals around the figures, within what values they can take.

    Of the logarithm of what a figure has above its least value: few units make widths skewed, with a tail upwards.
    """
    found = {}
    for name, error in errors.items():
        value, half = getattr(metrics, name), t_quantile(units - 1) * error
        least, most = bounds.get(name, _LENGTH)
        above = value - least
        low, high = value - half, value + half
        if name not in _EVEN_HANDED and above:
            factor = math.exp(min(half / above, 700.0))
            low, high = least + above / factor, least + above * factor
        found[name] = Interval(max(low, least), min(high, most))
    return found


def _stepped(steps: Mapping[str, Steps], mixed: Sums, first: int, errors: Mapping[str, float]) -> dict[str, Interval]:
    """Intervals of figures that are quantiles: the sizes whose share of the map may be the wanted one.

    The share inside a given size moves smoothly, as a quantile on a grid of pixels does not. mixed: row 0 is pooled,
    rows from ``first`` have one unit left out. Source: Woodruff, JASA 47 (1952), 635–646.
    """
    found = {}
    for name, step in steps.items():
        if name not in errors:
            continue
        mass = np.cumsum(getattr(mixed, step.kind), axis=1)
        share, left_out = mass[0] / mass[0, -1], mass[first:] / mass[first:, -1:]
        count = len(left_out)
        error = np.sqrt((count - 1) / count * np.sum((left_out - left_out.mean(axis=0)) ** 2, axis=0))
        half = t_quantile(count - 1) * error + 1e-12
        too_small = np.flatnonzero(share - half < step.share - 2e-12)
        last = min(int(too_small[-1]) + 1, len(share) - 1) if len(too_small) else 0
        first_large = int(np.argmax(share + half >= step.share))
        found[name] = Interval(float(step.sizes[first_large]), float(step.sizes[last]))
    return found
