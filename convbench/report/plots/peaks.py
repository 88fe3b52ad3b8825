"""What the machines of a report can do at most, for rooflines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from convbench.calibration import load_calibration
from convbench.machine import Machine, machine
from convbench.report.io.document import Report
from convbench.report.plots.points import letter

_KEY = "calibrations"


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


def known_peaks(report: Report) -> dict[tuple[str, str, int | None, str], Peaks]:
    """Peaks by environment letter, device, number of threads and dtype, of the calibrations that the report carries."""
    found = {}
    for index, part in enumerate(report.parts):
        name = letter(index) if report.sources else ""
        for calibration in part.environment.get(_KEY, ()):
            for dtype, flops_per_s in calibration["flops_per_s"].items():
                place = name, calibration["device"], calibration["threads"], dtype
                found[place] = Peaks(flops_per_s, calibration["bytes_per_s"])
    return found


def with_calibrations(report: Report) -> Report:
    """The report with what this machine is known to do at most, where it is this machine that measured the records.

    So the peaks travel with the records, and a roofline can be drawn anywhere.
    """
    if report.sources:
        return replace(report, sources=tuple(map(with_calibrations, report.sources)))
    if not _is_here(report.environment):
        return report
    uses = dict.fromkeys((record.device or "cpu", record.threads or 1, record.device_name) for record in report.records)
    found = [load_calibration(*use) for use in uses]
    rows = [calibration.to_json() for calibration in found if calibration is not None]
    return replace(report, environment={**report.environment, _KEY: rows}) if rows else report


def _is_here(environment: Mapping[str, Any]) -> bool:
    try:
        return Machine(**environment["machine"]).fingerprint == machine().fingerprint
    except (KeyError, TypeError, AttributeError, OverflowError):  # no environment, or one of another version
        return False
