"""How the figures of fields differ from those of a first one, with intervals and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from convbench.measures.erf.result import Erf, ErfMetrics
from convbench.statistics import Interval, Replicated, beyond, difference, holm, side

Verdict = Literal["larger", "smaller", "same", "unclear"]

MARGIN = 0.01
"""Share of the baseline's figure by which two may differ and still be the same."""
_SIGNED = ("offset", "kurtosis")


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure less the baseline's. ratio: None of figures whose sign or zero is arbitrary.

    low, high: of the difference, 95%; None where one of the fields has no interval. verdict: ``larger`` or ``smaller``
    beyond the margin after Holm's adjustment for all fields compared; ``same`` within it; None without an interval.
    """

    value: float
    ratio: float | None
    low: float | None = None
    high: float | None = None
    verdict: Verdict | None = None


def differences(baseline: Erf, others: Sequence[Erf], margin: float = MARGIN) -> list[dict[str, Difference]]:
    """For each of the others, its differences by the names of ErfMetrics; those that one lacks are left out.

    Fields are drawn independently of each other. Figures that may have either sign have no margin.
    """
    found: list[dict[str, Difference]] = [{} for _ in others]
    for name in ErfMetrics.names():
        base = getattr(baseline.metrics, name)
        if base is None or name == "orientation_deg":  # an angle of lines, whose differences wrap
            continue
        is_signed = name.startswith(_SIGNED)
        limit = 0.0 if is_signed else margin * abs(base)
        values = [getattr(other.metrics, name) for other in others]
        estimates = [_difference(name, baseline, other) for other in others]
        known = [index for index, estimate in enumerate(estimates) if estimate is not None]
        adjusted = dict(zip(known, holm([beyond(e, limit) for e in estimates if e is not None]), strict=True))
        for index, (value, estimate) in enumerate(zip(values, estimates, strict=True)):
            if value is None:
                continue
            ratio = None if is_signed or not base else value / base
            if estimate is None:
                found[index][name] = Difference(value - base, ratio)
                continue
            where = side(estimate, limit, adjusted[index])
            verdict: Verdict = "smaller" if where == "below" else "larger" if where == "above" else where
            found[index][name] = Difference(estimate.centre, ratio, estimate.low, estimate.high, verdict)
    return found


def _difference(name: str, baseline: Erf, other: Erf) -> Replicated | None:
    """None where a field has no interval of the figure."""
    estimates = []
    for erf in (other, baseline):
        interval = erf.uncertainty.intervals.get(name)
        if interval is None:
            return None
        estimates.append(Interval(getattr(erf.metrics, name), interval.low, interval.high))
    fewest = min(erf.uncertainty.degrees_of_freedom for erf in (other, baseline))
    return difference(estimates[0], estimates[1], fewest)
