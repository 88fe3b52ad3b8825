"""Receptive fields as tables and data files; every figure with its unit, every table with what was probed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields as dataclass_fields
from typing import TYPE_CHECKING, Any

from rich.table import Table

from convbench.measures.erf.difference import MARGIN, Difference, differences
from convbench.measures.erf.result import SETUP
from convbench.report.io.document import Report
from convbench.report.units import significant

if TYPE_CHECKING:
    from convbench.measures.erf import Erf

_PLACE = ("receptive field (theoretical)", "support of the gradients", "output position")


def measure_table(fields: Sequence[Erf]) -> Table:
    """One row a figure, one column a target; beside each value its 95% interval."""
    table = _table(fields, "definition")
    for metric in _metrics(fields[0]):
        cells = [_with_interval(field, metric.name) for field in fields]
        table.add_row(_title(metric), *cells, metric.metadata["formula"])
    _add_further(table, fields)
    _add_replknet(table, fields)
    for name in (*_PLACE, *SETUP, "95% intervals"):
        table.add_row(name, *(_setup(field, name) for field in fields), "")
    return table


def compare_table(fields: Sequence[Erf]) -> Table:
    """One row a figure; every target's value, and below it, but for the first, its difference from the first's."""
    table = _table(fields, "")
    found = differences(fields[0], fields[1:])
    for metric in _metrics(fields[0]):
        cells = [_with_interval(fields[0], metric.name)]
        for field, each in zip(fields[1:], found, strict=True):
            cells.append(_with_difference(field, metric.name, each.get(metric.name)))
        table.add_row(_title(metric), *cells, "")
    _add_further(table, fields)
    _add_replknet(table, fields)
    for name in (*SETUP, "95% intervals"):
        table.add_row(name, *(_setup(field, name) for field in fields), "")
    return table


def comparison_note(fields: Sequence[Erf]) -> str:
    """How the lower lines of `compare_table` are to be read."""
    return (
        f"×: ratio to {fields[0].label}; below it the difference with its 95% interval. larger, smaller: by more than "
        f"{MARGIN:.0%} of {fields[0].label}'s figure, adjusted for the number of targets (Holm)"
    )


def erf_report(
    fields: Sequence[Erf],
    failed: Sequence[Mapping[str, Any]] = (),
    environment: Mapping[str, Any] | None = None,
    command: str = "",
    *,
    compared: bool = False,
) -> Report:
    """One row a field, and those that could not be measured last, with ``status`` and ``error``.

    Formats of flat tables hold the figures; .json intervals and profiles as well, .npz all that and the maps.
    compared: whether differences from the first field are a section of their own.
    """
    rows = [{**_row(field), **_spread(field), "status": "ok", "error": None} for field in fields]
    drawn = [field.described for field in fields]
    sections: dict[str, Sequence[Mapping[str, Any]]] = {"fields": [*rows, *failed]}
    if compared and len(fields) > 1:
        sections["differences"] = _difference_rows(fields)
    return Report((), environment or {}, sections, command, drawn)


def _difference_rows(fields: Sequence[Erf]) -> list[dict[str, Any]]:
    base = fields[0]
    rows = []
    for field, found in zip(fields[1:], differences(base, fields[1:]), strict=True):
        for name, item in found.items():
            about = {"target": field.label, "depth": field.depth, "baseline": base.label, "figure": name}
            values = {"value": getattr(field.metrics, name), "baseline_value": getattr(base.metrics, name)}
            judged = {"difference": item.value, "difference_low": item.low, "difference_high": item.high}
            rows.append(about | values | judged | {"ratio": item.ratio, "verdict": item.verdict})
    return rows


def _spread(erf: Erf) -> dict[str, Any]:
    """How far the figures can be trusted, and the radial profile: nested values."""
    described = erf.described
    return {
        "intervals": {name: [interval.low, interval.high] for name, interval in erf.uncertainty.intervals.items()},
        "intervals_cover": erf.uncertainty.covers,
        "standard_errors": dict(erf.uncertainty.errors),
        "biases": dict(erf.uncertainty.biases),
        "spread_over_initialisations": dict(erf.uncertainty.spread),
        "radial_distance_px": erf.profile.distance_px.tolist(),
        "radial_share": erf.profile.share.tolist(),
        "radial_gaussian": [] if described.gaussian is None else described.gaussian.tolist(),
        "warnings": list(erf.warnings),
    }


def _row(erf: Erf) -> dict[str, Any]:
    box = erf.receptive_field
    row: dict[str, Any] = {"target": erf.label, **{name: getattr(erf, name) for name in SETUP}}
    row |= {"reason": erf.reason, "field_source": erf.field_source}
    row |= {"input_height_px": erf.map.shape[0], "input_width_px": erf.map.shape[1]}
    row |= {"output_row": erf.position[0], "output_column": erf.position[1]}
    row |= {
        "receptive_field_height_px": None if box is None else box.height,
        "receptive_field_width_px": None if box is None else box.width,
    }
    row |= {metric.name: getattr(erf.metrics, metric.name) for metric in _metrics(erf)}
    row |= {name: value for name, (value, _, _) in _further(erf).items()}
    return row | (erf.replknet.columns if erf.replknet else {})


def _further(erf: Erf) -> dict[str, tuple[float | None, str, str]]:
    """Figures that are no ErfMetrics of a map: name → value, title, definition."""
    two = erf.two_gaussians
    return {
        "theoretical_over_effective": (
            erf.theoretical_over_effective,
            "theoretical / effective",
            "√(area of the theoretical field) / S99, the side of the square that holds 99% of the mass",
        ),
        "two_gaussians_agd": (
            None if two is None else two.agd,
            "agd of two Gaussians",
            "exp(−KL) to the best mixture of two round ones; – where it is not better than one by 0.02",
        ),
        "two_gaussians_inner_share": (None if two is None else two.inner_share, "share of the inner", "of the mass"),
        "two_gaussians_inner_sigma_px": (
            None if two is None else two.inner_sigma_px,
            "sigma of the inner (px)",
            "0: a single pixel",
        ),
        "two_gaussians_outer_sigma_px": (None if two is None else two.outer_sigma_px, "sigma of the outer (px)", ""),
    }


def _metrics(erf: Erf) -> list[Any]:
    return [item for item in dataclass_fields(erf.metrics) if "formula" in item.metadata]


def _table(fields: Sequence[Erf], last: str) -> Table:
    table = Table("figure", *map(_heading, fields), last, box=None, header_style="bold", pad_edge=False)
    for column in table.columns[1:-1]:
        column.justify = "right"
    return table


def _heading(field: Erf) -> str:
    return field.label if field.depth == 1 else f"{field.label}, {field.depth} deep"


def _title(metric: Any) -> str:
    name, unit = metric.name, metric.metadata["unit"]
    for suffix in ("_px2", "_px", "_deg"):
        name = name.removesuffix(suffix)
    return f"{name.replace('_', ' ')} ({unit})" if unit else name.replace("_", " ")


def _add_further(table: Table, fields: Sequence[Erf]) -> None:
    """Rows of what at least one field has."""
    found = [_further(erf) for erf in fields]
    for name, (_, title, meaning) in found[0].items():
        if any(each[name][0] is not None for each in found):
            said = meaning if table.columns[-1].header else ""
            table.add_row(title, *(_value(each[name][0]) for each in found), said)


def _add_replknet(table: Table, fields: Sequence[Erf]) -> None:
    """RepLKNet's own figures below the linear ones, under names of their own."""
    columns = [field.replknet.columns if field.replknet else {} for field in fields]
    for name in dict.fromkeys(name for each in columns for name in each):
        kind, share = ("side", name.split("_")[2]) if "side" in name else ("r", name.removeprefix("replknet_r"))
        title = f"RepLKNet side {share}% (px)" if kind == "side" else f"RepLKNet r({share}%)"
        meaning = (
            "side of the centred square whose share of Σ log10(1 + g)/max exceeds it, by RepLKNet's script"
            if kind == "side"
            else "that square's area over the image's; not comparable with area ratio"
        )
        table.add_row(title, *(_value(each.get(name)) for each in columns), meaning if table.columns[-1].header else "")


def _with_interval(erf: Erf, name: str) -> str:
    value = getattr(erf.metrics, name)
    interval = erf.uncertainty.intervals.get(name)
    if value is None or interval is None:
        return _value(value)
    return f"{_value(value)} [{_value(interval.low)}, {_value(interval.high)}]"


def _with_difference(erf: Erf, name: str, found: Difference | None) -> str:
    value = _with_interval(erf, name)
    if found is None:
        return value
    ratio = "" if found.ratio is None else f" ×{significant(found.ratio, 3)}"
    if found.verdict is None or found.low is None or found.high is None:
        return f"{value}{ratio}\n{_signed(found.value)}, no interval"
    return f"{value}{ratio}\n{_signed(found.value)} [{_value(found.low)}, {_value(found.high)}] {found.verdict}"


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + _value(value)


def _value(value: float | None) -> str:
    if value is None:
        return "–"
    return "0" if abs(value) < 5e-7 else significant(value)


def _setup(erf: Erf, name: str) -> str:
    if name == "output position":
        return f"{erf.position} of {erf.output_size}"
    if name == "receptive field (theoretical)":
        return theoretical(erf)
    if name == "support of the gradients":
        return f"{erf.support.height} × {erf.support.width} px"
    if name == "95% intervals":
        return f"over {erf.uncertainty.covers}" if erf.uncertainty.covers else "none: a single sample"
    value = getattr(erf, name)
    return "–" if value is None else str(value)


def theoretical(erf: Erf) -> str:
    """The theoretical field, where it was propagated through the operators: gradients alone show no such thing."""
    if erf.field_source == "probed":
        return "not known"
    box = erf.receptive_field
    return "unbounded" if box is None else f"{box.height} × {box.width} px"
