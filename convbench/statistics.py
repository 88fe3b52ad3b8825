"""Intervals for medians and ratios of times, and the verdict on them.

Times of calls are skewed and have outliers, so that one process is summarised by its median with the interval that
order statistics give, which assumes nothing about the distribution. Calls of one process share its memory layout and
its neighbours, so that the process is the unit of replication: processes are combined by a t interval on logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy.typing import NDArray

Verdict = Literal["faster", "slower", "same", "unclear"]
Side = Literal["below", "above", "same", "unclear"]

CONFIDENCE = 0.95
FEWEST_PROCESSES = 3
"""Replicates below which no interval is given: two tell next to nothing of how far others would lie."""
_EXACT_UP_TO = 10_000
_NEGLIGIBLE = 1e-9  # standard error of a logarithm
_HALVINGS = 60


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the bounds of its confidence interval."""

    centre: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the distance between the bounds."""
        return (self.high - self.low) / 2

    @property
    def exp(self) -> Interval:
        """Of a logarithm: the interval of the quantity itself."""
        return Interval(math.exp(self.centre), math.exp(self.low), math.exp(self.high))


@dataclass(frozen=True, slots=True)
class Replicated(Interval):
    """A mean over processes. ``degrees_of_freedom`` is infinite where the interval is not from a t distribution."""

    standard_error: float
    degrees_of_freedom: float


@lru_cache(maxsize=256)
def median_ranks(n: int, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """Ranks (from 0) of the two of ``n`` sorted samples that enclose the median with at least ``confidence``.

    The number of samples below the median is binomial with p = 1/2, so that the k-th smallest and the k-th largest
    enclose it with probability 1 − 2·P(B < k). Fewer than 6 samples cannot reach 95%: then the extremes are given,
    whose coverage is 1 − 2^(1 − n).
    Exact, in whole numbers, up to 10,000 samples, and the normal limit above; scipy.stats.binom gives the same and
    takes a worker 0.3 s to import.

    Source: David & Nagaraja, Order Statistics, 3rd ed., section 7.1.
    """
    if n < 1:
        raise ValueError(f"an interval needs at least one sample, got {n}")
    if n > _EXACT_UP_TO:
        k = int((n - NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(n)) / 2)
    else:
        k, tail, term = 0, 0, 1
        allowed = int((1 - confidence) / 2 * 2**53) << n >> 53
        while 2 * (k + 1) <= n and tail + term <= allowed:
            tail += term
            term = term * (n - k) // (k + 1)
            k += 1
    low = max(k - 1, 0)
    return low, n - 1 - low


def median_interval(samples: NDArray[Any], confidence: float = CONFIDENCE) -> Interval:
    """The median of ``samples``, shape (n,), with its order-statistic interval."""
    import numpy as np

    low, high = median_ranks(len(samples), confidence)
    ordered = np.sort(samples)
    return Interval(float(np.median(ordered)), float(ordered[low]), float(ordered[high]))


def log_ratio_interval(times: NDArray[Any], baseline: NDArray[Any], confidence: float = CONFIDENCE) -> Interval:
    """Median of log(times / baseline) over pairs taken in the same round, both of shape (n,)."""
    import numpy as np

    return median_interval(np.log(times) - np.log(baseline), confidence)


def outlier_share(samples: NDArray[Any]) -> float:
    """Share of samples beyond Tukey's fences, 1.5 interquartile ranges outside the quartiles.

    Source: Tukey, Exploratory Data Analysis, 1977, section 2E.
    """
    import numpy as np

    q1, q3 = np.quantile(samples, [0.25, 0.75])
    reach = 1.5 * (q3 - q1)
    return float(np.mean((samples < q1 - reach) | (samples > q3 + reach)))


def t_quantile(degrees_of_freedom: float, confidence: float = CONFIDENCE) -> float:
    """How many standard errors a two-sided interval of Student's t reaches to either side."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, 0.5 + confidence / 2))


def replicate(estimates: Sequence[Interval], confidence: float = CONFIDENCE) -> Replicated:
    """Mean of one estimate a process, each weighed by how precise it is, with its t interval.

    A process's estimate has the variance of its own interval and that between processes, τ², which is chosen such that
    the weighted squares about the mean come to what they should (Paule & Mandel): where the processes differ by more
    than their intervals say, all count alike, and where one was disturbed, it counts for less.
    The interval is never narrower than the processes' own allow: a handful of medians that agree by chance proves
    nothing. One process has only its own.

    Source: Paule & Mandel, J. Res. Natl. Bur. Stand. 87 (1982), 377-385; the t interval on the weighted variance:
    Hartung & Knapp, Statistics in Medicine 20 (2001), 3875-3889.
    """
    import numpy as np

    normal = t_quantile(math.inf, confidence)
    count = len(estimates)
    if count == 1:
        only = estimates[0]
        return Replicated(only.centre, only.low, only.high, only.half_width / normal, math.inf)
    centres = np.array([estimate.centre for estimate in estimates])
    own = np.array([max(estimate.half_width / normal, _NEGLIGIBLE) ** 2 for estimate in estimates])
    between = _variance_between(centres, own)
    weights = 1 / (own + between)
    centre = float(weights @ centres / weights.sum())
    squares = float(weights @ (centres - centre) ** 2) / (count - 1)
    error = math.sqrt(squares / weights.sum())
    half = t_quantile(count - 1, confidence) * error
    within = normal / math.sqrt(weights.sum())
    if within > half:
        return Replicated(centre, centre - within, centre + within, within / normal, math.inf)
    return Replicated(centre, centre - half, centre + half, error, count - 1)


def _variance_between(centres: NDArray[Any], own: NDArray[Any]) -> float:
    """τ² ≥ 0 at which Σ (yᵢ − ȳ)² / (sᵢ² + τ²) = k − 1, ȳ being the mean under the same weights; falling in τ²."""
    low, high = 0.0, float(((centres - centres.mean()) ** 2).sum())

    def excess(between: float) -> float:
        weights = 1 / (own + between)
        mean = weights @ centres / weights.sum()
        return float(weights @ (centres - mean) ** 2) - (len(centres) - 1)

    if excess(low) <= 0:
        return 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return (low + high) / 2


def difference(one: Interval, other: Interval, degrees_of_freedom: float, confidence: float = CONFIDENCE) -> Replicated:
    """``one`` − ``other`` of two independent estimates, from their own intervals, which need not be symmetric.

    degrees_of_freedom: of the one that has fewer. The standard error is that of the arm towards zero.
    Source: Zou & Donner, Statistics in Medicine 27 (2008), 1693–1702, equations 3 and 4.
    """
    centre = one.centre - other.centre
    below = math.hypot(one.centre - one.low, other.high - other.centre)
    above = math.hypot(one.high - one.centre, other.centre - other.low)
    error = (below if centre > 0 else above) / t_quantile(degrees_of_freedom, confidence)
    return Replicated(centre, centre - below, centre + above, error, degrees_of_freedom)


def beyond(estimate: Replicated, limit: float) -> float:
    """Two-sided p-value against the hypothesis that the true value is within ``limit`` of zero."""
    from scipy.special import stdtr

    excess = abs(estimate.centre) - limit
    if excess <= 0:
        return 1.0
    if estimate.standard_error == 0:
        return 0.0
    return float(2 * stdtr(estimate.degrees_of_freedom, -excess / estimate.standard_error))


def beyond_margin(log_ratio: Replicated, margin: float) -> float:
    """Two-sided p-value against the hypothesis that the true ratio is within 1 + ``margin`` either way."""
    return beyond(log_ratio, math.log1p(margin))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: those below α are the hypotheses that Holm's step-down procedure rejects.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979), 65–70.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    reached = 0.0
    for rank, index in enumerate(order):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = reached
    return adjusted


def side(interval: Interval, limit: float, adjusted_p: float, confidence: float = CONFIDENCE) -> Side:
    """``below`` or ``above`` if the value lies further than ``limit`` from zero and stays so after the adjustment for
    many targets; ``same`` if its interval lies within and holds zero; else ``unclear``."""
    if adjusted_p < 1 - confidence:
        if interval.high < -limit:
            return "below"
        if interval.low > limit:
            return "above"
    if -limit <= interval.low <= 0 <= interval.high <= limit:
        return "same"
    return "unclear"


def verdict(log_ratio: Interval, margin: float, adjusted_p: float, confidence: float = CONFIDENCE) -> Verdict:
    """``faster`` or ``slower`` where the ratio lies to that `side` of the margin."""
    found = side(log_ratio, math.log1p(margin), adjusted_p, confidence)
    return "faster" if found == "below" else "slower" if found == "above" else found


def stated(verdict: Verdict, margin: float | None) -> str:
    """A verdict with its margin, where it is known: ``same within 1%``, ``slower by over 1%``."""
    if margin is None:
        return verdict
    joined = {"same": "within", "unclear": "at"}.get(verdict, "by over")
    return f"{verdict} {joined} {100 * margin:.3g}%"
