"""Power laws: the exponent with which a figure grows, by least squares on logarithms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 3
"""Two points fit any power law; three are the fewest that can contradict one."""


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """y = factor · x^exponent.

    low, high: the exponent's 95% interval (Student's t). r_squared: share of the variance of log y that it explains.
    """

    factor: float
    exponent: float
    low: float
    high: float
    r_squared: float

    def __call__(self, x: float) -> float:
        return float(self.factor * x**self.exponent)


def fit_power_law(x: Sequence[float], y: Sequence[float]) -> PowerLaw | None:
    """The power law through (x, y), all positive; None with fewer than three distinct x."""
    if len(set(x)) < FEWEST:
        return None
    from scipy import stats  # takes seconds to import, and most pages fit nothing

    log_x, log_y = np.log(np.asarray(x, dtype=np.float64)), np.log(np.asarray(y, dtype=np.float64))
    if np.ptp(log_y) == 0:  # where scipy divides nothing by nothing
        return PowerLaw(float(y[0]), 0.0, 0.0, 0.0, 1.0)
    fit = stats.linregress(log_x, log_y)
    half = float(stats.t.ppf(0.975, len(x) - 2) * fit.stderr)
    slope = float(fit.slope)
    return PowerLaw(float(np.exp(fit.intercept)), slope, slope - half, slope + half, float(fit.rvalue) ** 2)
