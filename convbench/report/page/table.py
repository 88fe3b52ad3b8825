"""Tables of a page: numbers in one unit a column so that they can be compared, the raw number kept beside each."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from convbench.errors import UsageError
from convbench.reading import parse_json
from convbench.records import DESCRIPTIONS, column_types
from convbench.report.columns import SUMMARY, constant_columns, filled_columns, mark
from convbench.report.io.cells import finite, keys, rows_of, text
from convbench.report.io.document import Report
from convbench.report.plots.points import environment_letters, points
from convbench.report.units import significant
from convbench.statistics import stated

_DECIMAL = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_BINARY = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"))


@dataclass(frozen=True, slots=True)
class Cell:
    """shown: for the eye. raw: what sorts and what conditions compare. title: the whole value, on demand."""

    shown: str
    raw: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """name: of the column in files. unit: of what is shown. visible: whether it is before the reader chooses."""

    name: str
    title: str
    unit: str
    convention: str
    numeric: bool
    visible: bool


@dataclass(frozen=True, slots=True)
class PageTable:
    """headings: one a column. rows: cells in the order of the headings. failed: per row, whether its case failed.

    shared: title and value of what is the same in every row.
    """

    headings: tuple[Heading, ...]
    rows: tuple[tuple[Cell, ...], ...]
    failed: tuple[bool, ...] = ()
    shared: tuple[tuple[str, str], ...] = ()


def record_table(report: Report) -> PageTable:
    """The records: every filled column, of which the telling ones are visible at first."""
    rows = rows_of(report.records)
    filled, constant = filled_columns(report.records), constant_columns(report.records)
    visible = _visible(report, constant)
    headings, columns = [], []
    if report.sources:
        headings.append(Heading("environment", "Environment", "", "where it was measured: see below", False, True))
        columns.append([Cell(name, name) for name in environment_letters(report)])
    for name in filled:
        values = [row[name] for row in rows]
        unit, show = _shown_as(name, values)
        column = DESCRIPTIONS[name]
        numeric = column_types()[name] is not str
        headings.append(Heading(name, column.title, unit, column.convention, numeric, name in visible))
        columns.append([_cell(name, value, row, show) for value, row in zip(values, rows, strict=True)])
    shared = tuple(
        (DESCRIPTIONS[name].title, text(rows[0][name]))
        for name in constant
        if DESCRIPTIONS[name].role in ("target", "condition", "origin") and name not in ("options", "schema_version")
    )
    failed = tuple(record.status != "ok" for record in report.records)
    return PageTable(tuple(headings), tuple(zip(*columns, strict=True)) if columns else (), failed, shared)


def section_table(rows: Sequence[Mapping[str, Any]]) -> PageTable:
    """A break-down, with the columns' own names."""
    names = keys(rows)
    columns, headings = [], []
    for name in names:
        values = [finite(row.get(name)) for row in rows]
        numeric = all(isinstance(value, int | float | None) and not isinstance(value, bool) for value in values)
        headings.append(Heading(name, name.replace("_", " "), "", name, numeric, True))
        columns.append([Cell(_grouped(value), text(value)) for value in values])
    return PageTable(tuple(headings), tuple(zip(*columns, strict=True)) if columns else ())


def _visible(report: Report, constant: Sequence[str]) -> set[str]:
    records = report.records
    visible = {"target", *SUMMARY, "saved_for_backward_bytes"}
    if len(records) > 1:
        conditions = {name for name, column in DESCRIPTIONS.items() if column.role == "condition"}
        visible |= {*conditions, "input_shape"} - set(constant) - {"kind", "device_name"}
    else:
        visible |= {"input_shape"}
    if any(point.series != point.record.target for point in points(report)):
        visible.add("options")
    if any(record.status != "ok" for record in records):
        visible |= {"status", "error"}
    return visible | ({"uncounted"} if any(record.uncounted for record in records) else set())


def _cell(name: str, value: Any, row: Mapping[str, Any], show: Callable[[Any], str]) -> Cell:
    if value is None:
        return Cell("", "")
    shown, title = show(value), text(value)
    if name in ("latency_ms", "ratio"):
        unit = " ms" if name == "latency_ms" else ""
        low, high = (row[f"{name.removesuffix('_ms')}_{end}{'_ms' if unit else ''}"] for end in ("low", "high"))
        shown = mark(row["latency_noise"]) + shown
        if low is not None and high is not None:
            title = f"{title}{unit}, 95% [{significant(low)}, {significant(high)}]"
    if name in ("verdict", "device_verdict"):
        shown, title = stated(value, row["margin"]), row["verdict_reason"] or ""
    if name in ("macs", "flops") and row["uncounted"]:
        shown, title = f"≥ {shown}", f"at least {title}: {row['uncounted']} not counted"
    return Cell(shown, text(value), title if title != shown else "")


def _shown_as(name: str, values: Sequence[Any]) -> tuple[str, Callable[[Any], str]]:
    """The unit of a column and how a value is written in it."""
    if name == "options":
        return "", _options_text
    if column_types()[name] is str:
        return "", str
    unit = DESCRIPTIONS[name].unit
    typical = statistics.median(abs(value) for value in values if value is not None)
    steps = _BINARY if unit == "B" else _DECIMAL if DESCRIPTIONS[name].show == "count" else ()
    for scale, prefix in steps:
        if typical >= scale:
            return prefix, partial(_scaled, scale)
    return unit, _grouped


def _scaled(scale: float, value: float) -> str:
    return significant(value / scale)


def _options_text(value: str) -> str:
    try:
        options = parse_json(value, "options")
    except UsageError:
        return value
    if not isinstance(options, dict):
        return value
    return ", ".join(f"{key}={item if isinstance(item, str) else json.dumps(item)}" for key, item in options.items())


def _grouped(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text(value)
    return f"{value:,}" if isinstance(value, int) else significant(value)
