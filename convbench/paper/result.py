"""What a comparison of a published figure with a measured one says. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from convbench.paper.figures import Published

Verdict = Literal["agrees", "close", "explained", "differs", "not measured"]

CLOSE = 0.01
"""Relative difference up to which an unequal figure counts as close."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One published number beside the measured one, in the published unit.

    verdict: ``agrees``: equal at the digits printed; ``close``: within 1%; ``explained``: further apart, for a known
    reason; ``differs``: further apart.
    """

    published: Decimal
    measured: float
    verdict: Verdict

    @property
    def difference(self) -> float:
        """(measured − published) / published."""
        return self.measured / float(self.published) - 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """One published figure beside its target: parameters in millions, cost in 1e9 in the publication's convention.

    params, gmacs: None where nothing was published, or nothing could be measured; then ``error`` says why.
    """

    figure: Published
    params: Finding | None = None
    gmacs: Finding | None = None
    error: str = ""

    @property
    def verdict(self) -> Verdict:
        """The worse of the two verdicts."""
        if self.error:
            return "not measured"
        found = {finding.verdict for finding in (self.params, self.gmacs) if finding is not None}
        order: tuple[Verdict, ...] = ("differs", "explained", "close", "agrees")
        return next((verdict for verdict in order if verdict in found), "agrees")


def judge(published: Decimal, measured: float, *, explained: bool) -> Finding:
    """Compare two numbers in the same unit; ``explained``: whether a difference has a known reason."""
    exponent = published.as_tuple().exponent
    assert isinstance(exponent, int), "a published number is finite"
    half_a_digit = 0.5 * 10.0**exponent
    gap = abs(measured - float(published))
    if gap <= half_a_digit * (1 + 1e-9):
        return Finding(published, measured, "agrees")
    if gap <= CLOSE * abs(float(published)):
        return Finding(published, measured, "close")
    return Finding(published, measured, "explained" if explained else "differs")
