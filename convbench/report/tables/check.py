"""What a check against a baseline found, as terminal tables and as rows for files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from convbench.statistics import stated

if TYPE_CHECKING:
    from convbench.check.check import Change, Drift

_COLOURS = {"slower": "bold red", "faster": "green", "same": "", "unclear": "yellow"}


def change_table(changes: Sequence[Change]) -> Table:
    """One row a figure that is not what it was."""
    table = Table("case", "figure", "baseline", "now", "change", box=None, header_style="bold", pad_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    for change in changes:
        cells = (change.label, change.column, _text(change.before), _text(change.now), _relative(change))
        table.add_row(*map(Text, cells))
    return table


def drift_table(drifts: Sequence[Drift]) -> Table:
    """One row a latency: its ratio to the reference then and now, and the change with its 95% interval."""
    titles = ("case", "reference", "ratio then", "ratio now", "change [95%]", "verdict")
    table = Table(*titles, box=None, header_style="bold", pad_edge=False)
    for column in table.columns[2:5]:
        column.justify = "right"
    for drift in drifts:
        low, high = drift.change.bounds
        table.add_row(
            Text(drift.label),
            Text(drift.reference),
            f"{drift.before.ratio:.3f}",
            f"{drift.now.ratio:.3f}",
            f"{drift.change.ratio - 1:+.1%} "
            + (f"[{low - 1:+.1%}, {high - 1:+.1%}]" if math.isfinite(high) else "[spread not known]"),
            Text(stated(drift.verdict, drift.margin), _COLOURS[drift.verdict]),
        )
    return table


def check_rows(changes: Iterable[Change], drifts: Iterable[Drift]) -> list[dict[str, Any]]:
    """One row a finding, for files; ratios are those of latency over the reference's."""
    rows: list[dict[str, Any]] = [
        {"case": change.label, "figure": change.column, "baseline": change.before, "now": change.now}
        for change in changes
    ]
    for drift in drifts:
        low, high = drift.change.bounds
        rows.append(
            {
                "case": drift.label,
                "figure": "latency ratio",
                "reference": drift.reference,
                "baseline": drift.before.ratio,
                "now": drift.now.ratio,
                "change": drift.change.ratio,
                "change_low": low if math.isfinite(high) else None,
                "change_high": high if math.isfinite(high) else None,
                "verdict": drift.verdict,
                "margin": drift.margin,
            }
        )
    return rows


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _relative(change: Change) -> str:
    numbers = isinstance(change.before, int) and isinstance(change.now, int)
    return f"{change.now / change.before - 1:+.2%}" if numbers and change.before else ""
