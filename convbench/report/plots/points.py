"""Records as a plot sees them: which series they belong to, and with which others they may be compared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from convbench.notation import format_value
from convbench.records import Record
from convbench.reference import numbered
from convbench.report.io.document import Report
from convbench.rows import options_of

# Options that say how wide a block is: they vary along a series, and do not tell two series apart.
_WIDTHS = (
    "dim",
    "in_channels",
    "out_channels",
    "in_chans",
    "channels",
    "in_planes",
    "planes",
    "out_planes",
    "inp",
    "oup",
)


@dataclass(frozen=True, slots=True)
class Condition:
    """What two figures must share to be comparable. environment: its letter, where a report joins several."""

    environment: str
    device: str | None
    device_name: str | None
    dtype: str | None
    autocast: str | None
    memory_format: str | None
    mode: str | None
    execution: str | None
    threads: int | None

    def told_from(self, others: Iterable[Condition]) -> str:
        """What sets this condition apart from ``others``, such as ``training · 2 threads``; empty for one alone."""
        every = [self, *others]
        words = {
            "environment": f"environment {self.environment}",
            "autocast": f"autocast {self.autocast}" if self.autocast else "no autocast",
            "threads": f"{self.threads} thread{'' if self.threads == 1 else 's'}",
        }
        differing = [
            item.name for item in fields(self) if len({getattr(condition, item.name) for condition in every}) > 1
        ]
        return " · ".join(words.get(name, str(getattr(self, name))) for name in differing)


@dataclass(frozen=True, slots=True)
class Point:
    """A record with what its text columns say.

    row: its place in the report. series: the target, with the options that tell it from others of that name.
    order: the series' place among all series, which fixes its colour and marker on every plot.
    dim: channels of a block; size: (H, W) of its first input; None where the record does not say.
    """

    row: int
    record: Record
    series: str
    order: int
    condition: Condition
    batch: int | None
    dim: int | None
    size: tuple[int, int] | None


def points(report: Report) -> list[Point]:
    """Every record of the report as a point, in order."""
    letters = environment_letters(report)
    options = [options_of(record.options) for record in report.records]
    names = _series_names(report.records, options)
    found = [
        _point(row, record, name, 0, letter, values)
        for row, (record, name, letter, values) in enumerate(zip(report.records, names, letters, options, strict=True))
    ]
    names = _numbered(found, letters)
    orders = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return [replace(point, series=name, order=orders[name]) for point, name in zip(found, names, strict=True)]


def environment_letters(report: Report) -> list[str]:
    """For each record, the letter of its environment: A, B, …; empty strings where there is only one."""
    if not report.sources:
        return [""] * len(report.records)
    return [letter(index) for index, part in enumerate(report.sources) for _ in part.records]


def letter(index: int) -> str:
    """0 → A, 25 → Z, 26 → AA."""
    return (letter(index // 26 - 1) if index >= 26 else "") + chr(ord("A") + index % 26)


def _point(row: int, record: Record, series: str, order: int, environment: str, options: Mapping[str, Any]) -> Point:
    condition = Condition(
        environment,
        record.device,
        record.device_name,
        record.dtype,
        None if options.get("autocast") is None else str(options["autocast"]),
        record.memory_format,
        record.mode,
        record.execution,
        record.threads,
    )
    shape = _first_shape(record.input_shape)
    image = len(shape) == 4
    width = options.get("dim")
    dim = width if isinstance(width, int) else shape[1] if image and record.kind == "block" else None
    size = (shape[2], shape[3]) if image else None
    return Point(row, record, series, order, condition, shape[0] if shape else None, dim, size)


def _first_shape(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(extent) for extent in (text or "").split(";")[0].split("x"))
    except ValueError:
        return ()


def _series_names(records: Sequence[Record], options: Sequence[Mapping[str, Any]]) -> list[str]:
    """The target of each record, with those effective options and changes in which others of that target differ."""
    by_target: dict[str, list[Mapping[str, Any]]] = {}
    for record, values in zip(records, options, strict=True):
        by_target.setdefault(record.target, []).append(values)
    telling = {target: _telling(found) for target, found in by_target.items()}
    return [
        _told(record.target, {key: values[key] for key in telling[record.target] if key in values})
        for record, values in zip(records, options, strict=True)
    ]


def _told(target: str, values: dict[str, Any]) -> str:
    changes = str(values.pop("transforms", "")).replace("fuse", "fused")
    told = ", ".join(f"{key}={format_value(value)}" for key, value in values.items())
    return f"{target}{f'({told})' if told else ''}{f'+{changes}' if changes else ''}"


def _numbered(found: Sequence[Point], letters: Sequence[str]) -> list[str]:
    """The series of each point; a case that a report holds twice, as a trial of one block against itself, is two."""
    told = [point.series for point in found]
    keys = [
        (letter, point.series, point.condition, point.record.input_shape, point.record.options)
        for point, letter in zip(found, letters, strict=True)
    ]
    return numbered(told, keys)


def _telling(found: Iterable[Mapping[str, Any]]) -> list[str]:
    found = list(found)
    keys = dict.fromkeys(key for values in found for key in values if key not in (*_WIDTHS, "autocast"))
    return [key for key in keys if len({json.dumps(values.get(key)) for values in found}) > 1]
