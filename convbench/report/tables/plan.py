"""What a sweep is going to measure, as a terminal table: every case with its cost, memory and time, estimated."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from convbench.report.units import bytes_, count, milliseconds

if TYPE_CHECKING:
    from convbench.sweeps.survey import Estimate


def plan_table(estimates: Sequence[Estimate], todo: Collection[str]) -> Table:
    """One row a case; ``todo``: keys of those that the store does not hold."""
    titles = ("case", "input shape", "measures", "params", "MACs", "peak memory", "call", "measuring", "")
    table = Table(*titles, box=None, header_style="bold", pad_edge=False)
    for column in table.columns[3:8]:
        column.justify = "right"
    for estimate in estimates:
        record = estimate.record
        state = "to measure" if estimate.task.key in todo else "in the store"
        table.add_row(
            estimate.task.case.label,
            record.input_shape or "–",
            ",".join(estimate.task.measures),
            count(record.params),
            count(record.macs),
            bytes_(record.peak_bytes),
            "–" if estimate.call_s is None else f"~{milliseconds(1000 * estimate.call_s)}",
            "–" if estimate.wall_s is None else f"~{duration(estimate.wall_s)}",
            state if record.status == "ok" else f"{record.status}: {record.error}",
        )
    return table


def plan_summary(estimates: Sequence[Estimate], todo: Collection[str], store: Path) -> str:
    """How many cases, how long, how much memory, in one line."""
    asked = [estimate for estimate in estimates if estimate.task.key in todo]
    left = [estimate for estimate in asked if estimate.record.status == "ok"]
    known = [estimate.wall_s for estimate in left if estimate.wall_s is not None]
    parts = [f"{len(estimates)} cases, {len(estimates) - len(asked)} of them in {store}"]
    if len(left) < len(asked):
        parts.append(f"{len(asked) - len(left)} will fail")
    if len(known) < len(left):
        parts.append(f"the time of {len(left) - len(known)} is not known: `convbench calibrate` measures the device")
    if known:
        parts.append(f"about {duration(sum(known))} to measure {len(known)} one after the other")
    largest = max((estimate.record.peak_bytes or 0 for estimate in left), default=0)
    if largest:
        parts.append(f"at most {bytes_(largest)} at a time")
    return "; ".join(parts)


def duration(seconds: float) -> str:
    """``95`` as ``2 min``, ``7000`` as ``1 h 57 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
