"""What the machines of a report can do at most, for rooflines."""

from __future__ import annotations

from dataclasses import dataclass

from convbench.report.document import Report


@dataclass(frozen=True, slots=True)
class Peaks:
    """What a device can do at most: floating-point operations and bytes a second, as calibration measured them."""

    flops_per_s: float
    bytes_per_s: float

    @property
    def ridge(self) -> float:
        """The intensity, FLOP/B, from which arithmetic and no longer bandwidth is the limit."""
        return self.flops_per_s / self.bytes_per_s

    def attainable(self, intensity: float) -> float:
        """FLOP/s at ``intensity`` FLOP/B."""
        return min(self.flops_per_s, self.bytes_per_s * intensity)


def known_peaks(report: Report) -> dict[tuple[str, str, str], Peaks]:
    """Peaks by environment letter, device and dtype."""
    return {}
