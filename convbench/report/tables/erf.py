"""Receptive fields as tables and data files; every figure with its unit, every table with what was probed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields as dataclass_fields
from typing import TYPE_CHECKING, Any

from rich.table import Table

from convbench.report.io.document import Report
from convbench.report.io.fields import field_of
from convbench.report.units import significant

if TYPE_CHECKING:
    from convbench.measures.erf import Erf
    from convbench.report.plots.erf_plot import LabelledErf

_SIGNED = ("offset", "orientation", "kurtosis")  # ratios of these mean nothing
_SETUP = ("statistic", "probe", "mode", "depth", "layer", "inputs", "initialisations", "samples", "dtype", "method")


def measure_table(fields: Sequence[LabelledErf]) -> Table:
    """One row a figure, one column a target; below each value its 95% interval over samples."""
    table = _table(fields, "definition")
    for metric in _metrics(fields[0].erf):
        cells = [_with_interval(field.erf, metric.name) for field in fields]
        table.add_row(_title(metric), *cells, metric.metadata["formula"])
    for name in ("receptive field (theoretical)", "output position", *_SETUP):
        table.add_row(name, *(_setup(field.erf, name) for field in fields), "")
    return table


def compare_table(fields: Sequence[LabelledErf]) -> Table:
    """One row a figure; every target's value and, but for the first, its ratio to the first target's."""
    table = _table(fields, f"(×: ratio to {fields[0].label})")
    for metric in _metrics(fields[0].erf):
        base = getattr(fields[0].erf.metrics, metric.name)
        cells = [_value(base)]
        for field in fields[1:]:
            value = getattr(field.erf.metrics, metric.name)
            comparable = base and value is not None and not metric.name.startswith(_SIGNED)
            cells.append(f"{_value(value)} (×{significant(value / base, 3)})" if comparable else _value(value))
        table.add_row(_title(metric), *cells, "")
    for name in _SETUP:
        table.add_row(name, *(_setup(field.erf, name) for field in fields), "")
    return table


def erf_report(
    fields: Sequence[LabelledErf],
    failed: Sequence[Mapping[str, Any]] = (),
    environment: Mapping[str, Any] | None = None,
    command: str = "",
) -> Report:
    """One row a field, and those that could not be measured last, with ``status`` and ``error``.

    Formats of flat tables hold the figures; .json intervals and profiles as well, .npz all that and the maps.
    """
    rows = [{**_row(field), **_spread(field.erf), "status": "ok", "error": None} for field in fields]
    drawn = [field_of(field.label, field.erf) for field in fields]
    return Report((), environment or {}, {"fields": [*rows, *failed]}, command, drawn)


def _spread(erf: Erf) -> dict[str, Any]:
    """How far the figures can be trusted, and the radial profile: nested values."""
    return {
        "intervals": {name: [interval.low, interval.high] for name, interval in erf.uncertainty.intervals.items()},
        "standard_errors": dict(erf.uncertainty.errors),
        "spread_over_initialisations": dict(erf.uncertainty.spread),
        "radial_distance_px": erf.profile.distance_px.tolist(),
        "radial_share": erf.profile.share.tolist(),
        "warnings": list(erf.warnings),
    }


def _row(field: LabelledErf) -> dict[str, Any]:
    erf = field.erf
    box = erf.receptive_field
    row: dict[str, Any] = {"target": field.label, **{name: getattr(erf, name) for name in _SETUP}}
    row |= {"input_height_px": erf.map.shape[0], "input_width_px": erf.map.shape[1]}
    row |= {"output_row": erf.position[0], "output_column": erf.position[1]}
    row |= {
        "receptive_field_height_px": None if box is None else box.height,
        "receptive_field_width_px": None if box is None else box.width,
    }
    return row | {metric.name: getattr(erf.metrics, metric.name) for metric in _metrics(erf)}


def _metrics(erf: Erf) -> list[Any]:
    return [item for item in dataclass_fields(erf.metrics) if "formula" in item.metadata]


def _table(fields: Sequence[LabelledErf], last: str) -> Table:
    table = Table("figure", *map(_heading, fields), last, box=None, header_style="bold", pad_edge=False)
    for column in table.columns[1:-1]:
        column.justify = "right"
    return table


def _heading(field: LabelledErf) -> str:
    return field.label if field.erf.depth == 1 else f"{field.label}, {field.erf.depth} deep"


def _title(metric: Any) -> str:
    name, unit = metric.name, metric.metadata["unit"]
    for suffix in ("_px2", "_px", "_deg"):
        name = name.removesuffix(suffix)
    return f"{name.replace('_', ' ')} ({unit})" if unit else name.replace("_", " ")


def _with_interval(erf: Erf, name: str) -> str:
    value = getattr(erf.metrics, name)
    interval = erf.uncertainty.intervals.get(name)
    if value is None or interval is None:
        return _value(value)
    return f"{_value(value)} [{_value(interval.low)}, {_value(interval.high)}]"


def _value(value: float | None) -> str:
    if value is None:
        return "–"
    return "0" if abs(value) < 5e-7 else significant(value)


def _setup(erf: Erf, name: str) -> str:
    if name == "output position":
        return f"{erf.position} of {erf.output_size}"
    if name == "receptive field (theoretical)":
        box = erf.receptive_field
        return "unbounded" if box is None else f"{box.height} × {box.width} px"
    value = getattr(erf, name)
    return "–" if value is None else str(value)
