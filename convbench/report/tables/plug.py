"""A host beside itself with a block in it, and what was changed, as terminal tables and as rows for files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from convbench.records import Record
from convbench.report.columns import figure
from convbench.report.units import bytes_, count, milliseconds

if TYPE_CHECKING:
    from convbench.plugging.change import LayerChange, Prepared

_FIGURES: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("params", "parameters", lambda value: f"{value:,}"),
    ("trainable_params", "trainable", lambda value: f"{value:,}"),
    ("macs", "MACs", lambda value: f"{value:,}"),
    ("algorithmic_macs", "algorithmic MACs", lambda value: f"{value:,}"),
    ("flops", "FLOPs", lambda value: f"{value:,}"),
    ("latency_ms", "latency", milliseconds),
    ("peak_bytes", "peak memory", bytes_),
    ("saved_for_backward_bytes", "saved for backward", bytes_),
    ("erf_sigma", "ERF σ (px)", lambda value: f"{value:.2f}"),
)


def plug_table(host: Record, *plugged: Record) -> Table:
    """One row a figure that any side has: host, and each plugged host with its ratio to that."""
    table = Table("figure", box=None, header_style="bold", pad_edge=False)
    table.add_column(Text(host.target), justify="right")
    for record in plugged:
        alone = len(plugged) == 1
        table.add_column(Text(record.target if alone else f"+{record.target.rpartition('+')[2]}"), justify="right")
        table.add_column("plugged / host" if alone else "/ host", justify="right")
    sides = (host, *plugged)
    for name, title, shown in _FIGURES:
        if all(getattr(side, name) is None for side in sides) or _says_nothing_new(name, sides):
            continue
        cells = [_cell(getattr(host, name), shown)]
        for record in plugged:
            cells += [_cell(getattr(record, name), shown), _ratio(name, host, record)]
        table.add_row(title, *cells)
    return table


def _cell(value: Any, shown: Callable[[Any], str]) -> str:
    return "–" if value is None else shown(value)


def _says_nothing_new(name: str, sides: Sequence[Record]) -> bool:
    """A row that repeats the one before it: all parameters trainable, no algorithm cheaper than its eager form."""
    same_as = {"trainable_params": "params", "algorithmic_macs": "macs"}.get(name)
    return same_as is not None and all(getattr(side, name) in (None, getattr(side, same_as)) for side in sides)


def _ratio(name: str, host: Record, plugged: Record) -> str:
    before, after = getattr(host, name), getattr(plugged, name)
    if name == "latency_ms" and plugged.ratio is not None:
        return f"{figure('ratio', plugged)} {figure('verdict', plugged)}"
    return f"{after / before:.3f}" if before and after is not None else "–"


def changes_table(changes: Sequence[LayerChange]) -> Table:
    """One row a layer that was asked for: what it was, what it is, and why it stayed."""
    titles = ("layer", "was", "input", "params", "→", "MACs", "→", "is now", "why")
    table = Table(*titles, box=None, header_style="bold", pad_edge=False)
    for column in table.columns[3:7]:
        column.justify = "right"
    for change in changes:
        before, after = _cost(change.params_before, change.macs_before), _cost(change.params_after, change.macs_after)
        table.add_row(
            Text(change.layer),
            Text(change.was),
            _shapes(change),
            before[0],
            after[0],
            before[1],
            after[1],
            Text(change.becomes or "as it was", "" if change.changed else "yellow"),
            Text(change.reason or change.remark),
        )
    return table


def changes_rows(plugged: Sequence[Prepared]) -> list[dict[str, Any]]:
    """One row a layer and block for files."""
    return [
        {
            "block": host.block,
            "layer": change.layer,
            "was": change.was,
            "is_now": change.becomes or change.was,
            "changed": change.changed,
            "reason": change.reason or None,
            "remark": change.remark or None,
            "input_shapes": _shapes(change) or None,
            "params_before": change.params_before,
            "params_after": change.params_after if change.changed else change.params_before,
            "macs_before": change.macs_before,
            "macs_after": change.macs_after if change.changed else change.macs_before,
        }
        for host in plugged
        for change in host.changes
    ]


def _shapes(change: LayerChange) -> str:
    return ", ".join("×".join(map(str, shape)) for shape in dict.fromkeys(change.shapes))


def _cost(params: int | None, macs: int | None) -> tuple[str, str]:
    return count(params), count(macs)
