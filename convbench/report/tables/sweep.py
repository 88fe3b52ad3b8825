"""The records of a sweep as a terminal table: what varies between the cases first, then what was measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from convbench.records import DESCRIPTIONS, Record
from convbench.report.columns import SUMMARY, figure
from convbench.rows import options_of

_CONDITIONS = ("input_shape", "device", "dtype", "memory_format", "mode", "execution", "threads")


def sweep_table(records: Sequence[Record]) -> Table:
    """One row a record. Conditions and options that are the same everywhere are left out; see `common_conditions`."""
    options = _varying_options(records)
    conditions = [name for name in _CONDITIONS if _varies(records, name)]
    figures = [name for name in SUMMARY if any(getattr(record, name) is not None for record in records)]
    failed = any(record.status != "ok" for record in records)
    titles = [
        "target",
        *options,
        *(name.replace("_", " ") for name in conditions),
        *(DESCRIPTIONS[name].summary for name in figures),
    ]
    table = Table(*titles, *(["status"] if failed else []), box=None, header_style="bold", pad_edge=False)
    for column in table.columns[1 + len(options) + len(conditions) : len(titles)]:
        column.justify = "right"
    for record in records:
        stated = options_of(record.options)
        cells = [record.target, *(_text(stated.get(name)) for name in options)]
        cells += [_text(getattr(record, name)) for name in conditions]
        cells += [figure(name, record) for name in figures]
        table.add_row(*cells, *([record.status] if failed else []))
    return table


def common_conditions(records: Sequence[Record]) -> str:
    """The conditions that all records share, in one line."""
    shared = [name for name in _CONDITIONS if not _varies(records, name) and getattr(records[0], name) is not None]
    return " · ".join(f"{name.replace('_', ' ')} {getattr(records[0], name)}" for name in shared)


def _varies(records: Sequence[Record], name: str) -> bool:
    return len({getattr(record, name) for record in records}) > 1


def _varying_options(records: Sequence[Record]) -> list[str]:
    """Options of which one target has several values, and those that were asked of some records and not of all."""
    seen: dict[str, dict[str, set[str]]] = {}
    for record in records:
        for name, value in options_of(record.options).items():
            seen.setdefault(name, {}).setdefault(record.target, set()).add(json.dumps(value))
    asked = Counter(name for record in records for name in _asked(record))
    return [
        name
        for name, by_target in seen.items()
        if any(len(values) > 1 for values in by_target.values()) or 0 < asked[name] < len(records)
    ]


def _asked(record: Record) -> set[str]:
    given = options_of(record.given)
    options = given.get("options")
    return {*(options if isinstance(options, dict) else ()), *(given.keys() - {"dim", "options"})}


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return json.dumps(value) if isinstance(value, list | dict | bool) else str(value)
