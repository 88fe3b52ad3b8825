"""Which columns of several records have something to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from convbench.column import Column
from convbench.records import COLUMNS, DESCRIPTIONS, Record
from convbench.report.units import bytes_, count, milliseconds, significant
from convbench.statistics import stated

_SHOW: dict[str, Callable[[Any], str]] = {
    "text": str,
    "number": significant,
    "count": count,
    "bytes": bytes_,
    "milliseconds": milliseconds,
    "fraction": lambda value: f"{value:.3f}",
}
SUMMARY = tuple(name for name, column in DESCRIPTIONS.items() if column.summary)
"""The figures that stand side by side where several targets are compared."""


def written(column: Column, value: Any) -> str:
    """A figure rounded for readers, without its unit where that is not part of the number."""
    return "–" if value is None else _SHOW[column.show](value)


def mark(noise: str | None) -> str:
    """What stands before a time or a ratio that was measured beside others (~), or that is not to be used (!)."""
    return {"noisy": "~", "invalid": "!"}.get(noise or "", "")


def figure(name: str, record: Record) -> str:
    """A figure as readers see it: rounded, with its interval where it has one, marked where it is doubtful."""
    value = getattr(record, name)
    if value is None:
        return "–"
    text = written(DESCRIPTIONS[name], value)
    if name == "ratio":
        text = f"{text} {interval(record.ratio_low, record.ratio_high)}"
    if name == "device_ratio":
        text = f"{text} {interval(record.device_ratio_low, record.device_ratio_high)}"
    if name in ("verdict", "device_verdict"):
        text = stated(value, record.margin)
    if name == "macs" and record.algorithmic_macs not in (None, value):
        text = f"{text} ({count(record.algorithmic_macs)} algorithmic)"
    return f"{mark(record.latency_noise) if name in ('latency_ms', 'ratio') else ''}{text}"


def interval_text(name: str, record: Record) -> str:
    """``[low, high]`` of a time, where it is known; ratios carry theirs already."""
    if name not in ("latency_ms", "device_latency_ms"):
        return ""
    low, high = (getattr(record, name.replace("_ms", f"_{end}_ms")) for end in ("low", "high"))
    return "" if low is None or high is None else f"[{milliseconds(low)}, {milliseconds(high)}]"


def interval(low: float | None, high: float | None) -> str:
    """The bounds of a ratio; where they are withheld, that its spread is not known."""
    return "[spread not known]" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def filled_columns(records: Sequence[Record]) -> list[str]:
    """The columns that at least one record fills, in schema order."""
    return [name for name in COLUMNS if any(getattr(record, name) is not None for record in records)]


def constant_columns(records: Sequence[Record]) -> list[str]:
    """The filled columns in which several records all say the same."""
    if len(records) < 2:
        return []
    return [name for name in filled_columns(records) if len({getattr(record, name) for record in records}) == 1]
